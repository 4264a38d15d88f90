/** What tests of the room say often: settings, answers, and a cluster that is probed by hand. */
import { Cluster, type ClusterSettings } from "../../../src/cluster/cluster.ts";
import type { ClusterMemory } from "../../../src/cluster/memory.ts";
import type { ProbeReport, ProbeResult } from "../../../src/cluster/probe-report.ts";
import { type NodeSettings, nodeNamed, type TopologyNode } from "../../../src/cluster/topology.ts";

export const settings: ClusterSettings = {
  probeIntervalMs: 1000,
  probeFastIntervalMs: 100,
  probeBackoffMaxMs: 8000,
  failuresMax: 3,
  answersMin: 2,
  warmupMs: 0,
};

export function node(name: string, more: Partial<NodeSettings> = {}): NodeSettings {
  return { name, role: "auto", weight: 1, zone: undefined, lagBytesMax: 0, lagMsMax: 0, ...more };
}

export function primary(timeline: number, lsn = 1000n, more: Partial<ProbeReport> = {}): ProbeResult {
  return answer({ inRecovery: false, timeline, lsn, ...more });
}

export function standby(timeline: number, lsn = 1000n, more: Partial<ProbeReport> = {}): ProbeResult {
  return answer({ inRecovery: true, timeline, lsn, receivedLsn: lsn, streaming: true, ...more });
}

export const refused: ProbeResult = { kind: "refused" };
export const timedOut: ProbeResult = { kind: "timeout" };

export function said(sqlstate: string, message = "told so"): ProbeResult {
  return { kind: "error", sqlstate, message };
}

function answer(report: Partial<ProbeReport>): ProbeResult {
  return {
    kind: "answer",
    latencyMs: 1,
    report: {
      inRecovery: false,
      timeline: 1,
      systemIdentifier: "7000000000000000001",
      lsn: undefined,
      receivedLsn: undefined,
      replayAgeMs: undefined,
      streaming: undefined,
      ...report,
    },
  };
}

/** A cluster whose probes take a millisecond and are begun when told. */
export class Probed {
  readonly cluster: Cluster;
  now = 1_000_000;

  constructor(
    nodes: readonly (string | NodeSettings)[],
    options: { readonly settings?: Partial<ClusterSettings>; readonly memory?: ClusterMemory } = {},
  ) {
    this.cluster = new Cluster(
      nodes.map((one) => (typeof one === "string" ? node(one) : one)),
      { ...settings, ...options.settings },
      options.memory,
      this.now,
    );
  }

  /** One probe after the other. */
  probe(...results: readonly (readonly [string, ProbeResult])[]): void {
    for (const [name, result] of results) {
      const startedAt = this.now;
      this.now += 1;
      this.cluster.probed(name, result, startedAt, this.now);
    }
  }

  /** The same results so many times. */
  rounds(count: number, ...results: readonly (readonly [string, ProbeResult])[]): void {
    for (let round = 0; round < count; round++) {
      this.now += 100;
      this.probe(...results);
    }
  }

  node(name: string): TopologyNode {
    const found = nodeNamed(this.cluster.snapshot, name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  }

  get primary(): string | undefined {
    return this.cluster.snapshot.primary?.name;
  }
}
