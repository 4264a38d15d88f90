/** What must never be, checked against what the pooler was told: by its nodes, its cluster manager, its clients. */
import type { Cluster } from "../../../src/cluster/cluster.ts";
import { type ManagerWord, objection } from "../../../src/cluster/manager.ts";
import type { ProbeResult } from "../../../src/cluster/probe-report.ts";
import { isPrefix, type LogEntry, type ModelNode, type World } from "./world.ts";

interface Told {
  readonly primary: boolean;
  readonly timeline: number;
}

export class Promises {
  /** What the pooler heard last from the manager. */
  word: ManagerWord | undefined;
  /** A person has chosen one of two primaries. */
  accepted = false;
  readonly #world: World;
  readonly #managed: boolean;
  /** The last answers, where that was the last result. */
  readonly #told = new Map<string, Told>();
  readonly #tried = new Set<string>();
  readonly #over = new Set<string>();
  readonly #writtenIn = new Map<number, string>();
  #highestTold = 0;
  #highestToldAt = 0;

  constructor(world: World, managed: boolean) {
    this.#world = world;
    this.#managed = managed;
  }

  /** The pooler starts again; `forgets`: its file is lost. */
  restarted(forgets: boolean): void {
    this.word = undefined;
    this.#told.clear();
    this.#tried.clear();
    this.#writtenIn.clear();
    if (!forgets) return;
    this.#highestTold = 0;
    this.#over.clear();
  }

  /** A probe that was begun at `startedAt` has ended. */
  told(name: string, result: ProbeResult, startedAt: number, now: number): void {
    // Before every node was tried nothing follows from what is said.
    if (this.#tried.size < this.#world.nodes.length) this.#highestToldAt = now;
    this.#tried.add(name);
    this.#told.delete(name);
    if (result.kind !== "answer") return;
    const { timeline, inRecovery } = result.report;
    this.#told.set(name, { primary: !inRecovery, timeline });
    if (!inRecovery && timeline < this.#highestTold && startedAt >= this.#highestToldAt) this.#over.add(name);
    if (timeline <= this.#highestTold) return;
    this.#highestTold = timeline;
    this.#highestToldAt = now;
  }

  /** A person says that the node may be used again. */
  unfenced(name: string): void {
    this.#over.delete(name);
  }

  /** Fences that the manager has ended: it, and the node itself, must have told of a standby of the history that goes on. */
  checkEndedFences({ memory }: Cluster): void {
    if (!this.#managed) return;
    for (const name of this.#over) {
      if (memory.fenced[name] !== undefined) continue;
      const told = this.#told.get(name);
      const member = this.word?.members.find((one) => one.name === name);
      const standby = told?.primary === false && told.timeline === this.#highestTold;
      demand(
        standby && member?.running === true && !member.leader,
        () => `the fence of ${name} has ended, which was not made a standby`,
      );
      this.#over.delete(name);
    }
  }

  checkWrite(name: string, { memory, snapshot }: Cluster): void {
    const { generation } = snapshot;
    const timeline = snapshot.primary?.timeline ?? 0;
    demand(memory.fenced[name] === undefined, () => `a write went to ${name}, which is fenced`);
    demand(!this.#over.has(name), () => `a write went to ${name}, whose history is over`);
    demand(
      timeline >= this.#highestTold,
      () => `a write went to ${name} of timeline ${timeline}, and ${this.#highestTold} was known`,
    );
    demand(
      this.#tried.size === this.#world.nodes.length,
      () => `a write went to ${name} before every node was tried`,
    );
    const objects = objection(this.word, name, this.#highestTold);
    demand(objects === undefined, () => `a write went to ${name}: ${objects}`);
    for (const [other, told] of this.#told) {
      if (other === name || !told.primary || told.timeline < timeline) continue;
      // Somebody may have chosen: a person, or the manager, which fences the other one.
      demand(
        this.#managed ? memory.fenced[other] !== undefined : this.accepted,
        () => `a write went to ${name} while ${other} says that it is the primary, too`,
      );
    }
    const before = this.#writtenIn.get(generation);
    demand(
      before === undefined || before === name,
      () => `${before} and ${name} were written to in generation ${generation}`,
    );
    this.#writtenIn.set(generation, name);
  }

  checkReadOf(name: string): void {
    demand(!this.#over.has(name), () => `a read went to ${name}, whose history is over`);
  }

  /** The read of a client that was told that `acknowledged` is written. */
  checkRead(node: ModelNode, acknowledged: LogEntry | undefined): void {
    if (acknowledged === undefined || node.log.includes(acknowledged)) return;
    const { leaders } = this.#world;
    // It may be gone with the history of an old primary: then nobody that goes on has it.
    const lost = leaders.some((leader) => !leader.log.includes(acknowledged));
    const over = leaders.some((leader) => !isPrefix(node.log, leader.log));
    demand(
      lost || over,
      () => `a client read from ${node.name}, which does not have its write ${acknowledged.id}`,
    );
  }
}

class Violation extends Error {}

/** Throws what went wrong. */
export function demand(holds: boolean, what: () => string): void {
  if (!holds) throw new Violation(what());
}
