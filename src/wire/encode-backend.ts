/** Messages of servers to bytes. Messages without contents are encoded once; such buffers are not written to. */
import { assert, unreachable } from "../base/assert.ts";
import {
  AuthenticationCode,
  Backend,
  cancelKeyBytesMax,
  cancelKeyBytesMin,
  TransactionStatus,
} from "./constants.ts";
import { type ErrorFields, writeFields } from "./fields.ts";
import type {
  BackendMessage,
  ColumnDescription,
  CopyBothResponse,
  CopyInResponse,
  CopyOutResponse,
  NotificationResponse,
} from "./messages.ts";
import { Writer } from "./writer.ts";

export const parseComplete: Buffer = new Writer(Backend.parseComplete).finish();
export const bindComplete: Buffer = new Writer(Backend.bindComplete).finish();
export const closeComplete: Buffer = new Writer(Backend.closeComplete).finish();
export const noData: Buffer = new Writer(Backend.noData).finish();
export const emptyQueryResponse: Buffer = new Writer(Backend.emptyQueryResponse).finish();
export const portalSuspended: Buffer = new Writer(Backend.portalSuspended).finish();
const copyDone: Buffer = new Writer(Backend.copyDone).finish();
const authenticationOk: Buffer = authentication(AuthenticationCode.ok).finish();
const authenticationCleartextPassword: Buffer = authentication(AuthenticationCode.cleartextPassword).finish();
const readyIdle: Buffer = new Writer(Backend.readyForQuery).byte(TransactionStatus.idle).finish();
const readyInTransaction: Buffer = new Writer(Backend.readyForQuery)
  .byte(TransactionStatus.inTransaction)
  .finish();
const readyFailed: Buffer = new Writer(Backend.readyForQuery).byte(TransactionStatus.failed).finish();

/**
 * Encodes one message.
 *
 * @throws OperationError `wire.nul_in_text` (22021) if a string in it holds U+0000; so do all functions here
 *   that take text.
 */
export function encodeBackend(message: BackendMessage): Buffer {
  switch (message.kind) {
    case "AuthenticationOk":
    case "AuthenticationCleartextPassword":
    case "AuthenticationMD5Password":
    case "AuthenticationSASL":
    case "AuthenticationSASLContinue":
    case "AuthenticationSASLFinal":
    case "AuthenticationUnsupported":
      return encodeAuthentication(message);
    case "BackendKeyData":
      return encodeBackendKeyData(message.pid, message.key);
    case "ParameterStatus":
      return encodeParameterStatus(message.name, message.value);
    case "ReadyForQuery":
      return encodeReadyForQuery(message.status);
    case "ErrorResponse":
      return encodeErrorResponse(message.fields);
    case "NoticeResponse":
      return encodeNoticeResponse(message.fields);
    case "NotificationResponse":
      return encodeNotificationResponse(message);
    case "RowDescription":
      return new Writer(Backend.rowDescription).list(message.columns, writeColumn).finish();
    case "DataRow":
      return new Writer(Backend.dataRow).list(message.values, writeValue).finish();
    case "CommandComplete":
      return encodeCommandComplete(message.tag);
    case "ParameterDescription":
      return new Writer(Backend.parameterDescription).list(message.types, writeOid).finish();
    case "CopyInResponse":
      return encodeCopyFormats(Backend.copyInResponse, message);
    case "CopyOutResponse":
      return encodeCopyFormats(Backend.copyOutResponse, message);
    case "CopyBothResponse":
      return encodeCopyFormats(Backend.copyBothResponse, message);
    case "CopyData":
      return new Writer(Backend.copyData, message.data.length + 5).bytes(message.data).finish();
    case "FunctionCallResponse":
      return new Writer(Backend.functionCallResponse).value(message.value).finish();
    case "NegotiateProtocolVersion":
      return encodeNegotiateProtocolVersion(message.version, message.unsupported);
    case "EmptyQueryResponse":
      return emptyQueryResponse;
    case "ParseComplete":
      return parseComplete;
    case "BindComplete":
      return bindComplete;
    case "CloseComplete":
      return closeComplete;
    case "NoData":
      return noData;
    case "PortalSuspended":
      return portalSuspended;
    case "CopyDone":
      return copyDone;
    default:
      return unreachable(message, "message");
  }
}

export function encodeErrorResponse(fields: ErrorFields): Buffer {
  const writer = new Writer(Backend.errorResponse);
  writeFields(writer, fields);
  return writer.finish();
}

export function encodeNoticeResponse(fields: ErrorFields): Buffer {
  const writer = new Writer(Backend.noticeResponse);
  writeFields(writer, fields);
  return writer.finish();
}

export function encodeParameterStatus(name: string, value: string): Buffer {
  return new Writer(Backend.parameterStatus).text(name).text(value).finish();
}

