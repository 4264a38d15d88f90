/** Failures around base backups and data folders: all are {@link OperationError}s, SQLSTATE 58000 (system_error), codes `backup.…`. */
import { OperationError } from "../base/errors.ts";

export type BackupErrorCode =
  /** The archive of a base backup is not as PostgreSQL writes it. */
  | "backup.bad_archive"
  /** A folder that is to be written to holds something. */
  | "backup.folder_not_empty"
  /** PostgreSQL, or another recovery, runs in the data directory. */
  | "backup.folder_in_use"
  /** The folder cannot be read or written. */
  | "backup.folder_unusable"
  /** There is less room than the backup takes. */
  | "backup.disk_full";

export function backupError(
  code: BackupErrorCode,
  message: string,
  more: { readonly detail?: string; readonly hint?: string; readonly cause?: unknown } = {},
): OperationError {
  return new OperationError(message, { code, sqlstate: "58000", source: "internal", ...more });
}
