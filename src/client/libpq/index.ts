/** libpq's own calls to connect, to ask about a connection and to cancel: its names without PQ, nothing blocks. */
export type { PollingStatus } from "../handshake/attempt-options.ts";
export { type ConnectionStatus, connectionStatusNumber } from "../handshake/status.ts";
export {
  type CancelConn,
  cancelBlocking,
  cancelCreate,
  cancelErrorMessage,
  cancelFinish,
  cancelPoll,
  cancelReset,
  cancelSocket,
  cancelStart,
  cancelStatus,
} from "./cancel.ts";
export type { CancelSource, Conn, TakenConnection, WaitOptions } from "./conn.ts";
export {
  connectdb,
  connectdbParams,
  connectPoll,
  connectStart,
  connectStartParams,
  errorMessage,
  finish,
  ready,
  reset,
  resetPoll,
  resetStart,
  type Surroundings,
  socket,
  status,
  takeConnection,
} from "./connect.ts";
export {
  backendPid,
  connectionNeedsPassword,
  connectionUsedPassword,
  conninfo,
  db,
  fullProtocolVersion,
  host,
  hostaddr,
  options,
  parameterStatus,
  pass,
  port,
  protocolVersion,
  type SslAttributeName,
  serverVersion,
  sslAttribute,
  sslAttributeNames,
  sslInUse,
  type TransactionStatus,
  trace,
  transactionStatus,
  transactionStatusNumber,
  untrace,
  user,
} from "./facts.ts";
export { type PingResult, ping, pingParams, pingResultNumber } from "./ping.ts";
export { pollingStatusNumber, type ReadyOptions } from "./polled.ts";
export type { ParameterList } from "./settings.ts";
