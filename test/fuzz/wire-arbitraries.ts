/** Arbitrary messages of every kind, and byte streams that are nearly right. */
import fc from "fast-check";
import type { TransactionStatus } from "../../src/wire/constants.ts";
import type { ErrorFields } from "../../src/wire/fields.ts";
import type { BackendMessage, ColumnDescription, FrontendMessage } from "../../src/wire/messages.ts";
import { decodeText } from "../../src/wire/text.ts";

/** What a text on the wire can be: any bytes but NUL, decoded; often plain text. */
const text: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 40 }).map((one) => one.replaceAll("\0", "")),
  fc.uint8Array({ min: 1, maxLength: 12 }).map((bytes) => decodeText(Buffer.from(bytes), 0, bytes.length)),
);
const name = text.filter((one) => one !== "");
const data: fc.Arbitrary<Buffer> = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
const sized = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength }).map((bytes) => Buffer.from(bytes));
const value = fc.option(data, { nil: null });
const int32 = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
const oid = fc.integer({ min: 0, max: 0xffff_ffff });
const int16 = fc.integer({ min: -0x8000, max: 0x7fff });
const byte = fc.integer({ min: 0, max: 255 });
const formats = fc.array(int16, { maxLength: 5 });
const values = fc.array(value, { maxLength: 5 });
const target = fc.constantFrom("statement", "portal");
const key = fc.oneof(sized(4, 4), sized(32, 32), sized(4, 256));

const kind = <Kind extends string>(of: Kind): fc.Arbitrary<Kind> => fc.constant(of);

/** One arbitrary per kind: a kind without one does not compile. */
type PerKind<Message extends { kind: string }> = {
  [Kind in Message["kind"]]: fc.Arbitrary<Extract<Message, { kind: Kind }>>;
};

const frontendByKind: PerKind<FrontendMessage> = {
  Query: fc.record({ kind: kind("Query"), sql: text }),
  Parse: fc.record({ kind: kind("Parse"), name: text, sql: text, types: fc.array(oid, { maxLength: 5 }) }),
  Bind: fc.record({
    kind: kind("Bind"),
    portal: text,
    statement: text,
    formats,
    values,
    resultFormats: formats,
  }),
  Describe: fc.record({ kind: kind("Describe"), target, name: text }),
  Execute: fc.record({ kind: kind("Execute"), portal: text, maxRows: int32 }),
  Close: fc.record({ kind: kind("Close"), target, name: text }),
  Flush: fc.record({ kind: kind("Flush") }),
  Sync: fc.record({ kind: kind("Sync") }),
  FunctionCall: fc.record({
    kind: kind("FunctionCall"),
    functionOid: oid,
    formats,
    values,
    resultFormat: int16,
  }),
  CopyData: fc.record({ kind: kind("CopyData"), data }),
  CopyDone: fc.record({ kind: kind("CopyDone") }),
  CopyFail: fc.record({ kind: kind("CopyFail"), message: text }),
  Terminate: fc.record({ kind: kind("Terminate") }),
  PasswordMessage: fc.record({ kind: kind("PasswordMessage"), data }),
};

const required = { severity: text, code: text, message: text };
const fields: fc.Arbitrary<ErrorFields> = fc
  .record(
    {
      ...required,
      severityLocalized: text,
      detail: text,
      hint: text,
      position: text,
      internalPosition: text,
      internalQuery: text,
      where: text,
      schema: text,
      table: text,
      column: text,
      dataType: text,
      constraint: text,
      file: text,
      line: text,
      routine: text,
    },
    { requiredKeys: ["severity", "code", "message"] },
  )
  // It is only kept if it says something else.
  .filter((one) => one.severityLocalized !== one.severity);
const column: fc.Arbitrary<ColumnDescription> = fc.record({
  name: text,
  tableOid: oid,
  attributeNumber: int16,
  typeOid: oid,
  typeSize: int16,
  typeModifier: int32,
  format: int16,
});
/** Codes we speak have kinds of their own. */
const unsupportedCode = int32.filter((code) => ![0, 3, 5, 10, 11, 12].includes(code));
const status: fc.Arbitrary<TransactionStatus> = fc.constantFrom(0x49, 0x54, 0x45);

