/**
 * A lab: one primary and any number of streaming standbys, of throw-away or lasting data.
 *
 * The first start runs initdb and makes each standby from a copy of the cluster before it first runs, which
 * is as good as a base backup and takes a tenth of a second. A later start on the same folder finds who the
 * primary is, ends what an earlier process left running, and makes anew what cannot follow any more. All that
 * runs ends with this process, however it ends (supervisor.ts).
 */
import { existsSync } from "node:fs";
import { chmod, chown, readdir, rm } from "node:fs/promises";
import path from "node:path";
import type { Account } from "./account.ts";
import { findBinaries } from "./binaries.ts";
import type { Certificate } from "./certificates.ts";
import {
  copyStopped,
  endLeftovers,
  initialize,
  makeOwnedFolder,
  type PostgresSettings,
  readControlFile,
  writeOwned,
} from "./data-folder.ts";
import { labError } from "./errors.ts";
import {
  endNodes,
  lockFolder,
  makeSocketFolder,
  makeTemporaryFolder,
  openFolder,
  readState,
  stateFile,
  sweepTemporaryFolders,
  unlockFolder,
  writeState,
} from "./folder.ts";
import { findHome, sweepSubstitutes } from "./home.ts";
import { type LabContext, LabNode, type StopMode } from "./node.ts";
import { baseBackup, untilReplayed } from "./replication.ts";

export interface LabOptions {
  /** Streaming standbys beside the primary; 0 by default. */
  readonly standbys?: number | undefined;
  /** Where everything lies and stays; a temporary folder that is removed at the end if not given. */
  readonly folder?: string | undefined;
  /** Settings of PostgreSQL for all nodes; they win over the lab's own. */
  readonly settings?: PostgresSettings | undefined;
  /** Lines of pg_hba.conf; by default everybody on this machine is trusted. */
  readonly auth?: readonly string[] | undefined;
  /** TLS: the server's certificate and key as PEM, and the authority that vouches for clients. */
  readonly tls?: { readonly server: Certificate; readonly clientAuthority?: string } | undefined;
  /** Further arguments of initdb, for the first start. */
  readonly initdbOptions?: readonly string[] | undefined;
  /**
   * Whether committed data survives a crash of the machine. If not, nothing waits for the disk. By default true
   * for a folder that was given, false for a temporary one.
   */
  readonly durable?: boolean | undefined;
  /** The folder of another PostgreSQL's programs, instead of the embedded ones. */
  readonly binFolder?: string | undefined;
  /** A line for people about each step. */
  readonly onProgress?: ((text: string) => void) | undefined;
}

const trustEverybodyHere = [
  "local all all trust",
  "host all all 127.0.0.1/32 trust",
  "host all all ::1/128 trust",
  "local replication all trust",
  "host replication all 127.0.0.1/32 trust",
];

const ownSettings: PostgresSettings = {
  // Dynamic shared memory as files in the data folder: containers often have little room in /dev/shm.
  dynamic_shared_memory_type: "mmap",
  hot_standby: "on",
  log_line_prefix: "%m [%p] %q%u@%d/%a ",
  max_wal_senders: "10",
  // A standby may be away for this long without being made anew.
  wal_keep_size: "512MB",
  wal_level: "replica",
  // Standbys come back at once after their primary did, and say quickly how far they are.
  wal_receiver_status_interval: "1s",
  wal_retrieve_retry_interval: "100ms",
};

const throwAwaySettings: PostgresSettings = {
  fsync: "off",
  full_page_writes: "off",
  autovacuum_naptime: "5min",
};

export class Lab {
  /** The folder that was asked for, or the temporary one. */
  readonly folder: string;
  /** Where the data lies; see home.ts. */
  #home: string;
  readonly #temporary: boolean;
  readonly #nodes: LabNode[] = [];
  #context: LabContext | undefined;
  #stopped: Promise<void> | undefined;

  private constructor(folder: string, temporary: boolean) {
    this.folder = folder;
    this.#home = folder;
    this.#temporary = temporary;
  }

