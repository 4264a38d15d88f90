import { describe, expect, test } from "vitest";
import { NodeHealth } from "../../../src/cluster/health.ts";
import type { ProbeResult } from "../../../src/cluster/probe-report.ts";
import { probeReport } from "../../../src/cluster/probe-report.ts";
import { node, Probed, primary, refused, said, settings, standby, timedOut } from "./model.ts";

const healthAfter = (...results: readonly ProbeResult[]) => {
  const health = new NodeHealth(settings, 0);
  for (const [index, result] of results.entries()) health.probed(result, index * 10, index * 10 + 1);
  return health;
};
const up = primary(1);

describe("results in a row", () => {
  test("one missing answer says nothing about a node that was well", () => {
    expect(healthAfter(up, timedOut, timedOut).condition).toBe("answering");
    expect(healthAfter(up, timedOut, timedOut, up, timedOut, timedOut).condition).toBe("answering");
  });

  test("failuresMax of them make it unreachable, answersMin answers bring it back", () => {
    const lost = [up, timedOut, refused, timedOut] as const;
    expect(healthAfter(...lost).condition).toBe("unreachable");
    expect(healthAfter(...lost, up).condition).toBe("unreachable");
    expect(healthAfter(...lost, up, timedOut, up).condition).toBe("unreachable");
    expect(healthAfter(...lost, up, up).condition).toBe("answering");
  });

  test("the first result of all counts at once", () => {
    expect(healthAfter(up).condition).toBe("answering");
    expect(healthAfter(refused)).toMatchObject({ condition: "unreachable", reason: "refuses connections" });
  });

  test("probes follow each other faster while a verdict is pending", () => {
    expect(healthAfter(up).nextProbeAt).toBe(1 + settings.probeIntervalMs);
    expect(healthAfter(up, refused).nextProbeAt).toBe(11 + settings.probeFastIntervalMs);
    expect(healthAfter(up, refused, refused, refused).nextProbeAt).toBe(31 + settings.probeIntervalMs);
    expect(healthAfter(refused, up).nextProbeAt).toBe(11 + settings.probeFastIntervalMs);
  });
});

test("while there is no primary, nodes that answer are asked as often as those in doubt, but for full ones", () => {
  const probed = new Probed(["a", "b", "c"]);
  probed.probe(["a", primary(1)], ["b", standby(1)], ["c", standby(1)], ["c", said("53300")]);
  const { probeIntervalMs, probeFastIntervalMs } = settings;
  const askedIn = (name: string): number => probed.cluster.nextProbeAt(name) - probed.now;
  probed.probe(["b", standby(1)]);
  expect(askedIn("b")).toBe(probeIntervalMs);
  probed.rounds(3, ["a", refused]);
  expect(probed.cluster.snapshot.noPrimary).toBe("none_found");
  probed.probe(["b", standby(1)]);
  expect([askedIn("b"), askedIn("a")].map((ms) => ms <= probeFastIntervalMs)).toEqual([true, false]);
  expect(askedIn("c")).toBeGreaterThan(probeFastIntervalMs);
  probed.probe(["b", primary(2)]);
  expect(probed.cluster.snapshot.primary?.name).toBe("b");
  probed.probe(["b", primary(2)]);
  expect(askedIn("b")).toBe(probeIntervalMs);
});

