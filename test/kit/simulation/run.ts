/**
 * The pooler's machines against the model of world.ts, in virtual time: probes, clients that read and write, faults from
 * a seed, in the end everything healed. What must never be is checked at each step:
 *
 * - In one generation writes go to one node.
 * - No write goes to a node that is fenced, nor to one of a lower timeline than the pooler was ever told of, nor while
 *   another node says that it is the primary of as high a timeline, nor before every node was tried.
 * - Nothing at all goes to a node that has claimed to be the primary of a timeline known to be over, until it is unfenced.
 * - No read shows less than what its client was told is written, unless that was lost with a history that is over.
 * - After the faults have ended everything is used again.
 */
import { Cluster } from "../../../src/cluster/cluster.ts";
import { requiredFloor, WriteFloor } from "../../../src/cluster/floor.ts";
import { memoryFromText, memoryToText } from "../../../src/cluster/memory.ts";
import type { ProbeResult } from "../../../src/cluster/probe-report.ts";
import { type RouteRequest, Router } from "../../../src/cluster/route.ts";
import { type NodeSettings, nodeNamed, type TopologySnapshot } from "../../../src/cluster/topology.ts";
import { seeded } from "../random.ts";
import { type Fault, isPrefix, type LogEntry, type ModelNode, type TimedFault, World } from "./world.ts";

const faultsEndMs = 4000;
/** After that long without faults everything has to work again. */
const healedMs = 4500;
const probeTimeoutMs = 500;
const timing = {
  probeIntervalMs: 500,
  probeFastIntervalMs: 50,
  probeBackoffMaxMs: 2000,
  failuresMax: 3,
  answersMin: 2,
  warmupMs: 300,
};

export interface Outcome {
  /** What went wrong; undefined if nothing did. */
  readonly violation: string | undefined;
  readonly trace: readonly string[];
  readonly faults: readonly TimedFault[];
  readonly written: number;
  readonly readFromStandbys: number;
  readonly failovers: number;
}

interface Client {
  floor: WriteFloor;
  acknowledged: LogEntry | undefined;
}

export function randomFaults(seed: number, nodeCount: number): TimedFault[] {
  const random = seeded(seed);
  const kinds = [
    "crash",
    "start",
    "cut",
    "heal",
    "stall",
    "resume",
    "slow",
    "quick",
    "promote",
    "promote",
    "switch_over",
    "rewind",
    "restart_pooler",
  ] as const;
  const count = 1 + Math.floor(random() * 12);
  const faults = Array.from({ length: count }, (): TimedFault => {
    const kind = kinds[Math.floor(random() * kinds.length)] ?? "crash";
    const node = Math.floor(random() * nodeCount);
    const fault: Fault = kind === "restart_pooler" ? { kind } : { kind, node };
    return { at: Math.floor(200 + random() * (faultsEndMs - 200)), fault };
  });
  return faults.sort((a, b) => a.at - b.at);
}

/** One run. The same arguments, the same run. */
export function simulate(seed: number, faults: readonly TimedFault[] = randomFaults(seed, 3)): Outcome {
  return new Simulation(seed, faults).run();
}

/** The fewest of the faults with which the seed still goes wrong. */
export function shrink(seed: number, faults: readonly TimedFault[]): Outcome {
  let least = simulate(seed, faults);
  for (let again = true; again; ) {
    again = false;
    for (const fault of least.faults) {
      const fewer = simulate(
        seed,
        least.faults.filter((one) => one !== fault),
      );
      if (fewer.violation === undefined) continue;
      least = fewer;
      again = true;
      break;
    }
  }
  return least;
}

interface Told {
  readonly primary: boolean;
  readonly timeline: number;
}

class Violation extends Error {}

