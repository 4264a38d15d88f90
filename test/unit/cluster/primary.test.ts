import { describe, expect, test } from "vitest";
import { memoryFromText, memoryToText } from "../../../src/cluster/memory.ts";
import { node, Probed, primary, refused, said, standby, timedOut } from "./model.ts";

const pair = () => {
  const probed = new Probed(["a", "b"]);
  probed.probe(["a", primary(1)], ["b", standby(1)]);
  return probed;
};

describe("roles are found", () => {
  test("nobody is the primary before every node was tried", () => {
    const probed = new Probed(["a", "b"]);
    probed.probe(["a", primary(1)]);
    expect(probed.primary).toBeUndefined();
    expect(probed.cluster.snapshot.noPrimary).toBe("checking");
    probed.probe(["b", refused]);
    expect(probed.primary).toBe("a");
  });

  test("a node is the primary because it says so, not by its place or its name", () => {
    const probed = new Probed(["a", "b"]);
    probed.probe(["a", standby(3)], ["b", primary(3)]);
    expect(probed.primary).toBe("b");
    expect(probed.node("a")).toMatchObject({ role: "standby", state: "up", readable: true, timeline: 3 });
  });

  test("a node configured as a standby is never written to", () => {
    const probed = new Probed(["a", node("b", { role: "standby" })]);
    probed.probe(["a", primary(1)], ["b", primary(2)]);
    expect(probed.primary).toBe("a");
    expect(probed.node("b")).toMatchObject({ state: "quarantined", readable: false });
    expect(probed.node("b").reason).toBe("is configured as standby, but is a primary");
  });

  test("a node of another database cluster is quarantined", () => {
    const probed = new Probed(["a", "b", "c"]);
    probed.probe(["c", primary(9, 5n, { systemIdentifier: "666" })], ["a", primary(1)], ["b", standby(1)]);
    expect(probed.primary).toBe("a");
    expect(probed.node("c").state).toBe("quarantined");
    expect(probed.node("c").reason).toContain("its system identifier is 666");
    expect(probed.cluster.snapshot.timeline).toBe(1);
  });
});

// Seed 14901 of the simulation.
test("a node that was down and claims the role on the same timeline stops writes with its first answer", () => {
  const probed = new Probed(["a", "b"]);
  probed.probe(["b", refused], ["a", primary(1)]);
  expect(probed.primary).toBe("a");
  probed.probe(["b", primary(1)]);
  expect(probed.node("b").state).toBe("down");
  expect(probed.cluster.snapshot.noPrimary).toBe("checking");
  probed.probe(["a", primary(1)]);
  expect(probed.cluster.snapshot.noPrimary).toBe("conflict");
});

