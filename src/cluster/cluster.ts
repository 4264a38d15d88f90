/**
 * The nodes as one machine: results of probes and words of administrators in, a new snapshot and the times of the next
 * probes out. It does no I/O and knows no clock; whoever runs it probes each node when {@link Cluster.nextProbeAt} says,
 * hands the result in, passes {@link Cluster.snapshot} on and saves {@link Cluster.memory} when it has become another object.
 */
import { assert } from "../base/assert.ts";
import { type Answer, type Condition, type HealthSettings, NodeHealth } from "./health.ts";
import { isLagging, type Lag, PrimaryProgress } from "./lag.ts";
import { chosenBy, type ManagerWord, objection, withoutEndedFences } from "./manager.ts";
import { type AdministrativeState, type ClusterMemory, noMemory } from "./memory.ts";
import { type Detection, type Observation, PrimaryDetector } from "./primary.ts";
import type { ProbeResult } from "./probe-report.ts";
import {
  emptySnapshot,
  makeSnapshot,
  type NodeSettings,
  type NodeState,
  type NoPrimaryReason,
  type TopologyNode,
  type TopologySnapshot,
  type WrittenPrimary,
} from "./topology.ts";

export interface ClusterSettings extends HealthSettings {
  /** A node that was away is only used again this long after all else is well. */
  readonly warmupMs: number;
}

/** What a person or a cluster manager may ask for. */
export type NodeCommand =
  /** Back to what is found: ends draining, down and quarantined. */
  | "attach"
  | "drain"
  | "detach"
  | "quarantine"
  /** Nothing is sent there any more, whatever it says, until `unfence`. */
  | "fence"
  | "unfence"
  /** Its history is the one, against higher timelines and against another primary of the same. */
  | "accept";

class Node implements Observation {
  readonly name: string;
  settings: NodeSettings;
  readonly health: NodeHealth;
  lag: Lag | undefined;
  lagging = false;
  /** Has been seen unusable since it was last up, so that it has to warm up. */
  away = false;
  wellSince: number | undefined;
  shown: TopologyNode | undefined;

  constructor(settings: NodeSettings, health: HealthSettings, now: number) {
    this.name = settings.name;
    this.settings = settings;
    this.health = new NodeHealth(health, now);
  }

  get role(): NodeSettings["role"] {
    return this.settings.role;
  }

  get condition(): Condition {
    return this.health.condition;
  }

  get answer(): Answer | undefined {
    return this.health.answer;
  }

  get fresh(): boolean {
    return this.health.fresh;
  }

  get heard(): boolean {
    return this.health.heard;
  }
}

export class Cluster {
  snapshot: TopologySnapshot = emptySnapshot;
  memory: ClusterMemory;
  #settings: ClusterSettings;
  #nodes = new Map<string, Node>();
  /** The same, in the order of the configuration. */
  #all: readonly Node[] = [];
  readonly #detector = new PrimaryDetector();
  readonly #progress = new PrimaryProgress();
  #written: WrittenPrimary | undefined;
  #word: ManagerWord | undefined;
  /** When the conflict of the memory came up. */
  #conflictSince = Number.NEGATIVE_INFINITY;

  constructor(
    nodes: readonly NodeSettings[],
    settings: ClusterSettings,
    memory: ClusterMemory | undefined,
    now: number,
  ) {
    this.#settings = settings;
    this.memory = memory ?? noMemory;
    this.configure(nodes, settings, now);
  }

  /** Also after a reload: nodes of the same name keep what is known of them. */
  configure(nodes: readonly NodeSettings[], settings: ClusterSettings, now: number): void {
    const before = this.#nodes;
    this.#settings = settings;
    this.#nodes = new Map(
      nodes.map((node) => {
        const known = before.get(node.name);
        if (known === undefined) return [node.name, new Node(node, settings, now)];
        known.settings = node;
        known.health.configure(settings);
        return [node.name, known];
      }),
    );
    this.#all = [...this.#nodes.values()];
    assert(this.#nodes.size === nodes.length, "names of nodes are unique");
    this.#detector.keep(new Set(this.#nodes.keys()));
    this.#update(now);
  }

  /** Forgets what is known of a node whose address was changed. */
  replaced(name: string, now: number): void {
    const node = this.#nodes.get(name);
    if (node === undefined) return;
    this.#nodes.set(name, new Node(node.settings, this.#settings, now));
    this.#all = [...this.#nodes.values()];
    this.#update(now);
  }

  nextProbeAt(name: string): number {
    return this.#node(name).health.nextProbeAt;
  }

  /** A probe ended at `now` that was begun at `startedAt`. */
  probed(name: string, result: ProbeResult, startedAt: number, now: number): void {
    const node = this.#nodes.get(name);
    // It was taken out of the configuration meanwhile.
    if (node === undefined) return;
    node.health.probed(result, startedAt, now);
    this.#update(now);
  }

