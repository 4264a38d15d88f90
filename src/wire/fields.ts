/**
 * The fields of ErrorResponse and NoticeResponse (docs 54.8 "Error and Notice Message Fields"): a letter and
 * a string each, until a zero byte. Letters we do not know are passed over, as the manual asks of frontends.
 */
import { Backend, headerBytes } from "./constants.ts";
import type { Reader } from "./reader.ts";
import type { Writer } from "./writer.ts";

export interface ErrorFields {
  /** ERROR, FATAL, PANIC, WARNING, NOTICE, DEBUG, INFO or LOG; never translated (letter V). */
  readonly severity: string;
  /** The same in the server's language (letter S), if it differs. */
  readonly severityLocalized?: string;
  /** SQLSTATE: five characters of errcodes.txt. */
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
  /** Where in the query, in characters from 1. */
  readonly position?: string;
  readonly internalPosition?: string;
  readonly internalQuery?: string;
  readonly where?: string;
  readonly schema?: string;
  readonly table?: string;
  readonly column?: string;
  readonly dataType?: string;
  readonly constraint?: string;
  readonly file?: string;
  readonly line?: string;
  readonly routine?: string;
}

type OptionalField = Exclude<keyof ErrorFields, "severity" | "severityLocalized" | "code" | "message">;

/** Letters of the optional fields, in the order in which the server sends them (elog.c). */
const letters: readonly (readonly [letter: number, field: OptionalField])[] = [
  [0x44, "detail"], // D
  [0x48, "hint"], // H
  [0x57, "where"], // W
  [0x73, "schema"], // s
  [0x74, "table"], // t
  [0x63, "column"], // c
  [0x64, "dataType"], // d
  [0x6e, "constraint"], // n
  [0x50, "position"], // P
  [0x70, "internalPosition"], // p
  [0x71, "internalQuery"], // q
  [0x46, "file"], // F
  [0x4c, "line"], // L
  [0x52, "routine"], // R
];
const fieldOfLetter: ReadonlyMap<number, OptionalField> = new Map(letters);

const letterSeverityLocalized = 0x53; // S
const letterSeverity = 0x56; // V
const letterCode = 0x43; // C
const letterMessage = 0x4d; // M
/** internal_error: what we take for the SQLSTATE of an error that has none. */
const codeIfMissing = "XX000";

/** Writes the body of an ErrorResponse or NoticeResponse. */
export function writeFields(writer: Writer, fields: ErrorFields): void {
  writer.byte(letterSeverityLocalized).text(fields.severityLocalized ?? fields.severity);
  writer.byte(letterSeverity).text(fields.severity);
  writer.byte(letterCode).text(fields.code);
  writer.byte(letterMessage).text(fields.message);
  for (const [letter, field] of letters) {
    const value = fields[field];
    if (value !== undefined) writer.byte(letter).text(value);
  }
  writer.byte(0);
}

/** Reads the body of an ErrorResponse or NoticeResponse, its terminator included. */
export function readFields(reader: Reader): ErrorFields {
  let localized: string | undefined;
  let severity: string | undefined;
  let code: string | undefined;
  let message: string | undefined;
  const optional: { -readonly [field in OptionalField]?: string } = {};
  for (let letter = reader.byte(); letter !== 0; letter = reader.byte()) {
    const value = reader.text();
    const field = fieldOfLetter.get(letter);
    if (field !== undefined) optional[field] = value;
    else if (letter === letterSeverityLocalized) localized = value;
    else if (letter === letterSeverity) severity = value;
    else if (letter === letterCode) code = value;
    else if (letter === letterMessage) message = value;
  }
  // Servers before 9.6, and poolers, send no V: then S is not translated, or all there is.
  const known = severity ?? localized ?? "ERROR";
  return {
    severity: known,
    ...(localized !== undefined && localized !== known ? { severityLocalized: localized } : {}),
    code: code ?? codeIfMissing,
    message: message ?? "",
    ...optional,
  };
}

/** Whether messages of this type hold them: ErrorResponse and NoticeResponse. */
export function isWords(type: number): boolean {
  return type === Backend.errorResponse || type === Backend.noticeResponse;
}

/**
 * The SQLSTATE of the ErrorResponse or NoticeResponse `buffer[start, end)`, without decoding the rest;
 * XX000 if it has none.
 */
export function sqlstateOf(buffer: Buffer, start: number, end: number): string {
  let position = start + headerBytes;
  while (position < end && buffer[position] !== 0) {
    const terminator = buffer.indexOf(0, position + 1);
    if (terminator < 0 || terminator >= end) break;
    if (buffer[position] === letterCode) return buffer.toString("latin1", position + 1, terminator);
    position = terminator + 1;
  }
  return codeIfMissing;
}
