/**
 * Whether the body of a function in SQL or PL/pgSQL is *quiet*: whatever it does, it leaves the session as it was. Most
 * trigger functions are, and without this every write to a table that has one would be opaque.
 *
 * Nothing is parsed. A body is cut into tokens by the lexical rules that SQL and PL/pgSQL share, and everything that could
 * be more than a plain statement makes it not quiet: dynamic EXECUTE, SET outside of UPDATE, a statement that begins
 * with the word of a utility command, a string whose end depends on settings. What is left names things; every name in it
 * is taken for a function, a relation and a type at once, of any schema, and each of these has to be harmless. Sources: the
 * manual's "SQL Commands", PL/pgSQL's pl_gram.y (where a statement can begin) and gram.y (what follows INTO, UPDATE and DELETE FROM).
 */
import { type BuiltinTrait, builtinTrait } from "./builtin-functions.ts";
import type { Catalog } from "./catalog.ts";

/** What a body names. */
export interface FunctionBody {
  /** All names, folded as PostgreSQL folds them. */
  readonly names: ReadonlySet<string>;
  /** Those where a target of INSERT, UPDATE, DELETE or MERGE stands, among others. */
  readonly targets: ReadonlySet<string>;
}

/** Undefined: not quiet, whatever the catalog says. */
export function readBody(language: "sql" | "plpgsql", source: string): FunctionBody | undefined {
  const tokens = tokenize(source);
  // A body in SQL's standard form has no source.
  if (tokens === undefined || tokens.length === 0) return undefined;
  const names = new Set<string>();
  const targets = new Set<string>();
  /** UPDATE has come since a statement may have begun: its SET is no command. */
  let updating = false;
  let begins = true;
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at] as string;
    if (begins && commands.has(token)) return undefined;
    if (isRefused(tokens, at, language, updating)) return undefined;
    begins = beginners.has(token);
    updating = token === "update" || (updating && !begins);
    const name = nameOf(token);
    if (name === undefined) continue;
    names.add(name);
    if (isTarget(tokens, at)) for (const part of dotted(tokens, at)) targets.add(part);
  }
  return { names, targets };
}

/** Whether all that a body names is harmless as far as the catalog tells. */
export function isQuiet({ names, targets }: FunctionBody, catalog: Catalog): boolean {
  // Their functions run unnamed, at assignments too.
  if (catalog.hasCasts || catalog.hasTypes || catalog.hasOperators) return false;
  for (const name of names) {
    const builtin = builtinTrait(name);
    if (builtin !== undefined && !quietTraits.has(builtin)) return false;
    if (builtin === undefined && name.startsWith("pg_") && name !== "pg_catalog") return false;
    if (catalog.userFunction(undefined, name).startsWith("user")) return false;
    if (catalog.relationIs("relation_read", undefined, name)) return false;
  }
  for (const name of targets) if (catalog.relationIs("relation_write", undefined, name)) return false;
  return true;
}

/** What ends with the transaction, or is not the session's. */
const quietTraits: ReadonlySet<BuiltinTrait> = new Set<BuiltinTrait>([
  "immutable",
  "stable",
  "session",
  "node_local",
  "transaction_id",
  "harmless",
  "lock_transaction",
  "notify",
]);

/** First words of commands that are not plain statements. */
const commands: ReadonlySet<string> = new Set(
  `abort alter analyse analyze call checkpoint cluster comment commit copy create deallocate discard drop
  explain grant import listen load prepare reassign refresh reindex release repack reset revoke rollback savepoint
  security start truncate unlisten vacuum wait`.split(/\s+/),
);

/** Behind these a statement may begin. */
const beginners: ReadonlySet<string> = new Set([";", "begin", "atomic", "then", "else", "loop"]);

