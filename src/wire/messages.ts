/**
 * Every message of protocol 3.0 and 3.2 as a closed union per direction, by the names of the manual (docs
 * 54.7 "Message Formats"). The direction decides the decoder: 'D' is Describe one way and DataRow the other.
 * Buffers in decoded messages are views of the bytes that were decoded, not copies.
 */
import type { TransactionStatus } from "./constants.ts";
import type { ErrorFields } from "./fields.ts";

/** What Describe and Close name. */
export type Target = "statement" | "portal";
/** 0 text, 1 binary; other numbers are the server's to refuse. */
export type FormatCode = number;
/** A parameter, a column or a function's argument; null is SQL's NULL. */
export type Value = Buffer | null;

export interface CopyData {
  readonly kind: "CopyData";
  readonly data: Buffer;
}
export interface CopyDone {
  readonly kind: "CopyDone";
}

export interface Query {
  readonly kind: "Query";
  readonly sql: string;
}
export interface Parse {
  readonly kind: "Parse";
  /** Name of the prepared statement; empty for the unnamed one. */
  readonly name: string;
  readonly sql: string;
  /** Object identifiers of the parameters' types; 0 leaves one to the server. */
  readonly types: readonly number[];
}
export interface Bind {
  readonly kind: "Bind";
  readonly portal: string;
  readonly statement: string;
  /** None (all text), one for all, or one per value. */
  readonly formats: readonly FormatCode[];
  readonly values: readonly Value[];
  readonly resultFormats: readonly FormatCode[];
}
export interface Describe {
  readonly kind: "Describe";
  readonly target: Target;
  readonly name: string;
}
export interface Execute {
  readonly kind: "Execute";
  readonly portal: string;
  /** Rows to return at most; 0 is all. */
  readonly maxRows: number;
}
export interface Close {
  readonly kind: "Close";
  readonly target: Target;
  readonly name: string;
}
export interface Flush {
  readonly kind: "Flush";
}
export interface Sync {
  readonly kind: "Sync";
}
export interface FunctionCall {
  readonly kind: "FunctionCall";
  readonly functionOid: number;
  readonly formats: readonly FormatCode[];
  readonly values: readonly Value[];
  readonly resultFormat: FormatCode;
}
export interface CopyFail {
  readonly kind: "CopyFail";
  readonly message: string;
}
export interface Terminate {
  readonly kind: "Terminate";
}
/**
 * Everything sent with letter 'p': PasswordMessage, SASLInitialResponse, SASLResponse, GSSResponse. Only the
 * state of the login tells them apart. `data` is the body as it is: a secret, never logged.
 */
export interface PasswordMessage {
  readonly kind: "PasswordMessage";
  readonly data: Buffer;
}

/** What a client sends after its startup packet. */
export type FrontendMessage =
  | Query
  | Parse
  | Bind
  | Describe
  | Execute
  | Close
  | Flush
  | Sync
  | FunctionCall
  | CopyData
  | CopyDone
  | CopyFail
  | Terminate
  | PasswordMessage;

