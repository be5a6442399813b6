import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { resolveTrainingArguments, type TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { epochAt, planTraining } from '../../src/train/training-plan.ts'

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
    [{ lrSchedulerKwargs: { num_cycles: 1, numCycles: 2 } }, /numCycles of lrSchedulerKwargs once/],
    [{ learnningRate: 1e-5 }, /no training argument 'learnningRate'/],
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

test('options of a schedule may have the names of Transformers', () => {
  const kwargs = (lrSchedulerKwargs: object) => resolve({ lrSchedulerKwargs }).lrSchedulerKwargs
  expect(kwargs({ num_cycles: 2, lr_end: 1e-6, min_lr_rate: 0.1 })).toEqual({
    numCycles: 2,
    lrEnd: 1e-6,
    minLrRate: 0.1,
  })
  expect(kwargs({ numCycles: 2, power: 3 })).toEqual({ numCycles: 2, power: 3 })
})

describe('the plan', () => {
  const plan = (given: object, examples: number) =>
    planTraining(resolve(given), { examples, lengths: new Uint32Array(examples).fill(1) })

  test('counts partial batches, partial accumulations and fractions of epochs', () => {
    const counts = plan({ perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 3, numTrainEpochs: 2.5 }, 30)
    // 8 batches: updates of 3, 3 and 2.
    expect(counts).toMatchObject({ batchesPerEpoch: 8, updatesPerEpoch: 3, maxSteps: 8 })
    // epoch + (batch + 1) / batches of the epoch, after each update
    expect([0, 1, 2, 3, 4, 5, 6].map((position) => epochAt(counts, position))).toEqual([
      ...[0, 3 / 8, 6 / 8, 1],
      ...[1 + 3 / 8, 1 + 6 / 8, 2],
    ])
  })

  test('fractions of steps are rounded up', () => {
    const counts = plan({ perDeviceTrainBatchSize: 1, numTrainEpochs: 1, warmupRatio: 0.1, loggingSteps: 0.25 }, 33)
    expect(counts).toMatchObject({ maxSteps: 33, warmupSteps: 4, loggingSteps: 9, evalSteps: 9 })
  })

  describe('of a run that ends with its best evaluation', () => {
    const best = { loadBestModelAtEnd: true, evalStrategy: 'steps', perDeviceTrainBatchSize: 1, numTrainEpochs: 1 }

    test.each([
      [{ evalSteps: 0.1, saveSteps: 0.3 }, 40],
      [{ evalSteps: 0.25, saveSteps: 0.25 }, 33],
      [{ evalSteps: 0.1, saveSteps: 8 }, 40],
      [{ evalSteps: 3, saveSteps: 0.5 }, 12],
      [{ loggingSteps: 0.1, saveSteps: 0.2 }, 40],
    ])('%j of %i steps are multiples', (given, examples) => {
      const { evalSteps, saveSteps } = plan({ ...best, ...given }, examples)
      expect(saveSteps % evalSteps).toBe(0)
    })

    test.each([
      [{ evalSteps: 0.1, saveSteps: 0.3 }, /received 0.3 and 0.1, which of 33 are 10 and 4$/],
      [{ evalSteps: 0.1, saveSteps: 10 }, /received 10 and 0.1, which of 33 are 10 and 4$/],
      [{ loggingSteps: 0.1, saveSteps: 0.3 }, /received 0.3 and 0.1, which of 33 are 10 and 4$/],
    ])('%j of 33 steps are none', (given, message) => {
      expect(() => plan({ ...best, ...given }, 33)).toThrow(ArgumentError)
      expect(() => plan({ ...best, ...given }, 33)).toThrow(/Expected saveSteps to be a multiple of evalSteps/)
      expect(() => plan({ ...best, ...given }, 33)).toThrow(message)
      expect(plan({ ...best, ...given, loadBestModelAtEnd: false }, 33)).toMatchObject({ saveSteps: 10, evalSteps: 4 })
    })
  })

  test('evalSteps of 0 are loggingSteps, as none are', () => {
    expect(plan({ evalSteps: 0, loggingSteps: 7 }, 100)).toMatchObject({ evalSteps: 7 })
    expect(() => plan({ saveSteps: 0 }, 100)).toThrow(/saveSteps to be a whole number of steps/)
    expect(() => plan({ evalSteps: -1 }, 100)).toThrow(/evalSteps to be a whole number of steps/)
  })

  test('maxSteps wins over epochs', () => {
    expect(plan({ maxSteps: 5 }, 1000).maxSteps).toBe(5)
  })

  test('dropping the last batch may not drop everything', () => {
    expect(plan({ dataloaderDropLast: true }, 17).batchesPerEpoch).toBe(2)
    expect(() => plan({ dataloaderDropLast: true }, 7)).toThrow(/at least 8 examples .* received 7/)
  })
})