function isRefused(
  tokens: readonly string[],
  at: number,
  language: "sql" | "plpgsql",
  updating: boolean,
): boolean {
  switch (tokens[at]) {
    case "execute":
    // DECLARE … WITH HOLD.
    case "hold":
    case "temp":
    case "temporary":
    case "pg_temp":
    case "pg_settings":
      return true;
    case "set":
      return !updating;
    case "do":
      return tokens[at + 1] !== "nothing" && tokens[at + 1] !== "update";
    case "into":
      // In PL/pgSQL into variables; in SQL SELECT INTO makes a table.
      return language === "sql" && tokens[at - 1] !== "insert" && tokens[at - 1] !== "merge";
    default:
      return false;
  }
}

/** Whether a name stands where INSERT, UPDATE, DELETE and MERGE have their target. */
function isTarget(tokens: readonly string[], at: number): boolean {
  const before = tokens[at - 1] === "(" ? tokens[at - 2] : tokens[at - 1];
  switch (before) {
    case "into":
    case "update":
    case "only":
      return true;
    case "from":
      return tokens[at - 2] === "delete";
    default:
      return false;
  }
}

/** The parts of a name with dots. */
function* dotted(tokens: readonly string[], from: number): Iterable<string> {
  for (let at = from; ; at += 2) {
    const name = nameOf(tokens[at] ?? "");
    if (name === undefined) return;
    yield name;
    if (tokens[at + 1] !== ".") return;
  }
}

/** Names in quotes keep a mark in front, which no word has: they are no keywords. */
const quotedMark = '"';

function nameOf(token: string): string | undefined {
  if (token.startsWith(quotedMark)) return token.slice(1);
  return /^[a-z_\u0080-\uffff]/.test(token) ? token : undefined;
}

const pattern =
  /[ \t\n\r\f\v]+|--[^\n\r]*|(\/\*)|(e'(?:[^'\\]|\\.|'')*')|('(?:[^'\\]|'')*')|(\$(?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)|\$\d+|"((?:[^"]|"")+)"|([a-z_\u0080-\uffff][\w$\u0080-\uffff]*)|\d+(?:_\d+)*(?:e[+-]?\d+)?|([^'"\\\0])/iy;

/**
 * Words in lower case, quoted names, and signs one by one; white space, comments, strings and numbers are left out. Undefined: it
 * does not end as it should, or cannot be cut without knowing settings or versions.
 */
function tokenize(source: string): string[] | undefined {
  const tokens: string[] = [];
  pattern.lastIndex = 0;
  while (pattern.lastIndex < source.length) {
    const start = pattern.lastIndex;
    const match = pattern.exec(source);
    if (match === null) return undefined;
    const [all, comment, escaped, string, dollar, quoted, word, sign] = match;
    const next = source[pattern.lastIndex] ?? "";
    if (comment !== undefined) {
      const end = commentEnd(source, start);
      if (end < 0) return undefined;
      pattern.lastIndex = end;
    } else if (dollar !== undefined) {
      const end = source.indexOf(dollar, pattern.lastIndex);
      if (end < 0) return undefined;
      pattern.lastIndex = end + dollar.length;
    } else if (quoted !== undefined) tokens.push(quotedMark + quoted.replaceAll('""', '"'));
    else if (word !== undefined) {
      // b'…', n'…', x'…', u&'…', u&"…".
      if (next === "'" || (next === "&" && /^u$/i.test(word))) return undefined;
      tokens.push(word.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()));
    } else if (sign !== undefined) tokens.push(sign);
    else if (escaped === undefined && string === undefined && /[\d$]/.test(all[0] ?? "") && /\w/.test(next)) {
      // 0x1f, 1_000, 10loop: not of one meaning in all versions.
      return undefined;
    }
  }
  return tokens;
}

/** Behind a comment, in which there may be others; below 0 if it does not end. */
function commentEnd(source: string, start: number): number {
  let level = 0;
  for (let at = start; at < source.length; at += 1) {
    if (source.startsWith("/*", at)) {
      level += 1;
      at += 1;
    } else if (source.startsWith("*/", at)) {
      level -= 1;
      at += 1;
      if (level === 0) return at + 1;
    }
  }
  return -1;
}
