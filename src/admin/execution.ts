/** From the text of a statement to its answer in protocol form. */
import { encodeBackend } from "../wire/encode-backend.ts";
import { type Answer, type Caller, type Command, consoleError } from "./command.ts";
import { commandFor } from "./commands.ts";
import type { AdminContext } from "./context.ts";
import { readStatement } from "./grammar.ts";
import { mergeOf } from "./merging.ts";
import { type Column, encodeRow } from "./result.ts";

/** A statement that is understood. */
export class Prepared {
  /** Of its rows; undefined: it has none. */
  readonly columns: readonly Column[] | undefined;
  readonly #command: Command;
  readonly #argument: unknown;
  readonly #text: { readonly part: string; readonly whole: string };

  constructor(
    command: Command,
    argument: unknown,
    text: { readonly part: string; readonly whole: string },
    inFleet: boolean,
  ) {
    this.#command = command;
    this.#argument = argument;
    this.#text = text;
    const { columns } = command;
    const merge = inFleet ? mergeOf(command.name) : undefined;
    this.columns =
      columns !== undefined && merge?.namesWorker === true ? [...columns, workerColumn] : columns;
  }

  /** Throws OperationError `console.refused` 42501 if the caller may not give this command. */
  async run(context: AdminContext, caller: Caller): Promise<Result> {
    if (this.#command.administrators && !caller.administrator) {
      throw consoleError("admin access needed", "42501");
    }
    const merge = context.fleet === undefined ? undefined : mergeOf(this.#command.name);
    if (context.fleet === undefined || merge === undefined) {
      return new Result(this.columns, await this.execute(context, caller));
    }
    const { fleet } = context;
    const { administrator, signal } = caller;
    const ask = async (text: string): ReturnType<typeof fleet.everywhere> =>
      fleet.everywhere({ part: text, whole: text, administrator }, signal);
    const answers = await fleet.everywhere({ ...this.#text, administrator }, signal);
    return new Result(this.columns, await merge.merge(answers, ask, this.#argument));
  }

  /** Of this process alone. */
  async execute(context: AdminContext, caller: Caller): Promise<Answer> {
    return this.#command.execute(context, this.#argument, caller);
  }
}

/** Understands one statement; `whole` is what errors show. Throws OperationError `console.refused`. */
export function prepare(part: string, whole: string, inFleet: boolean): Prepared {
  const statement = readStatement(part, whole);
  const command = commandFor(statement);
  return new Prepared(command, command.parse(statement), { part, whole }, inFleet);
}

const workerColumn: Column = { name: "worker", type: "int4" };

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
