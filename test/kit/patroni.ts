/**
 * Debian's Patroni with etcd and PostgreSQL 15 or newer, as ordinary children of the tests: folders, ports and
 * configuration of their own. Where one of them is not installed, tests that need them say so and are skipped.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, existsSync, readdirSync, readFileSync } from "node:fs";
import { chown, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "../../src/backup/processes.ts";
import { type Account, ordinaryAccount } from "../../src/lab/account.ts";
import { freePort } from "../../src/lab/ports.ts";
import { cleanEnvironment, killTree } from "../../src/lab/processes.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";
import { waitToSee, waitUntil } from "./wait.ts";

const patroni = "/usr/bin/patroni";
const etcd = ["/usr/bin/etcd", "/usr/local/bin/etcd"].find((file) => existsSync(file));
const debian = "/usr/lib/postgresql";
const programs = (existsSync(debian) ? readdirSync(debian) : [])
  .sort((a, b) => Number(b) - Number(a))
  .map((version) => path.join(debian, version, "bin"))
  .find((folder) => existsSync(path.join(folder, "pg_rewind")));

const pauseMs = 100;
const limitMs = 60_000;

/** Whether there is all of it. What is missing is said aloud once for each file that asks. */
export function hasPatroni(): boolean {
  const missing = [
    ...(existsSync(patroni) ? [] : ["patroni"]),
    ...(etcd === undefined ? ["etcd-server"] : []),
    ...(programs === undefined ? ["postgresql"] : []),
  ];
  if (missing.length > 0) {
    process.stderr.write(`not installed: ${missing.join(", ")}. Nothing is tested against Patroni\n`);
  }
  return missing.length === 0;
}

/** One PostgreSQL and the agent that minds it. */
export interface PatroniMember {
  readonly name: string;
  readonly port: number;
  readonly apiPort: number;
  readonly folder: string;
  readonly agent: ChildProcess;
}

interface Listed {
  readonly name: string;
  readonly role: string;
  readonly state: string;
}

/** Its superuser is `postgres`, whom everybody on this machine may be. */
export class PatroniCluster implements AsyncDisposable {
  readonly members: PatroniMember[] = [];
  readonly #folder: TempFolder;
  readonly #account: Account | undefined;
  #etcd: ChildProcess | undefined;
  #etcdPort = 0;

  private constructor(folder: TempFolder, account: Account | undefined) {
    this.#folder = folder;
    this.#account = account;
  }

