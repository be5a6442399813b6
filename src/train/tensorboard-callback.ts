import { hostname } from 'node:os'
import { BertkitError } from '../errors.ts'
import { joinPath } from '../formats/files.ts'
import type { CallbackContext, TrainerCallback } from './callbacks.ts'
import { TensorBoardWriter } from './tensorboard.ts'

/** 'Nov25_19-37-08_host': the name of a run's folder, as Transformers makes it (training_args.py, default_logdir). */
function runName(now = new Date()): string {
  const [, month, day, , time] = now.toString().split(' ')
  return `${month}${day}_${time.replaceAll(':', '-')}_${hostname()}`
}

const asMarkdown = (value: object): string => JSON.stringify(value, null, 2).replace(/^/gm, '    ') // four spaces: a code block

/**
 * Writes log lines and evaluations as TensorBoard event files, into `folder` or `<outputDir>/runs/<time>_<host>`. What cannot be
 * written is a warning of the run and ends the writing, not the training. Transformers' integration_utils.py, TensorBoardCallback.
 */
export class TensorBoardCallback implements TrainerCallback {
  readonly #folder: string | undefined
  #writer: TensorBoardWriter | undefined

  constructor({ folder }: { folder?: string } = {}) {
    this.#folder = folder
  }

  async onTrainBegin(context: CallbackContext): Promise<void> {
    const { args } = context
    const folder = this.#folder ?? joinPath(args.outputDir, 'runs', runName())
    await this.#try(context, async () => {
      this.#writer = await TensorBoardWriter.open(folder)
      await this.#writer.text('args', asMarkdown(args))
      if ('config' in context.model && typeof context.model.config === 'object' && context.model.config !== null)
        await this.#writer.text('model_config', asMarkdown(context.model.config))
    })
  }

  async onLog(context: CallbackContext): Promise<void> {
    await this.#try(context, () => this.#writer?.scalars(context.state.globalStep, context.logs ?? {}))
  }

  async close(): Promise<void> {
    const writer = this.#writer
    this.#writer = undefined
    // what was logged is written already
    await writer?.close().catch(() => undefined)
  }

  async #try({ warn }: CallbackContext, write: () => Promise<void> | undefined): Promise<void> {
    try {
      await write()
    } catch (error) {
      if (!(error instanceof BertkitError)) throw error
      warn(`No more is written for TensorBoard: ${error.message}`)
      await this.close()
    }
  }
}
