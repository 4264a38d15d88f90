/**
 * Asks one node how it is, over a connection of its own that stays open in between. Each question has a deadline,
 * connecting included; a connection that missed it is not used again.
 */

import type { ConnectOptions } from "../client/conninfo/options.ts";
import { ConnectError, ServerError } from "../client/errors.ts";
import { SimpleClient } from "../client/simple.ts";
import { type ProbeResult, probeQuery, probeReport } from "../cluster/index.ts";

export class NodeProbe {
  readonly #options: () => ConnectOptions;
  readonly #now: () => number;
  #client: SimpleClient | undefined;
  #abort: AbortController | undefined;

  /** `options`: asked for each new connection. `now`: in milliseconds. */
  constructor(options: () => ConnectOptions, now: () => number) {
    this.#options = options;
    this.#now = now;
  }

  /** A question is on its way. */
  get busy(): boolean {
    return this.#abort !== undefined;
  }

  /** Never rejects. */
  async ask(timeoutMs: number): Promise<ProbeResult> {
    const begunMs = this.#now();
    try {
      const rows = await this.query(probeQuery, timeoutMs);
      const report = rows[0] === undefined ? undefined : probeReport(rows[0]);
      if (report !== undefined) return { kind: "answer", report, latencyMs: this.#now() - begunMs };
      return { kind: "error", sqlstate: "XX000", message: "it does not answer as PostgreSQL does" };
    } catch (error) {
      return resultOf(error);
    }
  }

  /** Runs a query of text results on the same connection. Rejects with what went wrong. */
  async query(sql: string, timeoutMs: number): Promise<readonly (readonly (string | null)[])[]> {
    const abort = new AbortController();
    this.#abort = abort;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      abort.abort();
    }, timeoutMs);
    try {
      if (this.#client?.usable !== true) {
        this.#client = await SimpleClient.connect(this.#options(), { signal: abort.signal });
      }
      const { transport } = this.#client.connection;
      abort.signal.addEventListener("abort", () => transport.destroy(), { once: true });
      if (abort.signal.aborted) throw new ProbeTimeout();
      return (await this.#client.query(sql)).rows;
    } catch (error) {
      if (late) throw new ProbeTimeout();
      throw error;
    } finally {
      clearTimeout(timer);
      this.#abort = undefined;
    }
  }

  /** The next question goes over a new connection. */
  reconnect(): void {
    this.#abort?.abort();
    const client = this.#client;
    this.#client = undefined;
    void client?.close();
  }
}

class ProbeTimeout extends Error {
  override readonly message: string = "did not answer in time";
}

/** What an error says about the node. */
function resultOf(error: unknown): ProbeResult {
  if (error instanceof ProbeTimeout) return { kind: "timeout" };
  if (error instanceof ServerError) {
    return { kind: "error", sqlstate: error.sqlstate, message: error.message };
  }
  if (error instanceof ConnectError) {
    const refusal = error.serverError;
    if (refusal !== undefined) return { kind: "error", sqlstate: refusal.code, message: refusal.message };
    if (error.code === "client.connect_timeout") return { kind: "timeout" };
    if (codeOf(error.cause) === "ECONNREFUSED") return { kind: "refused" };
  }
  return { kind: "unreachable", detail: error instanceof Error ? error.message : String(error) };
}

function codeOf(error: unknown): unknown {
  return typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
}
