/** Every message of both directions with its bytes, written by hand from the manual (docs 54.7). */
import { TransactionStatus } from "../../../src/wire/constants.ts";
import type { BackendMessage, FrontendMessage } from "../../../src/wire/messages.ts";
import { bytes, int16, int32, text, typed, value } from "./bytes.ts";

export type Case<Message> = readonly [title: string, message: Message, bytes: Buffer];

export const frontendCases: readonly Case<FrontendMessage>[] = [
  ["Query", { kind: "Query", sql: "SELECT 1" }, typed("Q", text("SELECT 1"))],
  ["Query, empty", { kind: "Query", sql: "" }, typed("Q", text(""))],
  ["Query, not ASCII", { kind: "Query", sql: "SELECT 'é€😀'" }, typed("Q", text("SELECT 'é€😀'"))],
  [
    "Query, not UTF-8",
    { kind: "Query", sql: "SELECT '\udce9'" },
    typed("Q", bytes("SELECT '", 0xe9, "'", 0)),
  ],
  [
    "Parse",
    { kind: "Parse", name: "s1", sql: "SELECT $1, $2", types: [23, 0xffff_fffe] },
    typed("P", text("s1"), text("SELECT $1, $2"), int16(2), int32(23), int32(0xffff_fffe)),
  ],
  [
    "Bind",
    {
      kind: "Bind",
      portal: "p",
      statement: "s1",
      formats: [0, 1],
      values: [Buffer.from("42"), null, Buffer.from("")],
      resultFormats: [1],
    },
    typed(
      "B",
      bytes(text("p"), text("s1"), int16(2), int16(0), int16(1)),
      bytes(int16(3), value("42"), value(null), value("")),
      bytes(int16(1), int16(1)),
    ),
  ],
  [
    "Bind, nothing",
    { kind: "Bind", portal: "", statement: "", formats: [], values: [], resultFormats: [] },
    typed("B", 0, 0, int16(0), int16(0), int16(0)),
  ],
  [
    "Describe a statement",
    { kind: "Describe", target: "statement", name: "s1" },
    typed("D", "S", text("s1")),
  ],
  ["Describe a portal", { kind: "Describe", target: "portal", name: "" }, typed("D", "P", text(""))],
  ["Execute", { kind: "Execute", portal: "p", maxRows: 100 }, typed("E", text("p"), int32(100))],
  ["Close a statement", { kind: "Close", target: "statement", name: "s1" }, typed("C", "S", text("s1"))],
  ["Close a portal", { kind: "Close", target: "portal", name: "p" }, typed("C", "P", text("p"))],
  ["Flush", { kind: "Flush" }, typed("H")],
  ["Sync", { kind: "Sync" }, typed("S")],
  [
    "FunctionCall",
    {
      kind: "FunctionCall",
      functionOid: 1598,
      formats: [1],
      values: [Buffer.from("abc"), null],
      resultFormat: 1,
    },
    typed("F", int32(1598), int16(1), int16(1), int16(2), value("abc"), value(null), int16(1)),
  ],
  ["CopyData", { kind: "CopyData", data: Buffer.from("1\t2\n") }, typed("d", "1\t2\n")],
  ["CopyData, empty", { kind: "CopyData", data: Buffer.alloc(0) }, typed("d")],
  ["CopyDone", { kind: "CopyDone" }, typed("c")],
  ["CopyFail", { kind: "CopyFail", message: "no more" }, typed("f", text("no more"))],
  ["Terminate", { kind: "Terminate" }, typed("X")],
  ["PasswordMessage", { kind: "PasswordMessage", data: text("secret") }, typed("p", text("secret"))],
];

const rowDescription = (format: number): Buffer =>
  bytes(text("id"), int32(16385), int16(1), int32(23), int16(4), int32(-1), int16(format));