describe("what PostgreSQL says of itself (acceptance 97)", () => {
  test("acceptance 97: 53300 makes probes rarer and changes nothing else", () => {
    const full = healthAfter(up, said("53300"));
    expect(full).toMatchObject({ condition: "answering", nextProbeAt: 11 + 1000 });
    expect(healthAfter(up, said("53300"), said("53300")).nextProbeAt).toBe(21 + 2000);
    expect(healthAfter(up, ...Array<ProbeResult>(20).fill(said("53300")))).toMatchObject({
      condition: "answering",
      nextProbeAt: 201 + 8000,
    });
    full.suspect(12);
    expect(full.nextProbeAt).toBe(11 + 1000);
  });

  test("acceptance 97: 57P03 of a server that starts is tried again soon", () => {
    const starting = healthAfter(up, said("57P03", "the database system is starting up"));
    expect(starting).toMatchObject({ condition: "starting", nextProbeAt: 11 + 100 });
    expect(healthAfter(up, said("57P03", "the database system is starting up"), up).condition).toBe(
      "answering",
    );
  });

  test("acceptance 97: 57P03 of a server that shuts down drains it", () => {
    expect(healthAfter(up, said("57P03", "the database system is shutting down")).condition).toBe("stopping");
  });

  test("acceptance 97: 57P02 is a crash of another process: all of them restart", () => {
    expect(healthAfter(up, said("57P02")).condition).toBe("starting");
  });

  test("pg_terminate_backend on the probe's connection degrades nothing, and asks for a probe at once", () => {
    const terminated = healthAfter(up, said("57P01"));
    expect(terminated).toMatchObject({ condition: "answering", nextProbeAt: 11 });
    expect(healthAfter(up, said("57P01"), up, said("57P01")).condition).toBe("answering");
  });

  test("acceptance 97: 57P01 twice is a server that shuts down", () => {
    expect(healthAfter(up, said("57P01"), said("57P01")).condition).toBe("stopping");
  });

  test("a node that cannot be watched is not used unwatched", () => {
    const shut = said("28P01", "password authentication failed");
    expect(healthAfter(up, shut).condition).toBe("answering");
    expect(healthAfter(up, shut, shut, shut).reason).toBe("password authentication failed (SQLSTATE 28P01)");
  });
});

describe("errors that clients meet", () => {
  test("acceptance 62: are no verdict, they only ask for a probe, and not for one per error", () => {
    const probed = new Probed(["a", "b"]);
    probed.probe(["a", primary(1)], ["b", standby(1)], ["a", primary(1)]);
    probed.now += 500;
    for (let error = 0; error < 100; error++) probed.cluster.suspect("b", probed.now);
    expect(probed.node("b").state).toBe("up");
    expect(probed.cluster.nextProbeAt("b")).toBe(probed.now);
    expect(probed.cluster.nextProbeAt("a")).toBeGreaterThan(probed.now);
    probed.probe(["b", standby(1)]);
    probed.cluster.suspect("b", probed.now);
    expect(probed.cluster.nextProbeAt("b")).toBe(probed.now + settings.probeFastIntervalMs);
  });

  test("make nobody rely on what the node had replayed, until it is asked again", () => {
    const probed = new Probed(["a", "b"]);
    probed.probe(["a", primary(1, 500n)], ["b", standby(1, 500n)]);
    expect(probed.node("b").lsn).toBe(500n);
    probed.cluster.suspect("b", probed.now + 1);
    expect(probed.node("b")).toMatchObject({ lsn: undefined, state: "up", readable: true });
    probed.now += 10;
    probed.probe(["b", standby(1, 480n)]);
    expect(probed.node("b").lsn).toBe(480n);
  });

  test("during a probe ask for another one after it", () => {
    const health = healthAfter(up);
    health.suspect(2000);
    health.probed(up, 1999, 2001);
    expect(health.nextProbeAt).toBe(2001 + settings.probeFastIntervalMs);
  });

  test("of a node that is not configured any more are nobody's business", () => {
    const probed = new Probed(["a"]);
    probed.cluster.suspect("gone", probed.now);
    probed.cluster.probed("gone", up, probed.now, probed.now);
    expect(probed.cluster.snapshot.nodes.map(({ name }) => name)).toEqual(["a"]);
  });
});

describe("coming back", () => {
  test("a standby that was away warms up first; one that was never away does not", () => {
    const probed = new Probed(["a", "b"], { settings: { warmupMs: 5000 } });
    probed.probe(["a", primary(1)], ["b", standby(1)]);
    expect(probed.node("b").state).toBe("up");
    probed.rounds(3, ["b", refused]);
    expect(probed.node("b").state).toBe("down");
    probed.rounds(2, ["b", standby(1)]);
    expect(probed.node("b")).toMatchObject({ state: "recovering", reason: "is warming up", readable: false });
    const due = probed.cluster.nextChangeAt() ?? 0;
    probed.cluster.tick(due - 1);
    expect(probed.node("b").state).toBe("recovering");
    probed.cluster.tick(due);
    expect(probed.node("b")).toMatchObject({ state: "up", readable: true });
    expect(probed.cluster.nextChangeAt()).toBeUndefined();
  });

  test("the primary does not warm up", () => {
    const probed = new Probed(["a"], { settings: { warmupMs: 5000 } });
    probed.probe(["a", primary(1)]);
    probed.rounds(3, ["a", refused]);
    probed.rounds(2, ["a", primary(1)]);
    expect(probed.primary).toBe("a");
  });
});

