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

/** Ways to have the code run: each deed by each. */
const ways: Readonly<Record<string, (deed: string) => string>> = {
  function: (deed) => `select do_${deed}()`,
  do: (deed) => `do $$ begin perform do_${deed}(); end $$`,
  call: (deed) => `call call_${deed}()`,
  trigger: (deed) => `insert into on_${deed} values (1)`,
  view: (deed) => `select * from view_${deed}`,
};

/** All deeds, and `role` last: nothing else works under a security definer. */
const deedsAtOnce = [...Object.keys(deeds).filter((name) => name !== "role"), "role"];

const body = (names: readonly string[]): string => names.map((name) => `perform do_${name}();`).join(" ");

/** More ways, for all deeds at once: what makes them, and what has them run. */
const waysForAll: Readonly<Record<string, { readonly make: string; readonly run: string }>> = {
  "function in SQL": {
    make: "create function by_sql() returns int language sql as 'select do_all()'",
    run: "select by_sql()",
  },
  "statement built at run time": {
    make: "create function by_text(name text) returns void language plpgsql as $$ begin execute format('select %I()', name); end $$",
    run: "select by_text('do_all')",
  },
  "security definer with SET": {
    make: `create function by_definer() returns int language plpgsql security definer set work_mem = '6MB' set search_path = public as $$ begin ${body(deedsAtOnce.slice(0, -1))} return 1; end $$;
      create function by_caller() returns void language plpgsql as $$ begin perform by_definer(); perform do_role(); end $$`,
    run: "select by_caller()",
  },
  "procedure with COMMIT": {
    make: "create procedure by_commits() language plpgsql as $$ begin perform 1; commit; perform do_all(); commit; perform 1; rollback; end $$",
    run: "call by_commits()",
  },
  operator: {
    make: "create function by_operator(int, int) returns int language plpgsql as $$ begin return do_all(); end $$; create operator === (leftarg = int, rightarg = int, function = by_operator)",
    run: "select 1 === 2",
  },
  cast: {
    make: "create type odd as (a int); create function by_cast(int) returns odd language plpgsql as $$ begin return row(do_all())::odd; end $$; create cast (int as odd) with function by_cast(int)",
    run: "select 1::odd",
  },
  "default expression": {
    make: "create table by_default (a int, b int default do_all())",
    run: "insert into by_default values (1)",
  },
  "check constraint": {
    make: "create table by_check (a int check (do_all() = a))",
    run: "insert into by_check values (1)",
  },
  "domain check": {
    make: "create domain by_domain as int check (do_all() = value)",
    run: "select 1::by_domain",
  },
  rule: {
    make: "create table by_rule (a int); create rule hidden as on insert to by_rule do also select do_all()",
    run: "insert into by_rule values (1)",
  },
  "row security": {
    make: `create table by_policy (a int); insert into by_policy values (1); alter table by_policy enable row level security;
      grant select on by_policy to lesser; create policy hidden on by_policy using (do_all() = a)`,
    run: "begin; set local role lesser; select * from by_policy; commit; set role lesser",
  },
  aggregate: {
    make: "create function by_step(int, int) returns int language plpgsql as $$ begin return do_all(); end $$; create aggregate by_aggregate(int) (sfunc = by_step, stype = int)",
    run: "select by_aggregate(a) from (values (1)) v(a)",
  },
  "function that lies about itself": {
    make: "create function by_lie() returns int language plpgsql immutable as $$ begin return do_all(); end $$",
    run: "select by_lie()",
  },
  "index of a lie": {
    make: "create function by_index(int) returns int language plpgsql immutable as $$ begin return do_all(); end $$; create table indexed (a int); create index on indexed (by_index(a))",
    run: "insert into indexed values (1)",
  },
  "deferred trigger": {
    make: "create table by_commit (a int); create constraint trigger hidden after insert on by_commit deferrable initially deferred for each row execute function trigger_all()",
    run: "begin; insert into by_commit values (1); commit",
  },
  "event trigger": {
    make: `create function by_event() returns event_trigger language plpgsql as $$ begin perform do_all(); end $$;
      create event trigger hidden on ddl_command_end when tag in ('COMMENT') execute function by_event()`,
    run: "comment on function do_all() is 'commented'",
  },
  cursor: {
    make: "select 1",
    run: "begin; declare looks cursor for select do_all(); fetch looks; commit",
  },
  "COPY of a query": { make: "select 1", run: "copy (select do_all()) to stdout" },
  "EXPLAIN ANALYZE": { make: "select 1", run: "explain (analyze) select do_all()" },
  "EXECUTE in DO": { make: "select 1", run: "do $$ begin execute 'select do_all()'; end $$" },
  "MERGE with a view": {
    make: "create table merged (a int); create view by_view as select do_all() as a",
    run: "merge into merged using by_view on merged.a = by_view.a when not matched then insert values (by_view.a)",
  },
};

