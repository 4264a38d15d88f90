/** Several processes that serve clients on the same sockets, with one console, one configuration and one end. */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkConfig } from "../../src/config/load.ts";
import { makeCertificates } from "../../src/lab/index.ts";
import { Pooler } from "../../src/server/app.ts";
import { useLab } from "../kit/lab.ts";
import { rawCancel, rawClient } from "../kit/raw-client.ts";
import { waitToSee, waitUntil, within } from "../kit/wait.ts";
import { table } from "./console-client.ts";
import { type Client, untilRunning } from "./pooled.ts";
import { allOf, WorkerProgram } from "./worker-program.ts";

const place = useLab();
let running: WorkerProgram;
beforeAll(async () => {
  running = await WorkerProgram.start(place.lab);
});
afterAll(async () => running[Symbol.asyncDispose]());

test("connections are shared evenly, and every client is served", async () => {
  let clients = new Map<number, Client[]>();
  // A worker that is slow on a busy machine is passed over.
  await waitUntil(async () => {
    for (const client of allOf(clients)) client.destroy();
    clients = await running.clients(20);
    return [1, 2].every((worker) => Math.abs((clients.get(worker)?.length ?? 0) - 10) <= 1);
  }, "each worker has half of them");
  for (const client of allOf(clients)) expect(await client.value("select 'served'")).toBe("served");
  for (const client of allOf(clients)) client.destroy();
});

test("a cancel request finds its client, whichever worker it comes to", async () => {
  const clients = await running.clients(4);
  for (const client of allOf(clients)) {
    const outcome = client.run("select pg_sleep(60), 'to be cancelled'");
    await untilRunning(place.lab, "to be cancelled");
    await client.cancel();
    expect(await outcome).toMatchObject({ error: { code: "57014" } });
    expect(await client.value("select 'goes on'")).toBe("goes on");
  }
  // Right but for the secret: nobody's.
  const [victim] = allOf(clients);
  const outcome = victim?.run("select pg_sleep(0.5), 'stays'");
  await untilRunning(place.lab, "stays");
  const { pid = 0, key = Buffer.alloc(4) } = victim?.session ?? {};
  await rawCancel(running.place, { pid, key: Buffer.from(key.map((byte) => byte ^ 1)) });
  expect((await outcome)?.error).toBeUndefined();
  for (const client of allOf(clients)) client.destroy();
});

/** By both workers: whoever asks is at one of them. */
async function untilPaused(): Promise<void> {
  await waitToSee(
    async () => {
      using console = await running.console();
      return await table(console, "show state");
    },
    (rows) => rows[1]?.["value"] === "yes",
    "all is paused",
  );
}