  /** Resolves when the first of the members leads and the others follow it. */
  static async start(names: readonly string[]): Promise<PatroniCluster> {
    const folder = await tempFolder();
    const cluster = new PatroniCluster(folder, await ordinaryAccount(folder.path));
    try {
      await cluster.#startEtcd();
      for (const name of names) await cluster.#startMember(name);
      await cluster.until(() => cluster.#isWhole(names.length), "Patroni has a leader and replicas");
    } catch (error) {
      const logs = names.map((name) => readIfThere(path.join(folder.path, `${name}.log`)));
      process.stderr.write(logs.join("\n"));
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  get urls(): string[] {
    return this.members.map(({ apiPort }) => `http://127.0.0.1:${apiPort}`);
  }

  member(name: string): PatroniMember {
    const member = this.members.find((one) => one.name === name);
    if (member === undefined) throw new Error(`there is no member ${name}`);
    return member;
  }

  /** The members as Patroni lists them; none while it does not answer. */
  async list(): Promise<readonly Listed[]> {
    for (const url of this.urls) {
      const response = await fetch(`${url}/cluster`).catch(() => undefined);
      if (response?.status === 200) return ((await response.json()) as { members: Listed[] }).members;
    }
    return [];
  }

  /** As {@link waitUntil}, for what takes a while and what Patroni is asked for. */
  async until(condition: () => Promise<boolean>, what: string): Promise<void> {
    const slowly = async (): Promise<readonly Listed[] | undefined> => {
      if (await condition()) return undefined;
      return await sleep(pauseMs, this.list());
    };
    await waitToSee(slowly, (members) => members === undefined, `${what} (seen: the members)`, limitMs);
  }

  /** Who leads; undefined: nobody, or nobody is heard. */
  async leader(): Promise<string | undefined> {
    return (await this.list()).find(({ role, state }) => role === "leader" && state === "running")?.name;
  }

  /** All processes of one PostgreSQL are gone at once; its agent lives. */
  async killPostgres(name: string): Promise<void> {
    await killTree(postmasterOf(this.member(name)) ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { agent } of this.members) agent.kill("SIGTERM");
    const gone = (member: PatroniMember): boolean =>
      member.agent.exitCode !== null || member.agent.signalCode !== null;
    await waitUntil(() => this.members.every(gone), "the agents have ended", 20_000).catch(() => undefined);
    for (const member of this.members) {
      if (!gone(member)) member.agent.kill("SIGKILL");
      const postmaster = postmasterOf(member);
      if (postmaster !== undefined && isAlive(postmaster)) await killTree(postmaster);
    }
    this.#etcd?.kill("SIGKILL");
    await this.#folder[Symbol.asyncDispose]();
  }

  /** With a synchronous replica nothing is lost that was acknowledged. */
  async #isWhole(count: number): Promise<boolean> {
    const members = await this.list();
    const running = members.filter(({ state }) => state === "running" || state === "streaming");
    const roles = new Set(running.map(({ role }) => role));
    return running.length === count && roles.has("leader") && roles.has("sync_standby");
  }

  async #startEtcd(): Promise<void> {
    this.#etcdPort = await freePort();
    const peerPort = await freePort();
    const client = `http://127.0.0.1:${this.#etcdPort}`;
    const peer = `http://127.0.0.1:${peerPort}`;
    this.#etcd = await this.#spawn("etcd", etcd ?? "etcd", [
      ...["--name", "etcd", "--data-dir", path.join(this.#folder.path, "etcd")],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
      ...["--initial-cluster", `etcd=${peer}`, "--unsafe-no-fsync"],
    ]);
    await waitUntil(async () => {
      const response = await fetch(`${client}/health`).catch(() => undefined);
      return response?.status === 200;
    }, "etcd is healthy");
  }

  /** Patroni reads YAML, which JSON is. */
  async #startMember(name: string): Promise<void> {
    const [port, apiPort] = [await freePort(), await freePort()];
    const folder = path.join(this.#folder.path, name);
    await mkdir(folder, { mode: 0o700 });
    if (this.#account !== undefined) await chown(folder, this.#account.uid, this.#account.gid);
    const data = path.join(folder, "data");
    const configuration = {
      ...{ scope: "test", name },
      restapi: { listen: `127.0.0.1:${apiPort}`, connect_address: `127.0.0.1:${apiPort}` },
      etcd3: { hosts: `127.0.0.1:${this.#etcdPort}` },
      bootstrap: {
        dcs: {
          // As quick as it lets itself be made; a leader that has crashed is given up rather than started again.
          ...{ ttl: 20, loop_wait: 1, retry_timeout: 3, primary_start_timeout: 0, synchronous_mode: true },
          postgresql: {
            use_pg_rewind: true,
            parameters: { fsync: "off", wal_keep_size: "64MB", max_connections: 100 },
          },
        },
        initdb: [{ encoding: "UTF8" }, { locale: "C" }, { auth: "trust" }, "no-sync"],
      },
      postgresql: {
        ...{ listen: `127.0.0.1:${port}`, connect_address: `127.0.0.1:${port}`, data_dir: data },
        bin_dir: programs,
        pgpass: path.join(folder, "pgpass"),
        parameters: { unix_socket_directories: folder },
        pg_hba: [
          "local all all trust",
          "host all all 127.0.0.1/32 trust",
          "host replication all 127.0.0.1/32 trust",
        ],
        authentication: { superuser: { username: "postgres" }, replication: { username: "postgres" } },
        basebackup: [{ checkpoint: "fast" }],
      },
    };
    const file = path.join(this.#folder.path, `${name}.yml`);
    await writeFile(file, JSON.stringify(configuration, undefined, 2));
    const agent = await this.#spawn(name, patroni, [file]);
    this.members.push({ name, port, apiPort, folder: data, agent });
    // The first one is to lead.
    if (this.members.length === 1)
      await this.until(async () => (await this.leader()) === name, `${name} leads`);
  }

  async #spawn(name: string, program: string, args: readonly string[]): Promise<ChildProcess> {
    const log = createWriteStream(path.join(this.#folder.path, `${name}.log`));
    const child = spawn(program, args, {
      cwd: this.#folder.path,
      env: { ...cleanEnvironment(), PYTHONUNBUFFERED: "1" },
      stdio: ["ignore", "pipe", "pipe"],
      ...(this.#account === undefined ? {} : { uid: this.#account.uid, gid: this.#account.gid }),
    });
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    await new Promise((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    return child;
  }
}

function postmasterOf({ folder }: PatroniMember): number | undefined {
  const pid = Number.parseInt(readIfThere(path.join(folder, "postmaster.pid")), 10);
  return pid > 0 ? pid : undefined;
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
