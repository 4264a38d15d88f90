/** Failures of the lab: all are {@link OperationError}s, SQLSTATE 58000 (system_error), codes `lab.…`. */
import { OperationError } from "../base/errors.ts";

export type LabErrorCode =
  /** No PostgreSQL for this platform, or npm did not install it. */
  | "lab.no_binaries"
  /** PostgreSQL refuses to run as root, and no ordinary user could be found or made. */
  | "lab.no_account"
  /** The user that runs PostgreSQL cannot enter the folder. */
  | "lab.folder_unreachable"
  /** The folder holds something that is not a lab. */
  | "lab.folder_foreign"
  /** Another living process uses the folder. */
  | "lab.folder_in_use"
  /** A program of PostgreSQL failed; the detail has the end of its output. */
  | "lab.start_failed"
  /** Something did not come about in time. */
  | "lab.timeout";

export function labError(
  code: LabErrorCode,
  message: string,
  more: { readonly detail?: string; readonly hint?: string; readonly cause?: unknown } = {},
): OperationError {
  return new OperationError(message, { code, sqlstate: "58000", source: "internal", ...more });
}
