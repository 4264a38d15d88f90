/** Auto mode in several processes: what clients of one worker mean for those of another, and what the console does to both. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { table } from "./console-client.ts";
import { type Client, outcomeOf, untilRunning } from "./pooled.ts";
import { WorkerProgram } from "./worker-program.ts";

const place = useLab();
let running: WorkerProgram;
beforeAll(async () => {
  running = await WorkerProgram.start(place.lab, 'pool_mode = "auto"');
});
afterEach(() => running.sendAway());
afterAll(async () => running[Symbol.asyncDispose]());

/** Two clients of each worker, those of the first worker first. */
async function four(): Promise<readonly [Client, Client, Client, Client]> {
  const found = (await running.clientsOfEach(2)).flatMap((own) => own.slice(0, 2));
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