class Simulation {
  readonly #random: () => number;
  readonly #faults: readonly TimedFault[];
  readonly #world = new World(3);
  readonly #queue: { at: number; order: number; run: () => void }[] = [];
  readonly #trace: string[] = [];
  readonly #clients: readonly Client[] = Array.from({ length: 3 }, () => ({
    floor: new WriteFloor(),
    acknowledged: undefined,
  }));
  readonly #global = new WriteFloor();
  readonly #nodes: readonly NodeSettings[];
  #cluster: Cluster;
  #router: Router;
  /** The start of each node that the pool's connections are to. */
  readonly #connected = new Map<string, number>();
  readonly #probing = new Set<string>();
  readonly #writtenIn = new Map<number, string>();
  /** The last answers, where that was the last result. */
  readonly #told = new Map<string, Told>();
  readonly #tried = new Set<string>();
  readonly #over = new Set<string>();
  #highestTold = 0;
  #highestToldAt = 0;
  #runs = 0;
  #now = 0;
  #order = 0;
  #id = 0;
  #written = 0;
  #readFromStandbys = 0;
  #healed = false;
  #accepted = false;

  constructor(seed: number, faults: readonly TimedFault[]) {
    this.#random = seeded(seed ^ 0x5bd1e995);
    this.#faults = faults;
    this.#nodes = this.#world.nodes.map(({ name }) => ({
      name,
      role: "auto",
      weight: 1,
      zone: undefined,
      lagBytesMax: 20,
      lagMsMax: 3000,
    }));
    this.#cluster = new Cluster(this.#nodes, timing, undefined, 0);
    this.#router = this.#newRouter();
  }

  run(): Outcome {
    let violation: string | undefined;
    try {
      for (const timed of this.#faults) this.#at(timed.at, () => this.#strike(timed.fault));
      this.#at(faultsEndMs, () => this.#heal());
      this.#at(0, () => this.#watch());
      this.#at(0, () => this.#replicate());
      for (const client of this.#clients) this.#at(this.#between(50, 300), () => this.#act(client));
      this.#drain(faultsEndMs + healedMs);
      this.#requireProgress();
    } catch (error) {
      violation = error instanceof Error ? error.message : String(error);
      this.#note(`VIOLATION: ${violation}`);
    }
    return {
      violation,
      trace: this.#trace,
      faults: this.#faults,
      written: this.#written,
      readFromStandbys: this.#readFromStandbys,
      failovers: this.#cluster.snapshot.generation,
    };
  }

  #newRouter(): Router {
    const settings = {
      splitReads: true,
      balance: "weighted",
      perSession: false,
      zone: undefined,
      primaryShare: 0.2,
    } as const;
    return new Router(settings, { outstanding: () => 0, latencyMs: () => undefined }, this.#random);
  }

  #at(at: number, run: () => void): void {
    const entry = { at, order: this.#order++, run };
    let index = this.#queue.length;
    while (index > 0 && (this.#queue[index - 1]?.at ?? 0) > at) index--;
    this.#queue.splice(index, 0, entry);
  }

  #drain(until: number): void {
    for (let next = this.#queue.shift(); next !== undefined && next.at <= until; next = this.#queue.shift()) {
      this.#now = next.at;
      next.run();
    }
    this.#now = until;
  }

  #between(least: number, most: number): number {
    return this.#now + least + this.#random() * (most - least);
  }

  #note(text: string): void {
    this.#trace.push(`${this.#now.toFixed(0).padStart(6)} ${text}`);
  }

  #require(holds: boolean, what: string): void {
    if (!holds) throw new Violation(what);
  }

  // ---- what happens to the nodes ----

  #strike(fault: Fault): void {
    this.#note(`fault ${fault.kind}${"node" in fault ? ` ${this.#world.nodes[fault.node]?.name}` : ""}`);
    if (fault.kind === "restart_pooler") {
      // Now and then the file is lost.
      const memory = this.#random() < 0.3 ? undefined : memoryFromText(memoryToText(this.#cluster.memory));
      this.#cluster = new Cluster(this.#nodes, timing, memory, this.#now);
      this.#router = this.#newRouter();
      this.#probing.clear();
      this.#connected.clear();
      this.#told.clear();
      this.#tried.clear();
      this.#runs++;
      if (memory === undefined) {
        this.#highestTold = 0;
        this.#over.clear();
        // Clients come anew, and nobody knows any more what was lost with an old primary.
        for (const client of this.#clients) {
          client.floor = new WriteFloor();
          client.acknowledged = undefined;
        }
      }
      this.#writtenIn.clear();
      return;
    }
    this.#world.apply(fault, this.#now, Math.floor(this.#random() * 4));
  }

  #replicate(): void {
    this.#world.replicate(1 + Math.floor(this.#random() * 3), this.#now);
    this.#at(this.#between(20, 120), () => this.#replicate());
  }

  /** The faults are over: a person clears up. */
  #heal(): void {
    this.#note("everything is healed");
    const leaders = this.#world.leaders;
    const [leader] = leaders;
    for (const node of this.#world.nodes) {
      node.cutOff = false;
      node.stalled = false;
      node.slowMs = 0;
      if (!node.alive)
        this.#world.apply({ kind: "start", node: this.#world.nodes.indexOf(node) }, this.#now, 0);
    }
    // Of two with one timeline a person chooses one.
    for (const other of leaders) if (other !== leader) other.role = "standby";
    for (const node of this.#world.nodes) if (node !== leader) this.#world.rewind(node, this.#now);
    this.#at(this.#now + 2000, () => {
      if (leader !== undefined && this.#cluster.snapshot.noPrimary === "conflict") {
        this.#command(leader.name, "accept");
      }
      for (const { name } of this.#world.nodes) {
        if (this.#cluster.memory.fenced[name] !== undefined) this.#command(name, "unfence");
      }
      this.#healed = true;
    });
  }

  #command(name: string, command: "accept" | "unfence"): void {
    const refused = this.#cluster.command(name, command, this.#now);
    if (refused === undefined) this.#over.delete(name);
    this.#accepted ||= command === "accept";
    this.#note(`${command} ${name}: ${refused ?? "done"}`);
  }

  // ---- probes ----

  #watch(): void {
    for (const node of this.#world.nodes) {
      if (this.#probing.has(node.name) || this.#cluster.nextProbeAt(node.name) > this.#now) continue;
      this.#probe(node);
    }
    if ((this.#cluster.nextChangeAt() ?? this.#now + 1) <= this.#now) this.#cluster.tick(this.#now);
    this.#at(this.#now + 40, () => this.#watch());
  }

  #probe(node: ModelNode): void {
    const startedAt = this.#now;
    const run = this.#runs;
    this.#probing.add(node.name);
    const end = (result: ProbeResult): void => {
      if (run !== this.#runs) return;
      this.#probing.delete(node.name);
      this.#noteTold(node.name, result, startedAt);
      const before = this.#cluster.snapshot;
      this.#cluster.probed(node.name, result, startedAt, this.#now);
      this.#noteChanges(before);
    };
    const arrives = this.#between(1, 20) + node.slowMs * this.#random();
    this.#at(arrives, () => {
      const result = this.#answer(node);
      const comes = this.#between(1, 20) + node.slowMs * this.#random();
      const deadline = startedAt + probeTimeoutMs;
      if (result === undefined || comes > deadline) this.#at(deadline, () => end({ kind: "timeout" }));
      else this.#at(comes, () => end(node.cutOff ? { kind: "timeout" } : result));
    });
  }

  #noteChanges(before: TopologySnapshot): void {
    const { primary, nodes } = this.#cluster.snapshot;
    if (before.primary?.name !== primary?.name) {
      this.#note(`primary ${before.primary?.name ?? "none"} -> ${primary?.name ?? "none"}`);
    }
    for (const { name, state, reason, role, timeline } of nodes) {
      const old = nodeNamed(before, name);
      if (old?.state === state && old.role === role && old.timeline === timeline) continue;
      this.#note(`${name}: ${role} of timeline ${timeline}, ${state}${reason === "" ? "" : `: ${reason}`}`);
    }
  }

  #noteTold(name: string, result: ProbeResult, startedAt: number): void {
    // Before every node was tried nothing follows from what is said.
    if (this.#tried.size < this.#nodes.length) this.#highestToldAt = this.#now;
    this.#tried.add(name);
    this.#told.delete(name);
    if (result.kind !== "answer") return;
    const { timeline, inRecovery } = result.report;
    this.#told.set(name, { primary: !inRecovery, timeline });
    if (!inRecovery && timeline < this.#highestTold && startedAt >= this.#highestToldAt) this.#over.add(name);
    if (timeline <= this.#highestTold) return;
    this.#highestTold = timeline;
    this.#highestToldAt = this.#now;
  }

  #answer(node: ModelNode): ProbeResult | undefined {
    if (node.cutOff) return undefined;
    if (!node.alive) return { kind: "refused" };
    if (!node.serves(this.#now)) {
      return { kind: "error", sqlstate: "57P03", message: "the database system is starting up" };
    }
    const inRecovery = node.role === "standby";
    const lsn = BigInt(node.log.length);
    return {
      kind: "answer",
      latencyMs: 1,
      report: {
        inRecovery,
        timeline: node.timeline,
        systemIdentifier: "1",
        lsn,
        receivedLsn: inRecovery ? lsn : undefined,
        replayAgeMs: undefined,
        streaming: undefined,
      },
    };
  }

  // ---- clients ----

  #act(client: Client): void {
    const again = (): void => this.#at(this.#between(50, 400), () => this.#act(client));
    if (this.#random() < 0.4) this.#write(client, again);
    else this.#read(client, again);
  }

  #route(client: Client, read: boolean): ReturnType<Router["route"]> {
    const { snapshot } = this.#cluster;
    const floor = requiredFloor("session", client.floor, this.#global, undefined, snapshot);
    const request: RouteRequest = {
      read,
      hint: undefined,
      floor,
      redirect: undefined,
      last: undefined,
      besides: undefined,
    };
    return this.#router.route(request, snapshot);
  }

  /** Whether the pool's connection to the node works; if not, the pooler has noticed now. */
  #reach(node: ModelNode): boolean {
    if (node.cutOff || !node.serves(this.#now)) {
      this.#cluster.suspect(node.name, this.#now);
      return false;
    }
    const known = this.#connected.get(node.name);
    this.#connected.set(node.name, node.epoch);
    if (known === node.epoch) return true;
    // A new connection may be to a node that was started anew since it was seen last.
    this.#cluster.suspect(node.name, this.#now);
    return false;
  }

  #write(client: Client, done: () => void): void {
    const decision = this.#route(client, false);
    if (decision.kind !== "node") return done();
    const { generation } = this.#cluster.snapshot;
    const { name } = decision;
    this.#checkWrite(name);
    const other = this.#writtenIn.get(generation);
    this.#require(
      other === undefined || other === name,
      `${other} and ${name} were written to in generation ${generation}`,
    );
    this.#writtenIn.set(generation, name);
    const node = this.#world.named(name);
    const run = this.#runs;
    this.#at(this.#between(1, 20) + node.slowMs * this.#random(), () => {
      if (!this.#reach(node) || node.role !== "primary") return done();
      const entry: LogEntry = { timeline: node.timeline, id: this.#id++ };
      node.log = [...node.log, entry];
      this.#at(this.#between(1, 20), () => {
        const { snapshot } = this.#cluster;
        const kept =
          run === this.#runs && snapshot.generation === generation && snapshot.primary?.name === name;
        if (kept && !node.cutOff && node.serves(this.#now)) {
          client.floor.wrote(this.#now);
          client.acknowledged = entry;
          this.#written++;
        }
        done();
      });
    });
  }

  #checkWrite(name: string): void {
    const timeline = this.#cluster.snapshot.primary?.timeline ?? 0;
    this.#require(
      this.#cluster.memory.fenced[name] === undefined,
      `a write went to ${name}, which is fenced`,
    );
    this.#require(!this.#over.has(name), `a write went to ${name}, whose history is over`);
    this.#require(
      timeline >= this.#highestTold,
      `a write went to ${name} of timeline ${timeline}, and ${this.#highestTold} was known`,
    );
    this.#require(
      this.#tried.size === this.#nodes.length,
      `a write went to ${name} before every node was tried`,
    );
    for (const [other, told] of this.#told) {
      const rivals = other !== name && told.primary && told.timeline >= timeline && !this.#accepted;
      this.#require(!rivals, `a write went to ${name} while ${other} says that it is the primary, too`);
    }
  }

  #read(client: Client, done: () => void): void {
    const decision = this.#route(client, true);
    if (decision.kind !== "node") return done();
    const { name, primary } = decision;
    this.#require(!this.#over.has(name), `a read went to ${name}, whose history is over`);
    const node = this.#world.named(name);
    this.#at(this.#between(1, 20) + node.slowMs * this.#random(), () => {
      if (!this.#reach(node)) return done();
      if (!primary) this.#readFromStandbys++;
      this.#checkRead(client, node);
      done();
    });
  }

  #checkRead({ acknowledged }: Client, node: ModelNode): void {
    if (acknowledged === undefined || node.log.includes(acknowledged)) return;
    // It may be gone with the history of an old primary: then nobody that goes on has it.
    const lost = this.#world.leaders.some((leader) => !leader.log.includes(acknowledged));
    const over = this.#world.leaders.some((leader) => !isPrefix(node.log, leader.log));
    this.#require(
      lost || over,
      `a client read from ${node.name}, which does not have its write ${acknowledged.id}`,
    );
  }

  #requireProgress(): void {
    this.#require(this.#healed, "the faults have ended");
    const { snapshot } = this.#cluster;
    const [leader] = this.#world.leaders;
    this.#require(
      snapshot.primary?.name === leader?.name,
      `after all faults the primary is ${snapshot.primary?.name}, not ${leader?.name}: ${snapshot.noPrimaryDetail}`,
    );
    for (const { name, state, reason, readable } of snapshot.nodes) {
      this.#require(readable, `after all faults node ${name} is ${state} (${reason})`);
    }
    for (const client of this.#clients) {
      this.#require(this.#route(client, false).kind === "node", "after all faults writes are possible");
      this.#require(this.#route(client, true).kind === "node", "after all faults reads are possible");
    }
  }
}
