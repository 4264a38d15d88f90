/**
 * The client's public surface, sub-path `pgsluice/client`: connect, query, copy, listen, cancel; connection
 * strings; the handshake machine and its driver; types.
 */

export { type ErrorSource, Failure, OperationError, PeerError } from "../base/errors.ts";
export type { ErrorFields } from "../wire/fields.ts";
export type { TraceOptions } from "../wire/trace.ts";
export { type ConnectCallOptions, connect } from "./connect.ts";
export { Connection } from "./connection.ts";
export type {
  ColumnCodecs,
  ConnectionOptions,
  ExecuteOptions,
  PipelinedOptions,
  QueryOptions,
  TransactionState,
} from "./connection-options.ts";
export {
  type ConnectionKeyword,
  type ConnectionParameters,
  type Conninfo,
  type ConninfoInput,
  type ConninfoOption,
  type ConninfoSources,
  connectOptionsFromConninfo,
  conninfoDefaults,
  conninfoFromPairs,
  conninfoOptions,
  conninfoValues,
  parseConninfo,
  resolveConninfo,
} from "./conninfo/conninfo.ts";
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
export type { CopyOut, CopyResult } from "./query/copy.ts";
export type { CopySource } from "./query/copy-source.ts";
export type { StatementDescription } from "./query/describe.ts";
export type { Listener, Notification } from "./query/listener.ts";
export type { Pipeline } from "./query/pipeline.ts";
export type { Query } from "./query/query.ts";
export { escapeIdentifier, escapeLiteral } from "./query/quoting.ts";
export type { Result } from "./query/result.ts";
export type { Column, ResultFormat, RowMode } from "./query/rows.ts";
export type { Transaction, TransactionOptions } from "./query/transaction.ts";
export type {
  BackupPosition,
  BackupTablespace,
  BaseBackup,
} from "./replication/base-backup.ts";
export type {
  BaseBackupOptions,
  LogicalSlotOptions,
  PhysicalSlotOptions,
  PluginOptions,
} from "./replication/commands.ts";
export {
  type CreatedSlot,
  connectReplication,
  type LogicalStreamOptions,
  type PhysicalSlot,
  type PhysicalStreamOptions,
  type ReplicationConnection,
  type ReplicationConnectOptions,
  type StreamOptions,
  type SystemIdentity,
  type TimelineHistory,
} from "./replication/connection.ts";
export { formatLsn, parseLsn } from "./replication/lsn.ts";
export type {
  BackupArchive,
  BackupData,
  BackupEvent,
  BackupManifest,
  BackupProgress,
  Keepalive,
  ReplicationEvent,
  ReplicationPositions,
  WalData,
} from "./replication/messages.ts";
export type { NextTimeline, ReplicationStream } from "./replication/stream.ts";
export { SimpleClient, type SimpleResult } from "./simple.ts";
export { type SqlStateCode, type SqlStateName, sqlState } from "./sqlstate.ts";
export type { TraceContext } from "./tracing.ts";
export {
  type ArrayValue,
  type Decode,
  type DecodedRow,
  type DecodedType,
  type NonNullCodec,
  nonNull,
  Range,
  type RangeType,
  Timestamp,
  type TypeCodec,
  TypeRegistry,
  types,
} from "./types/index.ts";
