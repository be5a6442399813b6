// What an op is recorded with, by the names in ops.def.
import type { Value } from './graph.ts'
import { Activation, type ActivationName, type OpName, type ops } from './op-table.ts'

type Spec<Name extends OpName> = (typeof ops)[Name]
/** Operands by their names in ops.def. */
export type OperandsOf<Name extends OpName> = Partial<Record<Spec<Name>['operands'][number]['name'], Value | undefined>>
type AttributeNames<Name extends OpName> = Exclude<Spec<Name>['attributes'][number], { readonly kind: 't' }>['name']
type Words = 'words' | 'forwardWords' | 'backwardWords'
type AttributeValue = number | boolean | ActivationName
/**
 * Attributes by their names in ops.def: rows by symbol, numbers, flags, activations by name. Types follow from the operands, and so do
 * the words of packed weights.
 */
export type AttributesOf<Name extends OpName> = Record<Exclude<AttributeNames<Name>, Words>, AttributeValue> &
  Partial<Record<Extract<AttributeNames<Name>, Words>, number>>

const floatBits = (() => {
  const real = new Float32Array(1)
  const bits = new Int32Array(real.buffer)
  return (value: number): number => {
    real[0] = value
    return bits[0]
  }
})()

/** An attribute as the word of a plan. */
export function encode(value: number | boolean | ActivationName, kind: string): number {
  if (typeof value === 'string') return Activation[value]
  if (typeof value === 'boolean') return value ? 1 : 0
  return kind === 'f' ? floatBits(value) : value
}
