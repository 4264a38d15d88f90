/**
 * Numbers and letters of PostgreSQL's frontend/backend protocol, each with where it comes from:
 * "protocol.h" and "pqcomm.h" are PostgreSQL 18's src/include/libpq/protocol.h and pqcomm.h; "docs 54.7" is
 * the chapter "Message Formats" of its manual.
 */

/** Message types a client sends (protocol.h). */
export const Frontend = {
  bind: 0x42, // B
  close: 0x43, // C
  describe: 0x44, // D
  execute: 0x45, // E
  functionCall: 0x46, // F
  flush: 0x48, // H
  parse: 0x50, // P
  query: 0x51, // Q
  sync: 0x53, // S
  terminate: 0x58, // X
  copyData: 0x64, // d
  copyDone: 0x63, // c
  copyFail: 0x66, // f
  /** PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse share this letter. */
  password: 0x70, // p
} as const;

/** Message types a server sends (protocol.h). */
export const Backend = {
  parseComplete: 0x31, // 1
  bindComplete: 0x32, // 2
  closeComplete: 0x33, // 3
  notificationResponse: 0x41, // A
  commandComplete: 0x43, // C
  dataRow: 0x44, // D
  errorResponse: 0x45, // E
  copyInResponse: 0x47, // G
  copyOutResponse: 0x48, // H
  emptyQueryResponse: 0x49, // I
  backendKeyData: 0x4b, // K
  noticeResponse: 0x4e, // N
  authentication: 0x52, // R
  parameterStatus: 0x53, // S
  rowDescription: 0x54, // T
  functionCallResponse: 0x56, // V
  copyBothResponse: 0x57, // W
  readyForQuery: 0x5a, // Z
  copyDone: 0x63, // c
  copyData: 0x64, // d
  noData: 0x6e, // n
  portalSuspended: 0x73, // s
  parameterDescription: 0x74, // t
  negotiateProtocolVersion: 0x76, // v
} as const;

/** Status byte of ReadyForQuery (docs 54.7). */
export const TransactionStatus = {
  idle: 0x49, // I
  inTransaction: 0x54, // T
  failed: 0x45, // E
} as const;
export type TransactionStatus = (typeof TransactionStatus)[keyof typeof TransactionStatus];

/** Codes of the Authentication message (protocol.h, AUTH_REQ_*). */
export const AuthenticationCode = {
  ok: 0,
  kerberosV4: 1,
  kerberosV5: 2,
  cleartextPassword: 3,
  crypt: 4,
  md5Password: 5,
  scm: 6,
  gss: 7,
  gssContinue: 8,
  sspi: 9,
  sasl: 10,
  saslContinue: 11,
  saslFinal: 12,
} as const;

/** Protocol versions: major in the high 16 bits, minor in the low 16 (pqcomm.h PG_PROTOCOL). */
export const protocolVersion30 = 196608;
export const protocolVersion32 = 196610;
/** Request codes in place of a version: major 1234 (pqcomm.h). */
export const cancelRequestCode = 80877102;
export const sslRequestCode = 80877103;
export const gssencRequestCode = 80877104;

/** A startup packet without its length word: at most 10,000 bytes (pqcomm.h MAX_STARTUP_PACKET_LENGTH). */
export const startupBytesMax = 10_000;
/** Its least: the version word (backend_startup.c ProcessStartupPacket). */
export const startupBytesMin = 4;
/** Body of Query, Parse, Bind, FunctionCall and CopyData (libpq.h PQ_LARGE_MESSAGE_LIMIT = MaxAllocSize - 1). */
export const largeMessageBytesMax = 0x3fff_fffe;
/** Body of every other message from a client (libpq.h PQ_SMALL_MESSAGE_LIMIT). */
export const smallMessageBytesMax = 10_000;
/** Body of a password or SASL message (libpq/auth.h PG_MAX_AUTH_TOKEN_LENGTH). */
export const authTokenBytesMax = 65_535;
/** A message of a server that is neither rows, COPY data nor text may be this long (fe-protocol3.c, 30,000). */
export const shortServerMessageBytesMax = 30_000;
/** Different parameters that a server may report; PostgreSQL 18 has 15, extensions may add a few. */
export const reportedParametersMax = 1000;
/** Cancel keys: 4 bytes in protocol 3.0, up to 256 in 3.2 (docs 54.7 BackendKeyData). */
export const cancelKeyBytesMin = 4;
export const cancelKeyBytesMax = 256;
/** Names are cut to this by the server (pg_config_manual.h NAMEDATALEN - 1). */
export const nameBytesMax = 63;
/** Header of every message but the first: type and length. */
export const headerBytes = 5;
