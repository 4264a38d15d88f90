/** PQprepare and PQdescribePrepared: a statement is prepared under a name, and told apart into its types. */
import type { Failure } from "../../base/errors.ts";
import { Backend } from "../../wire/constants.ts";
import { decodeBackend } from "../../wire/decode-backend.ts";
import { type Command, unexpected } from "./exchange.ts";
import type { Outgoing } from "./outgoing.ts";
import { type Column, decodeColumns } from "./rows.ts";

/** What the server says of a statement. */
export interface StatementDescription {
  /** Object identifiers of its parameters' types. */
  readonly parameterTypes: readonly number[];
  /** Null if it returns no rows. */
  readonly columns: readonly Column[] | null;
}

/** Parse without execution. The unnamed statement is used, so nothing stays behind. */
export class Describe implements Command {
  readonly ending = "ready";
  readonly exclusive = false;
  readonly promise: Promise<StatementDescription>;
  readonly #text: string;
  #resolve: (description: StatementDescription) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #parameterTypes: readonly number[] = [];
  #columns: readonly Column[] | null = null;
  #failure: Failure | undefined;

  constructor(text: string) {
    this.#text = text;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  write(out: Outgoing): void {
    out.parse("", this.#text, []);
    out.describeStatement("");
    out.sync();
  }

  message(type: number, buffer: Buffer, start: number, end: number): boolean {
    switch (type) {
      case Backend.parameterDescription: {
        const message = decodeBackend(buffer, start, end);
        if (message.kind === "ParameterDescription") this.#parameterTypes = message.types;
        return false;
      }
      case Backend.rowDescription:
        this.#columns = decodeColumns(buffer, start, end);
        return false;
      case Backend.parseComplete:
      case Backend.noData:
        return false;
      default:
        throw unexpected(type);
    }
  }

  fail(error: Failure): void {
    this.#failure ??= error;
  }

  end(): "done" {
    if (this.#failure === undefined)
      this.#resolve({ parameterTypes: this.#parameterTypes, columns: this.#columns });
    else this.#reject(this.#failure);
    return "done";
  }
}
