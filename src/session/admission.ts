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
export type AdmissionState = "ok" | "starting" | "shutting_down" | "recovering" | "too_many";

/** What the process as a whole is doing. */
export type RunState = "starting" | "running" | "shutting_down" | "recovering";

export interface AdmissionLimits {
  /** Sessions of ordinary users. */
  readonly sessionsMax: number;
  /** Further sessions for administrators. */
  readonly reserved: number;
}

/** Connections in login may be this many times the sessions (postmaster.c MaxLivePostmasterChildren). */
const loginFactor = 2;

export class Admission {
  state: RunState = "starting";
  limits: AdmissionLimits;
  readonly #inLogin = new Set<object>();
  readonly #sessions = new Set<object>();

  constructor(limits: AdmissionLimits) {
    this.limits = limits;
  }

  get loginCount(): number {
    return this.#inLogin.size;
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  get loginMax(): number {
    return loginFactor * (this.limits.sessionsMax + this.limits.reserved);
  }

  /** A connection has come. False: it is a dead end and does not count. */
  beginLogin(login: object): boolean {
    if (this.#inLogin.size >= this.loginMax) return false;
    this.#inLogin.add(login);
    return true;
  }

  endLogin(login: object): void {
    this.#inLogin.delete(login);
  }

  /** What a client is told that wants to log in; states of the system come before the count. */
  check(counted: boolean): AdmissionState {
    if (this.state === "shutting_down") return "shutting_down";
    if (this.state === "starting") return "starting";
    if (this.state === "recovering") return "recovering";
    return counted ? "ok" : "too_many";
  }

  /** A client has proved who it is. False: no place is left. */
  beginSession(session: object, isAdministrator: boolean): boolean {
    assert(!this.#sessions.has(session), "a session begins once");
    const max = this.limits.sessionsMax + (isAdministrator ? this.limits.reserved : 0);
    if (this.#sessions.size >= max) return false;
    this.#sessions.add(session);
    return true;
  }

  /** The place of a login becomes that of its session, whatever the limits are by now. */
  handOver(login: object, session: object): void {
    const counted = this.#sessions.delete(login);
    assert(counted, "a session takes the place of its login");
    this.#sessions.add(session);
  }

  endSession(session: object): void {
    this.#sessions.delete(session);
  }
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
