/** Why a node was not made anew: {@link OperationError}s, SQLSTATE 58000 (system_error), codes `recovery.…`. */
import { OperationError } from "../base/errors.ts";

export type RecoveryErrorCode =
  /** Something speaks against it; nothing was changed. */
  | "recovery.refused"
  /** A pooler's console does not do what it has to. */
  | "recovery.console"
  /** A command of the configuration failed. */
  | "recovery.command_failed"
  /** The base backup did not end well. */
  | "recovery.copy_failed"
  /** A file or folder cannot be read or written. */
  | "recovery.file_failed"
  /** The standby did not start, or did not catch up. */
  | "recovery.not_caught_up"
  /** The standby runs, and a pooler does not use it. */
  | "recovery.not_attached";

export function recoveryError(
  code: RecoveryErrorCode,
  message: string,
  more: { readonly detail?: string; readonly hint?: string; readonly cause?: unknown } = {},
): OperationError {
  return new OperationError(message, { code, sqlstate: "58000", source: "internal", ...more });
}