describe("the highest timeline wins", () => {
  test("a promoted standby takes over at once, and its predecessor is fenced when it claims the role again", () => {
    const probed = pair();
    const { generation } = probed.cluster.snapshot;
    probed.probe(["b", primary(2)]);
    expect(probed.primary).toBe("b");
    expect(probed.cluster.snapshot.generation).toBe(generation + 1);
    // What it said before the promotion was known may have been right.
    expect(probed.node("a").state).toBe("recovering");
    expect(probed.cluster.nextProbeAt("a")).toBeLessThan(probed.now + 100);
    probed.probe(["a", primary(1)]);
    expect(probed.node("a")).toMatchObject({ state: "fenced", readable: false });
    expect(probed.primary).toBe("b");
  });

  test("after a planned switchover the old primary comes back as a standby, unfenced", () => {
    const probed = pair();
    probed.probe(["b", primary(2)], ["a", said("57P03", "the database system is shutting down")]);
    expect(probed.node("a").state).toBe("draining");
    probed.probe(["a", refused], ["a", refused], ["a", refused]);
    expect(probed.node("a").state).toBe("down");
    probed.rounds(2, ["a", standby(2)]);
    expect(probed.node("a")).toMatchObject({ role: "standby", state: "up" });
    expect(probed.cluster.memory.fenced).toEqual({});
  });

  test("a fenced node stays fenced whatever it becomes, until it is told otherwise", () => {
    const probed = pair();
    probed.probe(["b", primary(2)], ["a", primary(1)]);
    expect(probed.cluster.command("a", "attach", probed.now)).toContain("is fenced");
    expect(probed.cluster.command("a", "unfence", probed.now)).toContain("still claims to be the primary");
    probed.rounds(4, ["a", refused]);
    expect(probed.node("a").state).toBe("fenced");
    probed.rounds(4, ["a", standby(2)]);
    expect(probed.node("a").state).toBe("fenced");
    expect(probed.cluster.command("a", "unfence", probed.now)).toBeUndefined();
    probed.rounds(2, ["a", standby(2)]);
    expect(probed.node("a").state).toBe("up");
  });

  test("the old primary is not taken back when the new one is lost", () => {
    const probed = pair();
    probed.probe(["b", primary(2)], ["a", primary(1)]);
    probed.rounds(3, ["b", timedOut], ["a", primary(1)]);
    expect(probed.primary).toBeUndefined();
    expect(probed.cluster.snapshot.noPrimaryDetail).toBe('node "b", the primary, is not reached');
  });

  test("a standby that follows a higher timeline fences a primary that does not know of it", () => {
    const probed = new Probed(["a", "b", "c"]);
    probed.probe(["a", primary(1)], ["b", standby(1)], ["c", standby(1)]);
    probed.rounds(3, ["b", timedOut]);
    probed.probe(["c", standby(2)], ["a", primary(1)]);
    expect(probed.node("a").state).toBe("fenced");
    expect(probed.primary).toBeUndefined();
    probed.rounds(2, ["b", primary(2)]);
    expect(probed.primary).toBe("b");
  });

  test("a standby that has replayed more than the new timeline goes on from gets no reads", () => {
    const probed = new Probed(["a", "b", "c"]);
    probed.probe(
      ["a", primary(1, 500n)],
      ["b", standby(1, 400n)],
      ["c", standby(1, 500n)],
      ["b", primary(2, 410n)],
    );
    expect(probed.node("c").state).toBe("quarantined");
    probed.probe(["b", primary(2, 900n)], ["c", standby(1, 500n)]);
    expect(probed.node("c").state).toBe("quarantined");
    probed.probe(["c", standby(2, 905n)]);
    expect(probed.node("c").state).toBe("up");
  });
});

describe("two primaries of one timeline", () => {
  const split = () => {
    const probed = pair();
    probed.probe(["b", primary(1)]);
    expect(probed.cluster.snapshot.noPrimary).toBe("checking");
    probed.probe(["a", primary(1)]);
    return probed;
  };

  test("stop writes with an error that names them", () => {
    const probed = split();
    expect(probed.primary).toBeUndefined();
    expect(probed.cluster.snapshot.noPrimary).toBe("conflict");
    expect(probed.cluster.snapshot.noPrimaryDetail).toContain('node "a" and node "b"');
  });

  test("do so even after one of them is gone", () => {
    const probed = split();
    probed.rounds(3, ["a", refused], ["b", primary(1)]);
    expect(probed.cluster.snapshot.noPrimary).toBe("conflict");
  });

  test("go on when one of them is fenced", () => {
    const probed = split();
    probed.cluster.command("a", "fence", probed.now);
    expect(probed.primary).toBe("b");
    expect(probed.cluster.memory.conflict).toBeUndefined();
  });

  test("go on when the history of one of them is accepted", () => {
    const probed = split();
    expect(probed.cluster.command("a", "accept", probed.now)).toBeUndefined();
    probed.probe(["a", primary(1)], ["b", primary(1)]);
    expect(probed.primary).toBe("a");
    expect(probed.node("b").state).toBe("fenced");
  });

  test("are no conflict if the first has given up the role before the second took it", () => {
    const probed = pair();
    probed.probe(["b", primary(1)], ["a", standby(1)]);
    expect(probed.primary).toBe("b");
    expect(probed.node("a").state).toBe("up");
  });
});

