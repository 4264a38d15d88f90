/** The faults of `npm run failover`: each strikes under writing and reading clients, and ends. */
import type { LabNode } from "../../src/lab/index.ts";
import { receiveBy } from "../behaviour/node-kit.ts";
import type { Stage } from "./stage.ts";

export interface Scenario {
  readonly name: string;
  /**
   * - `failover`: the primary is lost, another follows it, and the old one is fenced when it is back.
   * - `switchover`: as planned, and nobody meets an error.
   * - `reads`: a standby is lost: nobody meets an error.
   * - `nothing`: all of it goes on, only slower.
   */
  readonly expects: "failover" | "switchover" | "reads" | "nothing";
  strike(stage: Stage, node: LabNode): Promise<void>;
  /** What it takes for the node to answer again, as what it was. */
  end(stage: Stage, node: LabNode): Promise<void>;
}

interface NodeFault {
  readonly name: string;
  strike(stage: Stage, node: LabNode): Promise<void>;
  end(stage: Stage, node: LabNode): Promise<void>;
}

async function heal(stage: Stage, node: LabNode): Promise<void> {
  await stage.proxyOf(node).heal();
}

const nodeFaults: readonly NodeFault[] = [
  {
    name: "kill -9",
    strike: (_, node) => node.kill(),
    end: (_, node) => node.start(),
  },
  {
    name: "SIGSTOP",
    strike: (_, node) => node.pause(),
    end: (_, node) => node.resume(),
  },
  {
    name: "refused",
    async strike(stage, node) {
      const proxy = stage.proxyOf(node);
      await proxy.set({ refuse: true });
      proxy.resetAll();
    },
    end: heal,
  },
  {
    name: "half-open",
    // What is sent arrives, and is carried out; nothing ever comes back.
    strike: (stage, node) => stage.proxyOf(node).set({ stallAfterBytes: 0 }),
    async end(stage, node) {
      await heal(stage, node);
      stage.proxyOf(node).resetAll();
    },
  },
  {
    name: "black hole",
    strike: (stage, node) => stage.proxyOf(node).set({ drop: true }),
    async end(stage, node) {
      await heal(stage, node);
      stage.proxyOf(node).resetAll();
    },
  },
];

/** Less than health_check_timeout: the node answers, late. */
const delay: NodeFault = {
  name: "delay of 150 ms",
  strike: (stage, node) => stage.proxyOf(node).set({ latencyMs: 75 }),
  end: heal,
};

const planned: Scenario = {
  name: "planned switchover",
  expects: "switchover",
  async strike(stage) {
    const [next] = stage.lab.standbys;
    if (next === undefined) throw new Error("no standby is left");
    await receiveBy(stage.lab, next);
    await stage.command(`promote ${next.name}`);
  },
  end: () => Promise.resolve(),
};

export const scenarios: readonly Scenario[] = [
  ...nodeFaults.map((fault): Scenario => ({ ...fault, name: `primary: ${fault.name}`, expects: "failover" })),
  { ...delay, name: `primary: ${delay.name}`, expects: "nothing" },
  planned,
  ...nodeFaults.map((fault): Scenario => ({ ...fault, name: `standby: ${fault.name}`, expects: "reads" })),
  { ...delay, name: `standby: ${delay.name}`, expects: "nothing" },
];
