/** Limits on clients and servers hold over all workers together, and no worker starves while another has more than it needs. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { table } from "./console-client.ts";
import { backends, type Client, outcomeOf, query } from "./pooled.ts";
import { allOf, WorkerProgram } from "./worker-program.ts";

const place = useLab();
let running: WorkerProgram;
beforeAll(async () => {
  await place.lab.primary.query("create role app login");
  running = await WorkerProgram.start(place.lab, limits(4));
});
afterAll(async () => running[Symbol.asyncDispose]());
/** Of the clients: the lab asks as somebody else. */
const pooled = "usename = 'app'";

function limits(poolSize: number): string {
  return `default_pool_size = ${poolSize}\nmax_client_conn = 40\nsuperuser_reserved_connections = 0`;
}

beforeEach(async () => {
  running.sendAway();
  using console = await running.console();
  await waitUntil(async () => {
    const rows = await table(console, "show workers");
    return rows.every(({ clients, waiting }) => clients === "0" && waiting === "0");
  }, "nobody is left");
});

/** Clients that run short statements until they are told to stop; how many each had answered. */
function work(clients: readonly Client[]): { readonly answered: number[]; stop(): Promise<void> } {
  let stopped = false;
  const answered = clients.map(() => 0);
  const done = clients.map(async (client, index) => {
    while (!stopped) {
      expect(await client.value("select pg_sleep(0.005), 'worked'")).toBe("");
      answered[index] = (answered[index] ?? 0) + 1;
    }
  });
  return {
    answered,
    async stop() {
      stopped = true;
      await Promise.all(done);
    },
  };
}

/** How many more servers PostgreSQL has than it may: one that has just been told to go is there a moment longer. */
async function excess(max: number): Promise<number> {
  let count = await backends(place.lab, pooled);
  for (let again = 0; count > max && again < 5; again++) count = await backends(place.lab, pooled);
  return Math.max(0, count - max);
}

describe("pool_size", () => {
  test("is never exceeded, however many clients both workers have, and all are served", async () => {
    const clients = allOf(await running.clients(24, "app"));
    const working = work(clients);
    while (working.answered.some((count) => count < 10)) expect(await excess(4)).toBe(0);
    await waitUntil(
      async () => (await backends(place.lab, pooled)) === 4,
      "all that there may be are in use",
    );
    await working.stop();
  });

  test("idle servers of one worker make room for clients of the other", async () => {
    const each = await running.clientsOfEach(4, "app");
    const [first, second] = [each[0].slice(0, 4), each[1].slice(0, 4)];
    using console = await running.console();
    const servers = async (): Promise<unknown[]> =>
      (await table(console, "show workers")).map((row) => row["servers"]);
    // More than once, if the other worker has not yet heard that clients who left need nothing any more.
    await waitUntil(async () => {
      for (const client of first) await client.run("begin; select 1");
      const [count] = await servers();
      for (const client of first) await client.run("commit");
      return count === "4";
    }, "one worker has all servers");
    for (const client of second)
      expect((await within(client.run("begin; select 1"), "the other worker gets servers")).status).toBe("T");
    expect(await excess(4)).toBe(0);
    await waitUntil(async () => (await servers()).join() === "0,4", "all servers have changed hands");
    for (const client of second) await client.run("commit");
  });

  test("busy servers are shared out between workers: none has much less than the other", async () => {
    const [first, second] = await running.clientsOfEach(4, "app");
    const before = work(first);
    await waitUntil(() => before.answered.every((count) => count > 5), "one worker has all servers busy");
    const after = work(second);
    using console = await running.console();
    const shares = async (): Promise<string> =>
      (await table(console, "show workers")).map(({ servers }) => servers).join();
    await waitUntil(async () => (await shares()) === "2,2", "each has half");
    await before.stop();
    await after.stop();
  });

  test("who waits at one worker is served although the other one's clients never let their server rest", async () => {
    const [first, second] = await running.clientsOfEach(4, "app");
    const [waiter, ...keepers] = first as [Client, ...Client[]];
    for (const keeper of keepers.slice(0, 3)) await keeper.run("begin; select 1");
    const working = work(second);
    await waitUntil(
      () => working.answered.every((count) => count > 5),
      "the other worker has the last server",
    );
    for (let turn = 0; turn < 3; turn++)
      expect(await within(waiter.value("select 'served'"), "it gets its turn")).toBe("served");
    const before = [...working.answered];
    await waitUntil(
      () => working.answered.every((count, index) => count > (before[index] ?? 0)),
      "so do the others",
    );
    await working.stop();
  });

  test("that a reload makes smaller is kept by all workers together, and that it makes larger used", async () => {
    const clients = allOf(await running.clients(12, "app"));
    const working = work(clients);
    running.configure(limits(2));
    running.program.signal("SIGHUP");
    await waitUntil(async () => (await backends(place.lab, pooled)) === 2, "two servers are left");
    running.configure(limits(6));
    running.program.signal("SIGHUP");
    await waitUntil(async () => (await backends(place.lab, pooled)) === 6, "there are six servers");
    running.configure(limits(4));
    running.program.signal("SIGHUP");
    await waitUntil(async () => (await backends(place.lab, pooled)) === 4, "there are four again");
    await working.stop();
  });
});

