/**
 * Which statements of a client's are executed, where that matters: one that is parsed or bound has done nothing yet. Of portals only
 * the unnamed one is followed. Is told of every message while there is something special about its client.
 */
import type { Server } from "../../pool/server.ts";
import { indexOfNul } from "../../wire/c-string.ts";
import { Frontend, headerBytes } from "../../wire/constants.ts";
import type { Holdings } from "./holdings.ts";
import type { Knowledge } from "./knowledge.ts";
import type { PassingName } from "./passing.ts";

export class Executions {
  readonly #holdings: Pick<Holdings, "mayEnd">;
  readonly #passed: Record<PassingName, number>;
  /** The last statement of interest that the batch at hand has made, and its name. */
  #made: Knowledge | undefined;
  #madeName = "";
  /** The unnamed portal. */
  #bound: Knowledge | undefined;

  constructor(holdings: Pick<Holdings, "mayEnd">, passed: Record<PassingName, number>) {
    this.#holdings = holdings;
    this.#passed = passed;
  }

  /** `knowledge`: of the statement in a Query or Parse, or of that which a Bind names, unless the same batch has made it. `server`: where it goes, if the client has one. */
  note(
    type: number,
    buffer: Buffer,
    start: number,
    knowledge: Knowledge | undefined,
    server: Server | undefined,
  ): void {
    const executed = this.#executedBy(type, buffer, start + headerBytes, knowledge);
    if (executed === undefined) return;
    if (executed.copies) this.#passed.copy++;
    if (executed.begins) this.#passed.transaction++;
    if (executed.ends !== 0 && server !== undefined)
      this.#holdings.mayEnd(executed.ends, server.replies.errorCount);
  }

  #executedBy(
    type: number,
    buffer: Buffer,
    at: number,
    knowledge: Knowledge | undefined,
  ): Knowledge | undefined {
    switch (type) {
      case Frontend.parse:
        this.#make(nameFrom(buffer, at), knowledge);
        return undefined;
      case Frontend.bind:
        if (buffer[at] !== 0) return undefined;
        this.#bound = knowledge ?? this.#madeAs(nameFrom(buffer, at + 1));
        return undefined;
      case Frontend.execute:
        return buffer[at] === 0 ? this.#bound : undefined;
      case Frontend.query:
      case Frontend.sync:
        this.#made = undefined;
        this.#bound = undefined;
        return knowledge;
      default:
        return undefined;
    }
  }

  #make(name: string, knowledge: Knowledge | undefined): void {
    const matters = knowledge !== undefined && (knowledge.copies || knowledge.begins || knowledge.ends !== 0);
    if (!matters && name !== this.#madeName) return;
    this.#made = knowledge;
    this.#madeName = name;
  }

  #madeAs(name: string): Knowledge | undefined {
    return name === this.#madeName ? this.#made : undefined;
  }
}

/** A name without an end is refused when the message is forwarded. */
function nameFrom(buffer: Buffer, start: number): string {
  return buffer.toString("latin1", start, indexOfNul(buffer, start));
}
