/**
 * What happens to the nodes, told to whoever wants to act on it: a function of the program that embeds the pooler, and
 * `failover_command`. One after the other and in order, so that whoever promotes a standby is not called again before
 * that is done.
 */
import type { Logger } from "../base/log.ts";
import type { TopologyNode, TopologySnapshot } from "../cluster/index.ts";
import type { Config } from "../config/schema.ts";
import { type CommandResult, HookCommand } from "./hook-command.ts";

/** Where a node is. */
export interface NodePlace {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

export type NodeEvent =
  /** No node can be written to, and the one that could is down: once, until there is a primary again. */
  | {
      readonly kind: "primary_lost";
      readonly oldPrimary: NodePlace;
      /** The standby that is up and has replayed the most; nobody has promoted it. */
      readonly candidate: NodePlace | undefined;
      readonly reason: string;
    }
  /** Another node is the primary, or the one that was lost is back. */
  | {
      readonly kind: "primary_found";
      readonly primary: NodePlace;
      readonly oldPrimary: NodePlace | undefined;
    }
  /** A node is up, down, fenced, … and was something else. */
  | {
      readonly kind: "node_state";
      readonly node: NodePlace;
      readonly state: TopologyNode["state"];
      readonly oldState: TopologyNode["state"];
      readonly reason: string;
    };

/** May promote a node, or have it promoted; what it throws is logged. */
export type NodeEventListener = (event: NodeEvent) => void | Promise<void>;

export interface NodeEventsOwner {
  readonly logger: Logger;
  readonly config: Config;
  /** Of several workers one acts. */
  readonly seat: { readonly slot: number } | undefined;
}

/** Beyond it the oldest changes of state are told to nobody: somebody takes too long. */
const queuedMax = 100;

export class NodeEvents {
  readonly #owner: NodeEventsOwner;
  readonly #listener: NodeEventListener | undefined;
  /** Something may be different: the nodes are to be asked at once. */
  readonly #onDone: () => void;
  readonly #command: HookCommand;
  readonly #places = new Map<string, NodePlace>();
  #queue: NodeEvent[] = [];
  #telling: Promise<void> | undefined;
  #primary: NodePlace | undefined;
  #generation = 0;
  #lost = false;
  #closed = false;

  constructor(owner: NodeEventsOwner, listener: NodeEventListener | undefined, onDone: () => void) {
    this.#owner = owner;
    this.#listener = listener;
    this.#onDone = onDone;
    this.#command = new HookCommand("failover_command_timeout");
  }

  /** `switching`: the primary changes by our own doing, and so is not lost. */
  follow(before: TopologySnapshot | undefined, after: TopologySnapshot, switching: boolean): void {
    for (const [name, { host, hostaddr, port }] of Object.entries(this.#owner.config.nodes)) {
      this.#places.set(name, { name, host: hostaddr ?? host, port });
    }
    for (const { name, state, reason } of after.nodes) {
      const old = before?.nodes.find((node) => node.name === name);
      const node = this.#places.get(name);
      if (old === undefined || node === undefined || old.state === state) continue;
      this.#tell({ kind: "node_state", node, state, oldState: old.state, reason });
    }
    this.#followPrimary(after, switching);
  }

  /** Ends a command that runs. Resolves when nobody is told anything any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#queue = [];
    this.#command.end();
    await this.#telling;
  }

  #followPrimary(after: TopologySnapshot, switching: boolean): void {
    const { primary: found, generation } = after;
    const oldPrimary = this.#primary;
    if (found !== undefined) {
      const primary = this.#places.get(found.name);
      const other = generation !== this.#generation;
      this.#generation = generation;
      this.#primary = primary;
      const told = oldPrimary !== undefined && (other || this.#lost);
      this.#lost = false;
      if (told && primary !== undefined) this.#tell({ kind: "primary_found", primary, oldPrimary });
      return;
    }
    if (this.#lost || switching || oldPrimary === undefined || after.noPrimary !== "none_found") return;
    this.#lost = true;
    const candidate = this.#places.get(candidateOf(after)?.name ?? "");
    this.#tell({ kind: "primary_lost", oldPrimary, candidate, reason: after.noPrimaryDetail });
  }

  #tell(event: NodeEvent): void {
    const { config, seat } = this.#owner;
    const wanted = this.#listener !== undefined || config.pgsluice.failover_command.length > 0;
    if (!wanted || this.#closed || (seat !== undefined && seat.slot > 0)) return;
    const spare =
      this.#queue.length < queuedMax ? -1 : this.#queue.findIndex(({ kind }) => kind === "node_state");
    if (spare >= 0) this.#queue.splice(spare, 1);
    this.#queue.push(event);
    this.#telling ??= this.#tellAll();
  }

  async #tellAll(): Promise<void> {
    for (let event = this.#queue.shift(); event !== undefined; event = this.#queue.shift()) {
      try {
        await this.#listener?.(event);
      } catch (error) {
        this.#owner.logger.warn({ event: event.kind, err: error }, "a listener of node events has failed");
      }
      await this.#runCommand(event);
      if (!this.#closed) this.#onDone();
    }
    this.#telling = undefined;
  }

  async #runCommand(event: NodeEvent): Promise<void> {
    const { config, logger } = this.#owner;
    const { failover_command: command, failover_command_timeout: seconds } = config.pgsluice;
    if (command.length === 0 || this.#closed) return;
    const { output, problem }: CommandResult = await this.#command.run(
      command,
      variablesOf(event),
      seconds * 1000,
    );
    const fields = { event: event.kind, command: command[0], output };
    if (problem === undefined) logger.info(fields, "failover_command has run");
    else logger.warn({ ...fields, reason: problem }, "failover_command has failed");
  }
}

/** The event in the environment of `failover_command`. */
function variablesOf(event: NodeEvent): Record<string, string> {
  switch (event.kind) {
    case "primary_lost":
      return {
        PGSLUICE_EVENT: event.kind,
        PGSLUICE_REASON: event.reason,
        ...placeVariables("PGSLUICE_OLD_PRIMARY", event.oldPrimary),
        ...placeVariables("PGSLUICE_NODE", event.candidate),
      };
    case "primary_found":
      return {
        PGSLUICE_EVENT: event.kind,
        ...placeVariables("PGSLUICE_OLD_PRIMARY", event.oldPrimary),
        ...placeVariables("PGSLUICE_NODE", event.primary),
      };
    case "node_state":
      return {
        PGSLUICE_EVENT: event.kind,
        PGSLUICE_STATE: event.state,
        PGSLUICE_OLD_STATE: event.oldState,
        PGSLUICE_REASON: event.reason,
        ...placeVariables("PGSLUICE_NODE", event.node),
      };
  }
}

function placeVariables(prefix: string, place: NodePlace | undefined): Record<string, string> {
  const { name = "", host = "", port = "" } = place ?? {};
  return { [prefix]: name, [`${prefix}_HOST`]: host, [`${prefix}_PORT`]: String(port) };
}

function candidateOf({ nodes }: TopologySnapshot): TopologyNode | undefined {
  const standbys = nodes.filter(({ role, state }) => role === "standby" && state === "up");
  return standbys.sort((a, b) => Number((b.lsn ?? 0n) - (a.lsn ?? 0n)))[0];
}
