/** `pgsluice start` with several workers, in front of a lab, and its clients. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Lab } from "../../src/lab/index.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitToSee } from "../kit/wait.ts";
import { CliProgram, type Launch } from "./cli-program.ts";
import { table } from "./console-client.ts";
import { Client } from "./pooled.ts";

export class WorkerProgram implements AsyncDisposable {
  readonly program: CliProgram;
  readonly folder: TempFolder;
  readonly #lab: Lab;
  #port = 0;

  private constructor(lab: Lab, folder: TempFolder, launch: Launch, settings: string) {
    this.#lab = lab;
    this.folder = folder;
    this.configure(settings);
    this.program = new CliProgram(launch, "start", "--config", this.#file);
  }

  /** Two workers in transaction mode, unless the settings say otherwise. */
  static async start(lab: Lab, settings = "", launch: Launch = {}): Promise<WorkerProgram> {
    const running = new WorkerProgram(lab, await tempFolder(), launch, settings);
    const [, port] = await running.program.printed("stderr", /"port":(\d+)\},"msg":"listening"/);
    running.#port = Number(port);
    return running;
  }

  get #file(): string {
    return path.join(this.folder.path, "pgsluice.toml");
  }

  get place(): { readonly host: string; readonly port: number } {
    return { host: "127.0.0.1", port: this.#port };
  }

  /** Writes the file anew. */
  configure(settings: string): void {
    const { host, port } = this.#lab.primary;
    const workers = settings.includes("workers =") ? "" : "workers = 2";
    const poolMode = settings.includes("pool_mode =") ? "" : 'pool_mode = "transaction"';
    writeFileSync(
      this.#file,
      `[pgsluice]
listen_port = 0
auth_type = "trust"
${poolMode}
admin_users = ["postgres"]
server_tls_sslmode = "disable"
${workers}
${settings}
[nodes.main]
host = "${host}"
port = ${port}
`,
    );
  }

  connect(startup: Parameters<typeof Client.connect>[1] = {}): Promise<Client> {
    return Client.connect(this.place, startup);
  }

  console(): Promise<Client> {
    return this.connect({ database: "pgbouncer" });
  }

  #crowds = 0;
  readonly #present: Client[] = [];

  /** Whoever came with {@link clients} leaves. */
  sendAway(): void {
    for (const client of this.#present.splice(0)) client.destroy();
  }

  /** So many clients, by their worker, which the console knows. */
  async clients(count: number, user = "postgres", database = "postgres"): Promise<Map<number, Client[]>> {
    using console = await this.console();
    const crowd = ++this.#crowds;
    const clients = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        this.connect({ user, database, parameters: [["application_name", `client ${crowd}.${index}`]] }),
      ),
    );
    this.#present.push(...clients);
    const byWorker = new Map<number, Client[]>();
    for (const { application_name: name, worker } of await table(console, "show clients")) {
      const [, of, index] = /^client (\d+)\.(\d+)$/.exec(name ?? "") ?? [];
      const client = clients[Number(index)];
      if (client === undefined || Number(of) !== crowd) continue;
      const own = byWorker.get(Number(worker)) ?? [];
      byWorker.set(Number(worker), [...own, client]);
    }
    return byWorker;
  }

  /**
   * At least so many clients of each of two workers. They do not always come evenly: whoever has just left counts for a
   * moment, and a worker that is slow on a busy machine is passed over.
   */
  async clientsOfEach(
    count: number,
    user = "postgres",
    database = "postgres",
  ): Promise<[readonly Client[], readonly Client[]]> {
    const enough = (found: readonly (readonly Client[])[]): boolean =>
      found.every(({ length }) => length >= count);
    let found: [readonly Client[], readonly Client[]] = [[], []];
    await waitToSee(
      async () => {
        const clients = await this.clients(4 * count, user, database);
        found = [clients.get(1) ?? [], clients.get(2) ?? []];
        if (!enough(found)) for (const client of found.flat()) client.destroy();
        return found.map(({ length }) => length);
      },
      () => enough(found),
      `each worker has ${count} clients`,
    );
    return found;
  }

  /** Process ids of workers that can serve, by their numbers. */
  async pids(console: Client): Promise<Map<number, number>> {
    const rows = await table(console, "show workers");
    const active = rows.filter(({ state }) => state === "active");
    return new Map(active.map(({ worker, pid }) => [Number(worker), Number(pid)]));
  }

  async untilActive(console: Client, count: number): Promise<void> {
    await waitToSee(
      () => table(console, "show workers"),
      (rows) => rows.filter(({ state }) => state === "active").length === count,
      `${count} workers can serve`,
      40_000,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}

/** Clients of all workers. */
export function allOf(clients: ReadonlyMap<number, readonly Client[]>): Client[] {
  return [...clients.values()].flat();
}
