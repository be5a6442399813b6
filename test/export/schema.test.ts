import { readFileSync } from 'node:fs'
import type { DescEnum, DescMessage } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { file_onnx } from '../../src/export/onnx/onnx_pb.ts'

/** `message.field = number` of a schema's text, nested messages and enumerations too. */
function fieldsOf(text: string): string[] {
  const open: string[] = []
  return text
    .replace(/\/\/.*/g, '')
    .split('\n')
    .flatMap((line) => {
      const [, block] = /^\s*(?:message|enum|oneof) (\w+) \{/.exec(line) ?? []
      if (block !== undefined) open.push(block)
      if (/^\s*\}/.test(line)) open.pop()
      const [, name, number] = /(\w+) = (\d+);/.exec(line) ?? []
      // a oneof groups fields of the message around it
      return name === undefined || open.length === 0
        ? []
        : [`${open.filter((each) => each !== 'value').join('.')}.${name} = ${number}`]
    })
}

const enumFields = (prefix: string, { name, values }: DescEnum): string[] =>
  values.map((value) => `${prefix}${name}.${value.name} = ${value.number}`)
const messageFields = (prefix: string, message: DescMessage): string[] => [
  ...message.fields.map((field) => `${prefix}${message.name}.${field.name} = ${field.number}`),
  ...message.nestedEnums.flatMap((each) => enumFields(`${prefix}${message.name}.`, each)),
  ...message.nestedMessages.flatMap((each) => messageFields(`${prefix}${message.name}.`, each)),
]

test('onnx_pb.ts is what onnx.proto says (node scripts/onnx-proto.mjs writes it)', () => {
  const text = readFileSync(new URL('../../src/export/onnx/onnx.proto', import.meta.url), 'utf8')
  const generated = file_onnx.messages.flatMap((message) => messageFields('', message))
  expect(generated.length).toBeGreaterThan(40)
  expect(generated.sort()).toEqual(fieldsOf(text).sort())
})