test("max_waiting_clients is kept by each worker, also while it has asked for places that there are not", async () => {
  using console = await running.console();
  expect((await console.run("set max_waiting_clients = 1")).tags).toEqual(["SET max_waiting_clients=1"]);
  const [first, second] = await running.clientsOfEach(4, "app");
  const keepers = second.slice(0, 4);
  for (const keeper of keepers) await keeper.run("begin; select 1");
  const [waiter, refused] = first as [Client, Client];
  const served = waiter.value("select 'served'");
  await waitUntil(async () => {
    const rows = await table(console, "show pools");
    return rows.some((row) => Number(row["maxwait_us"]) > 100_000 || Number(row["maxwait"]) > 0);
  }, "it has waited for long");
  refused.send(query("select 1"));
  const words = await within(refused.raw.rest(), "another one is refused");
  expect(outcomeOf(words).error?.code).toBe("53300");
  for (const keeper of keepers) await keeper.run("commit");
  expect(await within(served, "who waits is served")).toBe("served");
  await console.run("set max_waiting_clients = 0");
});

test.each(["max_db_connections", "max_user_connections"])(
  "%s is never exceeded by all workers together, and all are served",
  async (limit) => {
    using console = await running.console();
    expect((await console.run(`set ${limit} = 3`)).tags).toEqual([`SET ${limit}=3`]);
    await waitUntil(async () => (await backends(place.lab, pooled)) <= 3, "what is too many is closed");
    const working = work(allOf(await running.clients(16, "app")));
    while (working.answered.some((count) => count < 5)) expect(await excess(3)).toBe(0);
    await working.stop();
    expect((await console.run(`set ${limit} = 0`)).tags).toEqual([`SET ${limit}=0`]);
  },
);

test("a storm of logins: max_user_client_connections lets in as many as it says, and not one more", async () => {
  using console = await running.console();
  await console.run("set max_user_client_connections = 7");
  const came = await Promise.allSettled(Array.from({ length: 30 }, () => running.connect({ user: "app" })));
  const present = came.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  expect(present).toHaveLength(7);
  for (const one of came)
    if (one.status === "rejected") expect(String(one.reason)).toContain("max_user_client_connections");
  for (const client of present) client.destroy();
  await console.run("set max_user_client_connections = 0");
});

test("max_client_conn counts the clients of all workers, and those of one that dies no more", async () => {
  const clients = await running.clients(40, "app");
  await expect(running.connect()).rejects.toThrow("no more connections allowed (max_client_conn)");
  const [leaver] = clients.get(1) ?? [];
  await leaver?.close();
  using next = await running.connect();
  await expect(running.connect()).rejects.toThrow("no more connections allowed (max_client_conn)");
  using console = await running.console();
  const pids = await running.pids(console);
  const mine = (await table(console, "show clients")).find(({ database }) => database === "pgbouncer")?.[
    "worker"
  ];
  const victim = mine === "1" ? 2 : 1;
  process.kill(pids.get(victim) ?? 0, "SIGKILL");
  await running.untilActive(console, 2);
  const filled = await running.clients(15, "app");
  expect(allOf(filled)).toHaveLength(15);
  expect(await (allOf(filled)[0] as Client).value("select 'served'")).toBe("served");
  next.destroy();
});