const backendByKind: PerKind<BackendMessage> = {
  AuthenticationOk: fc.record({ kind: kind("AuthenticationOk") }),
  AuthenticationCleartextPassword: fc.record({ kind: kind("AuthenticationCleartextPassword") }),
  AuthenticationMD5Password: fc.record({ kind: kind("AuthenticationMD5Password"), salt: sized(4, 4) }),
  AuthenticationSASL: fc.record({
    kind: kind("AuthenticationSASL"),
    mechanisms: fc.array(name, { maxLength: 4 }),
  }),
  AuthenticationSASLContinue: fc.record({ kind: kind("AuthenticationSASLContinue"), data }),
  AuthenticationSASLFinal: fc.record({ kind: kind("AuthenticationSASLFinal"), data }),
  AuthenticationUnsupported: fc.record({
    kind: kind("AuthenticationUnsupported"),
    code: unsupportedCode,
    data,
  }),
  BackendKeyData: fc.record({ kind: kind("BackendKeyData"), pid: int32, key }),
  ParameterStatus: fc.record({ kind: kind("ParameterStatus"), name: text, value: text }),
  ReadyForQuery: fc.record({ kind: kind("ReadyForQuery"), status }),
  ErrorResponse: fc.record({ kind: kind("ErrorResponse"), fields }),
  NoticeResponse: fc.record({ kind: kind("NoticeResponse"), fields }),
  NotificationResponse: fc.record({
    kind: kind("NotificationResponse"),
    pid: int32,
    channel: text,
    payload: text,
  }),
  RowDescription: fc.record({ kind: kind("RowDescription"), columns: fc.array(column, { maxLength: 4 }) }),
  DataRow: fc.record({ kind: kind("DataRow"), values }),
  CommandComplete: fc.record({ kind: kind("CommandComplete"), tag: text }),
  EmptyQueryResponse: fc.record({ kind: kind("EmptyQueryResponse") }),
  ParseComplete: fc.record({ kind: kind("ParseComplete") }),
  BindComplete: fc.record({ kind: kind("BindComplete") }),
  CloseComplete: fc.record({ kind: kind("CloseComplete") }),
  NoData: fc.record({ kind: kind("NoData") }),
  PortalSuspended: fc.record({ kind: kind("PortalSuspended") }),
  ParameterDescription: fc.record({
    kind: kind("ParameterDescription"),
    types: fc.array(oid, { maxLength: 5 }),
  }),
  CopyInResponse: fc.record({ kind: kind("CopyInResponse"), format: byte, columnFormats: formats }),
  CopyOutResponse: fc.record({ kind: kind("CopyOutResponse"), format: byte, columnFormats: formats }),
  CopyBothResponse: fc.record({ kind: kind("CopyBothResponse"), format: byte, columnFormats: formats }),
  CopyData: fc.record({ kind: kind("CopyData"), data }),
  CopyDone: fc.record({ kind: kind("CopyDone") }),
  FunctionCallResponse: fc.record({ kind: kind("FunctionCallResponse"), value }),
  NegotiateProtocolVersion: fc.record({
    kind: kind("NegotiateProtocolVersion"),
    version: int32,
    unsupported: fc.array(text, { maxLength: 4 }),
  }),
};

export const frontendMessage: fc.Arbitrary<FrontendMessage> = fc.oneof(...Object.values(frontendByKind));
export const backendMessage: fc.Arbitrary<BackendMessage> = fc.oneof(...Object.values(backendByKind));

export const parameters: fc.Arbitrary<[string, string][]> = fc.array(fc.tuple(name, text), { maxLength: 8 });
export const cancelKey: fc.Arbitrary<Buffer> = key;
export const processId: fc.Arbitrary<number> = int32;

const nastyLength = fc.constantFrom(
  -1,
  -2,
  0,
  1,
  3,
  4,
  5,
  8,
  0x7fff_ffff,
  -0x8000_0000,
  10_005,
  30_005,
  0x3fff_ffff,
);

interface Damage {
  readonly at: number;
  readonly what: "flip" | "insert" | "remove" | "length";
  readonly bytes: Uint8Array;
  readonly length: number;
}
const damage: fc.Arbitrary<Damage> = fc.record({
  at: fc.nat(2000),
  what: fc.constantFrom("flip", "insert", "remove", "length"),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }),
  length: nastyLength,
});

/** Streams of these messages with some damage, or bytes of no meaning at all. */
export function damagedStream(message: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const stream = fc.array(message, { maxLength: 6 }).map((messages) => Buffer.concat(messages));
  return fc.oneof(
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 6, arbitrary: fc.tuple(stream, fc.array(damage, { maxLength: 3 })).map(applied) },
  );
}

function applied([stream, damages]: [Buffer, Damage[]]): Buffer {
  let result = Buffer.from(stream);
  for (const { at, what, bytes, length } of damages) {
    const place = result.length === 0 ? 0 : at % result.length;
    const before = result.subarray(0, place);
    if (what === "insert") result = Buffer.concat([before, bytes, result.subarray(place)]);
    else if (what === "remove") result = Buffer.concat([before, result.subarray(place + bytes.length)]);
    else if (what === "flip") result.set(bytes.subarray(0, result.length - place), place);
    else if (place + 5 <= result.length) result.writeInt32BE(length, place + 1);
  }
  return result;
}
