/** The client: connection strings, the handshake machine, connections, cancel requests. */
export { parseConninfo } from "./conninfo.ts";
export type { CancelRequest, Demand, HandshakeEvent, HandshakeResult } from "./demands.ts";
export {
  type CancelTarget,
  cancelBackend,
  type OpenConnection,
  type OpenOptions,
  openConnection,
} from "./driver.ts";
export { type ConnectAttempt, ConnectError, type ConnectErrorCode, ServerError } from "./errors.ts";
export { Handshake } from "./handshake.ts";
export {
  type AuthenticationMethod,
  type ChannelBinding,
  type ConnectOptions,
  connectOptions,
  type Host,
  type KeepAliveOptions,
  type ProtocolVersion,
  type ScramKeys,
  type SslMode,
  type SslNegotiation,
} from "./options.ts";
export { cachedResolve, type Resolve, resolveBySystem } from "./resolve.ts";
export { SimpleClient, type SimpleResult } from "./simple.ts";
export { type ConnectionStatus, connectionStatusNumber } from "./status.ts";
export type { ConnectedEndpoint } from "./targets.ts";
