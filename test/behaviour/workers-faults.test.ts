/** Processes of a pooler that are stopped, killed or orphaned, and who notices. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { rawCancel } from "../kit/raw-client.ts";
import { waitToSee, waitUntil, within } from "../kit/wait.ts";
import { table } from "./console-client.ts";
import { backends, Client, untilRunning } from "./pooled.ts";
import { WorkerProgram } from "./worker-program.ts";

const place = useLab();
let running: WorkerProgram;
/** Of the clients: the lab asks as somebody else. */
const pooled = "usename = 'app'";

beforeAll(async () => {
  await place.lab.primary.query("create role app login superuser");
  running = await WorkerProgram.start(place.lab, "default_pool_size = 80\nmax_client_conn = 300");
});
afterEach(() => running.sendAway());
afterAll(async () => running[Symbol.asyncDispose]());

let consoles = 0;

/** A console, its worker, and the other one with its process id. */
async function consoleBeside(): Promise<{ console: Client; own: number; other: number; otherPid: number }> {
  const console = await running.connect({
    database: "pgbouncer",
    parameters: [["application_name", `console ${++consoles}`]],
  });
  const rows = await table(console, "show clients");
  const row = rows.find(({ application_name: name }) => name === `console ${consoles}`);
  const own = Number(row?.["worker"]);
  const other = 3 - own;
  const otherPid = (await running.pids(console)).get(other) ?? 0;
  return { console, own, other, otherPid };
}

async function untilState(console: Client, worker: number, state: string): Promise<void> {
  await waitToSee(
    () => table(console, "show workers"),
    (rows) => rows.find((row) => row["worker"] === String(worker))?.["state"] === state,
    `worker ${worker} is ${state}`,
    40_000,
  );
}

test("a worker that is stopped holds up its own clients and nobody else, and goes on where it was", async () => {
  const { console, own, other, otherPid } = await consoleBeside();
  const each = await running.clientsOfEach(1, "app");
  const [near, far] = [each[own - 1]?.[0], each[other - 1]?.[0]] as [Client, Client];
  await far.run("begin; create temporary table kept (n int); insert into kept values (1)");
  process.kill(otherPid, "SIGSTOP");
  const answer = far.value("select count(*) from kept");
  // Whoever was handed to it before that was noticed waits, as its clients do.
  const early = Array.from({ length: 6 }, () => running.connect({ user: "app" }));
  await untilState(console, other, "silent");
  const late = await within(
    Promise.all(Array.from({ length: 10 }, () => running.connect({ user: "app" }))),
    "who comes now is served",
  );
  for (const client of [near, ...late]) expect(await client.value("select 'served'")).toBe("served");
  // What the console lists is of those that answer.
  expect(new Set((await table(console, "show clients")).map(({ worker }) => worker))).toEqual(
    new Set([String(own)]),
  );
  expect((await table(console, "show pools")).length).toBe(2);
  process.kill(otherPid, "SIGCONT");
  expect(await within(answer, "its client is answered")).toBe("1");
  await untilState(console, other, "active");
  for (const client of await within(Promise.all(early), "all are let in"))
    expect(await client.value("select 'served'")).toBe("served");
  expect(running.program.stderr).toContain("worker answers again");
});

test("kill -9 of a worker in the midst of transactions: all that was its own is gone, and nothing of the other's", async () => {
  const { console, own, other, otherPid } = await consoleBeside();
  await place.lab.primary.query("create table kept_by (name text)");
  const clients = await running.clients(80, "app");
  const [kept, lost] = [clients.get(own) ?? [], clients.get(other) ?? []];
  expect(kept.length + lost.length).toBe(80);
  await Promise.all(kept.map((client) => client.run("begin; insert into kept_by values ('kept')")));
  await Promise.all(lost.map((client) => client.run("begin; insert into kept_by values ('lost')")));
  expect(await backends(place.lab, `${pooled} and state = 'idle in transaction'`)).toBe(80);
  const [gone] = lost as [Client, ...Client[]];
  process.kill(otherPid, "SIGKILL");
  await within(Promise.all(lost.map(({ raw }) => raw.closed)), "its clients are gone");
  await waitUntil(
    async () => (await backends(place.lab, pooled)) === kept.length,
    "its servers are closed, and their transactions with them",
  );
  // Its keys are nobody's, also with the worker that comes in its place.
  const sleeping = kept[0]?.run("select pg_sleep(1), 'stays'");
  await untilRunning(place.lab, "stays");
  await rawCancel(running.place, gone.session);
  await running.untilActive(console, 2);
  await rawCancel(running.place, gone.session);
  expect((await sleeping)?.error).toBeUndefined();
  for (const client of kept) expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
  const { rows } = await place.lab.primary.query("select name, count(*) from kept_by group by name");
  expect(rows).toEqual([["kept", String(kept.length)]]);
  // Places of clients and servers are given back: as many again find room.
  const next = [...(await running.clients(lost.length, "app")).values()].flat();
  const served = next.map((client) => client.value("begin; select 'served'"));
  expect(await within(Promise.all(served), "all are served")).toEqual(next.map(() => "served"));
});

test("kill -9 of the primary: its workers end with it, and the port is free", async () => {
  const clients = [...(await running.clients(4, "app")).values()].flat();
  for (const client of clients) await client.run("begin; select 1");
  running.program.signal("SIGKILL");
  await within(Promise.all(clients.map(({ raw }) => raw.closed)), "clients are let go");
  await waitUntil(async () => (await backends(place.lab, pooled)) === 0, "no server is left at PostgreSQL");
  await waitUntil(() => running.program.leftovers().length === 0, "no process is left");
  await expect(Client.connect(running.place)).rejects.toThrow("ECONNREFUSED");
});
