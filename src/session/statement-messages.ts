/** What the messages that name prepared statements look like inside, and what is put in their place. */
import { protocolViolation } from "../base/errors.ts";
import { statementNamePrefix, withName } from "../pool/prepared.ts";
import type { Server } from "../pool/server.ts";
import { indexOfNul } from "../wire/c-string.ts";
import { Backend, Frontend, headerBytes, nameBytesMax } from "../wire/constants.ts";
import { encodeErrorResponse } from "../wire/encode-backend.ts";
import { sqlstateOf } from "../wire/fields.ts";
import type { Output } from "./output.ts";

const statementTarget = 0x53; // S, in Describe and Close

/** An ErrorResponse that speaks of the statement by the client's name (latin1, byte for byte). */
export function renamed(error: Buffer, serverName: string, clientName: string): Buffer {
  const whole = error.length === 1 + error.readUInt32BE(1);
  const index = error.indexOf(serverName, 0, "latin1");
  if (whole && index >= 0) {
    const name = Buffer.from(clientName, "latin1");
    const result = Buffer.concat([error.subarray(0, index), name, error.subarray(index + serverName.length)]);
    result.writeUInt32BE(result.length - 1, 1);
    return result;
  }
  const text = Buffer.from(clientName, "latin1").toString("utf8");
  return encodeErrorResponse({
    severity: "ERROR",
    code: "42P05",
    message: `prepared statement "${text}" already exists`,
  });
}

const severityField = 0x56; // V
const sqlstateField = 0x43; // C
const messageField = 0x4d; // M
/** protocol_violation, invalid_sql_statement_name and duplicate_prepared_statement name the statement (postgres.c, prepare.c). */
const namingSqlstates: ReadonlySet<string> = new Set(["08P01", "26000", "42P05"]);
/** So do the lines of the server's log, if the client wants to see them (client_min_messages). */
const logSeverity = /^(?:LOG|DEBUG)/;
const sharedName = new RegExp(`(?<![\\w$])${statementNamePrefix}\\d+`);
const loggedName = new RegExp(`(?<![\\w$])${statementNamePrefix}\\d+(?=[:/]|$)`);
/** A name of the client's own that begins like ours went to the server in quotes. */
const quotedName = new RegExp(`"("${statementNamePrefix}[^"]*")"`);

/**
 * An ErrorResponse or NoticeResponse, or another in its place that names a shared statement as the client does:
 * `nameOf` tells how (latin1, byte for byte). Whatever else is called like ours is left alone.
 */
export function inNamesOfClient(message: Buffer, nameOf: (serverName: string) => string | undefined): Buffer {
  if (!message.includes(statementNamePrefix, headerBytes, "latin1")) return message;
  let naming: RegExp | undefined;
  for (let at = headerBytes; at < message.length && message[at] !== 0; ) {
    const zero = message.indexOf(0, at + 1);
    if (zero < 0) return message;
    const letter = message[at];
    const value = message.toString("latin1", at + 1, zero);
    if (letter === messageField) {
      const text = naming === undefined ? value : reworded(value, naming, nameOf);
      return text === value ? message : withText(message, at + 1, zero, text);
    }
    if (letter === severityField && logSeverity.test(value)) naming = loggedName;
    if (letter === sqlstateField && namingSqlstates.has(value) && message[0] === Backend.errorResponse) {
      naming = sharedName;
    }
    at = zero + 1;
  }
  return message;
}

const featureNotSupported = "0A000";
/** invalid_sql_statement_name */
const noSuchStatement = "26000";

/** Whether a statement was planned before something changed that it depends on (plancache.c). */
export function saysPlanIsStale(message: Buffer): boolean {
  if (
    message[0] !== Backend.errorResponse ||
    sqlstateOf(message, 0, message.length) !== featureNotSupported
  ) {
    return false;
  }
  return message.includes("RRevalidateCachedQuery\0", headerBytes, "latin1");
}

/** FetchPreparedStatement of prepare.c, and postgres.c; what is said in code that was called has its context with it. */
const missingName = /\0Mprepared statement "([^\0]*)" does not exist(?=\0)(?![^]*\0W)/;

/** The statement (latin1, byte for byte) that the client's message has named, and a server lacks; in the words of lc_messages = C. */
export function missingStatement(message: Buffer): string | undefined {
  if (!saysStatementIsMissing(message)) return undefined;
  return missingName.exec(message.toString("latin1", headerBytes))?.[1];
}

/** Whether a server lacks a statement. */
export function saysStatementIsMissing(message: Buffer): boolean {
  return message[0] === Backend.errorResponse && sqlstateOf(message, 0, message.length) === noSuchStatement;
}