  /**
   * Starts PostgreSQL and waits until the primary can be written to and every standby streams from it.
   * Rejects with an OperationError `lab.…`; nothing is left running then.
   */
  static async start(options: LabOptions = {}): Promise<Lab> {
    if (process.platform === "win32") {
      throw labError("lab.no_binaries", "the lab does not run on Windows", { hint: "Use WSL." });
    }
    const progress = options.onProgress ?? (() => undefined);
    const temporary = options.folder === undefined;
    await sweepTemporaryFolders();
    await sweepSubstitutes();
    const folder =
      options.folder === undefined ? await makeTemporaryFolder() : await openFolder(options.folder);
    await lockFolder(folder);
    const lab = new Lab(folder, temporary);
    try {
      // From here on the folder is known to be a lab's, also if the rest fails.
      if (!existsSync(path.join(folder, stateFile))) await writeState(folder, { nodes: [] });
      await lab.#prepare(options, progress);
      await lab.#startNodes(options.standbys ?? 0, options.initdbOptions ?? [], progress);
      return lab;
    } catch (error) {
      await lab.stop();
      throw error;
    }
  }

  /** All nodes; the first one is the primary that the lab began with. */
  get nodes(): readonly LabNode[] {
    return this.#nodes;
  }

  /** The node that is primary now: of several, one that runs, and of these the last promoted. */
  get primary(): LabNode {
    const primaries = this.#nodes.filter(({ role }) => role === "primary");
    const primary = primaries.findLast(({ isRunning }) => isRunning) ?? primaries.at(-1);
    if (primary === undefined) throw labError("lab.start_failed", "the lab has no primary");
    return primary;
  }

  get standbys(): readonly LabNode[] {
    return this.#nodes.filter(({ role }) => role === "standby");
  }

  /** Waits until every running standby has replayed what the primary has written by now. */
  async untilReplayed(timeoutMs = 30_000): Promise<void> {
    const standbys = this.standbys.filter(({ isRunning }) => isRunning);
    await Promise.all(standbys.map((standby) => untilReplayed(this.primary, standby, timeoutMs)));
  }

