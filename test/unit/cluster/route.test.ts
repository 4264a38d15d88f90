import { beforeAll, describe, expect, test } from "vitest";
import { requiredFloor, WriteFloor } from "../../../src/cluster/floor.ts";
import { formatLsn, parseLsn } from "../../../src/cluster/lsn.ts";
import { hintOf, needOf, type RouteHint, type TransactionStart } from "../../../src/cluster/need.ts";
import { type Redirect, redirectFor } from "../../../src/cluster/redirects.ts";
import { type RouteRequest, Router, type RouteSettings } from "../../../src/cluster/route.ts";
import type { TopologySnapshot } from "../../../src/cluster/topology.ts";
import { functionPatterns } from "../../../src/config/function-lists.ts";
import { Catalog, Classifier, FunctionLists, Parser, type StatementClass } from "../../../src/sql/index.ts";
import { seeded } from "../../kit/random.ts";
import { node, Probed, primary, settings as probeSettings, refused, standby } from "./model.ts";

const settings: RouteSettings = {
  splitReads: true,
  balance: "weighted",
  perSession: false,
  zone: undefined,
  primaryShare: 0,
};
const plainRead: RouteRequest = {
  read: true,
  hint: undefined,
  floor: undefined,
  redirect: undefined,
  last: undefined,
  besides: undefined,
};
const idle = { outstanding: () => 0, latencyMs: () => undefined };

/** a is the primary, b and c are standbys. */
const three = (...more: readonly Parameters<typeof node>[1][]) => {
  const probed = new Probed(["a", "b", "c"].map((name, index) => node(name, more[index] ?? {})));
  probed.probe(["a", primary(1, 100n)], ["b", standby(1, 100n)], ["c", standby(1, 100n)]);
  return probed;
};

function routed(
  snapshot: TopologySnapshot,
  request: Partial<RouteRequest>,
  more: Partial<RouteSettings> = {},
) {
  return new Router({ ...settings, ...more }, idle, seeded(1)).route({ ...plainRead, ...request }, snapshot);
}

/** How often which node gets a read, of a thousand. */
function shares(
  snapshot: TopologySnapshot,
  request: Partial<RouteRequest> = {},
  more: Partial<RouteSettings> = {},
) {
  const router = new Router({ ...settings, ...more }, idle, seeded(1));
  const found: Record<string, number> = {};
  for (let count = 0; count < 1000; count++) {
    const decision = router.route({ ...plainRead, ...request }, snapshot);
    const name = decision.kind === "node" ? decision.name : decision.kind;
    found[name] = (found[name] ?? 0) + 1;
  }
  return found;
}

describe("writes", () => {
  test("go to the primary and nowhere else", () => {
    expect(shares(three().cluster.snapshot, { read: false })).toEqual({ a: 1000 });
  });

  test("wait while there is none", () => {
    const probed = three();
    probed.rounds(3, ["a", refused]);
    expect(routed(probed.cluster.snapshot, { read: false })).toEqual({ kind: "wait", for: "primary" });
  });

  test("fail with a clear error while two nodes claim to be it", () => {
    const probed = three();
    probed.probe(["b", primary(1)], ["a", primary(1)]);
    expect(routed(probed.cluster.snapshot, { read: false })).toMatchObject({
      kind: "error",
      error: { sqlstate: "57P03", message: "nothing can be written: two nodes claim to be the primary" },
    });
  });
});

