/**
 * A model of a cluster manager, as Patroni is one for a pooler: somebody holds its lock, whoever is asked tells who, and
 * may be silent, or tell what was true a while ago. It moves the lock with most promotions; some are done behind its
 * back, and it only hears of them once the holder is a primary no more.
 */
import type { ManagedMember } from "../../../src/cluster/manager.ts";
import type { Fault, ModelNode, World } from "./world.ts";

export class ModelManager {
  #holder: ModelNode | undefined;
  #silent = false;
  /** What is told instead of the truth. */
  #stale: readonly ManagedMember[] | undefined;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
    [this.#holder] = world.leaders;
  }

  get holder(): ModelNode | undefined {
    return this.#holder;
  }

  /** Something has happened: `promoted` is a new primary, and `knows` says that the manager has made it one. */
  follow({ kind }: Fault, promoted: ModelNode | undefined, knows: boolean, now: number): void {
    switch (kind) {
      case "silence":
        this.#silent = true;
        return;
      case "deceive":
        this.#stale = this.#truth(now);
        return;
      case "hear":
        this.#silent = false;
        this.#stale = undefined;
        return;
      default:
    }
    if (promoted !== undefined && knows) this.#holder = promoted;
    if (this.#holder?.role === "primary") return;
    const [leader, second] = this.#world.leaders;
    this.#holder = second === undefined ? leader : undefined;
  }

  /** Everything is well again, and `leader` holds the lock. */
  heal(leader: ModelNode | undefined): void {
    this.#silent = false;
    this.#stale = undefined;
    this.#holder = leader;
  }

  answer(now: number): readonly ManagedMember[] | undefined {
    return this.#silent ? undefined : (this.#stale ?? this.#truth(now));
  }

  #truth(now: number): readonly ManagedMember[] {
    return this.#world.nodes.map((node) => ({
      name: node.name,
      host: node.name,
      port: 5432,
      leader: node === this.#holder,
      running: node.serves(now),
      timeline: node.timeline,
    }));
  }
}