export const backendCases: readonly Case<BackendMessage>[] = [
  ["AuthenticationOk", { kind: "AuthenticationOk" }, typed("R", int32(0))],
  ["AuthenticationCleartextPassword", { kind: "AuthenticationCleartextPassword" }, typed("R", int32(3))],
  [
    "AuthenticationMD5Password",
    { kind: "AuthenticationMD5Password", salt: Buffer.of(1, 2, 3, 4) },
    typed("R", int32(5), 1, 2, 3, 4),
  ],
  [
    "AuthenticationSASL",
    { kind: "AuthenticationSASL", mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] },
    typed("R", int32(10), text("SCRAM-SHA-256-PLUS"), text("SCRAM-SHA-256"), 0),
  ],
  [
    "AuthenticationSASLContinue",
    { kind: "AuthenticationSASLContinue", data: Buffer.from("r=abc,s=QQ==,i=4096") },
    typed("R", int32(11), "r=abc,s=QQ==,i=4096"),
  ],
  [
    "AuthenticationSASLFinal",
    { kind: "AuthenticationSASLFinal", data: Buffer.from("v=QQ==") },
    typed("R", int32(12), "v=QQ=="),
  ],
  [
    "AuthenticationUnsupported (GSS)",
    { kind: "AuthenticationUnsupported", code: 7, data: Buffer.alloc(0) },
    typed("R", int32(7)),
  ],
  [
    "AuthenticationUnsupported (GSS, continued)",
    { kind: "AuthenticationUnsupported", code: 8, data: Buffer.from("xyz") },
    typed("R", int32(8), "xyz"),
  ],
  [
    "BackendKeyData of 3.0",
    { kind: "BackendKeyData", pid: 4711, key: Buffer.of(9, 8, 7, 6) },
    typed("K", int32(4711), 9, 8, 7, 6),
  ],
  [
    "BackendKeyData of 3.2, 32 bytes",
    { kind: "BackendKeyData", pid: -2, key: Buffer.alloc(32, 7) },
    typed("K", int32(-2), Buffer.alloc(32, 7)),
  ],
  [
    "BackendKeyData of 3.2, 256 bytes",
    { kind: "BackendKeyData", pid: 1, key: Buffer.alloc(256, 1) },
    typed("K", int32(1), Buffer.alloc(256, 1)),
  ],
  [
    "ParameterStatus",
    { kind: "ParameterStatus", name: "TimeZone", value: "" },
    typed("S", text("TimeZone"), text("")),
  ],
  ["ReadyForQuery, idle", { kind: "ReadyForQuery", status: TransactionStatus.idle }, typed("Z", "I")],
  [
    "ReadyForQuery, in a transaction",
    { kind: "ReadyForQuery", status: TransactionStatus.inTransaction },
    typed("Z", "T"),
  ],
  ["ReadyForQuery, failed", { kind: "ReadyForQuery", status: TransactionStatus.failed }, typed("Z", "E")],
  [
    "ErrorResponse",
    {
      kind: "ErrorResponse",
      fields: { severity: "ERROR", code: "42P01", message: 'relation "x" does not exist', position: "15" },
    },
    typed(
      "E",
      bytes("S", text("ERROR"), "V", text("ERROR"), "C", text("42P01")),
      bytes("M", text('relation "x" does not exist'), "P", text("15"), 0),
    ),
  ],
  [
    "NoticeResponse",
    {
      kind: "NoticeResponse",
      fields: {
        severity: "WARNING",
        severityLocalized: "WARNUNG",
        code: "01000",
        message: "m",
        detail: "d",
        hint: "h",
        where: "w",
        schema: "s",
        table: "t",
        column: "c",
        dataType: "y",
        constraint: "n",
        position: "1",
        internalPosition: "2",
        internalQuery: "q",
        file: "f.c",
        line: "3",
        routine: "r",
      },
    },
    typed(
      "N",
      bytes("S", text("WARNUNG"), "V", text("WARNING"), "C", text("01000"), "M", text("m")),
      bytes("D", text("d"), "H", text("h"), "W", text("w"), "s", text("s"), "t", text("t")),
      bytes("c", text("c"), "d", text("y"), "n", text("n"), "P", text("1"), "p", text("2")),
      bytes("q", text("q"), "F", text("f.c"), "L", text("3"), "R", text("r"), 0),
    ),
  ],
  [
    "NotificationResponse",
    { kind: "NotificationResponse", pid: 4711, channel: "jobs", payload: "42" },
    typed("A", int32(4711), text("jobs"), text("42")),
  ],
  [
    "RowDescription",
    {
      kind: "RowDescription",
      columns: [
        {
          name: "id",
          tableOid: 16385,
          attributeNumber: 1,
          typeOid: 23,
          typeSize: 4,
          typeModifier: -1,
          format: 0,
        },
        {
          name: "t",
          tableOid: 0xffff_ffff,
          attributeNumber: -1,
          typeOid: 25,
          typeSize: -1,
          typeModifier: 36,
          format: 1,
        },
      ],
    },
    typed(
      "T",
      int16(2),
      rowDescription(0),
      bytes(text("t"), int32(-1), int16(-1), int32(25), int16(-1), int32(36), int16(1)),
    ),
  ],
  ["RowDescription, no column", { kind: "RowDescription", columns: [] }, typed("T", int16(0))],
  [
    "DataRow",
    { kind: "DataRow", values: [Buffer.from("42"), null, Buffer.from("")] },
    typed("D", int16(3), value("42"), value(null), value("")),
  ],
  ["DataRow, no column", { kind: "DataRow", values: [] }, typed("D", int16(0))],
  ["CommandComplete", { kind: "CommandComplete", tag: "SELECT 1" }, typed("C", text("SELECT 1"))],
  ["EmptyQueryResponse", { kind: "EmptyQueryResponse" }, typed("I")],
  ["ParseComplete", { kind: "ParseComplete" }, typed("1")],
  ["BindComplete", { kind: "BindComplete" }, typed("2")],
  ["CloseComplete", { kind: "CloseComplete" }, typed("3")],
  ["NoData", { kind: "NoData" }, typed("n")],
  ["PortalSuspended", { kind: "PortalSuspended" }, typed("s")],
  [
    "ParameterDescription",
    { kind: "ParameterDescription", types: [23, 25] },
    typed("t", int16(2), int32(23), int32(25)),
  ],
  [
    "CopyInResponse",
    { kind: "CopyInResponse", format: 0, columnFormats: [0, 0] },
    typed("G", 0, int16(2), int16(0), int16(0)),
  ],
  [
    "CopyOutResponse",
    { kind: "CopyOutResponse", format: 1, columnFormats: [1] },
    typed("H", 1, int16(1), int16(1)),
  ],
  ["CopyBothResponse", { kind: "CopyBothResponse", format: 0, columnFormats: [] }, typed("W", 0, int16(0))],
  ["CopyData", { kind: "CopyData", data: Buffer.from("1\t2\n") }, typed("d", "1\t2\n")],
  ["CopyDone", { kind: "CopyDone" }, typed("c")],
  [
    "FunctionCallResponse",
    { kind: "FunctionCallResponse", value: Buffer.from("abc") },
    typed("V", value("abc")),
  ],
  ["FunctionCallResponse, NULL", { kind: "FunctionCallResponse", value: null }, typed("V", value(null))],
  [
    "NegotiateProtocolVersion",
    { kind: "NegotiateProtocolVersion", version: 196608, unsupported: ["_pq_.a", "_pq_.b"] },
    typed("v", int32(196608), int32(2), text("_pq_.a"), text("_pq_.b")),
  ],
  [
    "NegotiateProtocolVersion, version only",
    { kind: "NegotiateProtocolVersion", version: 196610, unsupported: [] },
    typed("v", int32(196610), int32(0)),
  ],
];
