/** From the text of a statement to its answer in protocol form. */
import { encodeBackend } from "../wire/encode-backend.ts";
import { type Answer, type Caller, type Command, consoleError } from "./command.ts";
import { commandFor } from "./commands.ts";
import type { AdminContext } from "./context.ts";
import { readStatement } from "./grammar.ts";
import { type Column, encodeRow } from "./result.ts";

/** A statement that is understood. */
export class Prepared {
  readonly #command: Command;
  readonly #argument: unknown;

  constructor(command: Command, argument: unknown) {
    this.#command = command;
    this.#argument = argument;
  }

  /** Of its rows; undefined: it has none. */
  get columns(): readonly Column[] | undefined {
    return this.#command.columns;
  }

  /** Throws OperationError `console.refused` 42501 if the caller may not give this command. */
  async run(context: AdminContext, caller: Caller): Promise<Result> {
    if (this.#command.administrators && !caller.administrator) {
      throw consoleError("admin access needed", "42501");
    }
    return new Result(this.columns, await this.#command.execute(context, this.#argument, caller));
  }
}

/** Understands one statement; `whole` is what errors show. Throws OperationError `console.refused`. */
export function prepare(part: string, whole: string): Prepared {
  const statement = readStatement(part, whole);
  const command = commandFor(statement);
  return new Prepared(command, command.parse(statement));
}

/** What a statement answered, to be sent at once or in parts. */
export class Result {
  readonly #columns: readonly Column[];
  readonly #answer: Answer;
  #sent = 0;

  constructor(columns: readonly Column[] | undefined, answer: Answer) {
    this.#columns = columns ?? [];
    this.#answer = answer;
  }

  /** The next `maxRows` rows (0: all), in the formats of a Bind, and how it ends or pauses. */
  replies(maxRows: number, formats: readonly number[]): Buffer[] {
    const { rows = [], notice, tag } = this.#answer;
    const messages: Buffer[] = [];
    if (notice !== undefined && this.#sent === 0) {
      messages.push(
        encodeBackend({ kind: "NoticeResponse", fields: { severity: "NOTICE", code: "00000", ...notice } }),
      );
    }
    const end = maxRows > 0 ? Math.min(rows.length, this.#sent + maxRows) : rows.length;
    for (const row of rows.slice(this.#sent, end)) {
      messages.push(encodeBackend({ kind: "DataRow", values: encodeRow(this.#columns, row, formats) }));
    }
    this.#sent = end;
    const paused = end < rows.length;
    messages.push(encodeBackend(paused ? { kind: "PortalSuspended" } : { kind: "CommandComplete", tag }));
    return messages;
  }
}