describe("reads", () => {
  test("are spread over standbys, and over the primary by its share", () => {
    const { snapshot } = three().cluster;
    expect(Object.keys(shares(snapshot)).sort()).toEqual(["b", "c"]);
    const found = shares(snapshot, {}, { primaryShare: 0.5 });
    expect(found["a"]).toBeGreaterThan(150);
    expect(found["a"]).toBeLessThan(250);
  });

  test("go on from standbys while there is no primary, and from the primary while there is no standby", () => {
    const probed = three();
    probed.rounds(3, ["a", refused]);
    expect(Object.keys(shares(probed.cluster.snapshot)).sort()).toEqual(["b", "c"]);
    const alone = three();
    alone.rounds(3, ["b", refused], ["c", refused]);
    expect(shares(alone.cluster.snapshot)).toEqual({ a: 1000 });
    alone.rounds(3, ["a", refused]);
    expect(routed(alone.cluster.snapshot, {})).toEqual({ kind: "wait", for: "reader" });
  });

  test("never go to a node that is fenced, drained or over its lag", () => {
    const probed = three({}, { lagBytesMax: 10 });
    probed.probe(["a", primary(1, 200n)], ["b", standby(1, 100n)]);
    expect(shares(probed.cluster.snapshot)).toEqual({ c: 1000 });
    probed.cluster.command("c", "drain", probed.now);
    expect(shares(probed.cluster.snapshot)).toEqual({ a: 1000 });
  });

  test("all go to the primary if reads are not split", () => {
    expect(shares(three().cluster.snapshot, {}, { splitReads: false })).toEqual({ a: 1000 });
  });

  test("of one session stay on the node of the first one, if that is wanted, while it may be read", () => {
    const probed = three();
    expect(shares(probed.cluster.snapshot, { last: "c" }, { perSession: true })).toEqual({ c: 1000 });
    probed.rounds(3, ["c", refused]);
    expect(shares(probed.cluster.snapshot, { last: "c" }, { perSession: true })).toEqual({ b: 1000 });
  });

  test("that found a node of no use go to another one, in the end to the primary", () => {
    const probed = three();
    const { snapshot } = probed.cluster;
    expect(shares(snapshot, { besides: "c" })).toEqual({ b: 1000 });
    expect(shares(snapshot, { besides: "c", last: "c" }, { perSession: true })).toEqual({ b: 1000 });
    probed.rounds(3, ["b", refused]);
    expect(shares(probed.cluster.snapshot, { besides: "c" })).toEqual({ a: 1000 });
  });

  test("follow new weights at once", () => {
    const probed = three();
    const router = new Router(settings, idle, seeded(1));
    router.route(plainRead, probed.cluster.snapshot);
    const nodes = [node("a"), node("b", { weight: 0 }), node("c")];
    probed.cluster.configure(nodes, probeSettings, probed.now);
    for (let count = 0; count < 50; count++) {
      expect(router.route(plainRead, probed.cluster.snapshot)).toMatchObject({ name: "c" });
    }
  });
});

describe("floors", () => {
  test("a node behind the client's writes is passed over, in the end for the primary", () => {
    const probed = three();
    probed.probe(["a", primary(1, 200n)], ["b", standby(1, 150n)]);
    const { snapshot } = probed.cluster;
    expect(Object.keys(shares(snapshot, { floor: 100n })).sort()).toEqual(["b", "c"]);
    expect(shares(snapshot, { floor: 150n })).toEqual({ b: 1000 });
    expect(shares(snapshot, { floor: 151n })).toEqual({ a: 1000 });
    expect(shares(snapshot, { floor: "primary" })).toEqual({ a: 1000 });
  });

  test("and if there is no primary, the read waits", () => {
    const probed = three();
    probed.rounds(3, ["a", refused]);
    expect(routed(probed.cluster.snapshot, { floor: 101n })).toEqual({ kind: "wait", for: "primary" });
  });

  test("a write's position is known by the first probe of the primary that was begun after it", () => {
    const probed = three();
    const own = new WriteFloor();
    const all = new WriteFloor();
    const required = () => requiredFloor("session", own, all, undefined, probed.cluster.snapshot);
    expect(required()).toBeUndefined();
    own.wrote(probed.now);
    expect(required()).toBe("primary");
    // This one may have been answered before the write.
    probed.cluster.probed("a", primary(1, 120n), probed.now - 1, probed.now + 1);
    expect(required()).toBe("primary");
    probed.now += 10;
    probed.probe(["a", primary(1, 130n)]);
    expect(required()).toBe(130n);
    probed.probe(["a", primary(1, 999n)]);
    expect(required()).toBe(130n);
  });

  test("by level: none, one's own writes, everybody's; a token counts at each", () => {
    const probed = three();
    const { snapshot } = probed.cluster;
    const own = new WriteFloor();
    const all = new WriteFloor();
    own.raise(10n);
    all.raise(20n);
    expect(requiredFloor("none", own, all, undefined, snapshot)).toBeUndefined();
    expect(requiredFloor("none", own, all, 5n, snapshot)).toBe(5n);
    expect(requiredFloor("session", own, all, 5n, snapshot)).toBe(10n);
    expect(requiredFloor("session", own, all, 50n, snapshot)).toBe(50n);
    expect(requiredFloor("global", own, all, undefined, snapshot)).toBe(20n);
    all.wrote(probed.now);
    expect(requiredFloor("global", own, all, 50n, snapshot)).toBe("primary");
    own.raise(1n);
    expect(requiredFloor("session", own, all, undefined, snapshot)).toBe(10n);
  });

  test("positions are written as PostgreSQL writes them", () => {
    for (const text of ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]) {
      expect(formatLsn(parseLsn(text) ?? -1n)).toBe(text);
    }
    for (const text of ["", "1", "x/1", "1/123456789", "1/2/3", "-1/1"])
      expect(parseLsn(text)).toBeUndefined();
  });
});

