/**
 * Faults that look like others: a primary that is frozen, one that nothing is heard of, two at once. Each under writing
 * clients whose ledger is complete afterwards. The tests follow each other on the same nodes; how long clients waited is printed.
 */
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { FaultProxy, type LabNode } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, untilNodeState } from "./console-client.ts";
import { ledgerOf, mend, promoteBest, watched } from "./node-kit.ts";
import type { Pooled, PooledOptions } from "./pooled.ts";
import { Writers } from "./writers.ts";

const place = useLab({
  standbys: 2,
  // Whatever is acknowledged is on another node too.
  settings: { synchronous_standby_names: "ANY 1 (*)", wal_receiver_timeout: "2s" },
});
/** Of each node, on the way from the pooler. */
const proxies = new Map<string, FaultProxy>();
let folder: TempFolder;

beforeAll(async () => {
  folder = await tempFolder();
  for (const { name, port } of place.lab.nodes) proxies.set(name, await FaultProxy.start({ port }));
});
afterEach(async ({ task }) => {
  if (task.result?.state !== "fail") return;
  for (const proxy of proxies.values()) await proxy.heal();
  await mend(place.lab);
});
afterAll(async () => {
  for (const proxy of proxies.values()) await proxy.stop();
  await folder[Symbol.asyncDispose]();
});

function proxyOf({ name }: LabNode): FaultProxy {
  const proxy = proxies.get(name);
  if (proxy === undefined) throw new Error(`there is no way to ${name}`);
  return proxy;
}

function options(settings: Record<string, unknown> = {}): PooledOptions {
  const nodes = Object.fromEntries([...proxies].map(([name, { port }]) => [name, { port, role: "auto" }]));
  return watched(place.lab, {
    nodes,
    settings: {
      ...{ health_check_timeout: 0.5, health_check_max_retries: 1, failover_timeout: 30 },
      cluster_state_file: path.join(folder.path, "state.json"),
      ...settings,
    },
  });
}

async function untilState(pooled: Pooled, node: LabNode, state: string): Promise<void> {
  using console = await openConsole(pooled);
  await untilNodeState(console, node.name, state);
}

/** The primary goes away by `fault` under writing clients, a standby is promoted, and the old primary comes back by `end`. */
async function loseAndReturn(
  what: string,
  fault: (old: LabNode) => Promise<void>,
  end: (old: LabNode) => Promise<void>,
) {
  const { lab } = place;
  const old = lab.primary;
  await old.query(`create table ${what} (id int primary key)`);
  const pooled = await startPooled(lab, options());
  await using writers = new Writers(pooled, what);
  await writers.start(10);
  await writers.untilAcknowledged(100);
  const lostMs = performance.now();
  await fault(old);
  await untilState(pooled, old, "down");
  const downMs = performance.now() - lostMs;
  const next = await promoteBest(lab, old);
  await writers.untilAcknowledged(100);
  const awayMs = performance.now() - lostMs;
  await end(old);
  await untilState(pooled, old, "fenced");
  await writers.untilAcknowledged(100);
  await writers.stop();
  // Nobody was heard there who could have said 57P01.
  for (const { sqlstate } of writers.errors) expect(["08006", "08007", "closed"]).toContain(sqlstate);
  const { lost, unexplained } = await ledgerOf(next, what, writers);
  expect({ lost, unexplained }).toEqual({ lost: [], unexplained: [] });
  process.stdout.write(
    `${what}: noticed after ${Math.round(downMs)} ms, 100 further writes after ${Math.round(awayMs)} ms\n`,
  );
  return { pooled, old, next };
}

test("a primary that is frozen is followed by another, and is fenced when it goes on; a restart knows of it, and asks again", async () => {
  const { pooled, old, next } = await loseAndReturn(
    "frozen",
    (node) => node.pause(),
    (node) => node.resume(),
  );
  await pooled.pooler.shutdown("immediate");
  // Whoever starts now hears of nobody but the old primary.
  await proxyOf(next).set({ refuse: true });
  for (const node of place.lab.nodes) if (node !== old) await proxyOf(node).set({ refuse: true });
  await using again = await startPooled(place.lab, options({ failover_timeout: 0.5 }));
  await expect(again.connect()).rejects.toThrow(
    "57P03: there is no primary to run this on (failover_timeout)",
  );
  await untilState(again, old, "fenced");
  for (const node of place.lab.nodes) await proxyOf(node).heal();
  await untilState(again, next, "up");
  using client = await again.connect();
  expect(await client.value("select inet_server_port()")).toBe(String(next.port));
  await old.stop("immediate");
  await place.lab.rejoin(old);
  using console = await openConsole(again);
  await waitUntil(
    async () => (await console.run(`unfence ${old.name}`)).error === undefined,
    "it is a standby",
  );
  await untilState(again, old, "up");
});

test("a primary of which nothing is heard, and which hears nothing, is followed by another, and is fenced when it is heard again", async () => {
  const { pooled, old } = await loseAndReturn(
    "unheard",
    (node) => proxyOf(node).set({ drop: true }),
    (node) => proxyOf(node).heal(),
  );
  await old.stop("immediate");
  await place.lab.rejoin(old);
  using console = await openConsole(pooled);
  await waitUntil(
    async () => (await console.run(`unfence ${old.name}`)).error === undefined,
    "it is a standby",
  );
  await untilState(pooled, old, "up");
  await pooled.pooler.shutdown("immediate");
});

test("two primaries of one timeline are written to by nobody, who is told why, until ACCEPT chooses one", async () => {
  const { lab } = place;
  const [one, other] = lab.standbys as [LabNode, LabNode];
  await using pooled = await startPooled(lab, options({ failover_timeout: 0.5 }));
  using console = await openConsole(pooled);
  using client = await pooled.connect();
  await lab.primary.stop("immediate");
  await Promise.all([one.promote(), other.promote()]);
  await untilState(pooled, one, "quarantined");
  await untilState(pooled, other, "quarantined");
  const { error } = await client.run("select inet_server_port()");
  expect(error).toMatchObject({ severity: "ERROR", code: "57P03" });
  expect(error?.detail).toMatch(
    /^node "node\d" and node "node\d" are primaries of the same timeline \d; nothing is written until one of them is fenced$/,
  );
  // One that goes away may have been written to by others: that decides nothing.
  await proxyOf(one).set({ refuse: true });
  proxyOf(one).resetAll();
  await untilState(pooled, one, "down");
  expect(await client.run("select inet_server_port()")).toMatchObject({ error: { code: "57P03" } });
  await proxyOf(one).heal();
  expect(await console.run(`accept ${other.name}`)).toMatchObject({ error: undefined });
  expect(await client.value("select inet_server_port()")).toBe(String(other.port));
  await untilState(pooled, one, "fenced");
});