/** `pid`: signed 32 bits. `key`: 4 bytes for a client of protocol 3.0, up to 256 for one of 3.2. */
export function encodeBackendKeyData(pid: number, key: Buffer): Buffer {
  assert(
    key.length >= cancelKeyBytesMin && key.length <= cancelKeyBytesMax,
    "a cancel key of 4 to 256 bytes",
  );
  return new Writer(Backend.backendKeyData, key.length + 16).int32(pid).bytes(key).finish();
}

/** One of three constants. */
export function encodeReadyForQuery(status: TransactionStatus): Buffer {
  switch (status) {
    case TransactionStatus.idle:
      return readyIdle;
    case TransactionStatus.inTransaction:
      return readyInTransaction;
    case TransactionStatus.failed:
      return readyFailed;
    default:
      return unreachable(status, "transaction status");
  }
}

export function encodeCommandComplete(tag: string): Buffer {
  return new Writer(Backend.commandComplete).text(tag).finish();
}

/** A constant. */
export function encodeAuthenticationOk(): Buffer {
  return authenticationOk;
}

/** A constant. */
export function encodeAuthenticationCleartextPassword(): Buffer {
  return authenticationCleartextPassword;
}

/** `salt`: four random bytes. */
export function encodeAuthenticationMD5Password(salt: Buffer): Buffer {
  assert(salt.length === 4, "a salt of four bytes");
  return authentication(AuthenticationCode.md5Password).bytes(salt).finish();
}

/** `mechanisms`: names in our order of preference. */
export function encodeAuthenticationSASL(mechanisms: readonly string[]): Buffer {
  const writer = authentication(AuthenticationCode.sasl);
  for (const mechanism of mechanisms) {
    assert(mechanism !== "", "a mechanism has a name");
    writer.text(mechanism);
  }
  return writer.byte(0).finish();
}

export function encodeAuthenticationSASLContinue(data: Buffer): Buffer {
  return authentication(AuthenticationCode.saslContinue).bytes(data).finish();
}

export function encodeAuthenticationSASLFinal(data: Buffer): Buffer {
  return authentication(AuthenticationCode.saslFinal).bytes(data).finish();
}

/**
 * The answer to a startup packet with a newer minor version than ours or with unknown `_pq_.` keys.
 * `version`: the whole number of the newest version we speak (196608 for 3.0), which is what PostgreSQL sends
 * although the manual calls it the minor version. `unsupported`: the keys we do not know, with their prefix.
 */
export function encodeNegotiateProtocolVersion(version: number, unsupported: readonly string[]): Buffer {
  const writer = new Writer(Backend.negotiateProtocolVersion).int32(version).int32(unsupported.length);
  for (const name of unsupported) writer.text(name);
  return writer.finish();
}

type AuthenticationMessage = Extract<BackendMessage, { kind: `Authentication${string}` }>;

function encodeAuthentication(message: AuthenticationMessage): Buffer {
  switch (message.kind) {
    case "AuthenticationOk":
      return authenticationOk;
    case "AuthenticationCleartextPassword":
      return authenticationCleartextPassword;
    case "AuthenticationMD5Password":
      return encodeAuthenticationMD5Password(message.salt);
    case "AuthenticationSASL":
      return encodeAuthenticationSASL(message.mechanisms);
    case "AuthenticationSASLContinue":
      return encodeAuthenticationSASLContinue(message.data);
    case "AuthenticationSASLFinal":
      return encodeAuthenticationSASLFinal(message.data);
    case "AuthenticationUnsupported":
      return authentication(message.code).bytes(message.data).finish();
    default:
      return unreachable(message, "message");
  }
}

function authentication(code: number): Writer {
  return new Writer(Backend.authentication).int32(code);
}

function encodeNotificationResponse(message: NotificationResponse): Buffer {
  return new Writer(Backend.notificationResponse)
    .int32(message.pid)
    .text(message.channel)
    .text(message.payload)
    .finish();
}

function encodeCopyFormats(
  type: number,
  message: CopyInResponse | CopyOutResponse | CopyBothResponse,
): Buffer {
  return new Writer(type).byte(message.format).list(message.columnFormats, writeFormat).finish();
}

const writeColumn = (writer: Writer, column: ColumnDescription): unknown =>
  writer
    .text(column.name)
    .uint32(column.tableOid)
    .int16(column.attributeNumber)
    .uint32(column.typeOid)
    .int16(column.typeSize)
    .int32(column.typeModifier)
    .int16(column.format);
const writeOid = (writer: Writer, oid: number): unknown => writer.uint32(oid);
const writeFormat = (writer: Writer, format: number): unknown => writer.int16(format);
const writeValue = (writer: Writer, value: Buffer | null): unknown => writer.value(value);
