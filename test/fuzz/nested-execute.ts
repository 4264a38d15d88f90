/**
 * Leaves out of one client's messages what PostgreSQL does not survive, or answers with what happens to be in its memory: EXECUTE, and
 * EXPLAIN of it, of a statement that is an EXECUTE itself, which only Parse can make (18.4, ExecuteQuery and ExplainExecuteQuery in
 * prepare.c). EXPLAIN follows one that executes itself without an end, and never looks at the depth of its stack; EXECUTE itself does,
 * and says 54001. And where the inner one was made anew with other columns, EXECUTE of the outer one takes these for the old ones.
 * Whichever the client sends first, it does not send the other.
 */
import type { FrontendMessage } from "../../src/wire/index.ts";

const executions = /\b(?:explain (?:\([^)]*\) )?)?execute s[12]\b[^;]*/gi;
const executes = /^execute s[12]\b/i;
const instead = "select 1";

export class NestedExecute {
  #executed = false;
  #nested = false;

  /** Of messages in their order. */
  of(messages: readonly FrontendMessage[]): FrontendMessage[] {
    return messages.map((message) => {
      if (message.kind === "Query") return { ...message, sql: this.#kept(message.sql) };
      if (message.kind !== "Parse") return message;
      if (message.name === "" || !executes.test(message.sql))
        return { ...message, sql: this.#kept(message.sql) };
      if (this.#executed) return { ...message, sql: instead };
      this.#nested = true;
      return message;
    });
  }

  #kept(sql: string): string {
    if (this.#nested) return sql.replace(executions, instead);
    this.#executed ||= sql.search(executions) >= 0;
    return sql;
  }
}
