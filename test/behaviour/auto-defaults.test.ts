/** Auto mode: ALTER ROLE … SET and ALTER DATABASE … SET are for sessions that begin later, whichever server runs their statements. */
import { beforeEach, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole } from "./console-client.ts";
import { type Client, Pooled } from "./pooled.ts";

const place = useLab();
const altered = "defaults of new sessions were changed";

beforeEach(async () => {
  await place.lab.primary.query("create role plain login");
  return async () => {
    await place.lab.primary.query("drop role plain");
  };
});

function startPooled(servers: number): Promise<Pooled> {
  return Pooled.start(place.lab, { settings: { pool_mode: "auto", default_pool_size: servers } });
}

const connect = (pooled: Pooled): Promise<Client> => pooled.connect({ user: "plain" });

async function show(client: Client, ...names: string[]): Promise<(string | null)[]> {
  const values: (string | null)[] = [];
  for (const name of names) values.push(await client.value(`show ${name}`));
  return values;
}

describe.each([1, 3])("with %i servers", (servers) => {
  test("ALTER ROLE SET is for clients that log in later, and RESET goes to the defaults of the login", async () => {
    await using pooled = await startPooled(servers);
    using admin = await pooled.connect();
    await admin.run("alter role plain set work_mem = '5MB'; alter role plain set own.x = 'five'");
    using old = await connect(pooled);
    expect(await show(old, "work_mem", "own.x", "lock_timeout")).toEqual(["5MB", "five", "0"]);
    await old.run("set statement_timeout = '1min'");
    await admin.run(`begin; alter role plain reset work_mem; alter role plain set own.x = 'six';
      alter role plain set own.y = 'new'; alter role plain set lock_timeout = '7s'; alter role plain set log_statement = 'none'; commit`);
    using later = await connect(pooled);
    for (const _ of [1, 2]) {
      expect(await show(later, "work_mem", "own.x", "own.y", "lock_timeout")).toEqual([
        "4MB",
        "six",
        "new",
        "7s",
      ]);
      expect(await show(old, "work_mem", "own.x", "lock_timeout", "statement_timeout")).toEqual([
        "5MB",
        "five",
        "0",
        "1min",
      ]);
    }
    await old.run("set work_mem = '6MB'; set own.x = 'own'");
    await old.run("do $$ begin perform set_config('lock_timeout', '3s', false); end $$");
    expect(await show(later, "work_mem", "own.x", "lock_timeout")).toEqual(["4MB", "six", "7s"]);
    expect(await show(old, "work_mem", "own.x", "lock_timeout")).toEqual(["6MB", "own", "3s"]);
    await old.run("reset work_mem; set own.x to default; select set_config('lock_timeout', null, false)");
    expect(await show(old, "work_mem", "own.x", "lock_timeout")).toEqual(["5MB", "five", "0"]);
    for (const all of ["reset all", "discard all"]) {
      await old.run("set work_mem = '6MB'; set lock_timeout = '2s'");
      await old.run(all);
      expect(await show(later, "work_mem", "lock_timeout")).toEqual(["4MB", "7s"]);
      expect(await show(old, "work_mem", "own.x", "lock_timeout", "statement_timeout")).toEqual([
        "5MB",
        "five",
        "0",
        "0",
      ]);
    }
    await old.run("begin; set local work_mem to default; set lock_timeout = '9s'");
    expect(await show(old, "work_mem", "lock_timeout")).toEqual(["5MB", "9s"]);
    await old.run("rollback");
    expect(await show(later, "work_mem", "lock_timeout")).toEqual(["4MB", "7s"]);
    expect(await show(old, "work_mem", "lock_timeout")).toEqual(["5MB", "0"]);
  });

  test("what RESET leaves as it is, because it fails, stays what the client has set", async () => {
    await using pooled = await startPooled(servers);
    using admin = await pooled.connect();
    await admin.run("alter role plain set work_mem = '5MB'; alter role plain set own.x = 'five'");
    using old = await connect(pooled);
    await admin.run("alter role plain set work_mem = '6MB'; alter role plain set own.x = 'six'");
    await old.run("set work_mem = '7MB'; set own.x = 'seven'");
    for (const reset of ["reset work_mem; reset own.x", "reset all", "discard all"]) {
      await old.run(`select 1/0; ${reset}`);
      expect(await show(old, "work_mem", "own.x")).toEqual(["7MB", "seven"]);
    }
    await old.run("reset own.x");
    expect(await show(old, "work_mem", "own.x")).toEqual(["7MB", "five"]);
    await old.run("discard all");
    expect(await show(old, "work_mem", "own.x")).toEqual(["5MB", "five"]);
  });

  test("what was rolled back is for nobody, and what others alter in a function is noticed", async () => {
    await using pooled = await startPooled(servers);
    using admin = await pooled.connect();
    using old = await connect(pooled);
    expect(await show(old, "work_mem")).toEqual(["4MB"]);
    await admin.run("begin; alter role plain set work_mem = '5MB'; rollback");
    using same = await connect(pooled);
    expect(await show(same, "work_mem")).toEqual(["4MB"]);
    await old.run("do $$ begin execute 'alter role plain set work_mem = ''5MB'''; end $$");
    using later = await connect(pooled);
    expect(await show(later, "work_mem")).toEqual(["5MB"]);
    expect([await show(old, "work_mem"), await show(same, "work_mem")]).toEqual([["4MB"], ["4MB"]]);
  });
});

