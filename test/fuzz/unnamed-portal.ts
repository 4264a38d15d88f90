/**
 * Leaves out of one client's messages what ends PostgreSQL: an Execute of the unnamed portal that a Query has left when it failed in a
 * transaction (`begin`, `rollback to nothing`, Execute) reads memory that was freed with the Query (18.4, exec_execute_message).
 */
import type { FrontendMessage } from "../../src/wire/index.ts";

export class UnnamedPortal {
  #isLeft = false;
  #isBound = false;

  /** Of messages in their order. An Execute stays if the portal was bound in its own batch: if that fails, it is skipped. */
  of(messages: readonly FrontendMessage[]): FrontendMessage[] {
    return messages.filter((message) => {
      if (message.kind === "Query") this.#isLeft = true;
      if (message.kind === "Query" || message.kind === "Sync") this.#isBound = false;
      if (message.kind === "Bind" && message.portal === "") this.#isBound = true;
      return message.kind !== "Execute" || message.portal !== "" || this.#isBound || !this.#isLeft;
    });
  }
}
