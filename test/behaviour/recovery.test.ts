/** Servers and PostgreSQL itself die, and come back: who hears of it, in whose words, and that it heals by itself. */
import { describe, expect, test } from "vitest";
import { FaultProxy } from "../../src/lab/index.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import { useLab } from "../kit/lab.ts";
import { type ScriptedPeer, ScriptedServer } from "../kit/scripted-server.ts";
import { waitToSee, waitUntil, within } from "../kit/wait.ts";
import {
  backends,
  type Client,
  execute,
  type Outcome,
  Pooled,
  parse,
  query,
  sync,
  untilRunning,
} from "./pooled.ts";

const place = useLab();
/** PostgreSQL's own words when pg_terminate_backend ends a session. */
const terminated = {
  severity: "FATAL",
  code: "57P01",
  message: "terminating connection due to administrator command",
  routine: "ProcessInterrupts",
};

async function terminate(pid: string | null): Promise<void> {
  await place.lab.primary.query(`select pg_terminate_backend(${pid}, 10000)`);
}

/** Runs a statement with new clients until one succeeds. */
async function untilServed(pooled: Pooled): Promise<void> {
  await waitToSee(
    async () => {
      try {
        using client = await pooled.connect();
        return (await client.run("select 1")).error;
      } catch (error) {
        return error;
      }
    },
    (error) => error === undefined,
    "clients are served again",
  );
}

describe("a server that PostgreSQL ends", () => {
  for (const mode of ["session", "transaction"]) {
    test(`while it runs a statement: the client gets the server's own words (${mode})`, async () => {
      await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
      using client = await pooled.connect();
      using other = await pooled.connect();
      expect(await other.value("select 1")).toBe("1");
      await client.run("begin");
      const pid = await client.backendPid();
      client.send(query("select pg_sleep(60), 'doomed'"));
      await untilRunning(place.lab, "doomed");
      await terminate(pid);
      expect((await client.raw.rest()).at(-1)).toMatchObject({ kind: "ErrorResponse", fields: terminated });
      expect(await other.value("select 1")).toBe("1");
      await pooled.untilSessions(1);
    });

    test(`in the middle of an extended batch: the same (${mode})`, async () => {
      await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
      using client = await pooled.connect();
      await client.value("select 1");
      client.send(
        ...[parse("", "select pg_backend_pid()"), ...execute("")],
        ...[parse("", "select pg_sleep(60), 'doomed'"), ...execute(""), sync],
      );
      await untilRunning(place.lab, "doomed");
      await place.lab.primary.query(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where query like '%doomed%' and pid <> pg_backend_pid()",
      );
      const rest = await client.raw.rest();
      expect(rest.at(-1)).toMatchObject({ kind: "ErrorResponse", fields: terminated });
    });
  }

  test("while its client is silent in session mode or in a transaction: the client is told at once", async () => {
    for (const mode of ["session", "transaction"]) {
      await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
      using client = await pooled.connect();
      if (mode === "transaction") await client.run("begin");
      await terminate(await client.backendPid());
      expect(await client.raw.rest()).toMatchObject([{ kind: "ErrorResponse", fields: terminated }]);
    }
  });

  test("acceptance 64: while nobody uses it: nobody is told, and everybody is served", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 2 } });
    const clients = await Promise.all(Array.from({ length: 4 }, () => pooled.connect()));
    await Promise.all(clients.map((client) => client.value("select 1")));
    await place.lab.primary.query(
      "select pg_terminate_backend(pid, 10000) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
    );
    await pooled.untilServers(0);
    const values = await Promise.all(clients.map((client) => client.value("select 1")));
    expect(values).toEqual(["1", "1", "1", "1"]);
    expect(pooled.pooler.counts.sessions).toBe(4);
    for (const client of clients) client.destroy();
  });

  test("while others wait for it: they are served by another one", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using holder = await pooled.connect();
    using waiting = await pooled.connect();
    await holder.run("begin");
    const outcome = waiting.value("select 'served'");
    await pooled.untilWaiting(1);
    await terminate(await holder.backendPid());
    expect(await outcome).toBe("served");
  });

  test("while it is being reset: the next client is served by another one", async () => {
    await using holder = await place.lab.primary.connect();
    await holder.query("select pg_advisory_lock(7)");
    await using pooled = await Pooled.start(place.lab, {
      settings: {
        pool_mode: "session",
        default_pool_size: 1,
        server_reset_query: "select pg_advisory_lock_shared(7), 'resetting'",
      },
    });
    const client = await pooled.connect();
    const pid = await client.backendPid();
    await client.close();
    await untilRunning(place.lab, "resetting");
    using next = await pooled.connect();
    const outcome = next.value("select 'served'");
    await pooled.untilWaiting(1);
    await terminate(pid);
    expect(await outcome).toBe("served");
    await holder.query("select pg_advisory_unlock_all()");
  });
});

