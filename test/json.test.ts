import { describe, expect, test } from 'vitest'
import { quote } from '../src/json.ts'

describe('quote', () => {
  test('shows what JSON can say as JSON', () => {
    expect(quote('a "b"')).toBe('"a \\"b\\""')
    expect(quote([1, null, { a: true }])).toBe('[1,null,{"a":true}]')
    expect(quote(undefined)).toBe('undefined')
    expect(quote('x'.repeat(100))).toBe(`"${'x'.repeat(79)}...`)
  })

  test('shows numbers that JSON has no word for, inside of lists too', () => {
    expect(quote(1n)).toBe('1n')
    expect(quote(Number.NaN)).toBe('NaN')
    expect(quote(Number.NEGATIVE_INFINITY)).toBe('-Infinity')
    expect(quote([1n, Number.NaN])).toBe('["1n","NaN"]')
  })

  test('never throws', () => {
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    let deep: unknown[] = []
    for (let i = 0; i < 100_000; i++) deep = [deep]
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    const failing = {
      get value() {
        throw new Error('no')
      },
    }
    for (const value of [cyclic, deep, proxy, failing]) expect(quote(value)).toBe('an object')
    expect(quote(Symbol('s'))).toBe('Symbol(s)')
    expect(quote(Object.assign(() => 0, { toJSON: () => cyclic }))).toBe('a function')
  })
})