test("what is altered behind the pooler's back is noticed by the next server that is opened", async () => {
  await using pooled = await startPooled(2);
  using old = await connect(pooled);
  await old.run("begin; select 1");
  await place.lab.primary.query("alter role plain set work_mem = '5MB'");
  using next = await connect(pooled);
  await next.value("select 1");
  await old.run("commit");
  await pooled.untilClosedFor(altered);
  using later = await connect(pooled);
  expect(await show(later, "work_mem")).toEqual(["5MB"]);
  expect(await show(old, "work_mem")).toEqual(["4MB"]);
  expect(await show(next, "work_mem")).toEqual(["4MB"]);
});

test("a login whose startup settings have to be asked for leaves those of others as they are", async () => {
  await using pooled = await startPooled(1);
  using one = await connect(pooled);
  await one.run("set work_mem = '6MB'");
  using other = await pooled.connect({ user: "plain", parameters: [["DateStyle", "german"]] });
  expect(await show(one, "work_mem")).toEqual(["6MB"]);
  expect(await show(other, "work_mem", "datestyle")).toEqual(["4MB", "German, DMY"]);
});

test("a role whose statements end at once has a server all the same", async () => {
  await place.lab.primary.query("alter role plain set statement_timeout = '1ms'");
  await using pooled = await startPooled(1);
  using client = await connect(pooled);
  await waitUntil(
    async () => (await client.run("show statement_timeout")).rows[0]?.[0] === "1ms",
    "an answer",
  );
});

test("what is altered while a server is being opened is no failure to whoever waits for that server", async () => {
  const connect_query = "select pg_advisory_lock_shared(4711); select pg_advisory_unlock_shared(4711)";
  await using pooled = await Pooled.start(place.lab, {
    settings: { pool_mode: "auto" },
    databases: { "*": { connect_query } },
  });
  using admin = await pooled.connect();
  const { primary } = place.lab;
  const holder = await primary.connect();
  await holder.query("select pg_advisory_lock(4711)");
  const login = connect(pooled);
  const waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
  await waitUntil(
    async () => (await primary.query(waiting)).rows[0]?.[0] === "1",
    "the server is open as far as its connect_query",
  );
  await admin.run("alter role plain set work_mem = '5MB'");
  await holder.close();
  using client = await login;
  expect(await show(client, "work_mem")).toEqual(["5MB"]);
});

test("what a reload of the server's configuration changes comes to all who are there, and if it is reported to who comes after RECONNECT", async () => {
  const { primary } = place.lab;
  const reload = async (...changes: readonly string[]): Promise<void> => {
    for (const change of changes) await primary.query(`alter system ${change}`);
    await primary.query("select pg_reload_conf()");
  };
  await using pooled = await Pooled.start(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: 1, admin_users: ["postgres"] },
  });
  using console = await openConsole(pooled);
  using old = await connect(pooled);
  await reload("set work_mem = '5MB'", "set timezone = 'Asia/Tokyo'");
  try {
    await waitUntil(async () => (await show(old, "work_mem"))[0] === "5MB", "the server has read it");
    await console.run("reconnect");
    using later = await connect(pooled);
    for (const _ of [1, 2]) {
      expect(await show(later, "work_mem", "timezone")).toEqual(["5MB", "Asia/Tokyo"]);
      expect(await show(old, "work_mem")).toEqual(["5MB"]);
    }
  } finally {
    await reload("reset all");
  }
});
