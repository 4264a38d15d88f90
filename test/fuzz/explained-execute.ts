/**
 * Leaves out of one client's messages what ends PostgreSQL: EXPLAIN EXECUTE of a statement that is an EXECUTE of itself, at once or by
 * way of another, which only Parse can make. It follows that without an end, and never looks at the depth of its stack (18.4,
 * ExplainExecuteQuery in prepare.c); EXECUTE itself does, and says 54001. Whichever the client sends first, it does not send the other.
 */
import type { FrontendMessage } from "../../src/wire/index.ts";

const explains = /\bexplain (?:\([^)]*\) )?execute [^;]*/gi;
const executes = /^execute s[12]\b/i;
const instead = "select 1";

export class ExplainedExecute {
  #explained = false;
  #executing = false;

  /** Of messages in their order. */
  of(messages: readonly FrontendMessage[]): FrontendMessage[] {
    return messages.map((message) => {
      if (message.kind === "Query") return { ...message, sql: this.#kept(message.sql) };
      if (message.kind !== "Parse") return message;
      if (message.name === "" || !executes.test(message.sql))
        return { ...message, sql: this.#kept(message.sql) };
      if (this.#explained) return { ...message, sql: instead };
      this.#executing = true;
      return message;
    });
  }

  #kept(sql: string): string {
    if (this.#executing) return sql.replace(explains, instead);
    this.#explained ||= sql.search(explains) >= 0;
    return sql;
  }
}