  /**
   * Makes a node a standby of the primary again, whatever it was and wherever it stands: it is stopped, made
   * anew from a base backup, and started. Waits until it streams.
   */
  async rejoin(node: LabNode): Promise<void> {
    const { primary } = this;
    if (node === primary) throw labError("lab.start_failed", `${node.name} is the primary`);
    await node.stop("immediate");
    await baseBackup(primary, node.dataFolder, this.#requireContext().account);
    await node.follow(primary);
    await node.start();
    await untilReplayed(primary, node);
  }

  /** Adds a standby made from a base backup of the primary, and waits until it streams. */
  async addStandby(): Promise<LabNode> {
    const node = await this.#addNode(`node${this.#nodes.length + 1}`, 0);
    await this.rejoin(node);
    await this.#remember();
    return node;
  }

  /** Stops everything, in order; removes a temporary folder. May be called again. */
  async stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    await this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Everything before the first node starts: the user, the programs, what was left behind. */
  async #prepare(options: LabOptions, progress: (text: string) => void): Promise<void> {
    const { folder, account } = await findHome(this.folder, progress);
    this.#home = folder;
    const binaries = await findBinaries(account, options.binFolder);
    await endNodes(folder);
    const socketFolder = await makeSocketFolder(folder, this.#temporary);
    await chmod(socketFolder, 0o755);
    if (account !== undefined) await chown(socketFolder, account.uid, account.gid);
    const durable = options.durable ?? !this.#temporary;
    this.#context = {
      binaries,
      account,
      socketFolder,
      settings: {
        ...ownSettings,
        ...(durable ? {} : throwAwaySettings),
        ...(await this.#tlsSettings(options.tls, account)),
        ...options.settings,
      },
      auth: options.auth ?? trustEverybodyHere,
      durable,
      orphanRemoves: this.#temporary ? this.folder : undefined,
    };
  }

  async #tlsSettings(tls: LabOptions["tls"], account: Account | undefined): Promise<PostgresSettings> {
    if (tls === undefined) return {};
    const folder = path.join(this.#home, "tls");
    await makeOwnedFolder(folder, account);
    const files = {
      ssl_cert_file: tls.server.certificate,
      ssl_key_file: tls.server.key,
      ...(tls.clientAuthority === undefined ? {} : { ssl_ca_file: tls.clientAuthority }),
    };
    const settings: Record<string, string> = { ssl: "on" };
    for (const [name, text] of Object.entries(files)) {
      const file = path.join(folder, `${name}.pem`);
      await rm(file, { force: true });
      await writeOwned(file, text, account);
      settings[name] = file;
    }
    return settings;
  }

  async #startNodes(
    standbys: number,
    initdbOptions: readonly string[],
    progress: (text: string) => void,
  ): Promise<void> {
    const { account, binaries } = this.#requireContext();
    const { nodes: known } = await readState(this.#home);
    for (const { name, port } of known.slice(0, Math.max(1, standbys + 1))) await this.#addNode(name, port);
    if (known.length === 0) {
      progress(`creating a PostgreSQL ${binaries.version} cluster`);
      const node = await this.#addNode("node1", 0);
      await rm(node.dataFolder, { recursive: true, force: true });
      await initialize(node.dataFolder, binaries, account, initdbOptions);
      await this.#remember();
    }
    const primary = await leader(this.#nodes);
    while (this.#nodes.length < standbys + 1) await this.#addNode(`node${this.#nodes.length + 1}`, 0);
    const followers = this.#nodes.filter((node) => node !== primary);
    for (const node of followers) {
      if (await canFollow(node, primary)) continue;
      progress(`copying the cluster for ${node.name}`);
      await copyStopped(primary.dataFolder, node.dataFolder, account);
      await node.follow(primary);
    }
    progress(`starting ${primary.name} (primary)`);
    await primary.start();
    await Promise.all(
      followers.map(async (node) => {
        progress(`starting ${node.name} (standby)`);
        await node.follow(primary);
        await node.start();
        await untilReplayed(primary, node);
      }),
    );
    await this.#remember();
  }

  async #addNode(name: string, port: number): Promise<LabNode> {
    const context = this.#requireContext();
    const folder = path.join(this.#home, name);
    await makeOwnedFolder(folder, context.account);
    const node = new LabNode(context, name, folder, port);
    this.#nodes.push(node);
    return node;
  }

  async #remember(): Promise<void> {
    const complete = this.#nodes.filter(({ dataFolder }) => existsSync(dataFolder));
    await writeState(this.#home, { nodes: complete.map(({ name, port }) => ({ name, port })) });
  }

  async #stopAll(): Promise<void> {
    const running = this.#nodes.filter(({ isRunning }) => isRunning);
    for (const node of running) await node.resume();
    if (this.#temporary) {
      await Promise.all(running.map((node) => stopSurely(node, ["immediate"])));
      // What was killed left its lock and shared memory behind.
      for (const { dataFolder } of this.#nodes) await endLeftovers(dataFolder);
    } else {
      // The primary first: its standbys receive all of it, and need no recovery at the next start.
      running.sort((a, b) => Number(a.role === "standby") - Number(b.role === "standby"));
      for (const node of running) await stopSurely(node, ["fast", "immediate"]);
    }
    const socketFolder = this.#context?.socketFolder;
    if (socketFolder !== undefined) await rm(socketFolder, { recursive: true, force: true });
    if (this.#temporary) await rm(this.folder, { recursive: true, force: true });
    else await unlockFolder(this.folder);
  }

  #requireContext(): LabContext {
    if (this.#context === undefined) throw labError("lab.start_failed", "the lab has not been prepared");
    return this.#context;
  }
}

async function stopSurely(node: LabNode, modes: readonly StopMode[]): Promise<void> {
  for (const mode of modes) {
    try {
      return await node.stop(mode, { timeoutMs: 10_000 });
    } catch {
      // It hangs on something: the next mode waits for less.
    }
  }
  await node.kill();
}

/** Who is primary, of nodes that stand still: after a failover, the one on the latest timeline. */
async function leader(nodes: readonly LabNode[]): Promise<LabNode> {
  let best: { readonly node: LabNode; readonly timeline: number } | undefined;
  for (const node of nodes) {
    if (node.role === "standby") continue;
    const { timeline } = await readControlFile(node.dataFolder);
    if (best === undefined || timeline > best.timeline) best = { node, timeline };
  }
  if (best === undefined) throw labError("lab.start_failed", "the lab's folder holds no primary");
  return best.node;
}

/** Whether a stopped node can go on as standby: on the same timeline, and the primary still has what it lacks. */
async function canFollow(node: LabNode, primary: LabNode): Promise<boolean> {
  if (node.role === "primary" || !existsSync(node.dataFolder)) return false;
  const own = await readControlFile(node.dataFolder);
  const { timeline } = await readControlFile(primary.dataFolder);
  if (own.timeline !== timeline) return false;
  const segments = await readdir(path.join(primary.dataFolder, "pg_wal"));
  return segments.some((name) => name.slice(8) <= own.redoSegment && /^[0-9A-F]{24}$/.test(name));
}
