/**
 * Messages of servers from bytes. Strict: lengths add up, strings end inside their message, nothing is left
 * over, with one exception: bytes behind the status of ReadyForQuery are ignored, so that a server may say
 * more there than today.
 */
import {
  AuthenticationCode,
  Backend,
  cancelKeyBytesMax,
  cancelKeyBytesMin,
  TransactionStatus,
} from "./constants.ts";
import { readFields } from "./fields.ts";
import type {
  BackendKeyData,
  BackendMessage,
  ColumnDescription,
  NegotiateProtocolVersion,
  NotificationResponse,
  ReadyForQuery,
  Value,
} from "./messages.ts";
import { Reader } from "./reader.ts";

/**
 * Decodes the one whole message `buffer[start, end)`, header included. Buffers in it are views.
 *
 * @throws PeerError 08P01, source `server`: `peer.unknown_message` for a type no server sends,
 *   `peer.malformed_message` for one whose contents do not add up.
 */
export function decodeBackend(buffer: Buffer, start: number, end: number): BackendMessage {
  const reader = Reader.ofMessage(buffer, start, end, "server");
  const message = read(reader, buffer.readUInt8(start));
  reader.finish();
  return message;
}

function read(reader: Reader, type: number): BackendMessage {
  switch (type) {
    case Backend.dataRow:
      return { kind: "DataRow", values: reader.list(readValue) };
    case Backend.commandComplete:
      return { kind: "CommandComplete", tag: reader.text() };
    case Backend.readyForQuery:
      return readReadyForQuery(reader);
    case Backend.rowDescription:
      return { kind: "RowDescription", columns: reader.list(readColumn) };
    case Backend.errorResponse:
      return { kind: "ErrorResponse", fields: readFields(reader) };
    case Backend.noticeResponse:
      return { kind: "NoticeResponse", fields: readFields(reader) };
    case Backend.authentication:
      return readAuthentication(reader);
    case Backend.parameterStatus:
      return { kind: "ParameterStatus", name: reader.text(), value: reader.text() };
    case Backend.backendKeyData:
      return readBackendKeyData(reader);
    case Backend.negotiateProtocolVersion:
      return readNegotiateProtocolVersion(reader);
    case Backend.notificationResponse:
      return readNotificationResponse(reader);
    case Backend.parameterDescription:
      return { kind: "ParameterDescription", types: reader.list(readOid) };
    case Backend.functionCallResponse:
      return { kind: "FunctionCallResponse", value: reader.value() };
    case Backend.copyData:
      return { kind: "CopyData", data: reader.rest() };
    case Backend.copyInResponse:
      return { kind: "CopyInResponse", format: reader.byte(), columnFormats: reader.list(readFormat) };
    case Backend.copyOutResponse:
      return { kind: "CopyOutResponse", format: reader.byte(), columnFormats: reader.list(readFormat) };
    case Backend.copyBothResponse:
      return { kind: "CopyBothResponse", format: reader.byte(), columnFormats: reader.list(readFormat) };
    default:
      return readBodyless(reader, type);
  }
}

function readBodyless(reader: Reader, type: number): BackendMessage {
  switch (type) {
    case Backend.parseComplete:
      return { kind: "ParseComplete" };
    case Backend.bindComplete:
      return { kind: "BindComplete" };
    case Backend.closeComplete:
      return { kind: "CloseComplete" };
    case Backend.noData:
      return { kind: "NoData" };
    case Backend.emptyQueryResponse:
      return { kind: "EmptyQueryResponse" };
    case Backend.portalSuspended:
      return { kind: "PortalSuspended" };
    case Backend.copyDone:
      return { kind: "CopyDone" };
    default:
      throw reader.unknownType(`invalid backend message type ${type}`);
  }
}

function readReadyForQuery(reader: Reader): ReadyForQuery {
  const status = reader.byte();
  reader.rest();
  switch (status) {
    case TransactionStatus.idle:
    case TransactionStatus.inTransaction:
    case TransactionStatus.failed:
      return { kind: "ReadyForQuery", status };
    default:
      throw reader.malformed(`invalid transaction status ${status} in ReadyForQuery`);
  }
}

function readAuthentication(reader: Reader): BackendMessage {
  const code = reader.int32();
  switch (code) {
    case AuthenticationCode.ok:
      return { kind: "AuthenticationOk" };
    case AuthenticationCode.cleartextPassword:
      return { kind: "AuthenticationCleartextPassword" };
    case AuthenticationCode.md5Password:
      return { kind: "AuthenticationMD5Password", salt: reader.bytes(4) };
    case AuthenticationCode.sasl:
      return { kind: "AuthenticationSASL", mechanisms: readMechanisms(reader) };
    case AuthenticationCode.saslContinue:
      return { kind: "AuthenticationSASLContinue", data: reader.rest() };
    case AuthenticationCode.saslFinal:
      return { kind: "AuthenticationSASLFinal", data: reader.rest() };
    default:
      return { kind: "AuthenticationUnsupported", code, data: reader.rest() };
  }
}

/** Names until an empty one. */
function readMechanisms(reader: Reader): string[] {
  const mechanisms: string[] = [];
  for (let name = reader.text(); name !== ""; name = reader.text()) mechanisms.push(name);
  return mechanisms;
}

function readBackendKeyData(reader: Reader): BackendKeyData {
  const pid = reader.int32();
  const key = reader.rest();
  if (key.length < cancelKeyBytesMin || key.length > cancelKeyBytesMax) {
    throw reader.malformed(`invalid BackendKeyData: a cancel key of ${key.length} bytes`);
  }
  return { kind: "BackendKeyData", pid, key };
}

function readNegotiateProtocolVersion(reader: Reader): NegotiateProtocolVersion {
  const version = reader.int32();
  const count = reader.int32();
  if (count < 0) throw reader.malformed("invalid NegotiateProtocolVersion: a negative number of options");
  const unsupported: string[] = [];
  for (let index = 0; index < count; index += 1) unsupported.push(reader.text());
  return { kind: "NegotiateProtocolVersion", version, unsupported };
}

function readNotificationResponse(reader: Reader): NotificationResponse {
  return {
    kind: "NotificationResponse",
    pid: reader.int32(),
    channel: reader.text(),
    payload: reader.text(),
  };
}

function readColumn(reader: Reader): ColumnDescription {
  return {
    name: reader.text(),
    tableOid: reader.uint32(),
    attributeNumber: reader.int16(),
    typeOid: reader.uint32(),
    typeSize: reader.int16(),
    typeModifier: reader.int32(),
    format: reader.int16(),
  };
}

const readOid = (reader: Reader): number => reader.uint32();
const readFormat = (reader: Reader): number => reader.int16();
const readValue = (reader: Reader): Value => reader.value();