describe("hints", () => {
  const hinted = (hint: RouteHint, more: Partial<RouteRequest> = {}) => ({ ...more, hint });

  test("name the primary, a standby or a node", () => {
    const { snapshot } = three().cluster;
    expect(shares(snapshot, hinted({ kind: "primary" }))).toEqual({ a: 1000 });
    expect(shares(snapshot, hinted({ kind: "node", name: "b" }))).toEqual({ b: 1000 });
    expect(Object.keys(shares(snapshot, hinted({ kind: "standby" }), { splitReads: false })).sort()).toEqual([
      "b",
      "c",
    ]);
  });

  test("never send a write elsewhere than to the primary", () => {
    const { snapshot } = three().cluster;
    expect(shares(snapshot, hinted({ kind: "node", name: "b" }, { read: false }))).toEqual({ a: 1000 });
  });

  test("fail for nodes that are not there or take nothing", () => {
    const probed = three();
    expect(routed(probed.cluster.snapshot, hinted({ kind: "node", name: "z" }))).toMatchObject({
      error: { sqlstate: "22023", message: 'there is no node "z"', hint: "Nodes are a, b, c." },
    });
    probed.rounds(3, ["b", refused]);
    expect(routed(probed.cluster.snapshot, hinted({ kind: "node", name: "b" }))).toMatchObject({
      error: { sqlstate: "57P03", message: 'node "b" takes no statements: it is down' },
    });
  });

  test("are read from comments, the first that is about routes", () => {
    expect(hintOf([])).toBeUndefined();
    expect(
      hintOf([
        { name: "cache", value: "1s" },
        { name: "node", value: "b" },
      ]),
    ).toEqual({ kind: "node", name: "b" });
    expect(hintOf([{ name: "primary", value: undefined }])).toEqual({ kind: "primary" });
    expect(hintOf([{ name: "node", value: "" }])).toBeUndefined();
    expect(hintOf([{ name: "standby", value: "yes" }])).toBeUndefined();
  });
});

describe("redirects", () => {
  const redirect = (more: Partial<Redirect>): Redirect => ({
    database: undefined,
    user: undefined,
    applicationName: undefined,
    to: { kind: "node", name: "b" },
    share: 1,
    ...more,
  });
  const names = { database: "shop", user: "ann", applicationName: "reports" };

  test("the first whose names all match wholly decides", () => {
    const list = [
      redirect({ database: /sho/, share: 0.1 }),
      redirect({ database: /shop|bar/, user: /bob/, share: 0.2 }),
      redirect({ applicationName: /rep.*/g, share: 0.3 }),
      redirect({ share: 0.4 }),
    ];
    for (let again = 0; again < 2; again++) expect(redirectFor(list, names)?.share).toBe(0.3);
    expect(redirectFor(list, { ...names, user: "bob" })?.share).toBe(0.2);
    expect(redirectFor(list, { ...names, applicationName: "" })?.share).toBe(0.4);
    expect(redirectFor([], names)).toBeUndefined();
  });

  test("a share of the reads goes to the node, the others to the other nodes", () => {
    const found = shares(three().cluster.snapshot, { redirect: redirect({ share: 0.7 }) });
    expect(found["b"]).toBeGreaterThan(640);
    expect(found["b"]).toBeLessThan(760);
    expect((found["a"] ?? 0) + (found["b"] ?? 0) + (found["c"] ?? 0)).toBe(1000);
  });

  test("to a role", () => {
    const { snapshot } = three().cluster;
    const primaries = redirect({ to: { kind: "role", role: "primary" } });
    const standbys = redirect({ to: { kind: "role", role: "standby" }, share: 0.5 });
    expect(shares(snapshot, { redirect: primaries })).toEqual({ a: 1000 });
    expect(shares(snapshot, { redirect: standbys })["a"]).toBeGreaterThan(440);
  });

  test("to a node that takes no reads is passed over", () => {
    const probed = three();
    probed.rounds(3, ["b", refused]);
    expect(shares(probed.cluster.snapshot, { redirect: redirect({}) })).toEqual({ c: 1000 });
  });

  test("does not lift the floor", () => {
    expect(shares(three().cluster.snapshot, { redirect: redirect({}), floor: 101n })).toEqual({ a: 1000 });
  });
});

