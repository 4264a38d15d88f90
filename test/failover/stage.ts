/**
 * A primary and two standbys, a proxy in front of each of them, and one pooler for all: where faults are tried one after
 * the other. Whatever is acknowledged is on another node too, so nothing of it may ever be missing.
 */

import { FaultProxy, Lab, type LabNode } from "../../src/lab/index.ts";
import type { NodeEvent } from "../../src/server/node-events.ts";
import { nodeRow, openConsole, startPooled, table } from "../behaviour/console-client.ts";
import { promoteBest, watched } from "../behaviour/node-kit.ts";
import type { Pooled } from "../behaviour/pooled.ts";
import { waitUntil } from "../kit/wait.ts";

const stateMs = 60_000;

/**
 * The primary whose loss has a consequence, once. On a busy machine any other may look lost for a moment: if the new one
 * were replaced as well, the writes that it alone has would be gone with it.
 */
interface Fault {
  loses: LabNode | undefined;
}

export class Stage implements AsyncDisposable {
  readonly lab: Lab;
  readonly pooled: Pooled;
  readonly #proxies: ReadonlyMap<string, FaultProxy>;
  readonly #fault: Fault;

  private constructor(lab: Lab, pooled: Pooled, proxies: ReadonlyMap<string, FaultProxy>, fault: Fault) {
    this.lab = lab;
    this.pooled = pooled;
    this.#proxies = proxies;
    this.#fault = fault;
  }

  static async start(): Promise<Stage> {
    const lab = await Lab.start({
      standbys: 2,
      settings: {
        synchronous_standby_names: "ANY 1 (*)",
        wal_receiver_timeout: "2s",
        max_connections: "200",
      },
    });
    const proxies = new Map<string, FaultProxy>();
    for (const { name, port } of lab.nodes) proxies.set(name, await FaultProxy.start({ port }));
    const fault: Fault = { loses: undefined };
    const nodes = Object.fromEntries([...proxies].map(([name, { port }]) => [name, { port, role: "auto" }]));
    const settings = {
      ...{ pool_mode: "auto", load_balance_mode: true, max_client_conn: 500, default_pool_size: 20 },
      ...{ health_check_timeout: 1, health_check_max_retries: 2, failover_timeout: 60 },
    };
    // What stands for a cluster manager: it promotes whoever has received the most.
    const onNodeEvent = async (event: NodeEvent): Promise<void> => {
      const old = fault.loses;
      if (event.kind !== "primary_lost" || event.oldPrimary.name !== old?.name) return;
      fault.loses = undefined;
      await promoteBest(lab, old);
    };
    const pooled = await startPooled(lab, watched(lab, { nodes, settings }), { onNodeEvent });
    return new Stage(lab, pooled, proxies, fault);
  }

  proxyOf({ name }: LabNode): FaultProxy {
    const proxy = this.#proxies.get(name);
    if (proxy === undefined) throw new Error(`there is no way to ${name}`);
    return proxy;
  }

  /** The primary that a fault is to strike: when it is lost another one follows it, without our doing. */
  set loses(node: LabNode | undefined) {
    this.#fault.loses = node;
  }

  async stateOf({ name }: LabNode): Promise<string | null | undefined> {
    using console = await openConsole(this.pooled);
    return (await nodeRow(console, name))["state"];
  }

  /** SHOW NODES in few words, for whoever wonders why something did not come about. */
  async #described(): Promise<string> {
    using console = await openConsole(this.pooled);
    const rows = await table(console, "show nodes");
    return rows
      .map(({ name, role, state, timeline, reason }) => `${name}: ${role} ${timeline} ${state} ${reason}`)
      .join(", ");
  }

  async #until(condition: () => Promise<boolean>, what: string): Promise<void> {
    try {
      // A console that does not answer for once is asked again: the machine may be busy.
      await waitUntil(() => condition().catch(() => false), what, stateMs);
    } catch (error) {
      throw new Error(`${what} did not come about: ${await this.#described()}`, { cause: error });
    }
  }

  async untilState(node: LabNode, state: string): Promise<void> {
    await this.#until(async () => (await this.stateOf(node)) === state, `${node.name} is ${state}`);
  }

  async untilPrimary(node: () => LabNode | undefined): Promise<void> {
    using console = await openConsole(this.pooled);
    await this.#until(async () => {
      const rows = await table(console, "show nodes");
      const { name } = node() ?? {};
      return rows.some((row) => row["name"] === name && row["primary"] === "1");
    }, "the new primary is found");
  }

  async command(text: string): Promise<void> {
    using console = await openConsole(this.pooled);
    await this.#until(async () => (await console.run(text)).error === undefined, text);
  }

  /** A fenced node comes back as a standby, and is used again. */
  async takeBack(old: LabNode): Promise<void> {
    await old.resume();
    await old.stop("immediate");
    await this.lab.rejoin(old);
    await this.command(`unfence ${old.name}`);
    await this.untilState(old, "up");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const proxy of this.#proxies.values()) await proxy.heal();
    await this.pooled.pooler.shutdown("immediate");
    for (const proxy of this.#proxies.values()) await proxy.stop();
    await this.lab.stop();
  }
}
