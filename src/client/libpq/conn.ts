/**
 * A connection as libpq's calls see it (PGconn): its settings, which stay the same for every reset, and the
 * attempt that polls drive. The functions in connect.ts and facts.ts are its public face.
 */
import { randomBytes } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { assert } from "../../base/assert.ts";
import { OperationError } from "../../base/errors.ts";
import type { ConnectOptions } from "../conninfo/options.ts";
import { Attempt } from "../handshake/attempt.ts";
import type { AttemptOptions, OpenOptions } from "../handshake/attempt-options.ts";
import type { HandshakeResult } from "../handshake/demands.ts";
import type { CancelTarget, OpenConnection } from "../handshake/driver.ts";
import { Handshake } from "../handshake/handshake.ts";
import type { Resolve } from "../handshake/resolve.ts";
import type { ConnectedEndpoint } from "../handshake/targets.ts";
import { Polled, pollingStatusOf } from "./polled.ts";
import type { Settings, SettingsOutcome } from "./settings.ts";
import { TraceWitness } from "./witness.ts";

/** A session that has left libpq's calls, with the options it was made by. */
export interface TakenConnection extends OpenConnection {
  readonly options: ConnectOptions;
}

/** A session that something may be cancelled in: a TakenConnection has all of it. */
export interface CancelSource extends CancelTarget {
  readonly options: ConnectOptions;
}

/** How long the calls that wait by themselves do so at most; see OpenOptions. */
export type WaitOptions = Pick<OpenOptions, "signal" | "timeoutMs">;

/**
 * A connection that is made step by step. It is opaque: hand it to the functions of this module. Every one is
 * owed a `finish`, also after a failure; `using` does that as well.
 */
export class Conn extends Polled {
  /** @internal Undefined if they were wrong. */
  readonly settings: Settings | undefined;
  /** @internal */
  readonly witness: TraceWitness = new TraceWitness();
  readonly #resolve: Resolve | undefined;
  #machine: Handshake | undefined;
  #hostOrder: readonly number[] | undefined;

  /** @internal */
  constructor(outcome: SettingsOutcome, resolve: Resolve | undefined) {
    super();
    this.settings = outcome.settings;
    this.fault = outcome.fault;
    this.#resolve = resolve;
  }

  /** @internal Lets go of what there is and begins anew, to be polled. False if it has failed at once. */
  start(): boolean {
    const attempt = this.#prepare({ stepped: true });
    return attempt !== undefined && attempt.poll() !== "failed";
  }

  /** @internal The same, without anybody polling. Never rejects. */
  async complete(wait: WaitOptions): Promise<"ok" | "failed"> {
    const attempt = this.#prepare({ ...wait, kept: true });
    return attempt === undefined ? "failed" : pollingStatusOf(await attempt.run());
  }

  /** @internal What the login has brought, while the session is open. */
  get session(): HandshakeResult | undefined {
    const end = this.attempt?.end;
    return end?.kind === "session" && this.connectionStatus === "OK" ? end.result : undefined;
  }

  /** @internal Undefined if no session is open. */
  get cancelSource(): CancelSource | undefined {
    const { session, settings } = this;
    return session && settings && { ...session, options: settings.options };
  }

  /** @internal Whether the server has asked for a password. */
  get passwordNeeded(): boolean {
    return this.attempt !== undefined && this.#machine?.passwordNeeded === true;
  }

  /** @internal The host that is being tried, or was last. */
  get endpoint(): ConnectedEndpoint | undefined {
    return this.attempt?.endpoint;
  }

  /** @internal */
  get tlsSocket(): TLSSocket | undefined {
    return this.attempt?.tlsSocket;
  }

  /** @internal */
  take(): TakenConnection {
    const { attempt, session, settings } = this;
    if (attempt === undefined || session === undefined) {
      throw new OperationError("there is no open connection to take", {
        code: "client.not_connected",
        sqlstate: "08003",
        source: "internal",
      });
    }
    assert(settings !== undefined, "a session was made by settings");
    const transport = attempt.take();
    this.finish();
    return { ...session, transport, options: settings.options };
  }

  #prepare(how: AttemptOptions): Attempt | undefined {
    this.close();
    if (this.finished || this.settings === undefined) return undefined;
    const { options } = this.settings;
    this.fault = undefined;
    try {
      const hostOrder = this.#hostOrder;
      this.#machine = new Handshake(options, { random: randomBytes, hostOrder });
    } catch (error) {
      this.fault = error;
      return undefined;
    }
    // libpq shuffles the hosts when it reads them, not at every reset.
    this.#hostOrder = this.#machine.hostOrder;
    this.attempt = new Attempt(this.#machine, options, {
      ...how,
      resolve: this.#resolve,
      witness: this.witness,
    });
    return this.attempt;
  }
}
