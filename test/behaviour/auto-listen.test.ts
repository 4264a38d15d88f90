/**
 * LISTEN in auto mode: clients that listen hold no server, and hear what they would hear from a server of their own,
 * each notification once and in the order of commits.
 */
import pg from "pg";
import { describe, expect, test } from "vitest";
import { Backend } from "../../src/wire/constants.ts";
import { encodeFrontend } from "../../src/wire/encode-frontend.ts";
import { useLab } from "../kit/lab.ts";
import { rawCancel } from "../kit/raw-client.ts";
import { waitToSee, waitUntil, within } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { MessageProxy, type ProxiedServer } from "./message-proxy.ts";
import { backends, type Pooled } from "./pooled.ts";

const place = useLab();

/** A client of the pg driver, with what it has heard. */
class Listener implements AsyncDisposable {
  readonly client: pg.Client;
  readonly heard: pg.Notification[] = [];
  /** What ended it. */
  error: (Error & { code?: string }) | undefined;

  private constructor(client: pg.Client) {
    this.client = client;
    client.on("notification", (notification) => this.heard.push(notification));
    client.on("error", (error) => {
      this.error ??= error;
    });
  }

  static async connect(to: { readonly host: string; readonly port: number }): Promise<Listener> {
    const client = new pg.Client({ host: to.host, port: to.port, user: "postgres", database: "postgres" });
    const listener = new Listener(client);
    await client.connect();
    return listener;
  }

  run(sql: string): Promise<pg.QueryResult> {
    return within(this.client.query(sql), `an answer to ${sql}`);
  }

  payloads(channel: string): string[] {
    return this.heard.filter((one) => one.channel === channel).map((one) => one.payload ?? "");
  }

