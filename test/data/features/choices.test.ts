import { expect, test } from 'vitest'
import { encodeChoices } from '../../../src/data/features/choices.ts'
import { reference, tokenizer } from './reference.ts'

test.each(reference.choices)('choices are encoded as by run_swag.py: $context', (want) => {
  const { context, question, choices, label } = want
  const example = { context, question: question ?? undefined, choices, label: label ?? undefined }
  expect(encodeChoices(example, tokenizer, { maxLength: want.max_length })).toEqual({
    inputIds: want.input_ids,
    tokenTypeIds: want.token_type_ids,
    ...(label === null ? {} : { labels: label }),
  })
})

test('the reference has pairs that were cut', () => {
  const lengths = reference.choices.flatMap((each) => each.input_ids.map(({ length }) => length))
  expect(lengths.filter((length) => length === reference.choices[0].max_length).length).toBeGreaterThan(2)
})