describe("what is remembered", () => {
  const remembered = () => {
    const probed = pair();
    probed.probe(["b", primary(2)], ["a", primary(1)]);
    return memoryFromText(memoryToText(probed.cluster.memory));
  };

  test("survives a file unchanged", () => {
    const memory = remembered();
    expect(memory).toMatchObject({ timeline: 2, fenced: { a: { timeline: 1 } } });
    expect(memoryFromText(memoryToText(memory as never))).toEqual(memory);
  });

  test("keeps the old primary fenced after a restart, though it is the only one that answers", () => {
    const probed = new Probed(["a", "b"], { memory: remembered() as never });
    probed.probe(["a", primary(1)], ["b", refused]);
    expect(probed.primary).toBeUndefined();
    expect(probed.node("a").state).toBe("fenced");
  });

  test("makes nobody the primary", () => {
    const probed = new Probed(["a", "b"], { memory: remembered() as never });
    expect(probed.primary).toBeUndefined();
    probed.probe(["a", standby(3)], ["b", standby(3)]);
    expect(probed.primary).toBeUndefined();
  });

  test("means nothing for another database cluster", () => {
    const probed = new Probed(["a", "b"], { memory: remembered() as never });
    const systemIdentifier = "7000000000000000002";
    probed.probe(["a", primary(1, 5n, { systemIdentifier })], ["b", standby(1, 5n, { systemIdentifier })]);
    expect(probed.primary).toBe("a");
    expect(probed.cluster.snapshot.timeline).toBe(1);
  });

  test.each([
    "",
    "{}",
    "[1]",
    '{"version":1}',
    '{"version":1,"timeline":-1,"fenced":{},"administrative":{}}',
    '{"version":1,"timeline":1,"fenced":{"a":1},"administrative":{}}',
    '{"version":1,"timeline":1,"fenced":{},"administrative":{"a":"up"}}',
    '{"version":2,"timeline":1,"fenced":{},"administrative":{}}',
  ])("is refused if it is damaged: %s", (text) => {
    expect(memoryFromText(text)).toBeUndefined();
  });
});

describe("administrators", () => {
  test("drain the primary: writes wait, and it is the primary again when it is attached", () => {
    const probed = pair();
    const { generation } = probed.cluster.snapshot;
    probed.cluster.command("a", "drain", probed.now);
    expect(probed.primary).toBeUndefined();
    expect(probed.cluster.snapshot.noPrimary).toBe("draining");
    probed.cluster.command("a", "attach", probed.now);
    expect(probed.primary).toBe("a");
    expect(probed.cluster.snapshot.generation).toBe(generation);
  });

  test("detach and quarantine nodes, whatever they answer", () => {
    const probed = pair();
    probed.cluster.command("b", "detach", probed.now);
    probed.probe(["b", standby(1)]);
    expect(probed.node("b").state).toBe("down");
    probed.cluster.command("b", "quarantine", probed.now);
    expect(probed.node("b").state).toBe("quarantined");
    probed.cluster.command("b", "attach", probed.now);
    expect(probed.node("b").state).toBe("up");
  });

  test("are told of names that do not exist", () => {
    expect(pair().cluster.command("z", "drain", 0)).toBe('there is no node "z"');
  });

  test("accept an older history against a newer one", () => {
    const probed = pair();
    probed.probe(["b", primary(2)], ["a", primary(1)]);
    expect(probed.cluster.command("a", "accept", probed.now)).toBeUndefined();
    probed.probe(["a", primary(1)], ["b", primary(2)]);
    expect(probed.primary).toBe("a");
    expect(probed.node("b").state).toBe("fenced");
  });
});