describe("lag", () => {
  const lagging = (limits: { readonly lagBytesMax?: number; readonly lagMsMax?: number }) => {
    const probed = new Probed(["a", node("b", limits)]);
    probed.probe(["a", primary(1, 1000n)], ["b", standby(1, 1000n)]);
    return probed;
  };

  test("over the limit of bytes a standby gets no reads, until it is well below", () => {
    const probed = lagging({ lagBytesMax: 100 });
    probed.rounds(1, ["a", primary(1, 1100n)], ["b", standby(1, 1000n)]);
    expect(probed.node("b")).toMatchObject({ lagBytes: 100, readable: true });
    probed.rounds(1, ["a", primary(1, 1200n)], ["b", standby(1, 1099n)]);
    expect(probed.node("b")).toMatchObject({ lagBytes: 101, lagging: true, readable: false, state: "up" });
    probed.rounds(1, ["b", standby(1, 1149n)]);
    expect(probed.node("b")).toMatchObject({
      lagBytes: 51,
      readable: false,
      reason: "is too far behind the primary for reads",
    });
    probed.rounds(1, ["b", standby(1, 1150n)]);
    expect(probed.node("b")).toMatchObject({ lagBytes: 50, readable: true, reason: "" });
  });

  test("in time is measured by what the primary had written when", () => {
    const probed = lagging({ lagMsMax: 250 });
    probed.rounds(1, ["a", primary(1, 1100n)]);
    probed.rounds(2, ["a", primary(1, 1200n)], ["b", standby(1, 1000n)]);
    expect(probed.node("b").lagMs).toBeGreaterThan(200);
    expect(probed.node("b").readable).toBe(true);
    probed.rounds(1, ["b", standby(1, 1000n)]);
    expect(probed.node("b")).toMatchObject({ lagging: true, readable: false });
    probed.rounds(1, ["b", standby(1, 1200n)]);
    expect(probed.node("b")).toMatchObject({ lagMs: 0, readable: true });
  });

  test("an idle primary causes none, however long it is idle", () => {
    const probed = lagging({ lagMsMax: 250, lagBytesMax: 10 });
    probed.rounds(50, ["a", primary(1, 1000n)], ["b", standby(1, 1000n, { replayAgeMs: 3_600_000 })]);
    expect(probed.node("b")).toMatchObject({ lagMs: 0, lagBytes: 0, readable: true });
  });

  test("of a standby behind all that is known counts by its own word", () => {
    const probed = new Probed(["a", node("b", { lagMsMax: 1000 })]);
    probed.probe(["a", primary(1, 1000n)], ["b", standby(1, 10n, { replayAgeMs: 60_000 })]);
    expect(probed.node("b")).toMatchObject({
      state: "recovering",
      lagMs: 60_000,
      reason: "is catching up with the primary",
    });
  });

  test("is forgotten with the primary it was measured by", () => {
    const probed = new Probed(["a", "b", node("c", { lagBytesMax: 100 })]);
    probed.probe(["a", primary(1, 5000n)], ["b", standby(1, 1000n)], ["c", standby(1, 1000n)]);
    probed.probe(["b", primary(2, 1000n)], ["c", standby(2, 1000n)]);
    expect(probed.node("c")).toMatchObject({ lagBytes: 0 });
  });
});

describe("the answer to a probe", () => {
  test("of a primary has its timeline in the name of the file it writes", () => {
    expect(probeReport(["f", "0000001A", "7", "16/B374D848", null, null, null])).toEqual({
      inRecovery: false,
      timeline: 26,
      systemIdentifier: "7",
      lsn: 0x16b374d848n,
      receivedLsn: undefined,
      replayAgeMs: undefined,
      streaming: undefined,
    });
  });

  test("of a standby has what it received and replayed", () => {
    expect(probeReport(["t", "2", "7", "0/10", "0/20", "1500", "streaming"])).toMatchObject({
      inRecovery: true,
      timeline: 2,
      lsn: 16n,
      receivedLsn: 32n,
      replayAgeMs: 1500,
      streaming: true,
    });
    expect(probeReport(["t", "2", "7", null, null, null, null])?.lsn).toBeUndefined();
  });

  test.each([
    [[]],
    [["t"]],
    [["t", null, "7"]],
    [["x", "1", "7", "0/1", null, null, null]],
    [["f", "zz", "7"]],
  ])("is nothing else: %j", (row) => {
    expect(probeReport(row)).toBeUndefined();
  });
});
