/**
 * Host-based authentication: the rules of auth_hba_file with the maps of auth_ident_file, read as a whole or
 * not at all. The parts: tokens.ts (what both files have in common), rules.ts and names.ts (records, and which
 * one fits), address.ts, regex.ts, ident.ts.
 */
import { OperationError } from "../../base/errors.ts";
import { type IdentEntry, isMapped, parseIdentEntry } from "./ident.ts";
import { type HbaQuestion, RecordError } from "./names.ts";
import { findRule, type HbaConnection, type HbaRule, parseRule } from "./rules.ts";
import { type FileProblem, type Reading, readLines, type TokenLine } from "./tokens.ts";

export class HostBasedRules {
  readonly rules: readonly HbaRule[];
  readonly #entries: readonly IdentEntry[];

  constructor(rules: readonly HbaRule[], entries: readonly IdentEntry[]) {
    this.rules = rules;
    this.#entries = entries;
  }

  /** The first rule that fits, or what has to be found out first; undefined: nobody is to be let in. */
  find(connection: HbaConnection): HbaRule | HbaQuestion | undefined {
    return findRule(this.rules, connection);
  }

  /** Whether a certificate of this name lets a client act as `user` under a rule. */
  certifies(rule: HbaRule, certificateName: string, user: string): boolean {
    if (rule.map === undefined) return certificateName === user;
    return isMapped(this.#entries, rule.map, certificateName, user);
  }
}

/**
 * Reads both files: a generator that asks for what is to be read (tokens.ts). `identFile` is empty if there
 * are no maps.
 *
 * @throws OperationError `auth.hba`, F0000 (config_file_error), with every mistake, each with its file and line.
 */
export function* readHostBasedRules(hbaFile: string, identFile: string): Reading<HostBasedRules> {
  const problems: FileProblem[] = [];
  const rules = parseAll(yield* readLines(hbaFile, problems), parseRule, problems);
  if (rules.length === 0 && problems.length === 0) {
    problems.push({ file: hbaFile, line: 0, problem: "it has no entries, so nobody could log in" });
  }
  const problemsBefore = problems.length;
  const entries =
    identFile === "" ? [] : parseAll(yield* readLines(identFile, problems), parseIdentEntry, problems);
  const identIsWhole = problems.length === problemsBefore;
  for (const { map, file, line } of rules) {
    if (map === undefined || entries.some((entry) => entry.map === map) || !identIsWhole) continue;
    const where = identFile === "" ? "auth_ident_file is not set" : `it is not in ${identFile}`;
    problems.push({ file, line, problem: `there is no map "${map}": ${where}` });
  }
  if (problems.length > 0) throw hbaError(problems);
  return new HostBasedRules(rules, entries);
}

/** One failure for all mistakes. A line of 0 means the file as a whole. */
export function hbaError(problems: readonly FileProblem[]): OperationError {
  const lines = problems.map(({ file, line, problem }) =>
    line === 0 ? `${file}: ${problem}` : `${file}:${line}: ${problem}`,
  );
  return new OperationError(lines.join("\n"), {
    code: "auth.hba",
    sqlstate: "F0000",
    source: "internal",
  });
}

function parseAll<T>(
  records: readonly TokenLine[],
  parse: (record: TokenLine) => T,
  problems: FileProblem[],
): T[] {
  const results: T[] = [];
  for (const record of records) {
    try {
      results.push(parse(record));
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      problems.push({ file: record.file, line: record.line, problem: error.message });
    }
  }
  return results;
}
