/**
 * Messages of clients from bytes. Strict, as the server is (postgres.c, pqformat.c): lengths add up, strings
 * end inside their message, nothing is left over. Whether a message makes sense now is not decided here.
 */
import { Frontend } from "./constants.ts";
import type { Bind, FrontendMessage, FunctionCall, Parse, Target } from "./messages.ts";
import { Reader } from "./reader.ts";

/**
 * Decodes the one whole message `buffer[start, end)`, header included. Buffers in it are views.
 *
 * @throws PeerError 08P01, source `client`: `peer.unknown_message` for a type no client sends,
 *   `peer.malformed_message` for one whose contents do not add up.
 */
export function decodeFrontend(buffer: Buffer, start: number, end: number): FrontendMessage {
  const reader = Reader.ofMessage(buffer, start, end, "client");
  const message = read(reader, buffer.readUInt8(start));
  reader.finish();
  return message;
}

/**
 * The password in the body of a PasswordMessage (what stands between its header and `body`'s end).
 *
 * @throws PeerError 08P01 if it is not one NUL-terminated string.
 */
export function decodePassword(body: Buffer): string {
  const reader = new Reader(body, 0, body.length, "client");
  const password = reader.text();
  if (reader.remaining !== 0) throw reader.malformed("invalid password packet size");
  return password;
}

/**
 * The body of a SASLInitialResponse: the chosen mechanism and the client's first data, undefined if it sent
 * none.
 *
 * @throws PeerError 08P01 if it is malformed.
 */
export function decodeSaslInitialResponse(body: Buffer): { mechanism: string; data: Buffer | undefined } {
  const reader = new Reader(body, 0, body.length, "client");
  const mechanism = reader.text();
  const data = reader.value() ?? undefined;
  reader.finish();
  return { mechanism, data };
}

function read(reader: Reader, type: number): FrontendMessage {
  switch (type) {
    case Frontend.query:
      return { kind: "Query", sql: reader.text() };
    case Frontend.parse:
      return readParse(reader);
    case Frontend.bind:
      return readBind(reader);
    case Frontend.describe:
      return { kind: "Describe", target: readTarget(reader, "DESCRIBE"), name: reader.text() };
    case Frontend.execute:
      return { kind: "Execute", portal: reader.text(), maxRows: reader.int32() };
    case Frontend.close:
      return { kind: "Close", target: readTarget(reader, "CLOSE"), name: reader.text() };
    case Frontend.flush:
      return { kind: "Flush" };
    case Frontend.sync:
      return { kind: "Sync" };
    case Frontend.functionCall:
      return readFunctionCall(reader);
    case Frontend.copyData:
      return { kind: "CopyData", data: reader.rest() };
    case Frontend.copyDone:
      return { kind: "CopyDone" };
    case Frontend.copyFail:
      return { kind: "CopyFail", message: reader.text() };
    case Frontend.terminate:
      return { kind: "Terminate" };
    case Frontend.password:
      return { kind: "PasswordMessage", data: reader.rest() };
    default:
      throw reader.unknownType(`invalid frontend message type ${type}`);
  }
}

function readParse(reader: Reader): Parse {
  return { kind: "Parse", name: reader.text(), sql: reader.text(), types: reader.list(readOid) };
}

function readBind(reader: Reader): Bind {
  return {
    kind: "Bind",
    portal: reader.text(),
    statement: reader.text(),
    formats: reader.list(readFormat),
    values: reader.list(readValue),
    resultFormats: reader.list(readFormat),
  };
}

function readFunctionCall(reader: Reader): FunctionCall {
  return {
    kind: "FunctionCall",
    functionOid: reader.uint32(),
    formats: reader.list(readFormat),
    values: reader.list(readValue),
    resultFormat: reader.int16(),
  };
}

function readTarget(reader: Reader, message: "DESCRIBE" | "CLOSE"): Target {
  const letter = reader.byte();
  if (letter === 0x53) return "statement"; // S
  if (letter === 0x50) return "portal"; // P
  throw reader.malformed(`invalid ${message} message subtype ${letter}`);
}

const readOid = (reader: Reader): number => reader.uint32();
const readFormat = (reader: Reader): number => reader.int16();
const readValue = (reader: Reader): Buffer | null => reader.value();