const showsAll = `select ${Object.values(deeds)
  .map(({ shows }) => `(${shows})`)
  .join(" || ' / ' || ")}`;
const asAll = Object.values(deeds)
  .map(({ as }) => as)
  .join(" / ");
const endsAll =
  "reset all; reset role; deallocate left_over; unlisten *; drop table left_over; select pg_advisory_unlock_all(); close left_over";

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
  await lab.primary.query(
    `create function do_all() returns int language plpgsql as $$ begin ${body(deedsAtOnce)} return 1; end $$;
     create function trigger_all() returns trigger language plpgsql as $$ begin perform do_all(); return new; end $$`,
  );
  for (const { make } of Object.values(waysForAll)) await lab.primary.query(make);
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

test("a parameter that nobody has declared is found in a pooler that has not read the catalogs yet", async () => {
  const { custom } = deeds as { readonly custom: Deed };
  for (let round = 0; round < 5; round++) {
    await using fresh = await Pooled.start(place.lab, {
      settings: { pool_mode: "auto", default_pool_size: 1 },
    });
    using hostile = await fresh.connect();
    using other = await fresh.connect();
    const done = run(hostile, "select do_custom()");
    expect(await other.value(custom.shows)).toBe("none");
    await done;
    expect(await hostile.value(custom.shows)).toBe(custom.as);
    expect(await other.value(custom.shows)).toBe("none");
  }
});

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
    // What it listens to moves to the pool's listener, perhaps before the other one could be seen to wait.
    if (name !== "listen") await pooled.untilWaiting(1);
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

describe("everything at once", () => {
  test.each(Object.keys(waysForAll))("in a %s", async (way) => {
    using hostile = await pooled.connect();
    using other = await pooled.connect();
    const before = await other.value(showsAll);
    expect(before).not.toContain(asAll);
    await run(hostile, waysForAll[way]?.run ?? "");
    const answer = other.value(showsAll);
    await pooled.untilWaiting(1);
    expect(await hostile.value(showsAll)).toBe(asAll);
    await run(hostile, endsAll);
    expect(await answer).toBe(before);
    expect(await hostile.value(showsAll)).toBe(before);
  });
});

test.each([
  "do $$ begin perform setseed(0.42); end $$",
  "do $$ begin execute 'select setseed(0.42)'; end $$",
  "do $$ begin execute 'set seed = 0.42'; end $$",
])("what random() returns next: %s", async (seeds) => {
  const { rows } = await place.lab.primary.query("select setseed(0.42); select random()");
  const foreseen = rows.at(-1)?.[0];
  expect(foreseen).toMatch(/^0\.\d+/);
  const hostile = await pooled.connect();
  await run(hostile, seeds);
  await hostile.close();
  using other = await pooled.connect();
  expect(await other.value("select random()")).not.toBe(foreseen);
});

test("large objects that were left open", async () => {
  using hostile = await pooled.connect();
  using other = await pooled.connect();
  await run(hostile, "do $$ begin perform lo_open(lo_create(4711), 393216); end $$");
  expect((await other.run("select loread(0, 1)")).error?.code).toBe("42704");
  expect((await hostile.run("select loread(0, 1)")).error?.code).toBe("42704");
  await run(hostile, "select lo_unlink(4711)");
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
