/**
 * A connection that speaks the replication protocol: streams of the write-ahead log or of changes, slots, base
 * backups (docs 54.4). One thing at a time: while a stream or a base backup runs, all else is refused.
 */
import { type Failure, OperationError } from "../../base/errors.ts";
import type { TraceOptions } from "../../wire/trace.ts";
import { type ConnectCallOptions, connect } from "../connect.ts";
import type { Connection } from "../connection.ts";
import { type ConnectionParameters, resolveConninfo } from "../conninfo/conninfo.ts";
import type { ConnectOptions } from "../conninfo/options.ts";
import { ServerError } from "../errors.ts";
import type { Result } from "../query/result.ts";
import { malformed } from "../query/rows.ts";
import { BackupCommand, BaseBackup } from "./base-backup.ts";
import {
  type BaseBackupOptions,
  baseBackupCommand,
  createSlotCommand,
  dropSlotCommand,
  impossibleStreamCommand,
  type LogicalSlotOptions,
  type PhysicalSlotOptions,
  type PluginOptions,
  readSlotCommand,
  startLogicalCommand,
  startPhysicalCommand,
  timelineHistoryCommand,
} from "./commands.ts";
import type { IncomingCommand } from "./incoming.ts";
import { numberOf, optionalTextOf, positionOf, type ReplicationRow, textOf } from "./rows.ts";
import { ReplicationStream, StreamCommand, type StreamInit } from "./stream.ts";

export interface ReplicationConnectOptions extends ConnectCallOptions {
  /**
   * `database`: also SQL and logical streams, in the database of the target; `physical`: the log of the whole
   * cluster alone (libpq's `replication=true`). If not given, what the target says in `replication`, else
   * `database`. Both need a role with REPLICATION, and pg_hba.conf looks at the database `replication` for a
   * physical connection and at the real one for the other.
   */
  readonly mode?: "physical" | "database" | undefined;
}

export interface SystemIdentity {
  /** Made by initdb, and the same in all copies of the cluster: 64 bits as a decimal number. */
  readonly systemId: string;
  readonly timeline: number;
  /** Up to here the log has been written to disk (on a standby: has been received). */
  readonly position: bigint;
  /** Undefined on a physical connection. */
  readonly database: string | undefined;
}

export interface CreatedSlot {
  readonly name: string;
  /** From here on a logical slot has everything; 0 for a physical one. */
  readonly consistentPosition: bigint;
  /** For SET TRANSACTION SNAPSHOT elsewhere, until this connection does the next thing. */
  readonly snapshotName: string | undefined;
  readonly plugin: string | undefined;
}

export interface PhysicalSlot {
  /** The log is kept from here on; undefined if the slot has reserved none. */
  readonly restartPosition: bigint | undefined;
  readonly restartTimeline: number | undefined;
}

export interface TimelineHistory {
  /** Such as `00000002.history`. */
  readonly fileName: string;
  readonly content: string;
}

export interface StreamOptions {
  /** Milliseconds between statuses that nobody asked for; 10,000 if not given, 0 for none. */
  readonly statusIntervalMs?: number | undefined;
  /** Stops the stream; the iteration rejects with the signal's reason once the connection can be used again. */
  readonly signal?: AbortSignal | undefined;
}

export interface PhysicalStreamOptions extends StreamOptions {
  /** The slot to use, which keeps the log that is not yet flushed. */
  readonly slot?: string | undefined;
  /** Where to begin; whole segments are usual. */
  readonly position: bigint;
  /** The server's own if not given. */
  readonly timeline?: number | undefined;
}

export interface LogicalStreamOptions extends StreamOptions {
  readonly slot: string;
  /** Changes of what was committed before are left out; where the slot is if not given, or if that is further. */
  readonly position?: bigint | undefined;
  readonly plugin?: PluginOptions | undefined;
}

/** As PostgreSQL's wal_receiver_status_interval. */
const statusIntervalMsDefault = 10_000;

