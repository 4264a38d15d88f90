/**
 * A base backup: BASE_BACKUP, and the COPY that carries its archives, one tar file for the cluster and one for
 * each tablespace, then the manifest (docs 54.4, the form since PostgreSQL 15).
 */
import { assert } from "../../base/assert.ts";
import { protocolViolation } from "../../base/errors.ts";
import { Backend, headerBytes } from "../../wire/constants.ts";
import { IncomingCommand } from "./incoming.ts";
import { type BackupEvent, decodeBackup } from "./messages.ts";
import { numberOf, optionalTextOf, positionOf, type ReplicationRow } from "./rows.ts";

export interface BackupPosition {
  readonly position: bigint;
  readonly timeline: number;
}

export interface BackupTablespace {
  /** Object identifier; undefined for the cluster's own folder. */
  readonly oid: number | undefined;
  /** Its folder on the server; undefined as above. */
  readonly location: string | undefined;
  /** About how many bytes it has, in steps of 1024; undefined if `progress` was not asked for. */
  readonly bytes: bigint | undefined;
}

/** @internal */
export class BackupCommand extends IncomingCommand<BackupEvent> {
  #done = false;
  start: BackupPosition | undefined;
  readonly tablespaces: BackupTablespace[] = [];
  /** Known behind the data, and kept only if all went well. */
  finish: BackupPosition | undefined;

  protected row(row: ReplicationRow, resultSet: number): void {
    if (resultSet === 0 && this.start === undefined) {
      this.start = position(row);
    } else if (resultSet === 1) {
      this.tablespaces.push(tablespace(row));
    } else {
      this.finish = position(row);
    }
  }

  protected copyMessage(type: number): boolean {
    switch (type) {
      case Backend.copyOutResponse:
        if (this.begun || this.start === undefined || this.tablespaces.length === 0) return false;
        this.copyBegun();
        return true;
      case Backend.copyDone:
        if (!this.begun || this.#done) return false;
        this.#done = true;
        return true;
      default:
        return false;
    }
  }

  protected data(buffer: Buffer, start: number, end: number): void {
    if (this.discarded || this.failed) return;
    this.push(decodeBackup(buffer, start, end), end - start - headerBytes);
  }

  protected drained(): void {}

  protected leave(): void {
    this.giveUp();
  }

  protected override settle(): void {
    if (this.failed) this.finish = undefined;
    else if (!this.begun || this.finish === undefined) {
      this.fail(protocolViolation("no base backup from server", { source: "server" }));
    }
    super.settle();
  }
}

export class BaseBackup implements AsyncIterable<BackupEvent>, AsyncDisposable {
  readonly #command: BackupCommand;
  /** From where the log is needed to make the backup consistent. */
  readonly start: BackupPosition;
  readonly tablespaces: readonly BackupTablespace[];

  /** @internal See `ReplicationConnection`. */
  constructor(command: BackupCommand) {
    this.#command = command;
    assert(command.start !== undefined, "what comes before the first archive has come");
    this.start = command.start;
    this.tablespaces = command.tablespaces;
  }

  /**
   * Archives, their contents and the manifest as they come, read no faster than they are taken. Only if it ends
   * without an error the backup is whole: a server may say so behind the last of the data (a wrong checksum).
   * Leaving the loop early cancels the rest.
   *
   * Throws ServerError (the server's SQLSTATE), OperationError `client.connection_lost` (08006 or the server's
   * own), PeerError (08P01), or the signal's reason.
   */
  [Symbol.asyncIterator](): AsyncGenerator<BackupEvent, void, undefined> {
    return this.#command.events();
  }

  /** Up to where the log is needed; undefined until the backup has ended well. */
  get end(): BackupPosition | undefined {
    return this.#command.over ? this.#command.finish : undefined;
  }

  /** Cancels what is left, and waits until the connection can be used again. Never rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#command.discard();
  }
}

function tablespace(row: ReplicationRow): BackupTablespace {
  const size = row["size"];
  return {
    oid: row["spcoid"] === null ? undefined : numberOf(row, "spcoid"),
    location: optionalTextOf(row, "spclocation"),
    bytes: typeof size === "bigint" ? size * 1024n : undefined,
  };
}

function position(row: ReplicationRow): BackupPosition {
  return { position: positionOf(row, "recptr"), timeline: numberOf(row, "tli") };
}
