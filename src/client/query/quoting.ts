/** Identifiers and literals for SQL text, as libpq's PQescapeIdentifier and PQescapeLiteral make them. */
import { OperationError } from "../../base/errors.ts";

/** A name in double quotes: `my "table"` becomes `"my ""table"""`. */
export function escapeIdentifier(name: string): string {
  return `"${checked(name).replaceAll('"', '""')}"`;
}

/**
 * A text literal, whatever standard_conforming_strings says: one with a backslash is written as ` E'…'`. The
 * session must have a client_encoding in which no byte of a character can be taken for a quote (UTF8 is).
 */
export function escapeLiteral(text: string): string {
  const quoted = checked(text).replaceAll("'", "''");
  return quoted.includes("\\") ? ` E'${quoted.replaceAll("\\", "\\\\")}'` : `'${quoted}'`;
}

/** NUL would end the text; half a surrogate pair would become another character (compare CVE-2025-1094). */
function checked(text: string): string {
  if (!text.includes("\0") && text.isWellFormed()) return text;
  throw new OperationError("a text for PostgreSQL cannot hold U+0000 or half of a surrogate pair", {
    code: "client.bad_text",
    sqlstate: "22021",
    source: "internal",
  });
}
