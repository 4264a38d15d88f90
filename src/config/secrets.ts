/**
 * Secrets that stand outside the config file: `password = { env = "NAME" }` or `password = { file = "path" }`.
 *
 * They are read at the start and at every reload, and take the place of the table; from then on nothing
 * distinguishes them from a secret in the file. A file's last line end is not part of the secret, as in Docker's
 * and Kubernetes' secrets. Read at once and not in the background: these are small local files, and neither pipes
 * nor devices, which could keep us waiting.
 */
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { reasonOf } from "./errors.ts";
import { type Exposure, exposureOf } from "./permissions.ts";

/** A secret that stands elsewhere, as the config file names it. */
export type SecretSource = { readonly env: string } | { readonly file: string };

/** A file that a secret was read from. */
export interface SecretFile {
  /** The setting, as in TOML. */
  readonly key: string;
  readonly file: string;
  /** Who may read it besides its owner. */
  readonly exposure: Exposure;
}

/** Longer secrets are mistakes: PostgreSQL takes no password of more than 1024 bytes, and SCRAM secrets are shorter. */
const secretBytesMax = 16_384;

export class SecretReader {
  readonly #baseFolder: string;
  readonly files: SecretFile[] = [];

  /** Relative paths of files start at `baseFolder`. */
  constructor(baseFolder: string) {
    this.#baseFolder = baseFolder;
  }

  /** The secret of the setting `key`, or why there is none; the reason never holds what was read. */
  read(key: string, source: SecretSource): { readonly secret: string } | { readonly problem: string } {
    if ("env" in source) return variable(source.env);
    const file = path.resolve(this.#baseFolder, source.file);
    try {
      const status = statSync(file);
      if (!status.isFile()) return { problem: `${file} cannot be read: it is no ordinary file` };
      if (status.size > secretBytesMax)
        return { problem: `${file} holds more than ${secretBytesMax} bytes: that is no secret` };
      const secret = readFileSync(file, "utf8").replace(/\r?\n$/, "");
      this.files.push({ key, file, exposure: exposureOf(status) });
      return usable(secret, file);
    } catch (error) {
      return { problem: `${file} cannot be read: ${reasonOf(error)}` };
    }
  }
}

function variable(name: string): { readonly secret: string } | { readonly problem: string } {
  const secret = process.env[name];
  return secret === undefined
    ? { problem: `the environment variable ${name} is not set` }
    : usable(secret, `the environment variable ${name}`);
}

function usable(secret: string, where: string): { readonly secret: string } | { readonly problem: string } {
  if (secret === "") return { problem: `${where} is empty` };
  if (secret.includes("\0")) return { problem: `${where} holds a NUL character` };
  return { secret };
}

/** What to say of the files that everybody may read, for the log. */
export function exposedFiles(files: readonly SecretFile[]): string[] {
  return files
    .filter(({ exposure }) => exposure === "everybody")
    .map(({ key, file }) => `${key}: every user of this machine can read ${file}; chmod 600`);
}