describe("PostgreSQL", () => {
  /** Quick to try again, as an operator sets it who expects failures. */
  const settings = { server_login_retry: 0.1, default_pool_size: 3 };

  test("is killed in the middle of everything and restarted: the pooler recovers by itself", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    const clients = await Promise.all(Array.from({ length: 4 }, () => pooled.connect()));
    const [idle, busy, block, waiting] = clients as [Client, Client, Client, Client];
    await place.lab.primary.query("drop table if exists survived; create table survived (n int)");
    await idle.run("insert into survived values (1)");
    await block.run("begin; insert into survived values (2)");
    busy.send(query("select pg_sleep(60), 'killed'"));
    await untilRunning(place.lab, "killed");
    using third = await pooled.connect();
    await third.run("begin");
    waiting.send(query("select 'waited'"));
    await pooled.untilWaiting(1);

    await place.lab.primary.kill();
    for (const client of [busy, block, third]) {
      const last = (await client.raw.rest()).at(-1);
      expect(last).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL" } });
    }
    await pooled.untilServers(0);
    // Who waits is told that the node cannot be reached; who needs nothing hears nothing.
    const told = await waiting.raw.rest();
    expect(told.at(-1)).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL" } });
    expect(idle.raw.isClosed).toBe(false);

    await place.lab.primary.start();
    await untilServed(pooled);
    expect(await idle.value("select count(*) from survived")).toBe("1");
    expect(await idle.run("insert into survived values (3)")).toMatchObject({ tags: ["INSERT 0 1"] });
  });

  test("is restarted in an orderly way: those who are in the middle of something get its words", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    using idle = await pooled.connect();
    using block = await pooled.connect();
    await block.run("begin");
    await place.lab.primary.restart("fast");
    expect(await block.raw.rest()).toMatchObject([
      { kind: "ErrorResponse", fields: { code: "57P01", routine: "ProcessInterrupts" } },
    ]);
    await untilServed(pooled);
    expect(await idle.value("select 1")).toBe("1");
  });

  test("acceptance 97: is still starting: clients wait, and are served", async () => {
    const refuse = async (peer: ScriptedPeer): Promise<void> => {
      await peer.expectStartup("startup");
      peer.fail("57P03", "the database system is starting up");
    };
    await using server = await ScriptedServer.start([refuse, refuse, serve]);
    await using pooled = await Pooled.start(place.lab, {
      settings: { ...settings, server_login_retry: 15 },
      node: { host: "127.0.0.1", port: server.port },
    });
    using client = await pooled.connect();
    expect(await client.value("select 'served'")).toBe("served");
    expect(server.accepted).toBe(3);
  });

  test("acceptance 97: has no more connections: who has servers goes on with them", async () => {
    const refuse = async (peer: ScriptedPeer): Promise<void> => {
      await peer.expectStartup("startup");
      peer.fail("53300", "sorry, too many clients already");
    };
    await using server = await ScriptedServer.start([serve, refuse]);
    await using pooled = await Pooled.start(place.lab, {
      settings,
      node: { host: "127.0.0.1", port: server.port },
    });
    const clients = await Promise.all(Array.from({ length: 3 }, () => pooled.connect()));
    for (let round = 0; round < 3; round++) {
      const values = await Promise.all(clients.map((client) => client.value("select 'served'")));
      expect(values).toEqual(["served", "served", "served"]);
    }
    expect(pooled.pooler.counts.servers).toBe(1);
    for (const client of clients) client.destroy();
  });
});

describe("the way to PostgreSQL", () => {
  test("acceptance 64: breaks: who used it is told, and nobody later notices", async () => {
    await using proxy = await FaultProxy.start({ port: place.lab.primary.port });
    await using pooled = await Pooled.start(place.lab, {
      settings: { server_login_retry: 0.1 },
      node: { host: proxy.host, port: proxy.port },
    });
    using idle = await pooled.connect();
    using busy = await pooled.connect();
    busy.send(query("select pg_sleep(60), 'broken'"));
    await untilRunning(place.lab, "broken");
    proxy.resetAll();
    expect((await busy.raw.rest()).at(-1)).toMatchObject({
      kind: "ErrorResponse",
      fields: { severity: "FATAL", code: "08006" },
    });
    expect(await idle.value("select 1")).toBe("1");
    // PostgreSQL has heard nothing of it.
    await place.lab.primary.query(
      "select pg_terminate_backend(pid, 10000) from pg_stat_activity where query like '%broken%' and pid <> pg_backend_pid()",
    );
  });

  test("is closed for a while: clients are told, and served when it is open again", async () => {
    await using proxy = await FaultProxy.start({ port: place.lab.primary.port });
    await using pooled = await Pooled.start(place.lab, {
      settings: { server_login_retry: 0.1 },
      node: { host: proxy.host, port: proxy.port },
    });
    using idle = await pooled.connect();
    await idle.value("select 1");
    await proxy.set({ refuse: true });
    proxy.resetAll();
    await pooled.untilServers(0);
    using hopeful = await pooled.connect();
    expect((await failureOf(hopeful)).code).toBe("08001");
    await proxy.heal();
    await untilServed(pooled);
    expect(await idle.value("select 1")).toBe("1");
  });

  test("swallows everything: a server that does not answer its check (server_check_delay) is not handed out", async () => {
    await using proxy = await FaultProxy.start({ port: place.lab.primary.port });
    await using pooled = await Pooled.start(place.lab, {
      settings: { server_check_delay: 0, server_connect_timeout: 0.5, server_login_retry: 0.1 },
      node: { host: proxy.host, port: proxy.port },
    });
    using client = await pooled.connect();
    const pid = await client.backendPid();
    await proxy.set({ drop: true });
    const outcome = client.backendPid();
    await pooled.untilWaiting(1);
    await proxy.heal();
    expect(await within(outcome, "the client is served")).not.toBe(pid);
  });
});

