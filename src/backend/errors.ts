import { AbortedError, ArgumentError, BackendError, type BertkitError, PlanError } from '../errors.ts'

/** bk_error of native/api.h */
export const ErrorNumber = { plan: 1, memory: 2, data: 3, cancelled: 4, argument: 5, device: 6 } as const

/** The typed error of an error number and its text. */
export function backendError(number: number, message: string): BertkitError {
  switch (number) {
    case ErrorNumber.plan:
      return new PlanError(message)
    case ErrorNumber.data:
      return new ArgumentError(message)
    case ErrorNumber.cancelled:
      return new AbortedError()
    case ErrorNumber.memory:
      return new BackendError(message, { reason: 'memory' })
    case ErrorNumber.device:
      return new BackendError(message, { reason: 'device' })
    default:
      return new BackendError(message)
  }
}
