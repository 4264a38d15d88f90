/** Values that name databases and users, as both files write them: keywords, regular expressions, names. */
import { NameRegex } from "./regex.ts";
import { RegexError } from "./regex-program.ts";
import type { Token } from "./tokens.ts";

/** What a client asks for. */
export interface NamesAsked {
  readonly database: string;
  readonly user: string;
  /** The roles that the user is a member of, directly or not, itself among them; undefined: not asked yet. */
  readonly roles?: ReadonlySet<string>;
  /** Physical replication, which has no database. */
  readonly physicalReplication: boolean;
}

/** What has to be found out first: the user's roles, or the name of the client's address. */
export type HbaQuestion = "roles" | "hostName";
export type Fit = boolean | HbaQuestion;

export type NamePattern =
  /** `sameuser`, `samerole` and `replication` only of databases. */
  | { readonly kind: "all" | "sameuser" | "samerole" | "replication" }
  /** Only of users: `+role`. */
  | { readonly kind: "member"; readonly role: string }
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
        // The older name for it (hba.c).
        return { kind: "samerole" };
    }
  }
  return nameOrRegex(token);
}

/** @throws {RecordError} */
export function userPattern(token: Token): NamePattern {
  if (!token.quoted && token.text === "all") return { kind: "all" };
  if (!token.quoted && token.text.startsWith("+")) return { kind: "member", role: token.text.slice(1) };
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
export function fitsDatabase(patterns: readonly NamePattern[], asked: NamesAsked): Fit {
  return anyFits(patterns, (pattern) => {
    if (asked.physicalReplication) return pattern.kind === "replication";
    switch (pattern.kind) {
      case "sameuser":
        return asked.database === asked.user;
      case "samerole":
        return asked.roles?.has(asked.database) ?? "roles";
      default:
        return fitsName(pattern, asked.database);
    }
  });
}

/** Whether one of them fits the user (hba.c check_role). */
export function fitsUser(patterns: readonly NamePattern[], asked: NamesAsked): Fit {
  return anyFits(patterns, (pattern) =>
    pattern.kind === "member" ? (asked.roles?.has(pattern.role) ?? "roles") : fitsName(pattern, asked.user),
  );
}

/** Whether a pattern fits a name by itself. */
export function fitsName(pattern: NamePattern, name: string): boolean {
  switch (pattern.kind) {
    case "all":
      return true;
    case "name":
      return pattern.name === name;
    case "regex":
      return pattern.regex.match(name) !== undefined;
    case "sameuser":
    case "samerole":
    case "member":
    case "replication":
      return false;
  }
}

/** A pattern that fits without a question makes the question of another one needless. */
function anyFits(patterns: readonly NamePattern[], fits: (pattern: NamePattern) => Fit): Fit {
  let result: Fit = false;
  for (const pattern of patterns) {
    const fit = fits(pattern);
    if (fit === true) return true;
    if (fit !== false) result = fit;
  }
  return result;
}
