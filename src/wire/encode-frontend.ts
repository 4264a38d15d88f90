/** Messages of clients to bytes. Messages without contents are encoded once; such buffers are not written to. */
import { unreachable } from "../base/assert.ts";
import { Frontend } from "./constants.ts";
import type { Bind, FrontendMessage, FunctionCall, Target } from "./messages.ts";
import { Writer } from "./writer.ts";

const sync: Buffer = new Writer(Frontend.sync).finish();
const flush: Buffer = new Writer(Frontend.flush).finish();
const terminate: Buffer = new Writer(Frontend.terminate).finish();
const copyDone: Buffer = new Writer(Frontend.copyDone).finish();

/**
 * Encodes one message.
 *
 * @throws OperationError `wire.nul_in_text` (22021) if a string in it holds U+0000; so do all functions here
 *   that take text.
 */
export function encodeFrontend(message: FrontendMessage): Buffer {
  switch (message.kind) {
    case "Query":
      return encodeQuery(message.sql);
    case "Parse":
      return encodeParse(message.name, message.sql, message.types);
    case "Bind":
      return encodeBind(message);
    case "Describe":
      return encodeTarget(Frontend.describe, message.target, message.name);
    case "Execute":
      return new Writer(Frontend.execute).text(message.portal).int32(message.maxRows).finish();
    case "Close":
      return encodeClose(message.target, message.name);
    case "Flush":
      return flush;
    case "Sync":
      return sync;
    case "FunctionCall":
      return encodeFunctionCall(message);
    case "CopyData":
      return encodeRaw(Frontend.copyData, message.data);
    case "CopyDone":
      return copyDone;
    case "CopyFail":
      return new Writer(Frontend.copyFail).text(message.message).finish();
    case "Terminate":
      return terminate;
    case "PasswordMessage":
      return encodeRaw(Frontend.password, message.data);
    default:
      return unreachable(message, "message");
  }
}

export function encodeQuery(sql: string): Buffer {
  return new Writer(Frontend.query, sql.length + 16).text(sql).finish();
}

/** `types`: object identifiers of the parameters' types, 0 or none for what the server is to find out. */
export function encodeParse(name: string, sql: string, types: readonly number[]): Buffer {
  return new Writer(Frontend.parse, name.length + sql.length + 4 * types.length + 16)
    .text(name)
    .text(sql)
    .list(types, writeOid)
    .finish();
}

export function encodeClose(target: Target, name: string): Buffer {
  return encodeTarget(Frontend.close, target, name);
}

/** A constant. */
export function encodeSync(): Buffer {
  return sync;
}

/** A constant. */
export function encodeTerminate(): Buffer {
  return terminate;
}

/** A PasswordMessage: the password itself, or the "md5…" answer to a salt. */
export function encodePassword(text: string): Buffer {
  return new Writer(Frontend.password).text(text).finish();
}

/** The first answer to AuthenticationSASL. */
export function encodeSaslInitialResponse(mechanism: string, data: Buffer): Buffer {
  return new Writer(Frontend.password).text(mechanism).value(data).finish();
}

/** The answer to AuthenticationSASLContinue. */
export function encodeSaslResponse(data: Buffer): Buffer {
  return encodeRaw(Frontend.password, data);
}

function encodeBind(message: Bind): Buffer {
  return new Writer(Frontend.bind)
    .text(message.portal)
    .text(message.statement)
    .list(message.formats, writeFormat)
    .list(message.values, writeValue)
    .list(message.resultFormats, writeFormat)
    .finish();
}

function encodeFunctionCall(message: FunctionCall): Buffer {
  return new Writer(Frontend.functionCall)
    .uint32(message.functionOid)
    .list(message.formats, writeFormat)
    .list(message.values, writeValue)
    .int16(message.resultFormat)
    .finish();
}

function encodeTarget(type: number, target: Target, name: string): Buffer {
  return new Writer(type)
    .byte(target === "statement" ? 0x53 : 0x50) // S, P
    .text(name)
    .finish();
}

function encodeRaw(type: number, data: Buffer): Buffer {
  return new Writer(type, data.length + 5).bytes(data).finish();
}

const writeOid = (writer: Writer, oid: number): unknown => writer.uint32(oid);
const writeFormat = (writer: Writer, format: number): unknown => writer.int16(format);
const writeValue = (writer: Writer, value: Buffer | null): unknown => writer.value(value);
