/** Conversations of a client and a server, whose traces are kept in test/golden. */
import { protocolVersion30, protocolVersion32, TransactionStatus } from "../../../src/wire/constants.ts";
import { encodeBackend } from "../../../src/wire/encode-backend.ts";
import {
  encodeFrontend,
  encodePassword,
  encodeSaslInitialResponse,
  encodeSaslResponse,
} from "../../../src/wire/encode-frontend.ts";
import type { BackendMessage, ColumnDescription, FrontendMessage } from "../../../src/wire/messages.ts";
import { encodeCancelRequest, encodeStartup, gssencRequest, sslRequest } from "../../../src/wire/startup.ts";
import type { TraceOptions } from "../../../src/wire/trace.ts";

/** Who said it: a typed message of either side, an untyped packet, or the byte that answers a request for encryption. */
export type Spoken = readonly [
  speaker: "frontend" | "backend" | "startup" | "ssl" | "gssenc",
  message: Buffer,
];
type Scenario = readonly [name: string, spoken: readonly Spoken[], options: TraceOptions];

const frontend = (message: FrontendMessage): Spoken => ["frontend", encodeFrontend(message)];
const backend = (message: BackendMessage): Spoken => ["backend", encodeBackend(message)];
const startup = (packet: Buffer): Spoken => ["startup", packet];
const raw = (message: Buffer): Spoken => ["frontend", message];
const query = (sql: string): Spoken => frontend({ kind: "Query", sql });
const complete = (tag: string): Spoken => backend({ kind: "CommandComplete", tag });
const row = (...values: (string | null)[]): Spoken =>
  backend({ kind: "DataRow", values: values.map((value) => (value === null ? null : Buffer.from(value))) });
const idle = backend({ kind: "ReadyForQuery", status: TransactionStatus.idle });
const inTransaction = backend({ kind: "ReadyForQuery", status: TransactionStatus.inTransaction });
const failed = backend({ kind: "ReadyForQuery", status: TransactionStatus.failed });
const sync = frontend({ kind: "Sync" });
const int4 = (name: string): ColumnDescription => ({
  name,
  tableOid: 16385,
  attributeNumber: 1,
  typeOid: 23,
  typeSize: 4,
  typeModifier: -1,
  format: 0,
});
const text = (name: string): ColumnDescription => ({
  ...int4(name),
  attributeNumber: 2,
  typeOid: 25,
  typeSize: -1,
});
const error = (code: string, message: string, routine: string): Spoken =>
  backend({
    kind: "ErrorResponse",
    fields: { severity: "ERROR", code, message, position: "8", file: "parse.c", line: "42", routine },
  });
const execute = (statement: string, ...values: string[]): Spoken[] => [
  frontend({
    kind: "Bind",
    portal: "",
    statement,
    formats: [],
    values: values.map((value) => Buffer.from(value)),
    resultFormats: [0],
  }),
  frontend({ kind: "Describe", target: "portal", name: "" }),
  frontend({ kind: "Execute", portal: "", maxRows: 0 }),
];

