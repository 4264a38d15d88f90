/**
 * Connections for the pooler's own questions to PostgreSQL: who a user is, and in which roles. They are none of
 * the pools': nothing of a client's, neither its settings nor its startup options, ever gets to them
 * (CVE-2025-12819 was a `search_path` that did), and they wait for no client to give a server back.
 *
 * A few for each place and user, opened when they are needed and closed when nobody has needed them for a while.
 * When all of them are busy, a question is sent behind another one.
 */
import type { Clock } from "../base/clock.ts";
import { OperationError } from "../base/errors.ts";
import { connect } from "../client/connect.ts";
import type { Connection } from "../client/connection.ts";
import type { ConnectOptions } from "../client/conninfo/options.ts";

/** For one place and user. Logins wait for answers that take a millisecond; more would take servers from clients. */
const connectionsMax = 4;
/** Over all places; one that is idle makes room. Those that are busy are as many as logins may be under way. */
const connectionsMaxInAll = 64;

/** Rows as text. */
export type TextRows = readonly (readonly (string | null)[])[];

interface Entry {
  readonly key: string;
  readonly connection: Promise<Connection>;
  busy: number;
  usedAtMs: number;
  /** It has answered once: if it is lost from now on, that may have been a long time ago. */
  proven: boolean;
}

export class LookupConnections {
  readonly #clock: Clock;
  readonly #entries = new Set<Entry>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  /**
   * Rejects with what the server or the connection to it says, or after `timeoutMs`. One that the server has
   * closed while it was idle is replaced unseen.
   */
  async query(
    options: ConnectOptions,
    text: string,
    values: readonly string[],
    timeoutMs: number,
  ): Promise<TextRows> {
    const known = this.#pick(options);
    const { proven } = known;
    try {
      return await this.#ask(known, text, values, timeoutMs);
    } catch (error) {
      const lost = error instanceof OperationError && error.code === "client.connection_lost";
      if (!proven || !lost) throw error;
    }
    return await this.#ask(this.#open(JSON.stringify(options), options), text, values, timeoutMs);
  }

  /** Closes what nobody has used for so long. */
  closeIdle(idleMs: number): void {
    for (const entry of this.#entries) {
      if (entry.busy === 0 && this.#clock.now() - entry.usedAtMs >= idleMs) this.#close(entry);
    }
  }

  /** Closes everything, what is busy once it has its answer: the configuration has changed, or the end has come. */
  retire(): void {
    for (const entry of [...this.#entries]) this.#close(entry);
  }

  async #ask(entry: Entry, text: string, values: readonly string[], timeoutMs: number): Promise<TextRows> {
    entry.busy++;
    try {
      const connection = await entry.connection;
      const signal = AbortSignal.timeout(timeoutMs);
      const { rows, columns } = await connection.query(text, values, { rowMode: "text", signal });
      entry.proven = true;
      return columns.length === 0 ? [] : rows;
    } finally {
      entry.busy--;
      entry.usedAtMs = this.#clock.now();
    }
  }

  #pick(options: ConnectOptions): Entry {
    const key = JSON.stringify(options);
    const own = [...this.#entries].filter((entry) => entry.key === key);
    const least = own.sort((a, b) => a.busy - b.busy)[0];
    if (least !== undefined && (least.busy === 0 || own.length >= connectionsMax)) return least;
    return this.#open(key, options);
  }

  #open(key: string, options: ConnectOptions): Entry {
    if (this.#entries.size >= connectionsMaxInAll) {
      const idle = [...this.#entries].filter(({ busy }) => busy === 0);
      const oldest = idle.sort((a, b) => a.usedAtMs - b.usedAtMs)[0];
      if (oldest !== undefined) this.#close(oldest);
    }
    // Unnamed statements: the place may be another pooler.
    const connection = connect(options, { prepareThreshold: Infinity });
    const entry: Entry = { key, connection, busy: 0, usedAtMs: this.#clock.now(), proven: false };
    this.#entries.add(entry);
    const forget = (): void => void this.#entries.delete(entry);
    connection.then((open) => open.closed.then(forget), forget);
    return entry;
  }

  /** Queries that are under way are answered first. */
  #close(entry: Entry): void {
    this.#entries.delete(entry);
    void entry.connection.then((open) => open.close()).catch(() => undefined);
  }
}
