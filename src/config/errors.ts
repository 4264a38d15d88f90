/** What is wrong with a configuration, said so that it can be put right without a manual. */
import { OperationError } from "../base/errors.ts";

/** One mistake. `key` is written as in TOML: `pgsluice.pool_mode`, `databases."*".node`; empty for the whole file. */
export interface ConfigProblem {
  readonly key: string;
  readonly problem: string;
  /** File and line, as `file:line`, where they are known. */
  readonly place?: string;
}

/**
 * A configuration that cannot be used. Code `config.invalid`, SQLSTATE F0000 (config_file_error); lists every
 * problem that was found, not just the first. Never carries the value of a secret.
 */
export class ConfigError extends OperationError {
  readonly file: string;
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[], cause?: unknown) {
    const lines = problems.map(({ key, problem, place = file }) =>
      key === "" ? `${place}: ${problem}` : `${place}: ${key}: ${problem}`,
    );
    super(lines.join("\n"), { code: "config.invalid", sqlstate: "F0000", source: "internal", cause });
    this.file = file;
    this.problems = problems;
  }
}

/** Why a file cannot be read, in words. */
export function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EACCES") return "permission denied";
  return code ?? (error instanceof Error ? error.message : String(error));
}
