/** Auto mode in several processes: what clients of one worker mean for those of another, and what the console does to both. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitToSee, waitUntil, within } from "../kit/wait.ts";
import { table } from "./console-client.ts";
import { type Client, outcomeOf, untilRunning } from "./pooled.ts";
import { WorkerProgram } from "./worker-program.ts";

const place = useLab();
let running: WorkerProgram;
beforeAll(async () => {
  await place.lab.primary.query(
    "create role narrow login superuser; create role narrower login superuser; create role plain login",
  );
  await place.lab.primary.query("create database elsewhere");
  // Of `narrow` and `narrower` each worker has one server: what a client leaves there the next one finds.
  const narrow = ["narrow", "narrower"].map((name) => `[users.${name}]\npool_size = 2`).join("\n");
  running = await WorkerProgram.start(place.lab, `pool_mode = "auto"\n${narrow}`);
});
afterEach(() => running.sendAway());
afterAll(async () => running[Symbol.asyncDispose]());

/** Two clients of each worker, those of the first worker first. */
async function four(
  user = "postgres",
  database = "postgres",
): Promise<readonly [Client, Client, Client, Client]> {
  const found = (await running.clientsOfEach(2, user, database)).flatMap((own) => own.slice(0, 2));
  return found as [Client, Client, Client, Client];
}

test("NOTIFY of a client reaches those that listen at every worker, in order", async () => {
  const [one, other, far, deaf] = await four();
  const heard = new Map<Client, string[]>([one, other, far, deaf].map((client) => [client, []]));
  const run = async (client: Client, sql: string): Promise<void> => {
    const { error, messages } = await client.run(sql);
    expect(error).toBeUndefined();
    for (const message of messages)
      if (message.kind === "NotificationResponse") heard.get(client)?.push(message.payload);
  };
  for (const client of [one, other, far]) await run(client, "listen news");
  const sent = Array.from({ length: 20 }, (_, index) => String(index));
  for (const number of sent) await run(Number(number) % 2 === 0 ? one : deaf, `notify news, '${number}'`);
  for (const client of [one, other, far]) {
    await waitUntil(async () => {
      await run(client, "select 1");
      return (heard.get(client)?.length ?? 0) >= sent.length;
    }, "it hears all that was sent");
    expect(heard.get(client)).toEqual(sent);
  }
  await run(deaf, "select 1");
  expect(heard.get(deaf)).toEqual([]);
});

test("pg_cancel_backend() and pg_terminate_backend() reach a client of another worker at its home", async () => {
  const [caller, , victim] = await four();
  const pid = await victim.value("select pg_backend_pid()");
  expect(pid).toBe(String(victim.session.pid));
  const outcome = victim.run("select pg_sleep(60), 'cancelled from afar'");
  await untilRunning(place.lab, "cancelled from afar");
  expect(await caller.value(`select pg_cancel_backend(${pid})`)).toBe("t");
  expect((await outcome).error?.code).toBe("57014");
  await victim.run("begin; select 1");
  expect(await caller.value(`select pg_terminate_backend(${pid})`)).toBe("t");
  expect(outcomeOf(await victim.raw.rest()).error?.code).toBe("57P01");
  expect(await caller.value("select 'goes on'")).toBe("goes on");
});

test("a signal for a client of another worker is for that client, and not for whoever is on the server of its number", async () => {
  // From now on each worker has one server: the first to stand in, the second for whoever logs in first there.
  const [near, , far] = await four("narrower");
  for (const client of [near, far]) await client.run("select 1");
  // Of those that come to the other worker, the first has its only server for its home, once who had it is known to be gone.
  const real = (client: Client): boolean => client.session.pid < 2 ** 22;
  let there: readonly Client[] = [];
  await waitToSee(
    async () => {
      running.sendAway();
      const [here, others] = await running.clientsOfEach(2, "narrower");
      there = others;
      const pids = there.map(({ session }) => session.pid);
      // Both servers may have gone to the other worker meanwhile: one comes back.
      await here[0]?.run("select 1");
      return pids;
    },
    () => there.some(real) && !there.every(real),
    "one has a server for its home, and the other has none",
  );
  const away = there.find(real) as Client;
  const present = there.find((client) => !real(client)) as Client;
  // Else the first worker's server would be closed for the client that waits at the other one.
  const [keeper] = await four("narrower");
  await keeper.run("begin; select 1");
  const [caller] = await four("narrower", "elsewhere");
  const [other] = await four("postgres");
  const [nobody] = await four("plain");
  const pid = away.session.pid;
  const sleeps = present.run("begin; select pg_sleep(1), 'is not disturbed'");
  await untilRunning(place.lab, "is not disturbed");
  const waits = away.run("select pg_sleep(60), 'waits for a server'");
  // Who may not is told so, by a server of that role at its own worker: it takes one that is there and idle. And who has no other
  // server than its own does it as well.
  await waitToSee(
    async () => {
      await caller.run("select 1");
      return nobody.run(`select pg_cancel_backend(${pid})`);
    },
    ({ error }) => error?.code === "42501",
    "it is refused",
  );
  expect(await caller.value(`select pg_cancel_backend(${pid})`)).toBe("t");
  expect((await within(waits, "the one that was meant is cancelled")).error?.code).toBe("57014");
  expect((await sleeps).error).toBeUndefined();
  expect(await other.value(`select pg_terminate_backend(${pid})`)).toBe("t");
  const words = await within(away.raw.rest(), "the one that was meant is ended");
  expect(outcomeOf(words).error).toMatchObject({ severity: "FATAL", code: "57P01" });
  expect((await present.run("commit")).tags).toEqual(["COMMIT"]);
  // A number that nobody was told any more is PostgreSQL's.
  expect(await present.value("select 'goes on'")).toBe("goes on");
});

