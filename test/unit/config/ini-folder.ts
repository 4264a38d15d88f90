/** Files of a test in a folder of its own, which is gone with the test. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach } from "vitest";
import { loadIni } from "../../../src/config/ini/load.ts";

export interface IniFolder {
  readonly inFolder: (name: string) => string;
  /** Writes a file, and says where it is. */
  readonly write: (text: string, name?: string) => string;
  /** What is said about a file, with the folder and its name taken out. */
  readonly problemsOf: (text: string) => Promise<string[]>;
}

export function useIniFolder(): IniFolder {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), "pgsluice-ini-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const inFolder = (name: string): string => path.join(folder, name);
  const write = (text: string, name = "pgbouncer.ini"): string => {
    writeFileSync(inFolder(name), text);
    return inFolder(name);
  };
  return {
    inFolder,
    write,
    async problemsOf(text) {
      const file = write(text);
      const error: unknown = await loadIni(file).catch((reason: unknown) => reason);
      if (!(error instanceof Error)) return [];
      return error.message.split("\n").map((line) => line.replaceAll(`${file}:`, "").trim());
    },
  };
}