describe("what statements need", () => {
  let parser: Parser;
  beforeAll(async () => {
    parser = await Parser.load();
  });
  const alone: TransactionStart = { modes: undefined, readOnly: false, isolation: "read committed" };
  const classOf = (sql: string): StatementClass => {
    const lists = new FunctionLists(
      functionPatterns(["Report_.*", "app\\.total"]),
      functionPatterns(["now", "report_final"]),
    );
    return new Classifier(parser, { now: () => 0 }).classify(sql, Catalog.assumed.with(lists));
  };
  const need = (sql: string, start: Partial<TransactionStart> = {}, hint?: RouteHint) =>
    needOf(classOf(sql), { ...alone, ...start }, hint);

  test.each([
    ["select 1", "read"],
    ["select * from t where id = 1", "read"],
    ["table t", "read"],
    ["insert into t values (1)", "writes"],
    ["select * from t for update", "locks"],
    ["select nextval('s')", "writes"],
    ["select pg_advisory_lock(1)", "locks"],
    ["listen x", "session_state"],
    ["select pg_backend_pid()", "session_state"],
    ["with x as (delete from t returning 1) select * from x", "writes"],
    ["create table x ()", "ddl"],
    ["selec 1", "unknown"],
    ["select 1; select 2", "read"],
    ["select 1; insert into t values (1)", "writes"],
    ["select now()", "write_function_list"],
    ["select report_total(1)", "read"],
    ["select report_final(1)", "write_function_list"],
    ["select app.total(1)", "read"],
    ["select other.total(1)", "unknown"],
  ])("%s: %s", (sql, expected) => {
    const found = need(sql);
    expect(found).toBe(expected);
  });

  test("a read-only transaction is a read as a whole, any other one may yet write", () => {
    expect(need("select 1", { modes: { readOnly: true } })).toBe("read");
    expect(need("select 1", { modes: {}, readOnly: true })).toBe("read");
    expect(need("select 1", { modes: {} })).toBe("read_write_transaction");
    expect(need("select 1", { modes: { readOnly: false }, readOnly: true })).toBe("read_write_transaction");
  });

  test("a standby refuses serializable transactions, read-only ones too", () => {
    expect(need("select 1", { isolation: "serializable" })).toBe("serializable");
    expect(need("select 1", { modes: { readOnly: true, isolation: "serializable" } })).toBe("serializable");
    const modes = { readOnly: true, isolation: "repeatable read" } as const;
    expect(need("select 1", { modes, isolation: "serializable" })).toBe("read");
  });

  test("a hint vouches for functions, never for a write", () => {
    expect(need("select of_nobody_knows_what()")).not.toBe("read");
    expect(need("select of_nobody_knows_what()", {}, { kind: "standby" })).toBe("read");
    expect(need("insert into t values (1)", {}, { kind: "standby" })).not.toBe("read");
    expect(need("select * from t for update", {}, { kind: "standby" })).not.toBe("read");
    expect(need("select 1", {}, { kind: "primary" })).toBe("hint");
  });
});
