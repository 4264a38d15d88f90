/**
 * The pooler's machines against the model of world.ts, in virtual time: probes, clients that read and write, faults from
 * a seed, in the end everything healed. Half of the seeds have a cluster manager, as of manager.ts, and no person who
 * clears up. What must never be is checked at each step:
 *
 * - In one generation writes go to one node.
 * - No write goes to a node that is fenced, nor to one of a lower timeline than the pooler was ever told of, nor while
 *   another node says that it is the primary of as high a timeline, nor before every node was tried.
 * - No write goes to a node while the manager, that knows of no older timeline, names another one.
 * - Nothing at all goes to a node that has claimed to be the primary of a timeline known to be over, until it is unfenced,
 *   by a person or because the manager has made it a standby that says so.
 * - No read shows less than what its client was told is written, unless that was lost with a history that is over.
 * - After the faults have ended everything is used again.
 */
import { Cluster } from "../../../src/cluster/cluster.ts";
import { requiredFloor, WriteFloor } from "../../../src/cluster/floor.ts";
import type { ManagerWord } from "../../../src/cluster/manager.ts";
import { memoryFromText, memoryToText } from "../../../src/cluster/memory.ts";
import type { ProbeResult } from "../../../src/cluster/probe-report.ts";
import { type RouteRequest, Router } from "../../../src/cluster/route.ts";
import { type NodeSettings, nodeNamed, type TopologySnapshot } from "../../../src/cluster/topology.ts";
import { seeded } from "../random.ts";
import { faultsEndMs, randomFaults } from "./faults.ts";
import { ModelManager } from "./manager.ts";
import { demand, Promises } from "./promises.ts";
import { VirtualTime } from "./virtual-time.ts";
import { type Fault, type LogEntry, type ModelNode, type TimedFault, World } from "./world.ts";

/** So long it takes a person to look. */
const lookMs = 1200;
/** After that long without faults everything has to work again. */
const healedMs = 4000;
const progressCheckMs = 100;
/** A run is over as soon as so many checks in a row have found everything in use. */
const wellChecks = 4;
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

/** One run. The same arguments, the same run. `traced`: says all that happened, which takes its time. */
export function simulate(
  seed: number,
  faults: readonly TimedFault[] = randomFaults(seed, 3),
  traced = false,
): Outcome {
  return new Simulation(seed, faults, traced).run();
}

/** The fewest of the faults with which the seed still goes wrong. */
export function shrink(seed: number, faults: readonly TimedFault[]): Outcome {
  let least = simulate(seed, faults, true);
  for (let again = true; again; ) {
    again = false;
    for (const fault of least.faults) {
      const fewer = simulate(
        seed,
        least.faults.filter((one) => one !== fault),
        true,
      );
      if (fewer.violation === undefined) continue;
      least = fewer;
      again = true;
      break;
    }
  }
  return least;
}

