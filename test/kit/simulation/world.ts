/**
 * A model of PostgreSQL's streaming replication, as far as a pooler in front of it can tell: nodes that crash, start, are
 * promoted, fall behind, are cut off, and come back as what they were. Every write is an entry of a log, so that it can
 * be said of each read what it must have shown.
 */
export interface LogEntry {
  readonly timeline: number;
  readonly id: number;
}

export class ModelNode {
  readonly name: string;
  role: "primary" | "standby";
  timeline = 1;
  /** Its whole log, an array that no other node has; a position is the number of entries. */
  log: LogEntry[] = [];
  alive = true;
  /** Alive, but says 57P03 until then. */
  startingUntil = 0;
  /** Cut off from the pooler, without a word. */
  cutOff = false;
  /** Gets nothing from the primary. */
  stalled = false;
  /** Everything it says takes this much longer. */
  slowMs = 0;
  /** Counts its starts: connections of an earlier one are broken. */
  epoch = 0;

  constructor(name: string, role: "primary" | "standby") {
    this.name = name;
    this.role = role;
  }

  serves(now: number): boolean {
    return this.alive && now >= this.startingUntil;
  }
}

export type Fault =
  | {
      readonly kind: "crash" | "start" | "cut" | "heal" | "stall" | "resume" | "slow" | "quick";
      readonly node: number;
    }
  /** What a cluster manager does, be it right or wrong. */
  | { readonly kind: "promote"; readonly node: number }
  /** The primary stops, a standby takes over, the old one comes back following it. */
  | { readonly kind: "switch_over"; readonly node: number }
  | { readonly kind: "rewind"; readonly node: number }
  /** The cluster manager is not heard, or tells what was true until now; then it is heard again. */
  | { readonly kind: "silence" | "deceive" | "hear" }
  | { readonly kind: "restart_pooler" };

type FaultOfOne = Extract<Fault, { readonly node: number }>;

export interface TimedFault {
  readonly at: number;
  readonly fault: Fault;
}

export class World {
  readonly nodes: readonly ModelNode[];

  constructor(count: number) {
    this.nodes = Array.from({ length: count }, (_, index) => {
      return new ModelNode("abcdef"[index] ?? "", index === 0 ? "primary" : "standby");
    });
  }

  named(name: string): ModelNode {
    const node = this.nodes.find((one) => one.name === name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  /** The history that goes on: of the highest timeline. Two of one timeline are a tie that nobody can break. */
  get leaders(): readonly ModelNode[] {
    let highest = 0;
    for (const { role, timeline } of this.nodes)
      if (role === "primary" && timeline > highest) highest = timeline;
    return this.nodes.filter(({ role, timeline }) => role === "primary" && timeline === highest);
  }

  /** Standbys follow a leader that lives and whose history theirs is the beginning of. */
  replicate(entriesMax: number, now: number): void {
    const [leader, second] = this.leaders;
    if (leader === undefined || second !== undefined || !leader.serves(now)) return;
    for (const node of this.nodes) {
      if (node.role !== "standby" || node.stalled || !node.serves(now) || !isPrefix(node.log, leader.log))
        continue;
      node.timeline = Math.max(node.timeline, leader.timeline);
      const end = Math.min(leader.log.length, node.log.length + entriesMax);
      for (let i = node.log.length; i < end; i++) node.log.push(leader.log[i] as LogEntry);
    }
  }

  /** Returns the node that has become a primary by it. */
  apply(fault: Fault, now: number, lost: number): ModelNode | undefined {
    if (!("node" in fault)) return undefined;
    const node = this.nodes[fault.node];
    if (node === undefined) return undefined;
    const before = node.role;
    this.#strike(fault, node, now, lost);
    return before === "standby" && node.role === "primary" ? node : undefined;
  }

  #strike(fault: FaultOfOne, node: ModelNode, now: number, lost: number): void {
    switch (fault.kind) {
      case "crash":
        node.alive = false;
        return;
      case "start":
        if (!node.alive) start(node, now, lost);
        return;
      case "cut":
      case "heal":
        node.cutOff = fault.kind === "cut";
        return;
      case "stall":
      case "resume":
        node.stalled = fault.kind === "stall";
        return;
      case "slow":
      case "quick":
        node.slowMs = fault.kind === "slow" ? 400 : 0;
        return;
      case "promote":
        if (node.serves(now) && node.role === "standby") promote(node);
        return;
      case "switch_over": {
        const [leader, second] = this.leaders;
        const may = leader !== undefined && second === undefined && leader.serves(now) && node.serves(now);
        if (!may || node.role !== "standby" || !isPrefix(node.log, leader.log)) return;
        node.log = [...leader.log];
        node.timeline = leader.timeline;
        promote(node);
        leader.role = "standby";
        start(leader, now, 0);
        return;
      }
      case "rewind":
        this.rewind(node, now);
    }
  }

  /** pg_rewind, or a new base backup: becomes a standby of the leader. */
  rewind(node: ModelNode, now: number): void {
    const [leader, second] = this.leaders;
    if (leader === undefined || second !== undefined || leader === node) return;
    node.role = "standby";
    node.timeline = leader.timeline;
    node.log = [...leader.log];
    start(node, now, 0);
  }
}

/** `lost`: a standby that crashed may come back before where it was, and replays that again. */
function start(node: ModelNode, now: number, lost: number): void {
  node.alive = true;
  node.epoch++;
  node.startingUntil = now + 300;
  if (node.role === "standby") node.log.length = Math.max(0, node.log.length - lost);
}

function promote(node: ModelNode): void {
  node.role = "primary";
  node.timeline++;
  // The end of recovery is an entry of the log itself.
  node.log.push({ timeline: node.timeline, id: -1 });
}

export function isPrefix(log: readonly LogEntry[], of: readonly LogEntry[]): boolean {
  if (log.length > of.length) return false;
  const last = log.length - 1;
  // Entries are shared objects: equal ends mean equal beginnings.
  return last < 0 || log[last] === of[last];
}
