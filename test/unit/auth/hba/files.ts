/** Files that exist only in a test, for readers that ask for them. */
import path from "node:path";
import { type HostBasedRules, readHostBasedRules } from "../../../../src/auth/hba/hba.ts";
import type { HbaConnection } from "../../../../src/auth/hba/rules.ts";
import {
  type FileAnswer,
  type FileProblem,
  type FileRequest,
  type Reading,
  readLines,
  type TokenLine,
} from "../../../../src/auth/hba/tokens.ts";

/** Texts by absolute path; of a folder the names of what lies in it. */
export type Files = Readonly<Record<string, string | readonly string[]>>;

export const hbaFile = "/etc/pg/pg_hba.conf";
export const identFile = "/etc/pg/pg_ident.conf";

/** Answers everything that a reader asks for. */
function run<T>(reading: Reading<T>, files: Files): T {
  let step = reading.next();
  while (step.done !== true) step = reading.next(answer(step.value, files));
  return step.value;
}

/** The records of a text, and what is wrong with it. */
export function linesOf(text: string, files: Files = {}): { lines: TokenLine[]; problems: FileProblem[] } {
  const problems: FileProblem[] = [];
  return { lines: run(readLines(hbaFile, problems), { ...files, [hbaFile]: text }), problems };
}

export function rulesOf(text: string, ident?: string, files: Files = {}): HostBasedRules {
  const reading = readHostBasedRules(hbaFile, ident === undefined ? "" : identFile);
  return run(reading, { ...files, [hbaFile]: text, ...(ident === undefined ? {} : { [identFile]: ident }) });
}

/** Every mistake that is found, as `line: text`, or with its file if it is another. */
export function problemsOf(text: string, ident?: string, files: Files = {}): string[] {
  try {
    rulesOf(text, ident, files);
  } catch (error) {
    return (error as Error).message.split("\n").map((line) => line.replace(`${hbaFile}:`, ""));
  }
  return [];
}

/** Somebody who connects to the database `app` from 192.0.2.7 as alice, unless it says otherwise. */
export function connection(what: Partial<HbaConnection> = {}): HbaConnection {
  return {
    encrypted: false,
    address: "192.0.2.7",
    interfaces: () => [],
    database: "app",
    user: "alice",
    physicalReplication: false,
    ...what,
  };
}

function answer({ kind, name, from }: FileRequest, files: Files): FileAnswer {
  const target = path.posix.resolve(from === undefined ? "/" : path.posix.dirname(from), name);
  const found = files[target];
  if (found === undefined) return { kind: "unreadable", reason: "ENOENT", missing: true };
  if (found === "no permission") return { kind: "unreadable", reason: "EACCES", missing: false };
  if (kind === "file" && typeof found === "string") return { kind: "text", path: target, text: found };
  if (kind === "folder" && typeof found !== "string") return { kind: "names", path: target, names: found };
  return { kind: "unreadable", reason: "EISDIR", missing: false };
}
