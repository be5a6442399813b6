import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { resolveTrainingArguments, type TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { planTraining } from '../../src/train/training-plan.ts'

const resolve = (given: object) => resolveTrainingArguments(given as TrainingArgumentsInput)

test('defaults are those of TrainingArguments 5.18', () => {
  expect(resolve({})).toMatchObject({
    outputDir: 'trainer_output',
    perDeviceTrainBatchSize: 8,
    perDeviceEvalBatchSize: 8,
    numTrainEpochs: 3,
    maxSteps: -1,
    learningRate: 5e-5,
    lrSchedulerType: 'linear',
    warmupSteps: 0,
    weightDecay: 0,
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamEpsilon: 1e-8,
    gradientAccumulationSteps: 1,
    maxGradNorm: 1,
    loggingStrategy: 'steps',
    loggingSteps: 500,
    evalStrategy: 'no',
    evalSteps: null,
    saveStrategy: 'steps',
    saveSteps: 500,
    saveTotalLimit: null,
    loadBestModelAtEnd: false,
    metricForBestModel: null,
    greaterIsBetter: null,
    seed: 42,
    dataSeed: null,
  })
})

describe('bad arguments name what was expected and what came', () => {
  const cases: [object, RegExp][] = [
    [{ learnningRate: 1e-5 }, /known training argument but received 'learnningRate'/],
    [{ fp16: true }, /fp16 is not available: .*bfloat16/],
    [{ pushToHub: true }, /pushToHub is not available/],
    [{ learningRate: '5e-5' }, /learningRate to be a number of at least 0 but received '5e-5'/],
    [{ learningRate: Number.NaN }, /learningRate/],
    [{ perDeviceTrainBatchSize: 0 }, /perDeviceTrainBatchSize to be an integer of at least 1 but received 0/],
    [{ numTrainEpochs: 0 }, /numTrainEpochs/],
    [{ maxSteps: 0 }, /maxSteps to be a positive integer, or -1/],
    [{ warmupSteps: 1.5 }, /warmupSteps/],
    [{ warmupRatio: 1 }, /warmupRatio to be a number from 0 to below 1/],
    [{ warmupRatio: 0.1, warmupSteps: 10 }, /both were given/],
    [{ lrSchedulerType: 'lineer' }, /lrSchedulerType to be one of linear, cosine/],
    [{ lrSchedulerKwargs: [] }, /lrSchedulerKwargs/],
    [{ evalStrategy: 'epochs' }, /one of no, steps, epoch but received 'epochs'/],
    [{ loadBestModelAtEnd: true }, /evalStrategy .*loadBestModelAtEnd/],
    [{ loadBestModelAtEnd: true, evalStrategy: 'epoch' }, /saveStrategy to equal evalStrategy/],
    [
      { loadBestModelAtEnd: true, evalStrategy: 'steps', evalSteps: 3, saveSteps: 10 },
      /saveSteps to be a multiple of evalSteps .* 10 and 3/,
    ],
    [{ saveStrategy: 'best' }, /saveStrategy is 'best'/],
    [{ resumeFromCheckpoint: 3 }, /resumeFromCheckpoint/],
    [{ seed: -1 }, /seed/],
  ]
  test.each(cases)('%j', (given, message) => {
    expect(() => resolve(given)).toThrow(ArgumentError)
    expect(() => resolve(given)).toThrow(message)
  })
})

describe('the plan', () => {
  const plan = (given: object, examples: number) =>
    planTraining(resolve(given), { examples, lengths: new Uint32Array(examples).fill(1) })

  test('counts partial batches, partial accumulations and fractions of epochs', () => {
    const counts = plan({ perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 3, numTrainEpochs: 2.5 }, 30)
    // 8 batches: updates of 3, 3 and 2.
    expect(counts).toMatchObject({ batchesPerEpoch: 8, updatesPerEpoch: 3, maxSteps: 8 })
  })

  test('fractions of steps are rounded up', () => {
    const counts = plan({ perDeviceTrainBatchSize: 1, numTrainEpochs: 1, warmupRatio: 0.1, loggingSteps: 0.25 }, 33)
    expect(counts).toMatchObject({ maxSteps: 33, warmupSteps: 4, loggingSteps: 9, evalSteps: 9 })
  })

  test('maxSteps wins over epochs', () => {
    expect(plan({ maxSteps: 5 }, 1000).maxSteps).toBe(5)
  })

  test('dropping the last batch may not drop everything', () => {
    expect(plan({ dataloaderDropLast: true }, 17).batchesPerEpoch).toBe(2)
    expect(() => plan({ dataloaderDropLast: true }, 7)).toThrow(/at least 8 examples .* received 7/)
  })
})