/**
 * Connects for replication; target and failures are those of `connect`. A role without REPLICATION is refused
 * with 42501, a server without free places for replication (max_wal_senders) with 53300.
 *
 *     await using connection = await connectReplication("postgres://host/database");
 *     await using stream = await connection.startLogical({ slot: "mine", plugin: { proto_version: 4, … } });
 *     for await (const event of stream) …
 */
export async function connectReplication(
  target: string | ConnectionParameters | ConnectOptions = "",
  options: ReplicationConnectOptions = {},
): Promise<ReplicationConnection> {
  const resolved = typeof target === "object" && "hosts" in target ? target : resolveConninfo(target);
  return new ReplicationConnection(await connect(withReplication(resolved, options.mode), options));
}

function withReplication(options: ConnectOptions, mode: ReplicationConnectOptions["mode"]): ConnectOptions {
  const has = options.parameters.some(([name]) => name === "replication");
  if (has && mode === undefined) return options;
  const others = options.parameters.filter(([name]) => name !== "replication");
  const value = mode === "physical" ? "true" : "database";
  return { ...options, parameters: [["replication", value], ...others] };
}

export class ReplicationConnection implements AsyncDisposable {
  readonly #connection: Connection;
  #streaming: IncomingCommand<unknown> | undefined;
  /** The stream that was begun last. */
  #lastStream: StreamCommand | undefined;

  /** @internal See `connectReplication`. */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  // What is answered at once. All of these reject with ServerError (the server's SQLSTATE), OperationError
  // `client.connection_lost` or `client.replication_active` (55000), or PeerError (08P01).

  /** IDENTIFY_SYSTEM. */
  async identifySystem(): Promise<SystemIdentity> {
    const row = await this.#row("IDENTIFY_SYSTEM");
    return {
      systemId: textOf(row, "systemid"),
      timeline: numberOf(row, "timeline"),
      position: positionOf(row, "xlogpos"),
      database: optionalTextOf(row, "dbname"),
    };
  }