  /**
   * A client met an error that may be the node's: no verdict, but the next probe is due now. Until it is answered
   * nobody relies on what the node had replayed: a standby that crashes may come back before that.
   */
  suspect(name: string, now: number): void {
    const node = this.#nodes.get(name);
    node?.health.suspect(now);
    if (node?.shown?.lsn !== undefined) this.#update(now);
  }

  /** Somebody waits for standbys to come as far as the primary is: those that answer are asked at once. */
  hasten(now: number): void {
    for (const { health } of this.#nodes.values()) health.hasten(now);
  }

  /** What a person or a cluster manager says of a node. Undefined if done, else why not. */
  command(name: string, command: NodeCommand, now: number): string | undefined {
    const node = this.#nodes.get(name);
    if (node === undefined) return `there is no node "${name}"`;
    const refused = this.#obey(name, node, command, now);
    if (refused !== undefined) return refused;
    node.health.suspect(now);
    this.#update(now);
    return undefined;
  }

  /** What the cluster manager has answered; undefined: it is not reached, or there is none. */
  managed(word: ManagerWord | undefined, now: number): void {
    this.#word = word;
    this.#update(now);
  }

  /** Brings in what changes by time alone: call it when {@link Cluster.nextChangeAt} has come. */
  tick(now: number): void {
    this.#update(now);
  }

  /** When a node will have warmed up; undefined if none is warming up. */
  nextChangeAt(): number | undefined {
    let soonest: number | undefined;
    for (const { away, wellSince } of this.#all) {
      if (!away || wellSince === undefined) continue;
      const due = wellSince + this.#settings.warmupMs;
      if (soonest === undefined || due < soonest) soonest = due;
    }
    return soonest;
  }

  #node(name: string): Node {
    const node = this.#nodes.get(name);
    assert(node !== undefined, `node "${name}" is configured`);
    return node;
  }

