/**
 * libpq's calls to cancel what a connection runs (PostgreSQL's manual, "Canceling Queries in Progress"), by
 * their names without PQ: polled as a connection is, to the same address, encrypted if the connection is.
 *
 * OK means that the server has taken the request and closed, so that it cannot hit a later query; it does not
 * mean that anything was cancelled. The query's own result tells that. libpq's old PQgetCancel and PQcancel,
 * made for signal handlers and never encrypted, are left out: they wait just as long and promise no more.
 */
import { randomBytes } from "node:crypto";
import { OperationError } from "../../base/errors.ts";
import type { ConnectOptions } from "../conninfo/options.ts";
import { Attempt } from "../handshake/attempt.ts";
import type { AttemptOptions, PollingStatus } from "../handshake/attempt-options.ts";
import type { CancelRequest } from "../handshake/demands.ts";
import { cancelOptions, cancelRequest } from "../handshake/driver.ts";
import { Handshake } from "../handshake/handshake.ts";
import type { ConnectionStatus } from "../handshake/status.ts";
import { type CancelSource, Conn, type WaitOptions } from "./conn.ts";
import { Polled, pollingStatusOf } from "./polled.ts";

/** Bytes to read at once: any byte is one too many. */
const readBufferBytes = 1024;

/**
 * A cancel request that is sent step by step (PGcancelConn). It is opaque: hand it to the functions of this
 * module. Every one is owed a `cancelFinish`; `using` does that as well.
 */
export class CancelConn extends Polled {
  readonly #request: CancelRequest | undefined;
  readonly #options: ConnectOptions | undefined;

  /** @internal */
  constructor(source: CancelSource | undefined) {
    super();
    if (source === undefined) {
      this.fault = failure("connection not open");
      return;
    }
    this.#request = cancelRequest(source);
    this.#options = cancelOptions(source.options, source);
    if (this.#request === undefined) this.fault = failure("no cancellation key received");
  }

  /** @internal */
  override get connectionStatus(): ConnectionStatus {
    const idle = this.attempt === undefined && this.fault === undefined && !this.finished;
    return idle ? "ALLOCATED" : this.fault === undefined ? super.connectionStatus : "BAD";
  }

  /** @internal */
  override poll(): PollingStatus {
    if (this.connectionStatus === "ALLOCATED") this.fault = failure("cancel request has not been started");
    return this.fault === undefined ? super.poll() : "failed";
  }

  /** @internal */
  start(): boolean {
    const attempt = this.#prepare({ stepped: true });
    return attempt !== undefined && attempt.poll() !== "failed";
  }

  /** @internal */
  async complete(wait: WaitOptions): Promise<boolean> {
    const attempt = this.#prepare({ ...wait, kept: true });
    return attempt !== undefined && pollingStatusOf(await attempt.run()) === "ok";
  }

  /** @internal */
  reset(): void {
    this.close();
    if (this.#request !== undefined) this.fault = undefined;
  }

  #prepare(how: AttemptOptions): Attempt | undefined {
    const [options, cancel] = [this.#options, this.#request];
    if (this.finished || options === undefined || cancel === undefined || this.fault !== undefined) {
      return undefined;
    }
    if (this.attempt !== undefined) {
      this.fault = failure("cancel request is already being sent on this connection");
      return undefined;
    }
    const machine = new Handshake(options, { random: randomBytes, cancel });
    this.attempt = new Attempt(machine, options, { ...how, readBufferBytes });
    return this.attempt;
  }
}

/**
 * Prepares the cancelling of what a connection runs (PQcancelCreate), or a session that was taken out of one.
 * It sends nothing yet: the status is ALLOCATED, or BAD at once if the connection is not open or the server
 * gave no key. Everything that is needed is copied: the connection may end or be taken meanwhile.
 */
export function cancelCreate(of: Conn | CancelSource): CancelConn {
  return new CancelConn(of instanceof Conn ? of.cancelSource : of);
}

/** Begins to send the request (PQcancelStart). False if that has failed at once. */
export function cancelStart(cancel: CancelConn): boolean {
  return cancel.start();
}

/** Takes the next step (PQcancelPoll), as connectPoll does. */
export function cancelPoll(cancel: CancelConn): PollingStatus {
  return cancel.poll();
}

/**
 * Sends the request and waits until it has been taken (PQcancelBlocking, which blocks). connect_timeout
 * counts; `wait` is for the whole. Resolves with false if it could not be delivered; never rejects.
 */
export function cancelBlocking(cancel: CancelConn, wait: WaitOptions = {}): Promise<boolean> {
  return cancel.complete(wait);
}

/** How far the request has come (PQcancelStatus). */
export function cancelStatus(cancel: CancelConn): ConnectionStatus {
  return cancel.connectionStatus;
}

/** As `socket` (PQcancelSocket). */
export function cancelSocket(cancel: CancelConn): number {
  return cancel.descriptor;
}

/** What went wrong (PQcancelErrorMessage), without the newline of libpq's; empty if nothing did. */
export function cancelErrorMessage(cancel: CancelConn): string {
  return cancel.errorText;
}

/** Closes its socket and makes it ready to be sent again (PQcancelReset). */
export function cancelReset(cancel: CancelConn): void {
  cancel.reset();
}

/** Gives it up, if it has not been sent yet, and lets go of everything (PQcancelFinish). */
export function cancelFinish(cancel: CancelConn): void {
  cancel.finish();
}

function failure(message: string): OperationError {
  return new OperationError(message, { code: "client.not_connected", sqlstate: "08003", source: "internal" });
}