  /**
   * CREATE_REPLICATION_SLOT: physical, or logical where a plugin is named. Rejects with 42710 if the slot is
   * there already. A logical one waits for transactions that run; `signal` ends that.
   */
  async createSlot(
    name: string,
    options: (PhysicalSlotOptions | LogicalSlotOptions) & { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<CreatedSlot> {
    const row = await this.#row(createSlotCommand(name, options), options.signal);
    return {
      name: textOf(row, "slot_name"),
      consistentPosition: positionOf(row, "consistent_point"),
      snapshotName: optionalTextOf(row, "snapshot_name"),
      plugin: optionalTextOf(row, "output_plugin"),
    };
  }

  /** DROP_REPLICATION_SLOT. Rejects with 42704 if there is none, with 55006 if it is in use and `wait` is not set. */
  async dropSlot(
    name: string,
    options: { readonly wait?: boolean; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    await this.execute(dropSlotCommand(name, options.wait === true), options);
  }

  /** READ_REPLICATION_SLOT: what a physical slot keeps; undefined if there is none. A logical slot is refused (0A000). */
  async readSlot(name: string): Promise<PhysicalSlot | undefined> {
    const row = await this.#row(readSlotCommand(name));
    if (optionalTextOf(row, "slot_type") === undefined) return undefined;
    return {
      restartPosition: row["restart_lsn"] === null ? undefined : positionOf(row, "restart_lsn"),
      restartTimeline: row["restart_tli"] === null ? undefined : numberOf(row, "restart_tli"),
    };
  }

  /** TIMELINE_HISTORY: the file that says where a timeline comes from. The first one has none (58P01). */
  async timelineHistory(timeline: number): Promise<TimelineHistory> {
    const row = await this.#row(timelineHistoryCommand(timeline));
    return { fileName: textOf(row, "filename"), content: textOf(row, "content") };
  }

  /**
   * Any other replication command that returns rows, such as SHOW; SQL too, in the mode `database`. Values come
   * as those of a connection's queries do.
   */
  async execute(
    text: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Result<unknown>[]> {
    this.#checkFree();
    return await this.#connection.execute(text, { signal: options.signal });
  }

  async #row(text: string, signal?: AbortSignal): Promise<ReplicationRow> {
    const [result] = await this.execute(text, { signal });
    const row = result?.rows[0];
    if (row === undefined) throw malformed();
    return row as ReplicationRow;
  }

  // What streams.

  /** START_REPLICATION … PHYSICAL: the write-ahead log of the cluster, byte for byte. Rejects as {@link startLogical}. */
  async startPhysical(options: PhysicalStreamOptions): Promise<ReplicationStream> {
    const text = startPhysicalCommand(options.slot, options.position, options.timeline);
    return await this.#start({ kind: "physical", text, signal: options.signal }, options.statusIntervalMs);
  }

  /**
   * START_REPLICATION … LOGICAL: what the slot's output plugin makes of the changes of this database. Resolves
   * when the stream has begun. Rejects with ServerError (42704 no such slot, 55006 in use, …), OperationError
   * `client.replication_active` (55000) or `client.connection_lost`, or the signal's reason.
   */
  async startLogical(options: LogicalStreamOptions): Promise<ReplicationStream> {
    const text = startLogicalCommand(options.slot, options.position ?? 0n, options.plugin ?? {});
    return await this.#start({ kind: "logical", text, signal: options.signal }, options.statusIntervalMs);
  }

  async #start(
    init: StreamInit,
    statusIntervalMs: number = statusIntervalMsDefault,
  ): Promise<ReplicationStream> {
    this.#checkFree();
    if (init.kind === "logical" && this.#lastStream?.doneSent === true) await this.#renew();
    const command = this.#stream(init);
    const stream = new ReplicationStream(command, statusIntervalMs);
    await command.ready;
    return stream;
  }

  #stream(init: StreamInit): StreamCommand {
    this.#checkFree();
    const command = this.#connection.run((host) => new StreamCommand(host, init));
    this.#streaming = command;
    this.#lastStream = command;
    return command;
  }

  /**
   * A server remembers that a stream was ended by CopyDone, and would end the next logical one at once
   * (walsender.c resets streamingDoneReceiving for physical streams alone; PostgreSQL's bug 18754). It forgets
   * when a physical one is begun, also if that fails, which costs a line in its log.
   */
  async #renew(): Promise<void> {
    const command = this.#stream({ kind: "physical", text: impossibleStreamCommand, signal: undefined });
    try {
      for await (const _ of command.events());
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
    }
  }

  /**
   * BASE_BACKUP, which needs PostgreSQL 15. Resolves when the server has made its checkpoint and begins to send.
   * The archives are tar files as they are; none is compressed.
   */
  async baseBackup(
    options: BaseBackupOptions & { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<BaseBackup> {
    this.#checkFree();
    const text = baseBackupCommand(options);
    const command = this.#connection.run((host) => new BackupCommand(host, text, options.signal));
    this.#streaming = command;
    await command.ready;
    return new BaseBackup(command);
  }

  #checkFree(): void {
    if (this.#streaming === undefined || this.#streaming.over) return;
    throw new OperationError("a stream or a base backup runs on this replication connection: end it first", {
      code: "client.replication_active",
      sqlstate: "55000",
      source: "internal",
    });
  }

  // What is known of the connection, and its end.

  /** 0 if the server told none. */
  get backendPid(): number {
    return this.#connection.backendPid;
  }

  /** As PQserverVersion: 180004 for 18.4. */
  get serverVersion(): number {
    return this.#connection.serverVersion;
  }

  parameterStatus(name: string): string | undefined {
    return this.#connection.parameterStatus(name);
  }

  get usable(): boolean {
    return this.#connection.usable;
  }

  /** Resolves when the connection is over: undefined if it was closed here, else the reason. */
  get closed(): Promise<Failure | undefined> {
    return this.#connection.closed;
  }

  /** Prints every message from now on in libpq's PQtrace format. */
  trace(write: (line: string) => void, options: TraceOptions = {}): void {
    this.#connection.trace(write, options);
  }

  /** Ends what streams, then the connection. Never rejects. */
  async close(): Promise<void> {
    await this.#streaming?.discard();
    await this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Ends at once, without a word. What the caller has confirmed a moment ago may be lost. */
  destroy(): void {
    this.#connection.destroy();
  }
}
