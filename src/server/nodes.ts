/**
 * The nodes of the configuration, watched: a question to each of them whenever the cluster's machine wants one, its
 * answer into the machine, and what follows from it to the pools (primary, held, cut off), to the log and to a file.
 * What anything means is decided in src/cluster; here are the connections, the timers and the file.
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { type Failure, OperationError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ConnectOptions } from "../client/conninfo/options.ts";
import {
  Cluster,
  type ClusterMemory,
  type ClusterSettings,
  type ManagerWord,
  memoryFromText,
  memoryToText,
  type NodeCommand,
  type NodeSettings,
  nodeNamed,
  type TopologyNode,
  type TopologySnapshot,
} from "../cluster/index.ts";
import {
  type Config,
  databaseOf,
  everyNode,
  lagLimits,
  type NodeConfig,
  watchesNodes,
} from "../config/schema.ts";
import { isNoPrimary, noNode, noPrimary, primaryChanged, requiredNodeDown } from "../pool/failures.ts";
import type { Credentials } from "./credentials.ts";
import { type NodeEventListener, NodeEvents, type NodeEventsOwner } from "./node-events.ts";
import { NodeProbe } from "./node-probe.ts";
import { probeOptionsOf } from "./pool-config.ts";
import type { Pools } from "./pools.ts";

export interface NodesOwner extends NodeEventsOwner {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly config: Config;
  readonly pools: Pools;
  /** Commands there wait for nodes to change. */
  readonly consoles: { lookAgain(): void };
  readonly discovery: { hasten(): void };
}

interface Watched {
  readonly probe: NodeProbe;
  /** Where it is; another address is another node. */
  readonly address: string;
  timer: NodeJS.Timeout | undefined;
}

/** No primary yet. */
const nobody: { readonly name: string | undefined; readonly generation: number } = {
  name: undefined,
  generation: 0,
};
/** Pauses between questions while a verdict is pending are at most this long. */
const fastIntervalMsMax = 100;
/** A node that has no connection left is asked no more often than this, in the end. */
const backoffMsMax = 30_000;
const answersMin = 2;
/** A node that was away is used again after so many periods in which all was well. */
const warmupPeriods = 2;

export class Nodes {
  readonly #owner: NodesOwner;
  readonly #credentials: Credentials;
  readonly #events: NodeEvents;
  readonly #watched = new Map<string, Watched>();
  #cluster: Cluster | undefined;
  #memory: ClusterMemory | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** The primary that the pools were last told of, and the generation that it was of. */
  #told = nobody;
  /** While the primary changes by our own doing, nobody gets a server. */
  #switching = false;
  /** The word of a cluster manager counts. */
  #managed = false;
  #closed = false;
  /** A node has answered, or not. */
  onNews: () => void = () => undefined;

  constructor(owner: NodesOwner, credentials: Credentials, onNodeEvent: NodeEventListener | undefined) {
    this.#owner = owner;
    this.#events = new NodeEvents(owner, onNodeEvent, () => this.#askNow());
    this.#credentials = credentials;
    owner.pools.onTrouble = () => this.suspect();
  }

  /** Undefined: the nodes are not watched. */
  get snapshot(): TopologySnapshot | undefined {
    return this.#cluster?.snapshot;
  }

  /** Reads what an earlier process has seen. Throws OperationError F0000 if the file is there and cannot be used. */
  async load(): Promise<void> {
    const file = this.#owner.config.pgsluice.cluster_state_file;
    if (file === "") return;
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw unusable(file, error instanceof Error ? error.message : String(error));
    }
    this.#memory = memoryFromText(text);
    if (this.#memory === undefined) throw unusable(file, "is not a state file of pgsluice");
  }

  /**
   * Begins to watch, or goes on by the configuration as it is now. `anew`: all that says how nodes are asked may be
   * different, not only which nodes there are.
   */
  configure(anew: boolean = true): void {
    const { config, clock } = this.#owner;
    const now = clock.now();
    const watches = watchesNodes(config);
    const nodes = watches ? config.nodes : {};
    for (const [name, { address }] of this.#watched) {
      const node = nodes[name];
      if (node === undefined || addressOf(node) !== address) this.#forget(name);
    }
    if (!watches) {
      this.#cluster = undefined;
      this.#told = nobody;
      this.#owner.pools.follow(undefined, undefined);
      return;
    }
    const settings = Object.entries(nodes).map(([name, node]) => nodeSettings(name, node, config));
    this.#cluster ??= new Cluster(settings, clusterSettings(config), this.#memory, now);
    this.#cluster.configure(settings, clusterSettings(config), now);
    for (const [name, node] of Object.entries(nodes)) {
      const known = this.#watched.get(name);
      if (anew) known?.probe.reconnect();
      if (known !== undefined) continue;
      this.#cluster.replaced(name, now);
      const probe = this.#probe(name);
      this.#watched.set(name, { probe, address: addressOf(node), timer: undefined });
    }
    this.#follow();
  }

