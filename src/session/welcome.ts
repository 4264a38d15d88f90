/**
 * What a new client is told about its session, and the settings it starts with.
 *
 * Usually everything is known from earlier servers and no server is needed. A pool that has had none yet, or
 * a startup setting whose reported form is not known (`datestyle=german` becomes `German, DMY`), needs one:
 * it is leased, the settings are applied and read back, and it is given back. So a wrong value is refused at
 * login in the server's own words, and only values that a server has reported are ever applied later.
 *
 * In auto mode the client is then found a home (auto/homes.ts), whose process id it is told.
 */
import { assert } from "../base/assert.ts";
import { type Failure, PeerError } from "../base/errors.ts";
import { fingerprintRow, userOf } from "../pool/defaults.ts";
import { ParameterVector, settingsQueries, type Welcome } from "../pool/parameters.ts";
import type { Pool } from "../pool/pool.ts";
import { Handling, Request } from "../pool/replies.ts";
import type { Server, ServerOwner } from "../pool/server.ts";
import { askUnseen, rowsOf } from "../pool/unseen.ts";
import type { Waiter } from "../pool/waiters.ts";
import { nameBytesMax } from "../wire/constants.ts";
import { decodeBackend } from "../wire/decode-backend.ts";
import { encodeParameterStatus } from "../wire/encode-backend.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";
import type { HomeSearch, Homes } from "./auto/homes.ts";

export interface WelcomeListener {
  /** `home`: in auto mode, the client's home, if there is one for it. */
  onWelcome(welcome: Welcome, home: Server | undefined): void;
  onWelcomeFailed(failure: Failure): void;
  onLongWait(): void;
}

/** A client whose login lost this many servers is told so. */
const serversLostMax = 3;
/** Whoever finds so often that defaults have just been altered takes them as they are. */
const renewalsMax = 3;

export class WelcomeRequest implements Waiter, ServerOwner {
  readonly queryWaitTimeoutMs: number | undefined;
  readonly #pool: Pool;
  readonly #clientId: number;
  readonly #requested: ReadonlyMap<string, string>;
  readonly #listener: WelcomeListener;
  /** In auto mode. */
  readonly #homes: Homes | undefined;
  #search: HomeSearch | undefined;
  #server: Server | undefined;
  #serversLost = 0;
  #renewals = 0;
  /** The defaults of new sessions are not those that are known. */
  #defaultsAltered = false;
  #decided = false;
  #over = false;

  /** `requested`: tracked startup settings, the reported name and the value as the client sent it. */
  constructor(
    client: { readonly id: number; readonly queryWaitTimeoutMs: number | undefined },
    pool: Pool,
    homes: Homes | undefined,
    requested: ReadonlyMap<string, string>,
    listener: WelcomeListener,
  ) {
    this.#clientId = client.id;
    this.#pool = pool;
    this.queryWaitTimeoutMs = client.queryWaitTimeoutMs;
    this.#homes = homes;
    this.#requested = requested;
    this.#listener = listener;
    // While a server is closed, or another is waited for, there may be nothing else that keeps the pool from being forgotten.
    pool.logins++;
  }

  /** Answers the listener, now or later. */
  start(): void {
    if (this.#awaitsDecisions() || (!this.#mustLook && this.#remember())) return;
    const server = this.#pool.lease(this);
    if (server !== undefined) this.onLeased(server);
  }

  /** What has just been done may have altered the defaults of new sessions: that is waited for, once. */
  #awaitsDecisions(): boolean {
    if (this.#homes === undefined || this.#decided) return false;
    this.#decided = true;
    return this.#pool.defaults.awaitDecisions(() => {
      if (!this.#over) this.start();
    });
  }

