/** What a cluster manager's word changes, and that it makes nobody the primary. */
import { describe, expect, test } from "vitest";
import type { ManagedMember } from "../../../src/cluster/manager.ts";
import { patroniAnswer } from "../../../src/cluster/patroni.ts";
import { node, Probed, primary, settings, standby } from "./model.ts";

function member(name: string, role: "leader" | "replica", timeline: number, running = true): ManagedMember {
  return { name, host: "127.0.0.1", port: 5432, leader: role === "leader", running, timeline };
}

function managed(probed: Probed, ...members: readonly ManagedMember[]): void {
  const askedAt = probed.now;
  probed.now += 1;
  probed.cluster.managed({ members, askedAt }, probed.now);
}

function pair(): Probed {
  const probed = new Probed(["a", "b"]);
  probed.probe(["a", primary(1)], ["b", standby(1)]);
  return probed;
}

describe("a manager's word", () => {
  test("makes no node the primary", () => {
    const probed = new Probed(["a", "b"]);
    managed(probed, member("a", "leader", 1), member("b", "replica", 1));
    probed.probe(["a", standby(1)], ["b", standby(1)]);
    expect(probed.primary).toBeUndefined();
    expect(probed.cluster.snapshot.noPrimary).toBe("none_found");
  });

  test("for another node than the one that is found stops writes until that one is found, or nobody is heard any more", () => {
    const probed = pair();
    managed(probed, member("a", "leader", 1), member("b", "replica", 1));
    expect(probed.primary).toBe("a");
    managed(probed, member("a", "replica", 1), member("b", "leader", 1));
    expect(probed.primary).toBeUndefined();
    expect(probed.cluster.snapshot.noPrimaryDetail).toBe(
      'the cluster manager names node "b", which is not found to be the primary; node "a" is',
    );
    probed.cluster.managed(undefined, probed.now);
    expect(probed.primary).toBe("a");
    managed(probed, member("a", "replica", 1), member("b", "leader", 1));
    probed.probe(["b", primary(2)]);
    expect(probed.primary).toBe("b");
  });

  test("that is older than what the nodes say stops nothing, and one that names nobody neither", () => {
    const probed = pair();
    probed.probe(["b", primary(2)]);
    managed(probed, member("a", "leader", 1), member("b", "replica", 1));
    expect(probed.primary).toBe("b");
    managed(probed, member("a", "replica", 1), member("b", "replica", 2));
    expect(probed.primary).toBe("b");
  });

  test("ends the fence of a former primary that follows the new one, once that says so itself", () => {
    const probed = pair();
    probed.probe(["b", primary(2)], ["a", primary(1)]);
    expect(probed.node("a").state).toBe("fenced");
    managed(probed, member("a", "replica", 2), member("b", "leader", 2));
    expect(probed.node("a").state).toBe("fenced");
    probed.probe(["a", standby(1)]);
    managed(probed, member("a", "replica", 2), member("b", "leader", 2));
    expect(probed.node("a").state).toBe("fenced");
    managed(probed, member("a", "replica", 2, false), member("b", "leader", 2));
    probed.probe(["a", standby(2)]);
    expect(probed.node("a").state).toBe("fenced");
    managed(probed, member("a", "replica", 2), member("b", "leader", 2));
    expect(probed.node("a").state).toBe("up");
  });

  test("does not end what an administrator has fenced", () => {
    const probed = pair();
    expect(probed.cluster.command("b", "fence", probed.now)).toBeUndefined();
    managed(probed, member("a", "leader", 1), member("b", "replica", 1));
    probed.probe(["b", standby(1)]);
    expect(probed.node("b").state).toBe("fenced");
    expect(probed.cluster.command("b", "unfence", probed.now)).toBeUndefined();
    probed.probe(["b", standby(1)]);
    expect(probed.node("b").state).toBe("up");
  });

  test("decides between two primaries of one timeline, if it was asked for after they were found", () => {
    const probed = new Probed(["a", "b"]);
    const asked = probed.now;
    probed.rounds(2, ["a", primary(1)], ["b", primary(1)]);
    expect(probed.cluster.snapshot.noPrimary).toBe("conflict");
    const members = [member("a", "replica", 1), member("b", "leader", 1)];
    probed.cluster.managed({ members, askedAt: asked }, probed.now);
    expect(probed.cluster.snapshot.noPrimary).toBe("conflict");
    managed(probed, ...members);
    expect(probed.primary).toBe("b");
    expect(probed.node("a").state).toBe("fenced");
  });
});

test("a node that joins does not stop writes to the primary that was found", () => {
  const probed = pair();
  const { generation } = probed.cluster.snapshot;
  probed.cluster.configure([node("a"), node("b"), node("c")], settings, probed.now);
  expect(probed.primary).toBe("a");
  probed.probe(["c", primary(2)]);
  expect(probed.primary).toBe("c");
  expect(probed.cluster.snapshot.generation).toBe(generation + 1);
});

describe("Patroni's answer", () => {
  const listed = (...members: readonly object[]): string => JSON.stringify({ members, scope: "main" });
  const p1 = { name: "p1", role: "leader", state: "running", host: "10.0.0.1", port: 5433, timeline: 7 };
  const p2 = {
    name: "p2",
    role: "sync_standby",
    state: "streaming",
    host: "10.0.0.2",
    port: 5432,
    timeline: 7,
  };

  test("has members, and who of them leads, runs, and gets no reads", () => {
    const p3 = { ...p2, name: "p3", role: "replica", state: "stopped", tags: { noloadbalance: true } };
    const starting = { name: "p4", role: "replica", state: "creating replica" };
    expect(patroniAnswer(listed(p1, { ...p2, lag: 0 }, p3, starting))).toEqual({
      members: [
        { name: "p1", host: "10.0.0.1", port: 5433, leader: true, running: true, timeline: 7 },
        { name: "p2", host: "10.0.0.2", port: 5432, leader: false, running: true, timeline: 7 },
        {
          ...{ name: "p3", host: "10.0.0.2", port: 5432, leader: false, running: false, timeline: 7 },
          noLoadBalance: true,
        },
      ],
    });
  });

  test("a leader of a standby cluster is none", () => {
    const answer = patroniAnswer(listed({ ...p1, role: "standby_leader" }));
    expect(answer).toMatchObject({ members: [{ leader: false }] });
  });

  test.each([
    ["<html>", "the answer is not JSON"],
    ["[]", "the answer has no list of members"],
    [listed(), "the answer lists no member with an address"],
    [listed({ ...p1, port: 70_000 }), "the answer lists no member with an address"],
    [listed(p1, p1), "the answer lists a member twice"],
    [listed(p1, { ...p2, role: "leader" }), "the answer names several leaders"],
  ])("%s is none", (body, problem) => {
    expect(patroniAnswer(body)).toBe(problem);
  });
});
