/** The console of a running pooler: what it knows of the nodes, and what it is told about one. */
import type { ConnectOptions } from "../client/conninfo/options.ts";
import { SimpleClient } from "../client/simple.ts";
import { recoveryError } from "./errors.ts";

/** A row of SHOW NODES. */
export interface NodeRow {
  readonly name: string;
  readonly role: string | null;
  readonly state: string;
  readonly primary: boolean;
  readonly timeline: string | null;
  readonly reason: string;
}

export class PoolerConsole implements AsyncDisposable {
  readonly #client: SimpleClient;
  /** Where it is, for people. */
  readonly place: string;

  private constructor(client: SimpleClient, place: string) {
    this.#client = client;
    this.place = place;
  }

  /** Rejects with `recovery.console`. */
  static async connect(options: ConnectOptions, signal: AbortSignal): Promise<PoolerConsole> {
    const place = options.hosts.map(({ host, port }) => `${host}:${port}`).join(",");
    try {
      return new PoolerConsole(await SimpleClient.connect(options, { signal }), place);
    } catch (error) {
      signal.throwIfAborted();
      throw recoveryError("recovery.console", `the pooler's console at ${place} cannot be reached`, {
        detail: error instanceof Error ? error.message : String(error),
        hint: "Name it with --console (a connection string of an admin user), or leave the pooler out with --no-attach and --from.",
        cause: error,
      });
    }
  }

  async nodes(): Promise<NodeRow[]> {
    const { columns, rows } = await this.#client.query("SHOW NODES");
    return rows.map((row) => {
      const value = (name: string): string | null => row[columns.indexOf(name)] ?? null;
      return {
        name: value("name") ?? "",
        role: value("role"),
        state: value("state") ?? "",
        primary: value("primary") === "1",
        timeline: value("timeline"),
        reason: value("reason") ?? "",
      };
    });
  }

  /** Rejects with `recovery.console` if it has no such node. */
  async node(name: string): Promise<NodeRow> {
    const row = (await this.nodes()).find((node) => node.name === name);
    if (row !== undefined) return row;
    throw recoveryError("recovery.console", `the pooler at ${this.place} has no node "${name}"`);
  }

  /** `DETACH`, `ATTACH`, `UNFENCE`. Rejects with what the console says. */
  async tell(command: "DETACH" | "ATTACH" | "UNFENCE", node: string): Promise<void> {
    await this.#client.query(`${command} "${node.replaceAll('"', '""')}"`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }
}
