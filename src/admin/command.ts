/** What a command of the console is, and what it answers with. */
import { OperationError } from "../base/errors.ts";
import { isConsoleDatabase } from "../config/reserved.ts";
import type { AdminContext } from "./context.ts";
import type { Column, Row } from "./result.ts";

/** So much of a statement is repeated in an error. */
const shownTextMax = 900;

/** The words behind a command's name, quotes and escapes resolved. */
export interface Words {
  /** The statement as it was sent. */
  readonly text: string;
  /** The word behind the name; empty if there is none. */
  readonly argument: string;
  /** Of SET: the value. */
  readonly value: string | undefined;
}

/** Who gives the command, and until when its answer is wanted. */
export interface Caller {
  readonly administrator: boolean;
  /** Aborts when the client is gone or has cancelled. */
  readonly signal: AbortSignal;
}

export interface Answer {
  readonly tag: string;
  readonly rows?: readonly Row[];
  readonly notice?: { readonly message: string; readonly detail?: string };
}

/** One command. `Argument` is what its words mean. */
export interface Command<Argument = unknown> {
  /** First word in upper case; of `SHOW x` both. */
  readonly name: string;
  /** Of a command that answers with rows. */
  readonly columns?: readonly Column[];
  /** Only administrators may give it. */
  readonly administrators: boolean;
  /** Throws OperationError, in PgBouncer's words, for words that mean nothing. */
  parse(words: Words): Argument;
  execute(context: AdminContext, argument: Argument, caller: Caller): Answer | Promise<Answer>;
}

/** A `SHOW x` that takes no argument and is for everybody. */
export function showCommand(
  name: string,
  columns: readonly Column[],
  rows: (context: AdminContext) => readonly Row[],
): Command<undefined> {
  return {
    name: `SHOW ${name}`,
    columns,
    administrators: false,
    parse: () => undefined,
    execute: (context) => ({ tag: "SHOW", rows: rows(context) }),
  };
}

export function invalidCommand(text: string): OperationError {
  return consoleError(`invalid command '${text.slice(0, shownTextMax)}', use SHOW HELP;`, "42601");
}

/** The database a command is about; undefined: all of them. */
export function optionalDatabase({ argument }: Words): string | undefined {
  return argument === "" ? undefined : argument;
}

/** Throws OperationError 42601 if none is named. */
export function requiredDatabase({ argument }: Words): string {
  if (argument === "") throw consoleError("a database is required", "42601");
  return argument;
}

/** A refusal of the console; `sqlstate` is PostgreSQL's for its kind. */
export function consoleError(message: string, sqlstate: string = "55000"): OperationError {
  return new OperationError(message, { code: "console.refused", sqlstate, source: "client" });
}

/** The text of what cannot be asked of the console's own database, and of one that is not there. */
export function checkDatabase(context: AdminContext, name: string, verb: string): void {
  if (isConsoleDatabase(name)) throw consoleError(`cannot ${verb} admin db: ${name}`, "0A000");
  if (!context.knowsDatabase(name)) throw consoleError(`no such database: ${name}`, "3D000");
}