test("a client that only keeps a server for what it may ask of sequences gives it back to who waits at its worker", async () => {
  const [keeper, , one, other] = await four("narrower");
  // So that the other worker has one server, and no more.
  await keeper.run("begin; create temporary table kept ()");
  await one.run("create sequence if not exists given_back");
  const served = (async () => {
    for (let turn = 0; turn < 20; turn++) {
      await one.run("select nextval('given_back')");
      expect(await other.value("select 'served'")).toBe("served");
    }
  })();
  // It would be given back after three seconds.
  await within(served, "all are served");
});

/** Whether what `one` sets by a function is found by `other`, who has the same server. */
async function leaks(one: Client, other: Client, value: string): Promise<boolean> {
  await one.run(`select leaves('${value}')`);
  return (await other.value("show work_mem")) === value;
}

test("a function that a client of one worker makes volatile is one for clients of another user at the other", async () => {
  const body = (volatility: string): string =>
    `create or replace function leaves(value text) returns text language plpgsql ${volatility} as
     $$ begin return set_config('work_mem', value, false); end $$`;
  const [changer] = await four("narrow");
  const [keeper, , one, other] = await four("narrower");
  // So that the other worker has one server, and no more.
  await keeper.run("begin; create temporary table kept ()");
  await changer.run(
    "create or replace function leaves(value text) returns text language sql stable as 'select value'",
  );
  using console = await running.console();
  await waitUntil(async () => {
    expect(await one.value("select leaves('nothing')")).toBe("nothing");
    const served = (await table(console, "show clients")).filter(
      ({ link, worker }) => link !== "" && worker === "2",
    );
    return served.length === 0;
  }, "it is known to leave nothing, and its client keeps no server");
  await changer.run(body("volatile"));
  let number = 0;
  // They would find out themselves a minute after they have read their catalogs: this is sooner.
  await waitUntil(async () => !(await leaks(one, other, `${5000 + ++number}kB`)), "it is known", 20_000);
  for (let i = 0; i < 5; i++) expect(await leaks(one, other, `${6000 + i}kB`)).toBe(false);
});

test("ALTER ROLE … SET at one worker is for whoever logs in at the other from then on", async () => {
  const [changer, , far] = await four("narrow");
  const before = await far.value("show work_mem");
  await changer.run("alter role narrow set work_mem = '5432kB'");
  await waitUntil(async () => {
    const newcomers = await four("narrow");
    const found = await Promise.all(newcomers.map((client) => client.value("show work_mem")));
    running.sendAway();
    return found.every((value) => value === "5432kB");
  }, "whoever logs in has it");
  expect(before).not.toBe("5432kB");
});

test("each client keeps what it has set, whichever worker it is at, and RECONNECT gives all new servers", async () => {
  using console = await running.console();
  const clients = await four();
  for (const [index, client] of clients.entries()) {
    await client.run(`set application_name = 'own ${index}'`);
    await client.run(`prepare mine as select ${index}`);
  }
  const before = new Set((await table(console, "show servers")).map(({ remote_pid: pid }) => pid));
  expect(new Set((await table(console, "show servers")).map(({ worker }) => worker)).size).toBe(2);
  expect((await console.run("reconnect; wait_close")).tags).toEqual(["RECONNECT", "WAIT_CLOSE"]);
  for (const [index, client] of clients.entries()) {
    expect(await client.value("show application_name")).toBe(`own ${index}`);
    expect(await client.value("execute mine")).toBe(String(index));
  }
  const after = (await table(console, "show servers")).map(({ remote_pid: pid }) => pid);
  expect(after.length).toBeGreaterThan(0);
  expect(after.filter((pid) => before.has(pid))).toEqual([]);
});

/** Runs statements until it is sent away: workers hear of a shutdown one after the other. */
async function endOf(client: Client): Promise<string> {
  for (;;) {
    try {
      await client.value("select 1");
    } catch (error) {
      return String(error);
    }
  }
}

test("SHUTDOWN WAIT_FOR_SERVERS lets transactions of every worker finish, and sends away who wants a server", async () => {
  using console = await running.console();
  const [busy, idle, farBusy, farIdle] = await four();
  for (const client of [busy, farBusy])
    await client.run("begin; create temporary table kept (n int) on commit drop");
  expect((await console.run("shutdown wait_for_servers")).tags).toEqual(["SHUTDOWN"]);
  for (const client of [idle, farIdle]) {
    expect(await endOf(client)).toContain("server shutting down");
  }
  for (const client of [busy, farBusy]) expect(await client.value("select count(*) from kept")).toBe("0");
  for (const client of [busy, farBusy]) expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
  expect(await within(running.program.exit, "the program ends")).toBe(0);
  expect(running.program.leftovers()).toEqual([]);
});
