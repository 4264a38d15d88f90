/**
 * Auto mode: whatever code that nobody sees does to a session, the next client on the same server finds nothing of
 * it, and the client whose code it was finds all of it.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { type Client, execute, Pooled, parse, sync } from "./pooled.ts";

const place = useLab();
let pooled: Pooled;

/** What a function does to its session, how the session shows it, and what ends it; without an end it follows its client. */
interface Deed {
  readonly body: string;
  readonly shows: string;
  readonly as: string;
  readonly end?: string;
  /** Takes it away, where no reservation has to end. */
  readonly drop?: string;
}

const deeds: Readonly<Record<string, Deed>> = {
  set: {
    body: "set statement_timeout = '71s';",
    shows: "select current_setting('statement_timeout')",
    as: "71s",
  },
  set_config: {
    body: "perform set_config('work_mem', '5MB', false);",
    shows: "select current_setting('work_mem')",
    as: "5MB",
  },
  custom: {
    body: "perform set_config('hidden.place', 'x', false);",
    shows: "select coalesce(nullif(current_setting('hidden.place', true), ''), 'none')",
    as: "x",
  },
  reported: {
    body: "perform set_config('TimeZone', 'Asia/Tokyo', false);",
    shows: "select current_setting('TimeZone')",
    as: "Asia/Tokyo",
  },
  role: { body: "perform set_config('role', 'lesser', false);", shows: "select current_user", as: "lesser" },
  listen: {
    body: "execute 'listen rumours';",
    shows: "select coalesce(string_agg(c, ','), 'none') from pg_listening_channels() c",
    as: "rumours",
    end: "unlisten *",
  },
  prepare: {
    body: "execute 'prepare left_over as select 1';",
    shows:
      "select coalesce(string_agg(name, ','), 'none') from pg_prepared_statements where not name like 'pgsluice_%'",
    as: "left_over",
    drop: "deallocate left_over",
  },
  temporary: {
    body: "create temp table left_over (a int);",
    shows: "select coalesce(to_regclass('pg_temp.left_over')::text, 'none')",
    as: "left_over",
    end: "drop table left_over",
  },
  lock: {
    body: "perform pg_advisory_lock(7);",
    shows: "select count(*)::text from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    as: "1",
    end: "select pg_advisory_unlock(7)",
  },
  cursor: {
    body: "execute 'declare left_over cursor with hold for select 1';",
    shows: "select coalesce(string_agg(name, ','), 'none') from pg_cursors where is_holdable",
    as: "left_over",
    end: "close left_over",
  },
};

/** Ways to have the code run. */
const ways: Readonly<Record<string, (deed: string) => string>> = {
  function: (deed) => `select do_${deed}()`,
  do: (deed) => `do $$ begin perform do_${deed}(); end $$`,
  call: (deed) => `call call_${deed}()`,
  trigger: (deed) => `insert into on_${deed} values (1)`,
  view: (deed) => `select * from view_${deed}`,
};

beforeAll(async () => {
  const { lab } = place;
  await lab.primary.query("create role lesser; grant all on schema public to lesser");
  for (const [name, { body }] of Object.entries(deeds)) {
    await lab.primary.query(
      `create function do_${name}() returns int language plpgsql as $$ begin ${body} return 1; end $$`,
    );
    await lab.primary.query(
      `create procedure call_${name}() language plpgsql as $$ begin perform do_${name}(); end $$`,
    );
    await lab.primary.query(
      `create function trigger_${name}() returns trigger language plpgsql as $$ begin perform do_${name}(); return new; end $$`,
    );
    await lab.primary.query(`create table on_${name} (a int)`);
    await lab.primary.query(
      `create trigger hidden before insert on on_${name} for each row execute function trigger_${name}()`,
    );
    await lab.primary.query(`create view view_${name} as select do_${name}() as done`);
  }
  await lab.primary.query("grant all on all tables in schema public to lesser");
  pooled = await Pooled.start(lab, { settings: { pool_mode: "auto", default_pool_size: 1 } });
});

afterAll(async () => {
  await pooled[Symbol.asyncDispose]();
});

/** Runs it, and fails if the server refuses. */
async function run(client: Client, sql: string): Promise<void> {
  const { error } = await client.run(sql);
  if (error !== undefined) throw new Error(`${sql}: ${error.code}: ${error.message}`);
}

describe.each(Object.keys(deeds))("%s", (name) => {
  const { shows, as, end, drop } = deeds[name] as Deed;

  test.each(Object.keys(ways))("in the code of a %s", async (way) => {
    using hostile = await pooled.connect();
    using other = await pooled.connect();
    const before = await other.value(shows);
    expect(before).not.toBe(as);
    await run(hostile, (ways[way] as (deed: string) => string)(name));
    if (end === undefined) {
      const pid = await hostile.backendPid();
      expect(await other.value(shows)).toBe(before);
      expect(await other.backendPid()).toBe(pid);
      expect(await hostile.value(shows)).toBe(as);
      expect(await other.value(shows)).toBe(before);
      return;
    }
    // The only server is reserved: the other one waits, until the reason is gone.
    const answer = other.value(shows);
    await pooled.untilWaiting(1);
    expect(await hostile.value(shows)).toBe(as);
    await run(hostile, end);
    expect(await answer).toBe(before);
    expect(await hostile.value(shows)).toBe(before);
  });

  test("a client that leaves it behind", async () => {
    using other = await pooled.connect();
    const before = await other.value(shows);
    const pid = await other.backendPid();
    const hostile = await pooled.connect();
    await run(hostile, `select do_${name}()`);
    await hostile.close();
    expect(await other.value(shows)).toBe(before);
    expect(await other.backendPid()).toBe(pid);
  });

  test("in a transaction that is rolled back", async () => {
    using hostile = await pooled.connect();
    const before = await hostile.value(shows);
    await run(hostile, "begin");
    await run(hostile, `select do_${name}()`);
    await run(hostile, "rollback");
    // These two outlive it.
    if (name === "lock" || name === "prepare") await run(hostile, end ?? drop ?? "");
    expect(await hostile.value(shows)).toBe(before);
    using other = await pooled.connect();
    expect(await other.value(shows)).toBe(before);
  });
});

test("a client that leaves while its server is kept for it loosely, and has its prepared statements", async () => {
  await place.lab.primary.query("create sequence drawn");
  using other = await pooled.connect();
  const client = await pooled.connect();
  await client.ask(parse("mine", "select 'a stranger''s'"), sync);
  await run(client, "select nextval('drawn')");
  await run(client, "select name from pg_prepared_statements");
  await client.close();
  expect((await other.ask(...execute("mine"), sync)).error?.code).toBe("26000");
});