describe("the console speaks for all workers", () => {
  test("psql sees the workers, the clients of all with their workers, and sums", async () => {
    const clients = await running.clients(6);
    for (const client of allOf(clients)) await client.run("select 1");
    const psql = (sql: string): string[][] => {
      const { host, port } = running.place;
      const connection = ["-h", host, "-p", String(port), "-U", "postgres", "-d", "pgbouncer"];
      const text = execFileSync("psql", [...connection, "-XAt", "-F", "|", "-c", sql], { encoding: "utf8" });
      return text
        .trim()
        .split("\n")
        .map((line) => line.split("|"));
    };
    expect(psql("show workers").map(([worker, , state]) => [worker, state])).toEqual([
      ["1", "active"],
      ["2", "active"],
    ]);
    const listed = psql("show clients").filter(([, , database]) => database === "postgres");
    expect(listed).toHaveLength(6);
    expect(new Set(listed.map((row) => row.at(-1)))).toEqual(new Set(["1", "2"]));
    // Connection ids are unique, so that KILL_CLIENT means one.
    expect(new Set(listed.map((row) => row.at(-2))).size).toBe(6);
    expect(
      psql("show pools")
        .find(([database]) => database === "postgres")
        ?.slice(0, 3),
    ).toEqual(["postgres", "postgres", "6"]);
    expect(psql("show databases").find(([database]) => database === "postgres")?.[14]).toBe("6");
    for (const client of allOf(clients)) client.destroy();
  });

  test("statistics add up", async () => {
    using console = await running.console();
    const count = async (sql: string, column: string): Promise<number> =>
      Number((await table(console, sql)).find(({ database }) => database === "postgres")?.[column]);
    const before = await count("show stats", "total_query_count");
    const clients = await running.clients(4);
    for (const client of allOf(clients)) for (let i = 0; i < 5; i++) await client.run("select 1");
    expect(await count("show stats", "total_query_count")).toBe(before + 20);
    expect(await count("show stats_totals", "query_count")).toBe(before + 20);
    const logins = (await table(console, "show login_latency")).filter(({ stage }) => stage === "login");
    // In the order of one process, and those of all.
    expect(logins.slice(0, 2).map(({ up_to_us: bound }) => bound)).toEqual(["100", "250"]);
    expect(logins.reduce((sum, { clients: some }) => sum + Number(some), 0)).toBeGreaterThanOrEqual(4);
    expect((await table(console, "show discovery")).map(({ source, worker }) => [source, worker])).toEqual(
      [1, 2].map((worker) => ["static", String(worker)]),
    );
    const lists = await table(console, "show lists");
    expect(lists.find(({ list }) => list === "used_clients")?.["items"]).toBe("5");
    expect(lists.find(({ list }) => list === "pools")?.["items"]).toBe("2");
    for (const client of allOf(clients)) client.destroy();
  });

  test("PAUSE answers when every worker has closed its servers, RESUME lets all go on, and a cancel takes PAUSE back", async () => {
    using console = await running.console();
    const clients = await running.clients(4);
    const [busy, ...others] = allOf(clients) as [Client, ...Client[]];
    await busy.run("begin");
    const paused = console.run("pause");
    await untilPaused();
    const waiting = others.map((client) => client.run("select 'waited'"));
    await waitUntil(async () => {
      using second = await running.console();
      const [row] = await table(second, "show pools");
      return Number(row?.["cl_waiting"]) === 3;
    }, "three clients wait");
    await console.cancel();
    expect((await paused).error?.code).toBe("57014");
    for (const outcome of waiting) expect((await outcome).tags).toEqual(["SELECT 1"]);
    const again = console.run("pause");
    await untilPaused();
    await busy.run("commit");
    expect((await again).tags).toEqual(["PAUSE"]);
    expect((await console.run("pause")).error?.message).toBe("already suspended/paused");
    expect((await table(console, "show state"))[1]).toEqual({ key: "paused", value: "yes" });
    const held = allOf(clients).map((client) => client.run("select 'held'"));
    expect((await console.run("resume")).tags).toEqual(["RESUME"]);
    for (const outcome of held) expect((await outcome).tags).toEqual(["SELECT 1"]);
    expect((await console.run("resume")).error?.message).toBe("pooler is not paused/suspended");
    for (const client of allOf(clients)) client.destroy();
  });

  test("KILL_CLIENT and KILL reach clients of every worker", async () => {
    using console = await running.console();
    const clients = await running.clients(4);
    const rows = await table(console, "show clients");
    const victims = rows.filter(({ database }) => database === "postgres").slice(0, 2);
    for (const { id } of victims)
      expect((await console.run(`kill_client ${id}`)).tags).toEqual(["KILL_CLIENT"]);
    expect((await console.run("kill_client 999999")).error?.message).toBe("client not found");
    await waitUntil(() => allOf(clients).filter(({ raw }) => raw.isClosed).length === 2, "two are gone");
    expect((await console.run("kill")).tags).toEqual(["KILL"]);
    await waitUntil(() => allOf(clients).every(({ raw }) => raw.isClosed), "all are gone");
    expect((await console.run('resume "postgres"')).tags).toEqual(["RESUME"]);
    using next = await running.connect();
    expect(await next.value("select 'next'")).toBe("next");
  });

  test("SHOW USERS counts the servers of a user also where only another worker has clients of it", async () => {
    await place.lab.primary.query("create role counted login");
    using console = await running.console();
    const clients = await running.clients(4, "counted");
    await Promise.all(allOf(clients).map((client) => client.run("begin; select 1")));
    await Promise.all(allOf(clients).map((client) => client.run("commit")));
    const [last, ...others] = allOf(clients) as [Client, ...Client[]];
    await Promise.all(others.map((client) => client.close()));
    try {
      await waitToSee(
        async () => {
          const user = (await table(console, "show users")).find(({ name }) => name === "counted");
          // The pooler's own reading of the catalogs may have had one more opened.
          const servers = (await table(console, "show servers")).filter(
            ({ user: name }) => name === "counted",
          );
          return [user?.["current_client_connections"], user?.["current_connections"], servers.length];
        },
        ([left, counted, servers]) => left === "1" && counted === String(servers) && Number(servers) >= 4,
        "one client is left, and all servers are counted",
      );
    } finally {
      last.destroy();
    }
  });
});

test("a worker that is killed takes its clients with it and nobody else's, and is replaced as it was", async () => {
  using console = await running.console();
  const consoleWorker = (await table(console, "show clients")).find(
    ({ database }) => database === "pgbouncer",
  )?.["worker"];
  const victim = consoleWorker === "1" ? 2 : 1;
  const clients = await running.clients(50);
  const lost = clients.get(victim) ?? [];
  const kept = clients.get(3 - victim) ?? [];
  expect(lost.length + kept.length).toBe(50);
  let stop = false;
  const working = kept.map(async (client) => {
    for (let i = 0; !stop; i++) expect(await client.value(`select ${i}`)).toBe(String(i));
  });
  await console.run("disable template1");
  const pids = await running.pids(console);
  process.kill(pids.get(victim) ?? 0, "SIGKILL");
  await within(Promise.all(lost.map(({ raw }) => raw.closed)), "its clients are gone");
  await running.untilActive(console, 2);
  stop = true;
  await Promise.all(working);
  expect(kept.filter(({ raw }) => raw.isClosed)).toEqual([]);
  expect((await running.pids(console)).get(victim)).not.toBe(pids.get(victim));
  // Whoever comes now makes up for those that are gone, and finds what the console has done.
  let next = new Map<number, Client[]>();
  await waitUntil(async () => {
    for (const client of allOf(next)) client.destroy();
    next = await running.clients(10);
    return [...next.keys()].join() === String(victim);
  }, "they all come to the new worker");
  await expect(running.connect({ database: "template1" })).rejects.toThrow(
    'database "template1" is disabled',
  );
  await console.run("enable template1");
  expect(running.program.stderr).toContain('"msg":"worker died, and its clients are lost"');
  for (const client of [...kept, ...allOf(next)]) client.destroy();
});

