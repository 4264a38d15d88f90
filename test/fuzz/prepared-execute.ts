/**
 * Leaves out of messages the Parse of an EXECUTE under a name. PostgreSQL never judges such a statement again when what it executes
 * changes (18.4, prepare.c): Describe tells of the columns that there were at the Parse, on the pooler's server at another Parse; EXECUTE
 * of it in SQL takes the new ones for the old ones, and answers with what is in its memory; and EXPLAIN EXECUTE of one that executes itself
 * follows it without an end.
 */
import type { FrontendMessage } from "../../src/wire/index.ts";

export function withoutPreparedExecute(messages: readonly FrontendMessage[]): FrontendMessage[] {
  return messages.map((message) => {
    const prepares = message.kind === "Parse" && message.name !== "" && /^execute\b/i.test(message.sql);
    return prepares ? { ...message, sql: "select 1" } : message;
  });
}