const startupScram: Spoken[] = [
  startup(gssencRequest),
  ["gssenc", Buffer.from("N")],
  startup(sslRequest),
  ["ssl", Buffer.from("N")],
  startup(
    encodeStartup(protocolVersion32, [
      ["user", "ann"],
      ["database", "shop"],
      ["_pq_.x", "1"],
    ]),
  ),
  backend({ kind: "NegotiateProtocolVersion", version: protocolVersion30, unsupported: ["_pq_.x"] }),
  backend({ kind: "AuthenticationSASL", mechanisms: ["SCRAM-SHA-256"] }),
  raw(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=abc"))),
  backend({ kind: "AuthenticationSASLContinue", data: Buffer.from("r=abcdef,s=QQ==,i=4096") }),
  raw(encodeSaslResponse(Buffer.from("c=biws,r=abcdef,p=AAAA"))),
  backend({ kind: "AuthenticationSASLFinal", data: Buffer.from("v=AAAA") }),
  backend({ kind: "AuthenticationOk" }),
  backend({ kind: "ParameterStatus", name: "server_version", value: "18.4" }),
  backend({ kind: "ParameterStatus", name: "application_name", value: "" }),
  backend({ kind: "BackendKeyData", pid: 4711, key: Buffer.of(1, 2, 3, 4) }),
  idle,
  frontend({ kind: "Terminate" }),
];

const startupRefused: Spoken[] = [
  startup(encodeStartup(protocolVersion30, [["user", "eve"]])),
  backend({ kind: "AuthenticationCleartextPassword" }),
  raw(encodePassword("guess")),
  backend({
    kind: "ErrorResponse",
    fields: { severity: "FATAL", code: "28P01", message: 'password authentication failed for user "eve"' },
  }),
];

const simpleQuery: Spoken[] = [
  query("SELECT id, name FROM item; BEGIN"),
  backend({ kind: "RowDescription", columns: [int4("id"), text("name")] }),
  row("1", "bolt"),
  row("2", null),
  complete("SELECT 2"),
  complete("BEGIN"),
  inTransaction,
  query("SELECT nothing()"),
  error("42883", "function nothing() does not exist", "ParseFuncOrColumn"),
  failed,
  query("ROLLBACK"),
  complete("ROLLBACK"),
  idle,
  query(""),
  backend({ kind: "EmptyQueryResponse" }),
  idle,
  backend({ kind: "NotificationResponse", pid: 4712, channel: "jobs", payload: "7" }),
  backend({ kind: "NoticeResponse", fields: { severity: "WARNING", code: "01000", message: "careful" } }),
  backend({ kind: "ParameterStatus", name: "TimeZone", value: "UTC" }),
];

const extendedQuery: Spoken[] = [
  frontend({ kind: "Parse", name: "s1", sql: "SELECT $1::int", types: [23] }),
  frontend({ kind: "Describe", target: "statement", name: "s1" }),
  sync,
  backend({ kind: "ParseComplete" }),
  backend({ kind: "ParameterDescription", types: [23] }),
  backend({ kind: "RowDescription", columns: [int4("int4")] }),
  idle,
  ...execute("s1", "42"),
  ...execute("s2", "43"),
  sync,
  backend({ kind: "BindComplete" }),
  backend({ kind: "RowDescription", columns: [int4("int4")] }),
  row("42"),
  complete("SELECT 1"),
  error("26000", 'prepared statement "s2" does not exist', "FetchPreparedStatement"),
  idle,
  frontend({ kind: "Execute", portal: "c", maxRows: 10 }),
  frontend({ kind: "Flush" }),
  backend({ kind: "PortalSuspended" }),
  frontend({ kind: "Close", target: "statement", name: "s1" }),
  sync,
  backend({ kind: "CloseComplete" }),
  idle,
];

const copy: Spoken[] = [
  query("COPY item FROM STDIN"),
  backend({ kind: "CopyInResponse", format: 0, columnFormats: [0, 0] }),
  frontend({ kind: "CopyData", data: Buffer.from("1\tbolt\n") }),
  frontend({ kind: "CopyData", data: Buffer.from("2\tnüt\n") }),
  frontend({ kind: "CopyDone" }),
  complete("COPY 2"),
  idle,
  query("COPY item FROM STDIN"),
  backend({ kind: "CopyInResponse", format: 0, columnFormats: [0, 0] }),
  frontend({ kind: "CopyFail", message: "no more" }),
  error("57014", "COPY from stdin failed: no more", "CopyGetData"),
  idle,
  query("COPY item TO STDOUT (FORMAT binary)"),
  backend({ kind: "CopyOutResponse", format: 1, columnFormats: [1, 1] }),
  backend({ kind: "CopyData", data: Buffer.from("PGCOPY\n\xff\r\n\0", "latin1") }),
  backend({ kind: "CopyDone" }),
  complete("COPY 2"),
  idle,
  query("START_REPLICATION 0/0"),
  backend({ kind: "CopyBothResponse", format: 0, columnFormats: [] }),
];

const cancelAndFunction: Spoken[] = [
  startup(encodeCancelRequest(4711, Buffer.of(1, 2, 3, 4))),
  startup(encodeCancelRequest(4711, Buffer.alloc(32, 7))),
  backend({ kind: "BackendKeyData", pid: 4711, key: Buffer.alloc(32, 7) }),
  frontend({
    kind: "FunctionCall",
    functionOid: 1598,
    formats: [1],
    values: [Buffer.of(0, 0, 0, 42), null],
    resultFormat: 1,
  }),
  backend({ kind: "FunctionCallResponse", value: Buffer.of(0, 0, 0, 43) }),
  backend({ kind: "FunctionCallResponse", value: null }),
];

export const scenarios: readonly Scenario[] = [
  ["startup-scram", startupScram, {}],
  ["startup-refused", startupRefused, {}],
  ["simple-query", simpleQuery, {}],
  ["simple-query-regress", simpleQuery, { regress: true }],
  ["extended-query", extendedQuery, { regress: true }],
  ["copy", copy, {}],
  ["cancel-and-function", cancelAndFunction, { secrets: true }],
];