  async untilHeard(count: number): Promise<void> {
    await waitToSee(
      () => this.heard.length,
      (heard) => heard >= count,
      `${count} notifications are heard`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.end();
  }
}

function start(settings: Readonly<Record<string, unknown>> = {}): Promise<Pooled> {
  return startPooled(place.lab, { settings: { pool_mode: "auto", default_pool_size: 1, ...settings } });
}

function toPooler({ pooler }: Pooled): Promise<Listener> {
  return Listener.connect(pooler.address);
}

const isListener = "application_name = 'pgsluice listener'";

async function untilListener(): Promise<void> {
  await waitToSee(
    () => backends(place.lab, isListener),
    (found) => found === 1,
    "one connection listens",
  );
}

test("fifty clients listen, and one server works for all of them", async () => {
  await using pooled = await start();
  await using worker = await toPooler(pooled);
  const listeners = await Promise.all(Array.from({ length: 50 }, () => toPooler(pooled)));
  await Promise.all(listeners.map((listener) => listener.run("listen news")));
  await worker.run("create temp table works (a int)");
  await worker.run("drop table works");
  const sent = Array.from({ length: 10 }, (_, at) => String(at));
  for (const payload of sent) {
    await worker.run("begin");
    await worker.run(`notify news, '${payload}'`);
    await worker.run("commit");
  }
  await Promise.all(listeners.map((listener) => listener.untilHeard(sent.length)));
  const answers = await Promise.all(listeners.map((listener) => listener.run("select 1 as one")));
  expect(answers.every(({ rows }) => rows[0].one === 1)).toBe(true);
  const { processID } = worker.client as unknown as { processID: number };
  for (const { heard } of listeners) {
    expect(heard.map(({ payload }) => payload)).toEqual(sent);
    expect(new Set(heard.map(({ processId }) => processId))).toEqual(new Set([processID]));
  }
  expect(await backends(place.lab, `not ${isListener}`)).toBe(1);
  expect(await backends(place.lab, isListener)).toBe(1);
  using console = await openConsole(pooled);
  expect(await table(console, "show listeners")).toMatchObject([
    { database: "postgres", user: "postgres", state: "open", clients: "50", channels: "1", reserved: "0" },
  ]);
});

test("nothing is lost and nothing doubled while clients listen, stop, and work in a storm of notifications", async () => {
  await using pooled = await start({ default_pool_size: 2 });
  await using direct = await Listener.connect(place.lab.primary);
  const notifiers = [direct, await toPooler(pooled)];
  const listeners = await Promise.all(Array.from({ length: 5 }, () => toPooler(pooled)));
  for (const listener of listeners) await listener.run("listen storm");
  const perNotifier = 60;
  let storming = true;
  const storm = Promise.all(
    notifiers.map(async (notifier, name) => {
      for (let number = 0; number < perNotifier; number++)
        await notifier.run(`notify storm, 'ä${name}:${number}'`);
    }),
  ).finally(() => {
    storming = false;
  });
  // Who had a server before may have had its texts in another encoding.
  const other = await toPooler(pooled);
  const recoding = ["set client_encoding to latin1", "do $$ begin perform 1; end $$"];
  const work = [
    "listen other",
    "select 1",
    "begin; unlisten storm; rollback",
    "do $$ begin perform 1; end $$",
    "unlisten other",
    "listen storm",
  ];
  await Promise.all(
    [...listeners, other].map(async (client) => {
      while (storming) {
        for (const sql of client === other ? recoding : work) await client.run(sql);
      }
    }),
  );
  await storm;
  await Promise.all(listeners.map((listener) => listener.untilHeard(notifiers.length * perNotifier)));
  for (const listener of listeners) {
    await listener.run("select 1");
    const payloads = listener.payloads("storm");
    for (const name of notifiers.keys()) {
      const numbers = payloads
        .filter((one) => one.startsWith(`ä${name}:`))
        .map((one) => Number(one.slice(3)));
      expect(numbers).toEqual(Array.from({ length: perNotifier }, (_, at) => at));
    }
  }
  // All have heard the same order.
  const [first] = listeners;
  for (const listener of listeners) expect(listener.payloads("storm")).toEqual(first?.payloads("storm"));
});

test("what is notified between UNLISTEN and LISTEN is not heard, and all else is", async () => {
  await using pooled = await start();
  await using listener = await toPooler(pooled);
  await using notifier = await Listener.connect(place.lab.primary);
  const expected: string[] = [];
  for (let round = 0; round < 25; round++) {
    await listener.run("listen news");
    for (const part of ["a", "b"]) {
      await notifier.run(`notify news, '${round}${part}'`);
      expected.push(`${round}${part}`);
    }
    await listener.run(round % 2 === 0 ? "unlisten news" : "unlisten *");
    await notifier.run("notify news, 'unheard'");
  }
  expect(listener.payloads("news")).toEqual(expected);
});

test("in a transaction LISTEN and UNLISTEN take effect at its end, or not at all", async () => {
  await using pooled = await start();
  await using listener = await toPooler(pooled);
  await using notifier = await Listener.connect(place.lab.primary);
  for (const sql of ["begin", "listen news", "rollback"]) await listener.run(sql);
  await notifier.run("notify news, 'rolled back'");
  expect((await listener.run("select pg_listening_channels() as channel")).rows).toEqual([]);
  expect(await backends(place.lab, isListener)).toBe(0);
  for (const sql of ["begin", "savepoint s", "listen lost", "rollback to s", "listen news"])
    await listener.run(sql);
  await notifier.run("notify news, 'too early'");
  await listener.run("commit");
  await notifier.run("notify news, 'heard'");
  await listener.run("begin");
  await listener.run("unlisten news");
  await notifier.run("notify news, 'heard as well'");
  expect(listener.payloads("news")).toEqual(["heard"]);
  await listener.run("rollback");
  expect(listener.payloads("news")).toEqual(["heard", "heard as well"]);
  expect((await listener.run("select pg_listening_channels() as channel")).rows).toEqual([
    { channel: "news" },
  ]);
});

test("a notification of one's own comes with the pid from the login, with a home and without one", async () => {
  await using pooled = await start();
  await using atHome = await toPooler(pooled);
  await using homeless = await toPooler(pooled);
  for (const [listener, channel] of [
    [atHome, "Nachricht äöü"],
    [homeless, "Botschaft äöü"],
  ] as const) {
    await listener.run(`listen "${channel}"`);
    for (const sql of [`notify "${channel}", '1'`, "select 1", `notify "${channel}", '2'`])
      await listener.run(sql);
    const { processID } = listener.client as unknown as { processID: number };
    expect(listener.heard).toMatchObject([
      { channel, payload: "1", processId: processID },
      { channel, payload: "2", processId: processID },
    ]);
  }
});

describe("the shared listener", () => {
  test("ends with the last client that listens, and the next client hears nothing of it", async () => {
    await using pooled = await start();
    const listener = await toPooler(pooled);
    await listener.run("listen news");
    await untilListener();
    await listener.client.end();
    await using next = await toPooler(pooled);
    await waitUntil(async () => (await backends(place.lab, isListener)) === 0, "the listener is gone");
    await next.run("notify news");
    await next.run("select pg_listening_channels()");
    expect(next.heard).toEqual([]);
  });

  test("if it is lost its clients are told, since they may have missed something; others go on", async () => {
    await using pooled = await start();
    await using worker = await toPooler(pooled);
    const listener = await toPooler(pooled);
    await listener.run("listen news");
    await worker.run("select 1");
    await place.lab.primary.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where ${isListener}`,
    );
    await waitUntil(() => listener.error !== undefined, "the client is ended");
    expect(listener.error).toMatchObject({
      code: "57P01",
      message: "terminating connection because the connection that listened for it was lost",
    });
    await worker.run("select 1");
    await worker.run("listen news");
    await worker.run("notify news, 'again'");
    expect(worker.payloads("news")).toEqual(["again"]);
  });

  test("if it says nothing any more it is lost", async () => {
    await using pooled = await start({ server_connect_timeout: 1 });
    await using listener = await toPooler(pooled);
    await listener.run("listen news");
    await untilListener();
    const { rows } = await place.lab.primary.query(`select pid from pg_stat_activity where ${isListener}`);
    const pid = Number(rows[0]?.[0]);
    process.kill(pid, "SIGSTOP");
    try {
      await expect(listener.run("select 1")).rejects.toMatchObject({ code: "57P01" });
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });

  test("is replaced when servers are to be replaced, and loses nothing by that", async () => {
    await using pooled = await start();
    await using listener = await toPooler(pooled);
    await listener.run("listen news");
    await untilListener();
    using console = await openConsole(pooled);
    await console.run("reconnect");
    await using notifier = await Listener.connect(place.lab.primary);
    await notifier.run("notify news, '1'");
    await listener.untilHeard(1);
    await listener.run("listen other");
    await notifier.run("notify news, '2'");
    await listener.untilHeard(2);
    await waitUntil(async () => (await backends(place.lab, isListener)) === 1, "the old listener is gone");
    expect(listener.payloads("news")).toEqual(["1", "2"]);
  });

  const reasons: readonly (readonly [why: string, settings: Record<string, unknown>, first: string])[] = [
    ["there is no place for it", { max_db_connections: 1 }, "select 1"],
    ["notifications would have to be recoded", {}, "set client_encoding to latin1"],
  ];

  test.each(reasons)("is not used where %s: the client keeps its server", async (_, settings, first) => {
    await using pooled = await start({ ...settings, pin_notice: true });
    await using listener = await toPooler(pooled);
    const notices: string[] = [];
    listener.client.on("notice", ({ message }) => notices.push(message ?? ""));
    await listener.run(first);
    await listener.run("listen news");
    await using other = await toPooler(pooled);
    const waits = other.run("select 1");
    await pooled.untilWaiting(1);
    await waitUntil(() => notices.length > 0, "the client is told");
    expect(notices).toEqual(["server connection is reserved for this client: listen"]);
    await listener.run("notify news, 'own'");
    expect(listener.payloads("news")).toEqual(["own"]);
    await listener.run("unlisten *");
    await waits;
  });

  test("does not keep notifications without end for a client that does not read them", async () => {
    await using pooled = await start();
    await using listener = await toPooler(pooled);
    await using worker = await toPooler(pooled);
    await listener.run("listen flood");
    const { stream } = (listener.client as unknown as { connection: { stream: NodeJS.ReadableStream } })
      .connection;
    stream.pause();
    await worker.run("select pg_notify('flood', repeat('x', 7900) || i) from generate_series(1, 3000) as i");
    await pooled.untilSessions(1);
    stream.resume();
    await waitUntil(() => listener.error !== undefined, "the client is ended");
    expect(listener.heard.length).toBeLessThan(3000);
    expect(await worker.run("select 1 as one")).toMatchObject({ rows: [{ one: 1 }] });
  });
});

test("a client may be cancelled, or leave, at any moment", async () => {
  await using pooled = await start({ default_pool_size: 2 });
  await using witness = await toPooler(pooled);
  await using notifier = await Listener.connect(place.lab.primary);
  await witness.run("listen news");
  for (let round = 0; round < 20; round++) {
    using client = await pooled.connect();
    await client.run("listen news");
    client.send({ kind: "Query", sql: round % 2 === 0 ? "notify news" : "select pg_sleep(0.001)" });
    if (round % 3 === 0) await client.cancel();
  }
  await notifier.run("notify news, 'last'");
  await waitUntil(() => witness.payloads("news").at(-1) === "last", "the witness hears the last one");
  expect((await witness.run("select pg_listening_channels() as channel")).rows).toEqual([
    { channel: "news" },
  ]);
  await waitUntil(() => pooled.pooler.counts.sessions === 1, "all but the witness are gone");
  using console = await openConsole(pooled);
  expect(await table(console, "show listeners")).toMatchObject([{ clients: "1", reserved: "0" }]);
});

test("what is cancelled before it has a server takes nothing from what its client listens to", async () => {
  await using pooled = await start();
  await using listener = await toPooler(pooled);
  await listener.run("listen news");
  await using holder = await toPooler(pooled);
  await holder.run("begin");
  await holder.run("select 1");
  const cancelled = listener.run("listen others").catch((error: { code?: string }) => error.code);
  await pooled.untilWaiting(1);
  const { processID: pid, secretKey } = listener.client as unknown as Record<string, number>;
  const key = Buffer.alloc(4);
  key.writeInt32BE(secretKey as number);
  await rawCancel(pooled.place, { pid: pid as number, key });
  expect(await cancelled).toBe("57014");
  await holder.run("commit");
  await listener.run("select 'a server is looked at'");
  await holder.run("notify news, 'behind it'");
  await listener.untilHeard(1);
  expect(listener.payloads("news")).toEqual(["behind it"]);
});

test.each([
  ["a Query", { kind: "Query", sql: `select 'whole' /* ${"-".repeat(300_000)} */` }],
  ["data of a COPY that has failed", { kind: "CopyData", data: Buffer.from("nobody's") }],
] as const)(
  "a message that begins while the client's channels move away from its server waits for that, and that not for the rest of it: %s",
  async (_, message) => {
    await using proxy = await MessageProxy.start(place.lab.primary);
    const { host, port } = proxy;
    const settings = { pool_mode: "auto", default_pool_size: 2 };
    await using pooled = await startPooled(place.lab, { node: { host, port }, settings });
    using client = await pooled.connect();
    using other = await pooled.connect();
    await client.run("listen news");
    expect(await client.value("select 'heard from elsewhere'")).toBe("heard from elsewhere");
    const text = "copy nowhere from stdin";
    let moving: ProxiedServer | undefined;
    for (const link of proxy.links)
      link.change = (reply) => {
        // The marker has come; that nothing comes behind it is not said yet.
        if (moving === undefined && reply[0] === Backend.notificationResponse && link.countOf(text) > 0) {
          moving = link;
          link.hold();
        }
        return [reply];
      };
    await client.run(text);
    await waitUntil(() => moving !== undefined, "its channels move");
    const bytes = encodeFrontend(message);
    client.send(bytes.subarray(0, bytes.length / 2));
    // The pooler has read that by now.
    for (let run = 0; run < 3; run++) await other.run("do $$ begin perform 1; end $$");
    moving?.release();
    client.send(bytes.subarray(bytes.length / 2));
    if (message.kind === "Query") expect((await client.outcome()).rows).toEqual([["whole"]]);
    expect(await client.value("select 'next'")).toBe("next");
  },
);
