/** The classes that can be exported. Apart from how they are (heads.ts), whose types are protobuf's. */
export const ARCHITECTURES = [
  'BertModel',
  'BertForPreTraining',
  'BertForMaskedLM',
  'BertLMHeadModel',
  'BertForNextSentencePrediction',
  'BertForSequenceClassification',
  'BertForMultipleChoice',
  'BertForTokenClassification',
  'BertForQuestionAnswering',
] as const

/** A class that can be exported. */
export type Architecture = (typeof ARCHITECTURES)[number]

export const isArchitecture = (name: string): name is Architecture =>
  (ARCHITECTURES as readonly string[]).includes(name)
