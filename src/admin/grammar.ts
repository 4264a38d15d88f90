/**
 * The console's language, which is PgBouncer's: one or two words, or `SET key = value`, and a semicolon. Words are
 * letters, digits and underscores, or anything in double quotes; keywords are understood in either case. Unlike
 * PgBouncer's, a Query may hold several statements.
 */
import { consoleError, invalidCommand, type Words } from "./command.ts";

export interface Statement extends Words {
  /** First word in lower case. */
  readonly verb: string;
}

/** PgBouncer's bounds: a longer word is no command. */
const verbLengthMax = 15;
const argumentLengthMax = 63;
const valueLengthMax = 255;

const word = String.raw`(?:"(?:[^"]|"")*"|[0-9a-z_]+)`;
const string = String.raw`'(?:[^']|'')*'`;
const bare = String.raw`[0-9a-z_.,:*/+-]+`;
const plain = new RegExp(String.raw`^\s*(${word})(?:\s+(${word}))?\s*$`, "i");
const assignment = new RegExp(
  String.raw`^\s*set\s+(${word})\s*(?:=|\bto\b)\s*(${string}|${word}|${bare})\s*$`,
  "i",
);

/** Cuts a Query at its semicolons; parts without a word in them are left out. */
export function splitStatements(text: string): string[] {
  const parts: string[] = [];
  let quote = "";
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text.charAt(i);
    if (quote !== "") {
      if (character === quote) quote = "";
    } else if (character === '"' || character === "'") {
      quote = character;
    } else if (character === ";") {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.filter((part) => part.trim() !== "");
}

/**
 * Reads one statement. `whole` is what errors show. Throws OperationError `console.refused`: 42601 for what is no
 * command of this form, 22023 for words that are too long.
 */
export function readStatement(part: string, whole: string): Statement {
  const command = plain.exec(part);
  if (command !== null) {
    const [, verb = "", argument = ""] = command;
    return {
      text: whole,
      verb: unquote(verb, verbLengthMax).toLowerCase(),
      argument: unquote(argument, argumentLengthMax),
      value: undefined,
    };
  }
  const set = assignment.exec(part);
  if (set === null) throw invalidCommand(whole);
  const [, key = "", value = ""] = set;
  const argument = unquote(key, argumentLengthMax);
  if (argument === "") throw badArguments();
  return { text: whole, verb: "set", argument, value: unquote(value, valueLengthMax) };
}

/** Whether a statement only looks. Programs that only know SELECT do, too. */
export function shows({ verb }: Pick<Statement, "verb">): boolean {
  return verb === "show" || verb === "select";
}

function unquote(text: string, lengthMax: number): string {
  const quote = text.charAt(0);
  const quoted = quote === '"' || quote === "'";
  const content = quoted ? text.slice(1, -1).replaceAll(quote + quote, quote) : text;
  if (content.length > lengthMax) throw badArguments();
  return content;
}

function badArguments(): Error {
  return consoleError("bad arguments", "22023");
}
