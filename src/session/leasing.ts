/**
 * How a client's gathered unit gets a server: for itself (pool/pool.ts), at once or after a wait, or in auto mode
 * between units of others (auto/shared-unit.ts). Until that is settled nothing more of the client is handled.
 */
import { assert } from "../base/assert.ts";
import type { Failure } from "../base/errors.ts";
import type { Transport } from "../base/transport.ts";
import type { Pool } from "../pool/pool.ts";
import type { Server } from "../pool/server.ts";
import type { Waiter } from "../pool/waiters.ts";
import { SharedUnit, type SharingClient, type SharingParts } from "./auto/shared-unit.ts";
import type { SessionContext } from "./context.ts";
import { longWaitNotice } from "./replies.ts";

/** What the session does when it is settled. */
export interface LeasingClient {
  readonly transport: Transport;
  /** The server is the client's: the unit goes to it. */
  attach(server: Server): void;
  /** Goes on with what the client has sent. */
  advance(): void;
  /** Ends the session. */
  fail(failure: Failure): void;
  /** As `fail`, for whatever was thrown. */
  failBy(error: unknown): void;
  /** More has come than the unit. */
  readonly behind: boolean;
  /** The server that the unit had better run on. */
  readonly preferredServer: Server | undefined;
  /** It waits for that one. */
  readonly boundToServer: boolean;
  onServerLost(failure: Failure, relayed: boolean): void;
}

export class Leasing implements Waiter, SharingClient {
  readonly #client: LeasingClient;
  readonly #pool: Pool;
  readonly #parts: Omit<SharingParts, "auto">;
  /** In auto mode. */
  readonly #sharing: SharedUnit | undefined;
  #waiting = false;

  constructor(
    client: LeasingClient,
    pool: Pool,
    context: SessionContext,
    { auto, ...parts }: Omit<SharingParts, "auto"> & { readonly auto: SharingParts["auto"] | undefined },
  ) {
    this.#client = client;
    this.#pool = pool;
    this.#parts = parts;
    if (auto === undefined) return;
    this.#sharing = new SharedUnit(this, { auto, ...parts }, context.autoDatabase(pool).multiplexer);
  }

  get queryWaitTimeoutMs(): number | undefined {
    return this.#parts.queryWaitTimeoutMs;
  }

  /** The unit waits for a server, or for the end of its replies between others. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** The server that the unit shares. */
  get sharedServer(): Server | undefined {
    return this.#sharing?.server;
  }

  /** Gets the gathered unit a server: `attach` is called now, or later. */
  begin(): void {
    this.#waiting = true;
    if (this.#sharing?.start() !== true) this.#lease();
  }

  /** Takes the unit back before a server has it. */
  withdraw(): void {
    assert(this.#waiting && this.sharedServer === undefined, "only what is not sent can be taken back");
    if (this.#sharing?.withdraw() !== true) this.#pool.cancelWait(this);
    this.#waiting = false;
  }

  /** Cancels the unit that shares a server. */
  async cancelShared(): Promise<void> {
    await this.#sharing?.cancel();
  }

  /** The client is gone. */
  end(): void {
    if (this.#sharing?.active === true) this.#sharing.leave();
    else if (this.#waiting) this.#pool.cancelWait(this);
    this.#waiting = false;
  }

  onClientDrain(): void {
    this.#sharing?.onDrain();
  }

  // ---- how long units take that have a server for themselves ----

  onSent(): void {
    this.#sharing?.beginAlone(this.#parts.clock.now());
  }

  onReplies(bytes: number): void {
    this.#sharing?.countAlone(bytes);
  }

  onSettled(nowMs: number): void {
    this.#sharing?.endAlone(nowMs);
  }

  // ---- from the pool and the multiplexer ----

  onLeased(server: Server): void {
    assert(this.#waiting, "only a waiting client is given a server");
    this.#waiting = false;
    try {
      this.#client.attach(server);
    } catch (error) {
      // Not the server's fault: the exception must not reach the code that reads from it.
      this.#client.failBy(error);
      return;
    }
    this.#client.advance();
  }

  onLeaseFailed(failure: Failure): void {
    this.#waiting = false;
    this.#client.fail(failure);
  }

  onLongWait(): void {
    this.#client.transport.write(longWaitNotice);
  }

  onSharedDone(): void {
    this.#waiting = false;
    if (this.#client.behind) this.#client.advance();
  }

  leaseAlone(server: Server | undefined): void {
    if (server !== undefined) {
      this.onLeased(server);
      return;
    }
    this.#lease();
    if (!this.#waiting) this.#client.advance();
  }

  onServerLost(failure: Failure): void {
    this.#waiting = false;
    this.#client.onServerLost(failure, true);
  }

  #lease(): void {
    const { preferredServer, boundToServer } = this.#client;
    const server = this.#pool.lease(this, preferredServer, boundToServer);
    if (server === undefined) {
      if (this.#waiting) this.#parts.activity.waitStartMs = this.#parts.clock.now();
      return;
    }
    this.#waiting = false;
    this.#client.attach(server);
  }
}
