/** The client: connection strings, the handshake machine, connections, cancel requests. */
export { parseConninfo } from "./conninfo/conninfo.ts";
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
} from "./conninfo/options.ts";
export { type ConnectAttempt, ConnectError, type ConnectErrorCode, ServerError } from "./errors.ts";
export type { CancelRequest, Demand, HandshakeEvent, HandshakeResult } from "./handshake/demands.ts";
export {
  type CancelTarget,
  cancelBackend,
  type OpenConnection,
  type OpenOptions,
  openConnection,
} from "./handshake/driver.ts";
export { Handshake } from "./handshake/handshake.ts";
export { cachedResolve, type Resolve, resolveBySystem } from "./handshake/resolve.ts";
export { type ConnectionStatus, connectionStatusNumber } from "./handshake/status.ts";
export type { ConnectedEndpoint } from "./handshake/targets.ts";
export { SimpleClient, type SimpleResult } from "./simple.ts";