  /** A client has met an error that may be a node's: all are asked at once, since another one may be the primary. */
  suspect(): void {
    const now = this.#owner.clock.now();
    for (const name of this.#watched.keys()) this.#cluster?.suspect(name, now);
    this.#schedule();
    this.#owner.discovery.hasten();
  }

  /** A hook has ended, and may have promoted one. */
  #askNow(): void {
    this.suspect();
    this.hasten();
  }

  /** Somebody waits for what the nodes say next. */
  hasten(): void {
    this.#cluster?.hasten(this.#owner.clock.now());
    this.#schedule();
  }

  /** Why no server could be had, in the words of the nodes. */
  explained(failure: Failure, login: boolean): Failure {
    const { snapshot } = this;
    if (snapshot === undefined || !isNoPrimary(failure)) return failure;
    this.suspect();
    const { nodes, noPrimaryDetail } = snapshot;
    if (login && nodes.length > 0 && nodes.every(({ state }) => state === "down")) {
      return noNode(nodes.map(({ name, reason }) => `node "${name}" ${reason}`).join("; "));
    }
    return noPrimary(noPrimaryDetail);
  }

  /** Throws OperationError `pool.required_node_down` if a database is not to be served without a node that is not up. */
  checkRequired(database: string): void {
    const required = databaseOf(this.#owner.config, database)?.required_nodes;
    const { snapshot } = this;
    if (required === undefined || snapshot === undefined) return;
    const down: string[] = [];
    const names = required.includes(everyNode) ? snapshot.nodes.map(({ name }) => name) : required;
    for (const name of names) {
      const node = nodeNamed(snapshot, name);
      if (node === undefined) down.push(`node "${name}" is not there`);
      else if (node.state !== "up") {
        down.push(`node "${name}" is ${node.state}${node.reason === "" ? "" : `: ${node.reason}`}`);
      }
    }
    if (down.length === 0) return;
    this.suspect();
    throw requiredNodeDown(database, down.join("; "));
  }

  /** What the cluster manager has answered; undefined: there is none, or it is not reached. */
  managed(word: ManagerWord | undefined): void {
    if (word === undefined && !this.#managed) return;
    this.#managed = word !== undefined;
    const before = this.snapshot;
    this.#cluster?.managed(word, this.#owner.clock.now());
    this.#follow(before);
  }

  /** What time alone brings about. */
  tick(): void {
    const now = this.#owner.clock.now();
    const dueAt = this.#cluster?.nextChangeAt();
    if (dueAt === undefined || dueAt > now) return;
    const before = this.snapshot;
    this.#cluster?.tick(now);
    this.#follow(before);
  }

  /** What a person says of a node. Undefined if done, else why not. */
  command(name: string, command: NodeCommand): string | undefined {
    if (this.#cluster === undefined) return "nodes are not watched: none has the role auto";
    const before = this.snapshot;
    const refused = this.#cluster.command(name, command, this.#owner.clock.now());
    this.#follow(before);
    return refused;
  }

  /** Nobody gets a server of the primary from now on, until {@link endSwitch}; who has one goes on. */
  beginSwitch(): void {
    this.#switching = true;
    this.#tell();
  }

  endSwitch(): void {
    this.#switching = false;
    this.#tell();
  }

  get switching(): boolean {
    return this.#switching;
  }

  /** A query to one node, on a connection as probes have it. Rejects as those do. */
  async query(name: string, sql: string, timeoutMs: number): Promise<string | null | undefined> {
    const probe = this.#probe(name);
    try {
      return (await probe.query(sql, timeoutMs))[0]?.[0];
    } finally {
      probe.reconnect();
    }
  }

  /** Resolves when what has to be kept is on the disk. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const name of [...this.#watched.keys()]) this.#forget(name);
    await this.#events.close();
    await this.#writing;
  }

  #probe(name: string): NodeProbe {
    const { clock } = this.#owner;
    const options = (): ConnectOptions => {
      const node = this.#owner.config.nodes[name];
      assert(node !== undefined, "only nodes of the configuration are asked");
      return probeOptionsOf(this.#owner.config, this.#credentials, node);
    };
    return new NodeProbe(options, () => clock.now());
  }

  #forget(name: string): void {
    const watched = this.#watched.get(name);
    this.#watched.delete(name);
    clearTimeout(watched?.timer);
    watched?.probe.reconnect();
  }

  #schedule(): void {
    if (this.#cluster === undefined || this.#closed) return;
    const now = this.#owner.clock.now();
    for (const [name, watched] of this.#watched) {
      if (watched.probe.busy) continue;
      clearTimeout(watched.timer);
      const waitMs = Math.max(0, this.#cluster.nextProbeAt(name) - now);
      watched.timer = setTimeout(() => void this.#ask(name, watched), waitMs);
    }
  }

  async #ask(name: string, watched: Watched): Promise<void> {
    const { clock, config } = this.#owner;
    const startedAt = clock.now();
    const result = await watched.probe.ask(config.pgsluice.health_check_timeout * 1000);
    if (this.#closed || this.#watched.get(name) !== watched) return;
    const before = this.snapshot;
    this.#cluster?.probed(name, result, startedAt, clock.now());
    this.#follow(before);
  }

  /** Brings to where it belongs what the machine has found. */
  #follow(before?: TopologySnapshot): void {
    const { snapshot } = this;
    if (snapshot === undefined) return;
    this.#log(before?.nodes ?? [], snapshot.nodes);
    if (!sameUse(before?.nodes, snapshot.nodes)) this.#owner.pools.judgeReaders(snapshot.nodes);
    this.#tell();
    this.#events.follow(before, snapshot, this.#switching);
    this.#save();
    this.#schedule();
    this.#owner.consoles.lookAgain();
    this.onNews();
  }

  /** Tells the pools, if the node that is to be written to is another than they know. */
  #tell(): void {
    const { snapshot } = this;
    if (snapshot === undefined) return;
    const name = this.#switching ? undefined : snapshot.primary?.name;
    const { generation } = snapshot;
    const told = this.#told;
    if (name === told.name && (name === undefined || generation === told.generation)) return;
    const { logger } = this.#owner;
    if (name === undefined) {
      this.#told = { name, generation: told.generation };
      const reason = this.#switching ? "it is being changed" : snapshot.noPrimaryDetail;
      logger.warn({ before: told.name, reason }, "no primary");
      const cut = snapshot.noPrimary === "conflict" && !this.#switching;
      this.#owner.pools.follow(undefined, cut ? primaryChanged(snapshot.noPrimaryDetail) : undefined);
      return;
    }
    this.#told = { name, generation };
    logger.info({ node: name, timeline: snapshot.timeline, generation }, "primary found");
    const other = told.generation !== 0 && generation !== told.generation;
    this.#owner.pools.follow(name, other ? primaryChanged(`node "${name}" is the primary now`) : undefined);
  }

  #log(before: readonly TopologyNode[], after: readonly TopologyNode[]): void {
    const { logger } = this.#owner;
    for (const { name, state, role, reason, timeline } of after) {
      const old = before.find((node) => node.name === name);
      if (old?.state === state && old.role === role) continue;
      const fields = { node: name, state, role, timeline, reason };
      if (state === "up" || old === undefined) logger.info(fields, "state of node");
      else logger.warn(fields, "state of node");
    }
  }

