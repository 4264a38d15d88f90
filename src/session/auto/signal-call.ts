/** A statement that is one call of pg_cancel_backend() or pg_terminate_backend() and nothing else. */
import { Frontend, headerBytes } from "../../wire/constants.ts";
import { decodeFrontend } from "../../wire/decode-frontend.ts";
import { encodeFrontend, encodeQuery } from "../../wire/encode-frontend.ts";
import type { ClientStatements } from "../statements.ts";

export interface SignalCall {
  readonly terminates: boolean;
  readonly pid: number;
  /** The message with another process id in it. */
  withPid(pid: number): Buffer;
  /** The message with TRUE for the call, if it can be put in its place. */
  readonly asTrue: (() => Buffer) | undefined;
}

/** Longer texts are no such call. */
const textBytesMax = 500;

/** Everything up to the number, the number or its parameter, the rest of the call, and what follows. */
const form =
  /^(\s*select\s+)((?:pg_catalog\s*\.\s*)?(pg_(?:cancel|terminate)_backend)\s*\(\s*)(\d{1,10}|\$1)((?:\s*::\s*int(?:4|eger)?)?\s*(?:,\s*(?:\d+|\$2)(?:\s*::\s*(?:int8|bigint))?\s*)?\))((?:\s+(?:as\s+)?"?[a-z_]\w*"?)?\s*;?\s*)$/i;

/** `statements`: what a Bind's statement is. */
export function signalCall(
  type: number,
  buffer: Buffer,
  start: number,
  end: number,
  statements: ClientStatements,
): SignalCall | undefined {
  // The rest of a long message is yet to come.
  if (end - start !== 1 + buffer.readUInt32BE(start + 1)) return undefined;
  if (type === Frontend.query) {
    const text = textIn(buffer, start + headerBytes, end);
    return text === undefined ? undefined : inText(text, (changed) => encodeQuery(changed));
  }
  if (type === Frontend.bind) return inBind(buffer, start, end, statements);
  // A statement that has a name will be run when the number means somebody else.
  if (type !== Frontend.parse || buffer[start + headerBytes] !== 0) return undefined;
  const message = decodeFrontend(buffer, start, end);
  if (message.kind !== "Parse" || message.sql.length > textBytesMax) return undefined;
  return inText(message.sql, (sql) => encodeFrontend({ ...message, sql }));
}

function textIn(buffer: Buffer, start: number, end: number): string | undefined {
  return end - start > textBytesMax ? undefined : buffer.toString("utf8", start, buffer.indexOf(0, start));
}

function inText(text: string, encode: (text: string) => Buffer): SignalCall | undefined {
  const match = form.exec(text);
  if (match === null || match[4] === "$1") return undefined;
  const [, select, call, name, pid, rest, behind] = match as unknown as string[];
  const named = /\w/.test(behind ?? "");
  return {
    terminates: isTerminating(name),
    pid: Number(pid),
    withPid: (other) => encode(`${select}${call}${other}${rest}${behind}`),
    asTrue: () => encode(`${select}true${named ? "" : ` as ${name?.toLowerCase()}`}${behind}`),
  };
}

function inBind(
  buffer: Buffer,
  start: number,
  end: number,
  statements: ClientStatements,
): SignalCall | undefined {
  const message = decodeFrontend(buffer, start, end);
  if (message.kind !== "Bind") return undefined;
  const body = message.statement === "" ? statements.unnamed : statements.find(message.statement)?.key;
  const text = body?.slice(0, body.indexOf("\0"));
  const match = text === undefined || text.length > textBytesMax ? null : form.exec(text);
  const [value, ...others] = message.values;
  if (match?.[4] !== "$1" || value === undefined || value === null) return undefined;
  const binary = message.formats[0] === 1;
  const pid = binary ? (value.length === 4 ? value.readInt32BE(0) : 0) : Number(value.toString("latin1"));
  return {
    terminates: isTerminating(match[3]),
    pid,
    withPid: (other) => {
      const changed = binary ? Buffer.alloc(4) : Buffer.from(String(other));
      if (binary) changed.writeInt32BE(other);
      return encodeFrontend({ ...message, values: [changed, ...others] });
    },
    asTrue: undefined,
  };
}

const isTerminating = (name: string | undefined): boolean => name?.toLowerCase() === "pg_terminate_backend";
