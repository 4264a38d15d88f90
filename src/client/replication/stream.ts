/**
 * A replication stream: START_REPLICATION, and the COPY in both directions that it begins.
 *
 *     CopyBothResponse ─▶ streaming ─▶ CopyDone of both sides, in either order ─▶ (next timeline) ─▶ ready again
 *
 * While it streams the server is told how far we are: at intervals, when it asks, and soon after the caller has
 * confirmed something. Statuses do not wait for the caller, so a slow caller is not taken for a dead one.
 */
import { Backend, headerBytes } from "../../wire/constants.ts";
import type { QueryHost } from "../query/query.ts";
import { IncomingCommand } from "./incoming.ts";
import {
  decodeReplication,
  encodeStatus,
  type ReplicationEvent,
  type ReplicationKind,
  type ReplicationPositions,
} from "./messages.ts";
import { ReplicationProgress } from "./progress.ts";
import { numberOf, positionOf, type ReplicationRow } from "./rows.ts";

/** Where the log goes on, after the timeline that was streamed has ended. */
export interface NextTimeline {
  readonly timeline: number;
  readonly position: bigint;
}

export interface StreamInit {
  readonly kind: ReplicationKind;
  readonly text: string;
  readonly signal: AbortSignal | undefined;
}

/** @internal The protocol's side of a stream. */
export class StreamCommand extends IncomingCommand<ReplicationEvent> {
  readonly progress: ReplicationProgress;
  readonly #kind: ReplicationKind;
  #doneReceived = false;
  #doneSent = false;
  nextTimeline: NextTimeline | undefined;
  /** Hears of the end once. */
  onEnd: () => void = () => {};

  constructor(host: QueryHost, init: StreamInit) {
    super(host, init.text, init.signal);
    this.#kind = init.kind;
    this.progress = new ReplicationProgress(init.kind);
  }

  /** We have ended it. */
  get doneSent(): boolean {
    return this.#doneSent;
  }

  /** Tells the server how far we are. */
  sendStatus(): void {
    if (!this.begun || this.#doneSent || this.ended) return;
    const status = encodeStatus(this.progress.positions, Date.now());
    this.host.write((out) => out.copyData(status));
  }

  protected copyMessage(type: number): boolean {
    switch (type) {
      case Backend.copyBothResponse:
        if (this.begun) return false;
        this.copyBegun();
        if (this.discarded) this.#sendDone();
        return true;
      case Backend.copyDone:
        if (!this.begun || this.#doneReceived) return false;
        this.#doneReceived = true;
        if (this.discarded) this.#sendDone();
        this.awake();
        return true;
      default:
        return false;
    }
  }

  protected row(row: ReplicationRow): void {
    this.nextTimeline = {
      timeline: numberOf(row, "next_tli"),
      position: positionOf(row, "next_tli_startpos"),
    };
  }

  protected data(buffer: Buffer, start: number, end: number): void {
    if (this.discarded || this.failed) return;
    const event = decodeReplication(this.#kind, buffer, start, end);
    this.progress.received(event);
    this.push(event, end - start - headerBytes);
    if (event.kind === "keepalive" && event.replyRequested) this.sendStatus();
  }

  protected override handedOver(event: ReplicationEvent): void {
    this.progress.handedOver(event);
  }

  protected override taken(event: ReplicationEvent): void {
    this.progress.taken(event);
  }

  /** The server's CopyDone is answered when the caller has had all that came before, and may have confirmed it. */
  protected drained(): void {
    if (this.#doneReceived) this.#sendDone();
  }

  protected leave(): void {
    if (this.begun) this.#sendDone();
    else this.giveUp();
  }

  /** CopyDone ends a stream; only before it begins there is something to cancel. */
  protected override stop(): void {
    if (this.begun) this.#sendDone();
    else super.stop();
  }

  #sendDone(): void {
    if (this.#doneSent || this.ended) return;
    this.sendStatus();
    this.#doneSent = true;
    this.host.write((out) => out.copyDone());
  }

  protected override settle(): void {
    super.settle();
    this.onEnd();
  }
}

export class ReplicationStream implements AsyncIterable<ReplicationEvent>, AsyncDisposable {
  readonly #command: StreamCommand;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Immediate | undefined;

  /** @internal See `ReplicationConnection`. */
  constructor(command: StreamCommand, statusIntervalMs: number) {
    this.#command = command;
    if (command.over) return;
    command.onEnd = () => this.#ended();
    if (statusIntervalMs > 0) {
      this.#timer = setInterval(() => command.sendStatus(), statusIntervalMs);
      this.#timer.unref();
    }
  }

  /**
   * Data and keepalives as they come, read no faster than they are taken. Ends when the stream was stopped, or
   * when its timeline has ended. Leaving the loop stops the stream.
   *
   * Throws ServerError (the server's SQLSTATE), OperationError `client.connection_lost` (08006 or the server's
   * own), PeerError (08P01), or the signal's reason; what came before the failure is handed over first.
   */
  [Symbol.asyncIterator](): AsyncGenerator<ReplicationEvent, void, undefined> {
    return this.#command.events();
  }

  /** What the server is told now. */
  get positions(): ReplicationPositions {
    return this.#command.progress.positions;
  }

  /**
   * The timeline that follows, once this one has ended (a standby of the server was promoted); else undefined.
   * Stream on from its position, with its number.
   */
  get nextTimeline(): NextTimeline | undefined {
    return this.#command.nextTimeline;
  }

  /**
   * Says how far the caller is: everything before the position is on its disk (`flushed`), or can be seen by
   * its readers (`applied`). The server may throw away what lies before `flushed`, and a commit that waits for
   * this receiver goes on. Positions never go back; what is left out stays. Does not wait; many calls in a
   * turn are one message. After the end of the stream it does nothing.
   */
  confirm(positions: Partial<ReplicationPositions>): void {
    if (this.#command.over) return;
    this.#command.progress.confirm(positions);
    this.#soon ??= setImmediate(() => {
      this.#soon = undefined;
      this.#command.sendStatus();
    });
  }

  /**
   * Ends the stream with what was confirmed last, and waits until the server has ended it too: the connection
   * can be used again. What has not been taken is thrown away. Rejects if the stream has failed.
   */
  async stop(): Promise<void> {
    await this.#command.discard();
    this.#command.throwFailure();
  }

  /** As {@link stop}; never rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#command.discard();
  }

  #ended(): void {
    clearInterval(this.#timer);
    clearImmediate(this.#soon);
  }
}