function reworded(text: string, naming: RegExp, nameOf: (serverName: string) => string | undefined): string {
  const own = text.replace(quotedName, "$1");
  return own === text ? text.replace(naming, (name) => nameOf(name) ?? name) : own;
}

/** The message with `text` (latin1) at `[start, end)`. */
function withText(message: Buffer, start: number, end: number, text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  const result = Buffer.concat([message.subarray(0, start), bytes, message.subarray(end)]);
  result.writeUInt32BE(result.length - 1, 1);
  return result;
}

/** Where the name of a statement begins in a message; undefined if the message names none. */
export function nameStartOf(type: number, buffer: Buffer, start: number, end: number): number | undefined {
  switch (type) {
    case Frontend.parse:
      return start + headerBytes;
    case Frontend.bind:
      return endOfName(buffer, start + headerBytes, end) + 1;
    case Frontend.describe:
    case Frontend.close:
      return namesStatement(buffer, start, end) ? start + headerBytes + 1 : undefined;
    default:
      return undefined;
  }
}

/** The name of a statement in a message; undefined if the message names none. Throws PeerError 08P01 if it has no end. */
export function nameIn(type: number, buffer: Buffer, start: number, end: number): string | undefined {
  const nameStart = nameStartOf(type, buffer, start, end);
  return nameStart === undefined ? undefined : nameAt(buffer, nameStart, endOfName(buffer, nameStart, end));
}

/** SQL that may name prepared statements, or drop them; and that may drop all. A false alarm costs one wait. */
const namingSql = /execute|prepare|deallocate/i;
const droppingSql = /deallocate|discard/i;
/** Longer texts are not searched for it to their end. */
const searchedBytesMax = 4096;

/** Whether a message has SQL in it that may name prepared statements; or drop all, unless a Query does that, where nothing runs behind it. */
export function namesInSql(type: number, buffer: Buffer, start: number, end: number): boolean {
  if (type !== Frontend.query && type !== Frontend.parse) return false;
  const text = textOf(buffer, start, end);
  return namingSql.test(text) || (type === Frontend.parse && droppingSql.test(text));
}

/** Whether a Query may drop all prepared statements. */
export function mayDropStatements(buffer: Buffer, start: number, end: number): boolean {
  return droppingSql.test(textOf(buffer, start, end));
}

/** Whether the statement that a Bind names, by the body of its Parse (latin1), is SQL for which {@link namesInSql} is true. */
export function namesInBody(body: string): boolean {
  const text = body.slice(0, searchedBytesMax);
  return namingSql.test(text) || droppingSql.test(text);
}

function textOf(buffer: Buffer, start: number, end: number): string {
  const textStart = start + headerBytes;
  return buffer.toString("latin1", textStart, Math.min(end, textStart + searchedBytesMax));
}

/** More of a name is not repeated in errors. */
const spelledBytesMax = 1024;

/**
 * The name of a statement whose NUL is at `end`, latin1, byte for byte: as much as PostgreSQL knows it by, wherever that cuts a
 * character, since names are keys of NAMEDATALEN bytes (prepare.c InitQueryHashTable, dynahash.c).
 */
export function nameAt(buffer: Buffer, start: number, end: number): string {
  return buffer.toString("latin1", start, Math.min(end, start + nameBytesMax));
}

/** The same as its client spells it, and PostgreSQL in errors: `name` is the part that counts. */
export function spelledAt(buffer: Buffer, start: number, end: number, name: string): string {
  if (end - start <= nameBytesMax) return name;
  return buffer.toString("latin1", start, Math.min(end, start + spelledBytesMax));
}

/** What counts of a name that was spelled so. */
export function nameOf(spelled: string): string {
  return spelled.length <= nameBytesMax ? spelled : spelled.slice(0, nameBytesMax);
}

/** Whether a Describe or Close is about a statement. One without a body is about nothing. */
export function namesStatement(buffer: Buffer, start: number, end: number): boolean {
  return start + headerBytes < end && buffer[start + headerBytes] === statementTarget;
}

/** The message with the name that it has, in quotes. */
export function withQuotedName(
  buffer: Buffer,
  start: number,
  end: number,
  nameStart: number,
  nameEnd: number,
): Buffer {
  const quoted = `"${buffer.toString("latin1", nameStart, nameEnd)}"`;
  return withName(buffer, start, end, nameStart, quoted);
}

export function appendWhole(output: Output, server: Server, message: Buffer): void {
  output.append(message, 0, message.length, server.transport);
}

/** Where the NUL of the string at `start` is. Throws PeerError 08P01 in PostgreSQL's words (pqformat.c). */
export function endOfName(buffer: Buffer, start: number, end: number): number {
  const zero = start < end ? indexOfNul(buffer, start) : -1;
  if (zero < 0 || zero >= end) throw protocolViolation("invalid string in message");
  return zero;
}