  #obey(name: string, { health }: Node, command: NodeCommand, now: number): string | undefined {
    const { memory } = this;
    switch (command) {
      case "attach":
        if (memory.fenced[name] !== undefined)
          return `node "${name}" is fenced: ${memory.fenced[name].reason}`;
        this.memory = { ...memory, administrative: without(memory.administrative, name) };
        return undefined;
      case "drain":
        return this.#administer(name, "draining");
      case "detach":
        return this.#administer(name, "down");
      case "quarantine":
        return this.#administer(name, "quarantined");
      case "fence": {
        const timeline = health.answer?.report.timeline ?? memory.timeline;
        const fence = { timeline, reason: "an administrator fenced it", administrative: true };
        this.memory = { ...memory, fenced: { ...memory.fenced, [name]: fence } };
        return undefined;
      }
      case "unfence": {
        if (memory.fenced[name] === undefined) return `node "${name}" is not fenced`;
        const report = health.answer?.report;
        if (report !== undefined && !report.inRecovery && report.timeline < memory.timeline) {
          return `node "${name}" still claims to be the primary of timeline ${report.timeline}, and timeline ${memory.timeline} exists`;
        }
        this.memory = { ...memory, fenced: without(memory.fenced, name) };
        return undefined;
      }
      case "accept": {
        const { answer, fresh } = health;
        if (answer === undefined || !fresh) return `node "${name}" does not answer`;
        if (answer.report.inRecovery) return `node "${name}" is a standby`;
        this.#accept(name, now);
        return undefined;
      }
    }
  }

  #accept(name: string, now: number): void {
    this.memory = this.#detector.accept(name, this.#all, this.memory, now);
  }

  #administer(name: string, state: AdministrativeState): undefined {
    this.memory = { ...this.memory, administrative: { ...this.memory.administrative, [name]: state } };
  }

  /** Everything that follows from what is known now. */
  #update(now: number): void {
    this.#followManager(now);
    const detection = this.#detector.detect(this.#all, this.memory, now);
    if (this.memory.conflict === undefined) this.#conflictSince = now;
    this.memory = detection.memory;
    for (const name of detection.checking) this.#recheck(name, now);
    this.#measureLag(detection.primary);
    const nodes = this.#all.map((node) => this.#show(node, detection, now));
    const found = nodes.find(({ name }) => name === detection.primary);
    const held = found === undefined ? undefined : this.#heldBack(found);
    const primary = held === undefined ? found?.name : undefined;
    this.snapshot = makeSnapshot(this.snapshot, this.#written, {
      nodes,
      primary,
      noPrimary: primary === undefined ? (held?.reason ?? detection.noPrimary ?? "none_found") : undefined,
      noPrimaryDetail: held?.detail ?? detection.detail,
      timeline: this.memory.timeline,
      position: this.#position(primary),
    });
    this.#noteWritten();
    if (primary === undefined) for (const { health } of this.#all) health.search();
  }

  /** What the cluster manager decides in place of a person. */
  #followManager(now: number): void {
    const word = this.#word;
    if (word === undefined) return;
    const chosen = chosenBy(word, this.memory, this.#conflictSince, this.#all);
    if (chosen !== undefined) this.#accept(chosen, now);
    this.memory = withoutEndedFences(word, this.memory, this.#all);
  }

  /** Why the node that was found to be the primary is not written to; undefined: it is. */
  #heldBack({ name, state, reason }: TopologyNode): { reason: NoPrimaryReason; detail: string } | undefined {
    if (state !== "up") return { reason: heldBack(state), detail: `node "${name}" is ${state}: ${reason}` };
    const detail = objection(this.#word, name, this.memory.timeline);
    return detail === undefined ? undefined : { reason: "checking", detail };
  }

  #noteWritten(): void {
    const { primary } = this.snapshot;
    if (primary?.timeline !== undefined) this.#written = { name: primary.name, timeline: primary.timeline };
  }

  /** Without a primary the last one is as good as before: positions of one that is gone are no less past. */
  #position(primary: string | undefined): TopologySnapshot["position"] {
    const answer = primary === undefined ? undefined : this.#node(primary).health.answer;
    const lsn = answer?.report.lsn;
    if (answer === undefined || lsn === undefined) return this.snapshot.position;
    return { lsn, askedAt: answer.startedAt };
  }

  /** Its claim is older than what contradicts it. One that is being asked already will be asked again. */
  #recheck(name: string, now: number): void {
    this.#node(name).health.suspect(now);
  }

  #measureLag(primary: string | undefined): void {
    const answer = primary === undefined ? undefined : this.#node(primary).health.answer;
    if (primary !== undefined && answer !== undefined) {
      if (primary !== this.#written?.name || answer.report.timeline !== this.#written.timeline) {
        this.#progress.clear();
      }
      this.#progress.note(answer);
    }
    for (const node of this.#all) {
      const { answer: own, fresh } = node.health;
      if (own?.report.inRecovery !== true) {
        node.lag = undefined;
        node.lagging = false;
      } else if (fresh) {
        node.lag = this.#progress.behind(own);
        node.lagging = isLagging(node.lag, node.settings, node.lagging);
      }
    }
  }

  #show(node: Node, detection: Detection, now: number): TopologyNode {
    const { name, health, settings, lag, lagging } = node;
    const report = health.answer?.report;
    const [state, reason] = this.#judge(node, detection, now);
    const role = report === undefined ? "unknown" : report.inRecovery ? "standby" : "primary";
    const before = node.shown;
    node.shown = {
      name,
      role,
      state,
      reason,
      since: before?.state === state ? before.since : now,
      timeline: report?.timeline,
      lsn: health.positionKnown ? report?.lsn : undefined,
      lagBytes: lag?.bytes,
      lagMs: lag?.ms,
      lagging,
      weight: settings.weight,
      zone: settings.zone,
      latencyMs: health.answer?.latencyMs,
      readable: state === "up" && !lagging && (role === "standby" || name === detection.primary),
    };
    return node.shown;
  }

  #judge(node: Node, detection: Detection, now: number): readonly [NodeState, string] {
    const verdict = judge(node, detection);
    const [state] = verdict;
    if (state !== "up") {
      node.away ||= state === "down" || (state === "recovering" && node.health.condition === "starting");
      node.wellSince = undefined;
      return verdict;
    }
    if (!node.away) return verdict;
    node.wellSince ??= now;
    // Nobody gains from a primary that waits.
    if (now - node.wellSince < this.#settings.warmupMs && node.name !== detection.primary) {
      return ["recovering", "is warming up"];
    }
    node.away = false;
    node.wellSince = undefined;
    return verdict;
  }
}

const fine: readonly [NodeState, string] = ["up", ""];
const behind: readonly [NodeState, string] = ["up", "is too far behind the primary for reads"];

function judge(node: Node, detection: Detection): readonly [NodeState, string] {
  const { name, health, shown, lagging } = node;
  const { fenced, administrative } = detection.memory;
  const fence = fenced[name];
  if (fence !== undefined) return ["fenced", fence.reason];
  const set = administrative[name];
  if (set !== undefined) return [set, "an administrator said so"];
  switch (health.condition) {
    case "unknown":
      return ["recovering", health.reason];
    case "starting":
      return ["recovering", health.reason];
    case "stopping":
      return ["draining", health.reason];
    case "unreachable":
      return ["down", health.reason];
    case "answering":
  }
  const quarantine = detection.quarantined.get(name);
  if (quarantine !== undefined) return ["quarantined", quarantine];
  const { report } = health.answer ?? {};
  if (report?.inRecovery === false && name !== detection.primary) {
    if (detection.noPrimary === "conflict") return ["quarantined", detection.detail];
    return ["recovering", "its claim to be the primary is being checked"];
  }
  if (!lagging) return fine;
  return shown?.state === "up" ? behind : ["recovering", "is catching up with the primary"];
}

function heldBack(state: NodeState): NoPrimaryReason {
  return state === "draining" ? "draining" : state === "recovering" ? "recovering" : "none_found";
}

function without<Value>(record: Readonly<Record<string, Value>>, name: string): Record<string, Value> {
  const { [name]: _, ...rest } = record;
  return rest;
}