  /** Whether a server has to be asked for the defaults of new sessions. Nobody waits for one that others have. */
  get #mustLook(): boolean {
    const { defaults, handsOut, nextIdle, size } = this.#pool;
    return this.#homes !== undefined && handsOut && defaults.stale && (nextIdle !== undefined || size === 0);
  }

  /** Answers by what is known from earlier servers, if that is enough. */
  #remember(): boolean {
    const known = this.#fromMemory();
    if (known === undefined) return false;
    this.#over = true;
    this.#findHome(known);
    return true;
  }

  /** The client is gone, and was not answered. */
  abort(): void {
    this.#pool.logins--;
    this.#search?.abandon();
    this.#search = undefined;
    if (this.#over) return;
    this.#over = true;
    const server = this.#server;
    if (server === undefined) {
      this.#pool.cancelWait(this);
      return;
    }
    this.#server = undefined;
    server.owner = undefined;
    if (!server.closed) this.#pool.discard(server, "client left while logging in");
  }

  /**
   * Clears away what an earlier client has set here, then applies what this one asked for: `DMY` on its own
   * means something else on a server that somebody has set to German dates.
   */
  onLeased(server: Server): void {
    this.#server = server;
    server.owner = this;
    const { tracked } = server.parameters;
    const base = ParameterVector.of(this.#base(server));
    const target = ParameterVector.copyOf(base);
    for (const [name, value] of this.#requested) target.set(name, value);
    const queries = tracked.equals(base)
      ? settingsQueries(base, target)
      : [...settingsQueries(tracked, base), ...settingsQueries(base, target)];
    for (const query of queries) {
      server.replies.push(Request.query, Handling.swallow);
      server.unnamed = undefined;
      server.transport.write(query);
    }
    tracked.replaceUntracked(new Map(), server.connection.parameters);
    if (this.#homes !== undefined && this.#pool.defaults.stale) this.#askFingerprint(server);
    else if (queries.length === 0) this.#succeed(server);
  }

  #askFingerprint(server: Server): void {
    const { defaults } = this.#pool;
    const query = encodeQuery(fingerprintRow(userOf(server)));
    const answered = (): void => undefined;
    askUnseen(server, query, answered, (bytes) => {
      for (const [, , fingerprint = null] of rowsOf(bytes))
        this.#defaultsAltered = !defaults.see(fingerprint);
    });
  }

  /** Begins anew, on a server that has what new sessions have. */
  #renewDefaults(server: Server): void {
    this.#renewals++;
    this.#defaultsAltered = false;
    this.#pool.defaults.renew();
    this.#give(server);
    this.#over = false;
    this.start();
  }

  onLeaseFailed(failure: Failure): void {
    // It was only to be asked whether what is known still holds.
    if (this.#remember()) return;
    this.#over = true;
    this.#fail(failure);
  }

  onLongWait(): void {
    this.#listener.onLongWait();
  }

  onReplies(): boolean {
    return true;
  }

  onSettled(): void {
    const server = this.#server;
    assert(server !== undefined, "replies come from a server that is held");
    const error = server.replies.takeSwallowedError();
    if (this.#defaultsAltered && this.#renewals < renewalsMax) {
      this.#renewDefaults(server);
      return;
    }
    if (error === undefined) {
      this.#succeed(server);
      return;
    }
    const message = decodeBackend(error, 0, error.length);
    assert(message.kind === "ErrorResponse", "what was swallowed is an error");
    this.#give(server);
    const { code: sqlstate, detail, hint } = message.fields;
    this.#fail(
      new PeerError(message.fields.message, {
        code: "session.startup_parameter",
        sqlstate,
        source: "server",
        ...(detail === undefined ? {} : { detail }),
        ...(hint === undefined ? {} : { hint }),
      }),
    );
  }

  onParameter(): void {
    // Read from the server when all replies are in.
  }

  onDropped(): void {
    // Nothing of this client is prepared yet.
  }

  onServerDrain(): void {
    // A few hundred bytes never fill a socket.
  }

  /** An idle server may have died unnoticed. The client has not been told anything yet: another one serves it. */
  onServerLost(failure: Failure): void {
    this.#server = undefined;
    if (this.#over) return;
    if (++this.#serversLost < serversLostMax) {
      this.start();
      return;
    }
    this.#over = true;
    this.#fail(failure);
  }

  #succeed(server: Server): void {
    const values = new Map<string, string>();
    for (const [name, value] of this.#requested) {
      const reported = server.parameters.tracked.get(name);
      if (reported !== undefined) this.#pool.welcomes.canonical.set(canonicalKey(name, value), reported);
      values.set(name, reported ?? value);
    }
    const welcome = this.#compose(this.#base(server), values);
    this.#give(server);
    this.#findHome(welcome);
  }

  #give(server: Server): void {
    this.#over = true;
    this.#server = undefined;
    server.owner = undefined;
    this.#pool.release(server, false);
  }

  #findHome(welcome: Welcome): void {
    if (this.#homes === undefined) {
      this.#answer(welcome, undefined);
      return;
    }
    this.#search = this.#homes.search(this.#clientId, (home) => {
      this.#search = undefined;
      this.#answer(welcome, home);
    });
  }

  #answer(welcome: Welcome, home: Server | undefined): void {
    this.#pool.logins--;
    this.#listener.onWelcome(welcome, home);
  }

  #fail(failure: Failure): void {
    this.#pool.logins--;
    this.#listener.onWelcomeFailed(failure);
  }

  /** What a session has that asks for nothing. Never the leased server's present values: others have set those. */
  #base(server: Server): ReadonlyMap<string, string> {
    return this.#pool.welcome ?? new Map(server.parameters.entries());
  }

  #fromMemory(): Welcome | undefined {
    const base = this.#pool.welcome;
    if (base === undefined) return undefined;
    const known = this.#pool.welcomes.told.get(this.#key());
    if (known?.base === base) return known;
    const values = new Map<string, string>();
    for (const [name, value] of this.#requested) {
      const reported = base.get(name) === value ? value : this.#canonical(name, value);
      if (reported === undefined) return undefined;
      values.set(name, reported);
    }
    return this.#compose(base, values);
  }

  /** The startup settings as one text. */
  #key(): string {
    let key = "";
    for (const [name, value] of this.#requested) key += `${name}\0${value}\0`;
    return key;
  }

  #canonical(name: string, value: string): string | undefined {
    if (name === "application_name" && isPlainName(value)) return value;
    return this.#pool.welcomes.canonical.get(canonicalKey(name, value));
  }

  /** `values`: what was asked for, as the server reports it. */
  #compose(base: ReadonlyMap<string, string>, values: ReadonlyMap<string, string>): Welcome {
    const reported = new Map([...base, ...values]);
    const messages = [...reported].map(([name, value]) => encodeParameterStatus(name, value));
    const vector = ParameterVector.of(reported);
    vector.defaults = this.#pool.defaults.current;
    const welcome = { base, vector, messages: Buffer.concat(messages) };
    this.#pool.welcomes.told.set(this.#key(), welcome);
    return welcome;
  }
}

function canonicalKey(name: string, value: string): string {
  return `${name}\0${value}`;
}

/** A name that the server keeps as it is (guc.c check_application_name, NAMEDATALEN). */
function isPlainName(value: string): boolean {
  return value.length <= nameBytesMax && /^[\x20-\x7e]*$/.test(value);
}