describe("configuration", () => {
  /** A console at each worker. */
  async function consoles(): Promise<Client[]> {
    const found = new Map<string, Client>();
    let opened = 0;
    await waitUntil(async () => {
      const name = `console ${++opened}`;
      const console = await running.connect({
        database: "pgbouncer",
        parameters: [["application_name", name]],
      });
      const rows = await table(console, "show clients");
      const worker = rows.find((row) => row["application_name"] === name)?.["worker"] ?? "";
      if (found.has(worker)) console.destroy();
      else found.set(worker, console);
      return found.size === 2;
    }, "a console at each worker");
    return [...found.values()];
  }

  async function poolSizes(found: readonly Client[]): Promise<unknown[]> {
    const sizes = found.map(
      async (console) =>
        (await table(console, "show config")).find(({ key }) => key === "default_pool_size")?.["value"],
    );
    return Promise.all(sizes);
  }

  test("a reload by signal or console, and SET, reach all workers; one that cannot be used reaches none", async () => {
    const found = await consoles();
    const [first, second] = found as [Client, Client];
    running.configure("default_pool_size = 7");
    running.program.signal("SIGHUP");
    await running.program.printed("stderr", /"msg":"configuration reloaded"/);
    expect(await poolSizes(found)).toEqual(["7", "7"]);
    expect((await first.run("set default_pool_size = 8")).tags).toEqual(["SET default_pool_size=8"]);
    expect(await poolSizes(found)).toEqual(["8", "8"]);
    expect((await second.run("set workers = 3")).error).toMatchObject({
      detail: expect.stringContaining("restart"),
    });
    running.configure('default_pool_size = 9\nauth_file = "no-such-file"');
    expect((await second.run("reload")).error?.message).toBe(
      "RELOAD failed, see logs for additional details",
    );
    expect(await poolSizes(found)).toEqual(["8", "8"]);
    running.configure("");
    expect((await second.run("reload")).tags).toEqual(["RELOAD"]);
    expect(await poolSizes(found)).toEqual(["20", "20"]);
    for (const console of found) console.destroy();
  });

  test("a TLS session of one worker is resumed at the other", async () => {
    const { server } = await makeCertificates(running.folder.path);
    const files = `client_tls_cert_file = "${server.certificateFile}"\nclient_tls_key_file = "${server.keyFile}"`;
    running.configure(`client_tls_sslmode = "allow"\n${files}`);
    using console = await running.console();
    expect((await console.run("reload")).tags).toEqual(["RELOAD"]);
    const workers = new Set<string | null | undefined>();
    let session: Buffer | undefined;
    for (let number = 0; number < 2 || workers.size < 2; number++) {
      expect(number, "both workers are met").toBeLessThan(100);
      const raw = await rawClient(running.place);
      const socket = await raw.startTls(session === undefined ? {} : { session });
      expect(socket.isSessionReused()).toBe(number > 0);
      const name = `resumed ${number}`;
      await raw.startup({ database: "postgres", parameters: [["application_name", name]] });
      await raw.rows("select 1");
      session = socket.getSession();
      const rows = await table(console, "show clients");
      workers.add(rows.find((row) => row["application_name"] === name)?.["worker"]);
      raw.destroy();
    }
    running.configure("");
    expect((await console.run("reload")).tags).toEqual(["RELOAD"]);
  });

  test("workers are for the program: whoever embeds the pooler is told so", async () => {
    const config = checkConfig({ pgsluice: { workers: 2 }, nodes: { main: {} } }, ".");
    await expect(Pooler.start(config)).rejects.toMatchObject({
      code: "server.workers",
      message: "workers = 2 is for the program alone",
    });
  });
});

describe("the end", () => {
  test("TERM waits for the clients of every worker, and no signal of a terminal ends a worker by itself", async () => {
    using console = await running.console();
    const clients = await running.clients(4);
    for (const pid of (await running.pids(console)).values()) process.kill(pid, "SIGINT");
    running.program.signal("SIGTERM");
    await waitUntil(async () => {
      const late = await running.connect().catch(() => undefined);
      late?.destroy();
      return late === undefined;
    }, "nobody is let in any more");
    for (const client of allOf(clients)) expect(await client.value("select 'still'")).toBe("still");
    await Promise.all(allOf(clients).map((client) => client.close()));
    expect(await within(running.program.exit, "the program ends")).toBe(0);
    expect(running.program.leftovers()).toEqual([]);
  });
});