  #save(): void {
    const memory = this.#cluster?.memory;
    if (memory === undefined || memory === this.#memory) return;
    this.#memory = memory;
    const file = this.#owner.config.pgsluice.cluster_state_file;
    if (file === "") return;
    const write = async (): Promise<void> => {
      try {
        // Several workers may write it at once; all of them mean the same.
        const written = `${file}.${process.pid}.new`;
        await writeFile(written, memoryToText(memory), { mode: 0o600 });
        await rename(written, file);
      } catch (error) {
        this.#owner.logger.error({ file, err: error }, "cluster_state_file could not be written");
      }
    };
    this.#writing = this.#writing.then(write);
  }
}

function clusterSettings({ pgsluice }: Config): ClusterSettings {
  const periodMs = pgsluice.health_check_period * 1000;
  return {
    probeIntervalMs: periodMs,
    probeFastIntervalMs: Math.min(periodMs, fastIntervalMsMax),
    probeBackoffMaxMs: Math.max(periodMs, backoffMsMax),
    failuresMax: pgsluice.health_check_max_retries + 1,
    answersMin,
    warmupMs: warmupPeriods * periodMs,
  };
}

function nodeSettings(name: string, node: NodeConfig, { pgsluice }: Config): NodeSettings {
  const { role, weight, zone } = node;
  return { name, role, weight: weight ?? 1, zone, ...lagLimits(node, pgsluice) };
}

/** Whether nobody has to leave a node, as far as reads go. */
function sameUse(before: readonly TopologyNode[] | undefined, after: readonly TopologyNode[]): boolean {
  return (
    before?.length === after.length &&
    after.every(({ name, state, readable }, index) => {
      const old = before[index];
      return old?.name === name && old.state === state && old.readable === readable;
    })
  );
}

function addressOf({ host, hostaddr = host, port }: Config["nodes"][string]): string {
  return JSON.stringify([hostaddr, port]);
}

function unusable(file: string, problem: string): OperationError {
  return new OperationError(`cluster_state_file "${file}" ${problem}`, {
    code: "nodes.state_file",
    sqlstate: "F0000",
    source: "internal",
    hint: "Move it away to start without what was known of the nodes, if none of them is fenced.",
  });
}