export interface AuthenticationOk {
  readonly kind: "AuthenticationOk";
}
export interface AuthenticationCleartextPassword {
  readonly kind: "AuthenticationCleartextPassword";
}
export interface AuthenticationMD5Password {
  readonly kind: "AuthenticationMD5Password";
  /** Four bytes. */
  readonly salt: Buffer;
}
export interface AuthenticationSASL {
  readonly kind: "AuthenticationSASL";
  /** Names, the server's favourite first. */
  readonly mechanisms: readonly string[];
}
export interface AuthenticationSASLContinue {
  readonly kind: "AuthenticationSASLContinue";
  readonly data: Buffer;
}
export interface AuthenticationSASLFinal {
  readonly kind: "AuthenticationSASLFinal";
  readonly data: Buffer;
}
/** A method we do not speak: Kerberos, GSSAPI, SSPI, crypt, SCM credentials, or one yet unknown. */
export interface AuthenticationUnsupported {
  readonly kind: "AuthenticationUnsupported";
  readonly code: number;
  readonly data: Buffer;
}
export interface BackendKeyData {
  readonly kind: "BackendKeyData";
  /** Signed 32 bits, as libpq shows it. */
  readonly pid: number;
  /** Four bytes in protocol 3.0, 4 to 256 in 3.2. A secret. */
  readonly key: Buffer;
}
export interface ParameterStatus {
  readonly kind: "ParameterStatus";
  readonly name: string;
  readonly value: string;
}
export interface ReadyForQuery {
  readonly kind: "ReadyForQuery";
  readonly status: TransactionStatus;
}
export interface ErrorResponse {
  readonly kind: "ErrorResponse";
  readonly fields: ErrorFields;
}
export interface NoticeResponse {
  readonly kind: "NoticeResponse";
  readonly fields: ErrorFields;
}
export interface NotificationResponse {
  readonly kind: "NotificationResponse";
  readonly pid: number;
  readonly channel: string;
  readonly payload: string;
}
/** One column of a RowDescription. */
export interface ColumnDescription {
  readonly name: string;
  /** The table it comes from, 0 if none. */
  readonly tableOid: number;
  /** Its number in that table, 0 if none. */
  readonly attributeNumber: number;
  readonly typeOid: number;
  /** Bytes; negative: variable (pg_type.typlen). */
  readonly typeSize: number;
  /** Meaning by type, -1 if none (pg_attribute.atttypmod). */
  readonly typeModifier: number;
  readonly format: FormatCode;
}
export interface RowDescription {
  readonly kind: "RowDescription";
  readonly columns: readonly ColumnDescription[];
}
export interface DataRow {
  readonly kind: "DataRow";
  readonly values: readonly Value[];
}
export interface CommandComplete {
  readonly kind: "CommandComplete";
  readonly tag: string;
}
export interface EmptyQueryResponse {
  readonly kind: "EmptyQueryResponse";
}
export interface ParseComplete {
  readonly kind: "ParseComplete";
}
export interface BindComplete {
  readonly kind: "BindComplete";
}
export interface CloseComplete {
  readonly kind: "CloseComplete";
}
export interface NoData {
  readonly kind: "NoData";
}
export interface PortalSuspended {
  readonly kind: "PortalSuspended";
}
export interface ParameterDescription {
  readonly kind: "ParameterDescription";
  readonly types: readonly number[];
}
/** What CopyInResponse, CopyOutResponse and CopyBothResponse say of the rows to come. */
interface CopyFormats {
  readonly format: FormatCode;
  readonly columnFormats: readonly FormatCode[];
}
export interface CopyInResponse extends CopyFormats {
  readonly kind: "CopyInResponse";
}
export interface CopyOutResponse extends CopyFormats {
  readonly kind: "CopyOutResponse";
}
export interface CopyBothResponse extends CopyFormats {
  readonly kind: "CopyBothResponse";
}
export interface FunctionCallResponse {
  readonly kind: "FunctionCallResponse";
  readonly value: Value;
}
export interface NegotiateProtocolVersion {
  readonly kind: "NegotiateProtocolVersion";
  /**
   * The newest version the server speaks within the major that was asked for. The manual says "minor version",
   * PostgreSQL sends the whole number, 196608 for 3.0 (backend_startup.c SendNegotiateProtocolVersion).
   */
  readonly version: number;
  /** Startup keys of the form `_pq_.name` that it did not know. */
  readonly unsupported: readonly string[];
}

/** What a server sends. */
export type BackendMessage =
  | AuthenticationOk
  | AuthenticationCleartextPassword
  | AuthenticationMD5Password
  | AuthenticationSASL
  | AuthenticationSASLContinue
  | AuthenticationSASLFinal
  | AuthenticationUnsupported
  | BackendKeyData
  | ParameterStatus
  | ReadyForQuery
  | ErrorResponse
  | NoticeResponse
  | NotificationResponse
  | RowDescription
  | DataRow
  | CommandComplete
  | EmptyQueryResponse
  | ParseComplete
  | BindComplete
  | CloseComplete
  | NoData
  | PortalSuspended
  | ParameterDescription
  | CopyInResponse
  | CopyOutResponse
  | CopyBothResponse
  | CopyData
  | CopyDone
  | FunctionCallResponse
  | NegotiateProtocolVersion;
