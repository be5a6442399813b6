/** What kind of mistake an error reports; stable, for programs to branch on. */
export type BertkitErrorCode =
  | 'ERR_ARGUMENT'
  | 'ERR_CONFIG'
  | 'ERR_WEIGHTS'
  | 'ERR_DATA'
  | 'ERR_USAGE'
  | 'ERR_NON_FINITE'
  | 'ERR_DISPOSED'
  | 'ERR_BUSY'
  | 'ERR_ABORTED'
  | 'ERR_BACKEND'
  | 'ERR_PLAN'
  | 'ERR_IO'
  | 'ERR_HUB'
  | 'ERR_DOWNLOAD'

/** Every error that a user of bertkit can cause. `message` says what was expected, what came, and where. */
export class BertkitError extends Error {
  override readonly name: string = 'BertkitError'
  constructor(
    readonly code: BertkitErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** A value passed to a function of the API is wrong: shape, range, type or an unknown option. */
export class ArgumentError extends BertkitError {
  override readonly name = 'ArgumentError'
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_ARGUMENT', message, options)
  }
}

/** config.json or a BertConfig field describes a model that cannot be built. */
export class ConfigError extends BertkitError {
  override readonly name = 'ConfigError'
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_CONFIG', message, options)
  }
}

/** A weights file is missing, truncated, malformed, or does not fit the model. */
export class WeightsError extends BertkitError {
  override readonly name = 'WeightsError'
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_WEIGHTS', message, options)
  }
}

/** A data file or one row of it is wrong; `file` and the 1-based `line` say where. */
export class DataError extends BertkitError {
  override readonly name = 'DataError'
  constructor(
    message: string,
    readonly file?: string,
    readonly line?: number,
    options?: ErrorOptions,
  ) {
    super(
      'ERR_DATA',
      file === undefined ? message : `${file}${line === undefined ? '' : `:${line}`}: ${message}`,
      options,
    )
  }
}

/** The command line was used wrongly; the process exits with 2. */
export class UsageError extends BertkitError {
  override readonly name = 'UsageError'
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_USAGE', message, options)
  }
}

/** A loss or a gradient became NaN or infinite; the weights are as they were before the step. */
export class NonFiniteError extends BertkitError {
  override readonly name = 'NonFiniteError'
  constructor(
    message: string,
    readonly step: number,
    readonly tensor: string,
  ) {
    super('ERR_NON_FINITE', message)
  }
}

/** The model was disposed before the call. */
export class DisposedError extends BertkitError {
  override readonly name = 'DisposedError'
  constructor(message: string) {
    super('ERR_DISPOSED', message)
  }
}

/** The model is running; what was asked would pull its memory away from the run. */
export class BusyError extends BertkitError {
  override readonly name = 'BusyError'
  constructor(message: string) {
    super('ERR_BUSY', message)
  }
}

/** An AbortSignal stopped the run; no weight was changed. */
export class AbortedError extends BertkitError {
  override readonly name = 'AbortedError'
  constructor(message = 'The run was aborted by its signal; no weight was changed') {
    super('ERR_ABORTED', message)
  }
}

export type BackendErrorReason = 'memory' | 'unavailable' | 'absent' | 'device'

/** No backend could be opened, or the opened one refused the work. */
export class BackendError extends BertkitError {
  override readonly name = 'BackendError'
  /**
   * 'memory': there is not as much as was asked for. 'unavailable': this backend cannot be used here. 'absent': it is not installed. 'device': the
   * device is lost, and all models that were on it.
   */
  readonly reason: BackendErrorReason | undefined
  constructor(message: string, { reason, ...options }: ErrorOptions & { reason?: BackendErrorReason } = {}) {
    super('ERR_BACKEND', message, options)
    this.reason = reason
  }
}

/** A recorded plan failed the backend's validation: a defect of bertkit, not of the input. */
export class PlanError extends BertkitError {
  override readonly name = 'PlanError'
  constructor(message: string) {
    super('ERR_PLAN', message)
  }
}

/** The file system refused a read or a write; `errno` is its code, such as ENOSPC. */
export class FileError extends BertkitError {
  override readonly name = 'FileError'
  constructor(
    message: string,
    readonly errno?: string,
    options?: ErrorOptions,
  ) {
    super('ERR_IO', message, options)
  }
}

/**
 * What kept a model of the Hub away: it is not cached and no network may be used; the package that asks the Hub is missing; there is
 * no such model, revision or file; the token may not read it; the connection failed; the Hub failed or asks to wait; what came is
 * not what was announced.
 */
export type HubErrorReason =
  | 'not-cached'
  | 'no-package'
  | 'not-found'
  | 'forbidden'
  | 'unreachable'
  | 'server'
  | 'invalid'

/** A model named by its Hub id could not be had; `status` is the answer's, where there was one. */
export class HubError extends BertkitError {
  override readonly name = 'HubError'
  constructor(
    message: string,
    readonly reason: HubErrorReason,
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super('ERR_HUB', message, options)
  }
}

/** A file of a URL could not be had; `url` without its query, which may be a key, and the answer's `status`, where there was one. */
export class DownloadError extends BertkitError {
  override readonly name = 'DownloadError'
  constructor(
    message: string,
    readonly reason: Exclude<HubErrorReason, 'not-cached' | 'no-package'>,
    readonly url: string,
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super('ERR_DOWNLOAD', message, options)
  }
}

/** What was thrown, in words. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown))