test("server_check_query: sent to a server that was idle for server_check_delay, and to no other", async () => {
  await place.lab.primary.query("create table checks (number int)");
  const counts: unknown[] = [];
  for (const settings of [
    { server_check_delay: 0, server_check_query: "insert into checks values (1)" },
    { server_check_delay: 3600, server_check_query: "insert into checks values (2)" },
    { server_check_delay: 0, server_check_query: "" },
  ]) {
    await using pooled = await Pooled.start(place.lab, {
      settings: { pool_mode: "transaction", ...settings },
    });
    using client = await pooled.connect();
    await client.run("select 1");
    await client.run("select 2");
    counts.push((await place.lab.primary.query("select distinct number from checks order by 1")).rows.flat());
  }
  expect(counts).toEqual([["1"], ["1"], ["1"]]);
});

describe("a server that does not speak the protocol", () => {
  const nonsense: Readonly<Record<string, (peer: ScriptedPeer) => void>> = {
    "an unknown message": (peer) => peer.send(Buffer.from([0x01, 0, 0, 0, 4])),
    "a message that it was not asked for": (peer) => peer.send({ kind: "ParseComplete" }),
    "a wrong length": (peer) => peer.send(Buffer.from([0x5a, 0, 0, 0, 1])),
  };
  for (const [what, say] of Object.entries(nonsense)) {
    test(`acceptance 61, 77: sends ${what}: its client is told, and others go on`, async () => {
      const spoil = async (peer: ScriptedPeer): Promise<void> => {
        await peer.expectStartup("startup");
        peer.welcome();
        await peer.expect("Query");
        say(peer);
        await peer.closed;
      };
      await using server = await ScriptedServer.start([spoil, serve]);
      await using pooled = await Pooled.start(place.lab, { node: { host: "127.0.0.1", port: server.port } });
      using client = await pooled.connect();
      using other = await pooled.connect();
      expect(await failureOf(client)).toMatchObject({ severity: "FATAL", code: "08P01" });
      expect(await other.value("select 'served'")).toBe("served");
    });
  }

  test("ends while the settings of its next client are applied: that client is told", async () => {
    const end = async (peer: ScriptedPeer): Promise<void> => {
      await peer.expectStartup("startup");
      peer.welcome({ parameters: { application_name: "", server_version: "18.0" } });
      const { sql } = await peer.expect("Query");
      expect(sql).toContain("application_name");
      peer.fail("57P01", "terminating connection due to administrator command");
    };
    await using server = await ScriptedServer.start([end]);
    await using pooled = await Pooled.start(place.lab, {
      settings: { server_login_retry: 0.1 },
      node: { host: "127.0.0.1", port: server.port },
    });
    const warm = await pooled.connect();
    using client = await pooled.connect({ parameters: [["application_name", "next"]] });
    expect(await failureOf(client)).toMatchObject({ severity: "FATAL", code: "57P01" });
    warm.destroy();
  });
});

test("acceptance 61: after all that nothing is left at PostgreSQL", async () => {
  await waitUntil(async () => (await backends(place.lab)) === 0, "no backend is left");
});

/** A server that logs everybody in and answers every query with its own text in quotes. */
async function serve(peer: ScriptedPeer): Promise<void> {
  await peer.expectStartup("startup");
  peer.welcome();
  for (;;) {
    const message = await peer.next("a query", 60_000).catch(() => undefined);
    if (message?.kind !== "Query") return;
    const text = /'(.*)'/.exec(message.sql)?.[1] ?? "";
    peer.send(
      { kind: "DataRow", values: [Buffer.from(text)] },
      { kind: "CommandComplete", tag: "SELECT 1" },
      { kind: "ReadyForQuery", status: TransactionStatus.idle },
    );
  }
}

/** The error with which a client's session ends when it runs a statement. */
async function failureOf(client: Client): Promise<NonNullable<Outcome["error"]>> {
  client.send(query("select 'never'"));
  const last = (await client.raw.rest()).at(-1);
  if (last?.kind !== "ErrorResponse") throw new Error(`expected an error, got ${last?.kind ?? "nothing"}`);
  return last.fields;
}