class Simulation {
  readonly #random: () => number;
  readonly #faults: readonly TimedFault[];
  readonly #world = new World(3);
  readonly #time = new VirtualTime();
  readonly #trace: string[] | undefined;
  readonly #clients: readonly Client[] = Array.from({ length: 3 }, () => ({
    floor: new WriteFloor(),
    acknowledged: undefined,
  }));
  readonly #global = new WriteFloor();
  readonly #nodes: readonly NodeSettings[];
  #cluster: Cluster;
  #router: Router;
  readonly #manager: ModelManager | undefined;
  readonly #promises: Promises;
  /** The start of each node that the pool's connections are to. */
  readonly #connected = new Map<string, number>();
  readonly #probing = new Set<string>();
  #runs = 0;
  #id = 0;
  #written = 0;
  #readFromStandbys = 0;
  #healed = false;
  /** Checks in a row that found everything in use. */
  #well = 0;

  constructor(seed: number, faults: readonly TimedFault[], traced: boolean) {
    this.#random = seeded(seed ^ 0x5bd1e995);
    this.#faults = faults;
    this.#trace = traced ? [] : undefined;
    this.#manager = seed % 2 === 0 ? undefined : new ModelManager(this.#world);
    this.#promises = new Promises(this.#world, this.#manager !== undefined);
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
      if (this.#manager !== undefined) this.#at(0, () => this.#ask());
      for (const client of this.#clients) this.#at(this.#between(50, 300), () => this.#act(client));
      this.#time.run(faultsEndMs + healedMs, () => this.#well >= wellChecks);
      const missing = this.#progressLacks();
      demand(missing === undefined, () => `after all faults ${missing}`);
    } catch (error) {
      violation = error instanceof Error ? error.message : String(error);
      this.#note(() => `VIOLATION: ${violation ?? ""}`);
    }
    return {
      violation,
      trace: this.#trace ?? [],
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

  get #now(): number {
    return this.#time.now;
  }

  #at(at: number, run: () => void): void {
    this.#time.at(at, run);
  }

  #between(least: number, most: number): number {
    return this.#now + least + this.#random() * (most - least);
  }

  #note(text: () => string): void {
    this.#trace?.push(`${this.#now.toFixed(0).padStart(6)} ${text()}`);
  }

  // ---- what happens to the nodes ----

  #strike(fault: Fault): void {
    this.#note(
      () => `fault ${fault.kind}${"node" in fault ? ` ${this.#world.nodes[fault.node]?.name}` : ""}`,
    );
    if (fault.kind === "restart_pooler") {
      // Now and then the file is lost.
      const memory = this.#random() < 0.3 ? undefined : memoryFromText(memoryToText(this.#cluster.memory));
      this.#cluster = new Cluster(this.#nodes, timing, memory, this.#now);
      this.#router = this.#newRouter();
      this.#promises.restarted(memory === undefined);
      this.#probing.clear();
      this.#connected.clear();
      this.#runs++;
      if (memory === undefined) {
        // Clients come anew, and nobody knows any more what was lost with an old primary.
        for (const client of this.#clients) {
          client.floor = new WriteFloor();
          client.acknowledged = undefined;
        }
      }
      return;
    }
    const promoted = this.#world.apply(fault, this.#now, Math.floor(this.#random() * 4));
    this.#manager?.follow(fault, promoted, this.#random() < 0.7, this.#now);
  }

  #replicate(): void {
    this.#world.replicate(1 + Math.floor(this.#random() * 3), this.#now);
    this.#at(this.#between(20, 120), () => this.#replicate());
  }

  /** The faults are over: a person clears up, or a manager does. */
  #heal(): void {
    this.#note(() => "everything is healed");
    const { leaders } = this.#world;
    const leader = leaders.find((node) => node === this.#manager?.holder) ?? leaders[0];
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
    this.#manager?.heal(leader);
    this.#at(this.#now + lookMs, () => {
      this.#healed = true;
      this.#at(this.#now + progressCheckMs, () => this.#lookForProgress());
      if (this.#manager !== undefined) {
        // Told something old, the pooler may have chosen the wrong one of two. Everything else the manager has to clear up.
        const wrong = leader !== undefined && leader === this.#manager.holder ? leader.name : "";
        if (this.#cluster.memory.fenced[wrong] !== undefined) this.#command(wrong, "unfence");
        return;
      }
      if (leader !== undefined && this.#cluster.snapshot.noPrimary === "conflict") {
        this.#command(leader.name, "accept");
      }
      for (const { name } of this.#world.nodes) {
        if (this.#cluster.memory.fenced[name] !== undefined) this.#command(name, "unfence");
      }
    });
  }

  #lookForProgress(): void {
    this.#well = this.#progressLacks() === undefined ? this.#well + 1 : 0;
    this.#at(this.#now + progressCheckMs, () => this.#lookForProgress());
  }

  // ---- the cluster manager ----

  #ask(): void {
    const askedAt = this.#now;
    const run = this.#runs;
    this.#at(this.#between(1, 20), () => {
      const members = this.#manager?.answer(this.#now);
      this.#at(this.#between(1, 20), () => {
        if (run === this.#runs) this.#hear(members === undefined ? undefined : { members, askedAt });
      });
    });
    this.#at(this.#between(300, 500), () => this.#ask());
  }

  #hear(word: ManagerWord | undefined): void {
    this.#promises.word = word;
    const before = this.#cluster.snapshot;
    this.#cluster.managed(word, this.#now);
    this.#promises.checkEndedFences(this.#cluster);
    this.#noteChanges(before);
  }

  #command(name: string, command: "accept" | "unfence"): void {
    const refused = this.#cluster.command(name, command, this.#now);
    if (refused === undefined) this.#promises.unfenced(name);
    this.#promises.accepted ||= command === "accept";
    this.#note(() => `${command} ${name}: ${refused ?? "done"}`);
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
      this.#promises.told(node.name, result, startedAt, this.#now);
      const before = this.#cluster.snapshot;
      this.#cluster.probed(node.name, result, startedAt, this.#now);
      this.#promises.checkEndedFences(this.#cluster);
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
    if (this.#trace === undefined) return;
    const { primary, nodes } = this.#cluster.snapshot;
    if (before.primary?.name !== primary?.name) {
      this.#note(() => `primary ${before.primary?.name ?? "none"} -> ${primary?.name ?? "none"}`);
    }
    for (const { name, state, reason, role, timeline } of nodes) {
      const old = nodeNamed(before, name);
      if (old?.state === state && old.role === role && old.timeline === timeline) continue;
      this.#note(
        () => `${name}: ${role} of timeline ${timeline}, ${state}${reason === "" ? "" : `: ${reason}`}`,
      );
    }
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
    this.#promises.checkWrite(name, this.#cluster);
    const node = this.#world.named(name);
    const run = this.#runs;
    this.#at(this.#between(1, 20) + node.slowMs * this.#random(), () => {
      if (!this.#reach(node) || node.role !== "primary") return done();
      const entry: LogEntry = { timeline: node.timeline, id: this.#id++ };
      node.log.push(entry);
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

  #read(client: Client, done: () => void): void {
    const decision = this.#route(client, true);
    if (decision.kind !== "node") return done();
    const { name, primary } = decision;
    this.#promises.checkReadOf(name);
    const node = this.#world.named(name);
    this.#at(this.#between(1, 20) + node.slowMs * this.#random(), () => {
      if (!this.#reach(node)) return done();
      if (!primary) this.#readFromStandbys++;
      this.#promises.checkRead(node, client.acknowledged);
      done();
    });
  }

  /** What is not in use although everything is well; undefined if nothing is missing. */
  #progressLacks(): string | undefined {
    if (!this.#healed) return "nobody has looked";
    const { snapshot } = this.#cluster;
    const [leader] = this.#world.leaders;
    if (snapshot.primary?.name !== leader?.name) {
      return `the primary is ${snapshot.primary?.name}, not ${leader?.name}: ${snapshot.noPrimaryDetail}`;
    }
    const unused = snapshot.nodes.find(({ readable }) => !readable);
    if (unused !== undefined) return `node ${unused.name} is ${unused.state} (${unused.reason})`;
    for (const client of this.#clients) {
      if (this.#route(client, false).kind !== "node") return "writes are not possible";
      if (this.#route(client, true).kind !== "node") return "reads are not possible";
    }
    return undefined;
  }
}
