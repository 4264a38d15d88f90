/** Values that name databases and users, as both files write them: keywords, regular expressions, names. */
import { NameRegex } from "./regex.ts";
import { RegexError } from "./regex-program.ts";
import type { Token } from "./tokens.ts";

/** What a client asks for. */
export interface NamesAsked {
  readonly database: string;
  readonly user: string;
  /** Physical replication, which has no database. */
  readonly physicalReplication: boolean;
}

export type NamePattern =
  /** `sameuser` and `replication` only of databases. */
  | { readonly kind: "all" | "sameuser" | "replication" }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "regex"; readonly regex: NameRegex };

/** What is wrong with one record; caught where its file and line are known. */
export class RecordError extends Error {}

/** @throws {RecordError} */
export function databasePattern(token: Token): NamePattern {
  if (!token.quoted) {
    switch (token.text) {
      case "all":
      case "sameuser":
      case "replication":
        return { kind: token.text };
      case "samerole":
      case "samegroup":
        throw new RecordError(noMembership(token.text));
    }
  }
  return nameOrRegex(token);
}

/** @throws {RecordError} */
export function userPattern(token: Token): NamePattern {
  if (!token.quoted && token.text === "all") return { kind: "all" };
  if (!token.quoted && token.text.startsWith("+")) throw new RecordError(noMembership(token.text));
  return nameOrRegex(token);
}

/** A name, or a regular expression: those begin with a slash, in quotes too. */
export function nameOrRegex(token: Token): NamePattern {
  if (!token.text.startsWith("/")) return { kind: "name", name: token.text };
  try {
    return { kind: "regex", regex: new NameRegex(token.text.slice(1)) };
  } catch (error) {
    if (!(error instanceof RegexError)) throw error;
    throw new RecordError(`invalid regular expression "${token.text.slice(1)}": ${error.message}`);
  }
}

/** Whether one of them fits the database that is asked for (hba.c check_db). */
export function fitsDatabase(patterns: readonly NamePattern[], asked: NamesAsked): boolean {
  return patterns.some((pattern) => {
    if (asked.physicalReplication) return pattern.kind === "replication";
    switch (pattern.kind) {
      case "all":
        return true;
      case "sameuser":
        return asked.database === asked.user;
      case "replication":
        return false;
      default:
        return fitsName(pattern, asked.database);
    }
  });
}

export function fitsUser(patterns: readonly NamePattern[], user: string): boolean {
  return patterns.some((pattern) => fitsName(pattern, user));
}

/** Whether a pattern for users fits one (hba.c check_role). */
export function fitsName(pattern: NamePattern, name: string): boolean {
  switch (pattern.kind) {
    case "all":
      return true;
    case "name":
      return pattern.name === name;
    case "regex":
      return pattern.regex.match(name) !== undefined;
    case "sameuser":
    case "replication":
      return false;
  }
}

function noMembership(text: string): string {
  return `"${text}" is not supported: who is in which role is known to PostgreSQL only; name the users, or a file of them (@FILE)`;
}
