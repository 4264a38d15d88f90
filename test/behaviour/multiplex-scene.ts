/** Units of several clients in the pipeline of one server, whose replies are held: what stands between is message-proxy.ts. */
import { expect } from "vitest";
import type { Lab } from "../../src/lab/index.ts";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { waitUntil } from "../kit/wait.ts";
import { MessageProxy, type ProxiedServer } from "./message-proxy.ts";
import { type Client, Pooled, type PooledOptions, query } from "./pooled.ts";

/** A pooler in auto mode behind a proxy, and clients. */
export class Scene implements AsyncDisposable {
  readonly proxy: MessageProxy;
  readonly pooled: Pooled;
  readonly #options: PooledOptions;
  readonly #clients: Client[] = [];

  private constructor(proxy: MessageProxy, pooled: Pooled, options: PooledOptions) {
    this.proxy = proxy;
    this.pooled = pooled;
    this.#options = options;
  }

  static async start(lab: Lab, size: number, options: PooledOptions = {}): Promise<Scene> {
    const proxy = await MessageProxy.start(lab.primary);
    const whole = {
      ...options,
      node: { host: proxy.host, port: proxy.port },
      settings: {
        pool_mode: "auto",
        default_pool_size: size,
        admin_users: ["postgres"],
        // However long statements take on this machine, many get into a pipeline.
        multiplex_latency: 0.5,
        ...options.settings,
      },
    };
    return new Scene(proxy, await Pooled.start(lab, whole), whole);
  }

  /** From now on there may be so many servers. */
  async resize(size: number): Promise<void> {
    const { settings } = this.#options;
    await this.pooled.reload({ ...this.#options, settings: { ...settings, default_pool_size: size } });
  }

  async connect(count: number, database = "postgres"): Promise<Client[]> {
    const clients = await Promise.all(Array.from({ length: count }, () => this.pooled.connect({ database })));
    this.#clients.push(...clients);
    return clients;
  }

  /** A figure of SHOW MULTIPLEX, summed over all pools. */
  async figure(name: string): Promise<number> {
    using console = await this.pooled.connect({ database: "pgbouncer" });
    const { messages, rows } = await console.run("show multiplex");
    const description = messages.find((message) => message.kind === "RowDescription");
    const names =
      description?.kind === "RowDescription" ? description.columns.map((column) => column.name) : [];
    expect(names).toContain(name);
    return rows.reduce((sum, row) => sum + Number(row[names.indexOf(name)]), 0);
  }

  /** How long a unit may be in front is what its kind has needed, which on a busy machine may be much: until one has been there for longer. */
  async untilStuck(): Promise<void> {
    await waitUntil(async () => (await this.figure("stuck")) === 1, "a server is taken for stuck");
  }

  /** Runs the statement until it is known to be brief, and shares. `run`: how, if it is not a Query of a client that comes for it. */
  async warm(sql: string, run?: () => Promise<unknown>): Promise<void> {
    const before = await this.figure("units");
    await waitUntil(async () => {
      if (run === undefined) {
        using client = await this.pooled.connect();
        await client.value(sql);
      } else await run();
      return (await this.figure("units")) > before;
    }, `shared: ${sql}`);
  }

  /**
   * Has one statement of each client in the pipeline of one server, whose replies are held: client 0 asks for 'round.0', and so on.
   * Where one has come too late to join, or has a server for itself, because what is known of its kind begins anew with the
   * catalogs, it is tried again.
   */
  async pipeline(
    clients: readonly Client[],
    ask: (text: string) => readonly FrontendMessage[] = (text) => [query(text)],
  ): Promise<{ readonly link: ProxiedServer; readonly texts: string[] }> {
    for (let round = 0; ; round++) {
      expect(round, "all get into one pipeline").toBeLessThan(50);
      const texts = clients.map((_client, index) => `select '${round}.${index}'`);
      const waited = await this.figure("waited");
      this.proxy.hold();
      for (const [index, client] of clients.entries()) client.send(...ask(texts[index] ?? ""));
      const sent = (): number => texts.filter((text) => this.proxy.countOf(text) > 0).length;
      await waitUntil(
        async () => sent() === clients.length || sent() + (await this.figure("queued")) === clients.length,
        `all are sent or wait, ${waited} waited before`,
      );
      const link = this.proxy.linkOf(texts[0] ?? "");
      const shares = (await this.figure("depth")) === clients.length;
      if (shares && link !== undefined && texts.every((text) => link.countOf(text) === 1))
        return { link, texts };
      this.proxy.release();
      for (const client of clients) expect((await client.outcome()).error).toBeUndefined();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.pooled[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
  }
}

/** Each client has the answer to its own statement. */
export async function expectAnswers(clients: readonly Client[], texts: readonly string[]): Promise<void> {
  for (const [index, client] of clients.entries()) {
    const { rows, error } = await client.outcome();
    expect(error).toBeUndefined();
    expect(rows).toEqual([[/'(.*)'/.exec(texts[index] ?? "")?.[1]]]);
  }
}
