/**
 * PostgreSQL's limits on a session that does nothing, for a client that has no server: nobody else knows of them then.
 * `idle_session_timeout` counts outside of transactions, the others in one whose BEGIN is held back. As soon as a client
 * has a server its settings are there, and PostgreSQL sees to them (postgres.c PostgresMain, ProcessInterrupts).
 */
import { OperationError } from "../../base/errors.ts";
import type { ParameterVector } from "../../pool/parameters.ts";
import { TransactionStatus } from "../../wire/constants.ts";
import type { Activity } from "../activity.ts";
import type { LoginDefaults } from "./login-defaults.ts";
import type { SignalTarget } from "./pids.ts";

/** Clients that have limits; everybody else is not looked at. */
export class TimedClients {
  readonly #clients = new Set<ClientTimeouts>();

  /** `limited`: it has limits now. */
  note(client: ClientTimeouts, limited: boolean): void {
    if (limited) this.#clients.add(client);
    else this.#clients.delete(client);
  }

  tick(nowMs: number): void {
    for (const client of this.#clients) client.tick(nowMs);
  }
}

interface HeldTransaction {
  readonly status: TransactionStatus;
  /** A standby's server has it, and sees to its limits. */
  readonly isElsewhere: boolean;
}

interface TimedClient {
  readonly parameters: ParameterVector;
  readonly defaults: LoginDefaults;
  readonly activity: Activity;
  readonly target: SignalTarget;
}

export class ClientTimeouts {
  readonly #client: TimedClient;
  readonly #begin: HeldTransaction;
  readonly #timed: TimedClients;
  /** Milliseconds; 0: none. */
  #idleSession = 0;
  #idleInTransaction = 0;
  #transaction = 0;

  /** `begin`: the status of the client's transaction while it has no server. */
  constructor(client: TimedClient, begin: HeldTransaction, timed: TimedClients) {
    this.#client = client;
    this.#begin = begin;
    this.#timed = timed;
  }

  /** The client has set a limit on its session that would end a server which nobody has. */
  get endsServer(): boolean {
    return this.#idleSession > 0 && this.#client.parameters.get(idleSessionTimeout) !== undefined;
  }

  tick(nowMs: number): void {
    const { activity, target } = this.#client;
    if (target.ownServer !== undefined || this.#begin.isElsewhere || activity.queryStartMs !== 0) return;
    const failure = this.#exceeded(activity, nowMs);
    if (failure !== undefined) target.fail(failure);
  }

  #exceeded({ idleSinceMs, xactStartMs }: Activity, nowMs: number): OperationError | undefined {
    const idleMs = nowMs - idleSinceMs;
    const begun = this.#begin.status !== TransactionStatus.idle;
    if (!begun) return isOver(idleMs, this.#idleSession) ? idleSession() : undefined;
    if (isOver(nowMs - xactStartMs, this.#transaction)) return transaction();
    return isOver(idleMs, this.#idleInTransaction) ? idleInTransaction() : undefined;
  }

  /** The client is gone. */
  end(): void {
    this.#timed.note(this, false);
  }

  /** To be called when it has other settings. */
  refresh(): void {
    const client = this.#client;
    this.#idleSession = valueOf(client, idleSessionTimeout);
    this.#idleInTransaction = valueOf(client, idleInTransactionTimeout);
    this.#transaction = valueOf(client, transactionTimeout);
    this.#timed.note(this, this.#idleSession + this.#idleInTransaction + this.#transaction > 0);
  }
}

const idleSessionTimeout = "idle_session_timeout";
const idleInTransactionTimeout = "idle_in_transaction_session_timeout";
const transactionTimeout = "transaction_timeout";

/** Whether the client has any of these limits. */
export function isLimited(client: Pick<TimedClient, "parameters" | "defaults">): boolean {
  if (valueOf(client, idleSessionTimeout) > 0 || valueOf(client, idleInTransactionTimeout) > 0) return true;
  return valueOf(client, transactionTimeout) > 0;
}

/** In milliseconds, as pg_settings has it. */
function valueOf(
  { parameters, defaults }: Pick<TimedClient, "parameters" | "defaults">,
  name: string,
): number {
  return Number(parameters.get(name) ?? defaults.value(name) ?? 0);
}

const isOver = (elapsedMs: number, limitMs: number): boolean => limitMs > 0 && elapsedMs >= limitMs;

const idleSession = (): OperationError =>
  timedOut("terminating connection due to idle-session timeout", {
    code: "session.idle_session_timeout",
    sqlstate: "57P05",
  });

const idleInTransaction = (): OperationError =>
  timedOut("terminating connection due to idle-in-transaction timeout", {
    code: "session.idle_in_transaction_session_timeout",
    sqlstate: "25P03",
  });

const transaction = (): OperationError =>
  timedOut("terminating connection due to transaction timeout", {
    code: "session.transaction_timeout",
    sqlstate: "25P04",
  });

function timedOut(
  message: string,
  codes: { readonly code: string; readonly sqlstate: string },
): OperationError {
  return new OperationError(message, { ...codes, source: "client" });
}
