/**
 * Who is let in, as PostgreSQL's postmaster decides it (postmaster.c canAcceptConnections): first the state
 * of the system, then the count. Two limits: connections that are logging in have twice the room, because
 * some of them will fail or are about to leave; sessions are counted exactly, when one is about to begin.
 * Connections over the first limit are *dead ends*: they are read from, because they may be cancel requests,
 * and are otherwise told so and closed.
 */
import { assert } from "../base/assert.ts";
import { OperationError } from "../base/errors.ts";

/** PostgreSQL's CAC_state in words of our own configuration. */
export type AdmissionState =
  | "ok"
  | "starting"
  | "shutting_down"
  | "recovering"
  | "too_many"
  | "too_many_of_database"
  | "too_many_of_user";

/** Whose session it is. */
export interface SessionOwner {
  readonly database: string;
  readonly user: string;
}

/** What the process as a whole is doing. */
export type RunState = "starting" | "running" | "shutting_down" | "recovering";

export interface AdmissionLimits {
  /** Sessions of ordinary users. */
  readonly sessionsMax: number;
  /** Further sessions for administrators. */
  readonly reserved: number;
  /** Sessions of one database, as clients call it, and of one user; 0, or without a function: any number. */
  readonly ofDatabase?: (name: string) => number;
  readonly ofUser?: (name: string) => number;
}

/** What a client that wants a place is told. */
export type SessionVerdict = "ok" | "too_many" | "too_many_of_database" | "too_many_of_user";

/** Who counts the clients of several processes together. */
export interface SessionPlaces {
  /** `leave` gives back the place, if one was given. */
  ask(
    owner: SessionOwner,
    isAdministrator: boolean,
  ): Promise<{ readonly verdict: SessionVerdict; readonly leave: () => void }>;
}

/** Connections in login may be this many times the sessions (postmaster.c MaxLivePostmasterChildren). */
const loginFactor = 2;

export class Admission {
  state: RunState = "starting";
  limits: AdmissionLimits;
  /** These hold nobody who has left, as a Map's former tables do (base/roster.ts). */
  readonly #inLogin = new WeakSet<object>();
  #loginCount = 0;
  readonly #sessions = new WeakMap<object, SessionOwner>();
  #sessionCount = 0;
  readonly #ofDatabase = new Map<string, number>();
  readonly #ofUser = new Map<string, number>();

  readonly #elsewhere: SessionPlaces | undefined;
  /** How to give back the places that were given elsewhere. */
  readonly #leave = new WeakMap<object, () => void>();

  /** `elsewhere`: the limits on sessions are kept there. */
  constructor(limits: AdmissionLimits, elsewhere?: SessionPlaces) {
    this.limits = limits;
    this.#elsewhere = elsewhere;
  }

  get loginCount(): number {
    return this.#loginCount;
  }

  get sessionCount(): number {
    return this.#sessionCount;
  }

  get loginMax(): number {
    return loginFactor * (this.limits.sessionsMax + this.limits.reserved);
  }

