/** Public surface of the wire room, `pgsluice/wire`: PostgreSQL's protocol as bytes and messages, no I/O. */
export {
  AuthenticationCode,
  Backend,
  Frontend,
  protocolVersion30,
  protocolVersion32,
  TransactionStatus,
} from "./constants.ts";
export { decodeBackend } from "./decode-backend.ts";
export { decodeFrontend, decodePassword, decodeSaslInitialResponse } from "./decode-frontend.ts";
export {
  bindComplete,
  closeComplete,
  emptyQueryResponse,
  encodeAuthenticationCleartextPassword,
  encodeAuthenticationMD5Password,
  encodeAuthenticationOk,
  encodeAuthenticationSASL,
  encodeAuthenticationSASLContinue,
  encodeAuthenticationSASLFinal,
  encodeBackend,
  encodeBackendKeyData,
  encodeCommandComplete,
  encodeErrorResponse,
  encodeNegotiateProtocolVersion,
  encodeNoticeResponse,
  encodeParameterStatus,
  encodeReadyForQuery,
  noData,
  parseComplete,
  portalSuspended,
} from "./encode-backend.ts";
export {
  encodeClose,
  encodeFrontend,
  encodeParse,
  encodePassword,
  encodeQuery,
  encodeSaslInitialResponse,
  encodeSaslResponse,
  encodeSync,
  encodeTerminate,
} from "./encode-frontend.ts";
export { type ErrorFields, sqlstateOf } from "./fields.ts";
export { backendRules, Frame, FrameRules, Framer, frontendLoginRules, frontendRules } from "./framer.ts";
export type * from "./messages.ts";
export {
  encodeCancelRequest,
  encodeStartup,
  encodeV2Error,
  gssencRequest,
  StartupFramer,
  type StartupRequest,
  sslRequest,
} from "./startup.ts";
export { type TraceOptions, Tracer } from "./trace.ts";