  /** A connection has come. False: it is a dead end and does not count. */
  beginLogin(login: object): boolean {
    if (this.#loginCount >= this.loginMax) return false;
    this.#inLogin.add(login);
    this.#loginCount++;
    return true;
  }

  endLogin(login: object): void {
    if (this.#inLogin.delete(login)) this.#loginCount--;
  }

  /** What a client is told that wants to log in; states of the system come before the count. */
  check(counted: boolean): AdmissionState {
    if (this.state === "shutting_down") return "shutting_down";
    if (this.state === "starting") return "starting";
    if (this.state === "recovering") return "recovering";
    return counted ? "ok" : "too_many";
  }

  /**
   * A client has proved who it is and gets a place, now or, if others count as well, soon. Throws or rejects with OperationError
   * `session.not_admitted` if there is none for it.
   */
  admit(session: object, owner: SessionOwner, isAdministrator: boolean): Promise<void> | undefined {
    if (this.#elsewhere !== undefined)
      return this.#admitElsewhere(session, owner, isAdministrator, this.#elsewhere);
    const place = this.beginSession(session, owner, isAdministrator);
    if (place !== "ok") throw admissionFailure(place);
    return undefined;
  }

  async #admitElsewhere(
    session: object,
    owner: SessionOwner,
    isAdministrator: boolean,
    elsewhere: SessionPlaces,
  ): Promise<void> {
    this.#enter(session, owner);
    const { verdict, leave } = await elsewhere.ask(owner, isAdministrator);
    const gone = !this.#sessions.has(session);
    if (verdict !== "ok") {
      this.#depart(session);
      throw admissionFailure(verdict);
    }
    if (gone) leave();
    else this.#leave.set(session, leave);
  }

  /** A client has proved who it is: `ok`, or which limit leaves no place for it. */
  beginSession(session: object, owner: SessionOwner, isAdministrator: boolean): SessionVerdict {
    assert(!this.#sessions.has(session), "a session begins once");
    const max = this.limits.sessionsMax + (isAdministrator ? this.limits.reserved : 0);
    if (this.#sessionCount >= max) return "too_many";
    const { database, user } = owner;
    if (reached(this.#ofDatabase.get(database), this.limits.ofDatabase?.(database)))
      return "too_many_of_database";
    if (reached(this.#ofUser.get(user), this.limits.ofUser?.(user))) return "too_many_of_user";
    this.#enter(session, owner);
    this.#count(owner, 1);
    return "ok";
  }

  /**
   * The place of a login becomes that of its session, whatever the limits are by now. `owner`: names the same database and user, and
   * is there as long as the session is: what else the login knew of them is not kept.
   */
  handOver(login: object, session: object, owner: SessionOwner): void {
    const admitted = this.#depart(login);
    assert(admitted, "a session takes the place of its login");
    this.#enter(session, owner);
    const leave = this.#leave.get(login);
    this.#leave.delete(login);
    if (leave !== undefined) this.#leave.set(session, leave);
  }

  endSession(session: object): void {
    const owner = this.#sessions.get(session);
    if (owner === undefined) return;
    this.#depart(session);
    this.#leave.get(session)?.();
    this.#leave.delete(session);
    if (this.#elsewhere === undefined) this.#count(owner, -1);
  }

  #enter(session: object, owner: SessionOwner): void {
    this.#sessions.set(session, owner);
    this.#sessionCount++;
  }

  /** Returns whether it was there. */
  #depart(session: object): boolean {
    const departed = this.#sessions.delete(session);
    if (departed) this.#sessionCount--;
    return departed;
  }

  #count({ database, user }: SessionOwner, change: 1 | -1): void {
    add(this.#ofDatabase, database, change);
    add(this.#ofUser, user, change);
  }
}

function reached(count = 0, max = 0): boolean {
  return max > 0 && count >= max;
}

function add(counts: Map<string, number>, name: string, change: 1 | -1): void {
  const count = (counts.get(name) ?? 0) + change;
  if (count === 0) counts.delete(name);
  else counts.set(name, count);
}

/** The refusal for a state, in PostgreSQL's SQLSTATEs and, where it has them, PgBouncer's words. */
export function admissionFailure(state: Exclude<AdmissionState, "ok">): OperationError {
  switch (state) {
    case "starting":
      return refusal("the database system is starting up", "57P03");
    case "shutting_down":
      return refusal("pooler is shutting down", "57P03");
    case "recovering":
      return refusal("the database system is in recovery mode", "57P03");
    case "too_many":
      return refusal("no more connections allowed (max_client_conn)", "53300");
    case "too_many_of_database":
      return refusal("client connections exceeded (max_db_client_connections)", "53300");
    case "too_many_of_user":
      return refusal("client connections exceeded (max_user_client_connections)", "53300");
  }
}

function refusal(message: string, sqlstate: string): OperationError {
  return new OperationError(message, {
    code: "session.not_admitted",
    sqlstate,
    source: "internal",
    retrySafe: true,
  });
}
