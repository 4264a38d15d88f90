/** For what a client in auto mode keeps its server, until when, and how operators are told. */
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitToSee } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { execute, type Pooled, parse, query, runAll, sync } from "./pooled.ts";

const place = useLab();
let pooled: Pooled;

beforeAll(async () => {
  await place.lab.primary.query("create table kept (id serial, a int); create sequence numbers");
  await place.lab.primary.query("select pg_replication_origin_create('far')");
});

beforeEach(async () => {
  pooled = await startPooled(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: 1, pin_notice: true, admin_users: ["postgres"] },
  });
  return async () => {
    await pooled[Symbol.asyncDispose]();
  };
});

afterAll(async () => {
  await place.lab.primary.query(
    "drop table kept; drop sequence numbers; select pg_replication_origin_drop('far')",
  );
});

describe("a reservation", () => {
  const reasons: readonly (readonly [reason: string, begins: readonly string[], ends: string | undefined])[] =
    [
      ["temp_object", ["create temp table x (a int)"], "drop table x"],
      ["temp_object", ["select 1 as a into temp x"], "discard temp"],
      ["advisory_lock", ["select pg_advisory_lock(1)"], "select pg_advisory_unlock(1)"],
      ["advisory_lock", ["select pg_try_advisory_lock(1)"], "select pg_advisory_unlock_all()"],
      ["with_hold_cursor", ["begin", "declare c cursor with hold for select 1", "commit"], "close c"],
      ["prepare", ["prepare p as select 'é'"], "deallocate p"],
      ["prepare", ["prepare p as select 1; prepare q as select 2"], "discard all"],
      ["sequence", ["select nextval('numbers')", "select currval('numbers')"], "discard all"],
      ["load", ["load 'plpgsql'"], undefined],
      ["seed", ["select setseed(0.5)"], undefined],
      ["replication_origin", ["select pg_replication_origin_session_setup('far')"], undefined],
      ["backup", ["select pg_backup_start('kept', true)"], undefined],
      ["replication_slot", ["select pg_create_physical_replication_slot('kept', true, true)"], undefined],
    ];

  /** Its server has to be closed, but the client need not leave for that. */
  const unresettable: readonly (readonly [reason: string, begins: string, ends: string])[] = [
    [
      "replication_origin",
      "select pg_replication_origin_session_setup('far')",
      "select pg_replication_origin_session_reset()",
    ],
    [
      "replication_origin",
      "select pg_replication_origin_session_setup('far')",
      "do $$ begin perform pg_replication_origin_session_reset(); end $$",
    ],
    [
      "backup",
      "select pg_backup_start('kept', true)",
      "select labelfile <> '' from pg_backup_stop(wait_for_archive => false)",
    ],
    [
      "replication_slot",
      "select pg_create_physical_replication_slot('kept', true, true)",
      "select pg_drop_replication_slot('kept')",
    ],
  ];

  test.each(unresettable)("%s: %j, until %s", async (_reason, begins, ends) => {
    using holder = await pooled.connect();
    using other = await pooled.connect();
    await runAll(holder, begins);
    const answer = other.value("select 1");
    await pooled.untilWaiting(1);
    await runAll(holder, ends);
    expect(await answer).toBe("1");
    await pooled.untilClosedFor("state that cannot be reset");
    expect(await holder.value("select 1")).toBe("1");
  });

  test("backup: what only parses, may not run or fails does not end it", async () => {
    using holder = await pooled.connect();
    using console = await openConsole(pooled);
    const pid = await holder.backendPid();
    const held = async (): Promise<unknown> =>
      (await table(console, "show reservations"))[0]?.["reservation"];
    const stop = "select * from pg_backup_stop(false)";
    await runAll(holder, "select pg_backup_start('kept', true)", `${stop} where false`);
    holder.send(parse("stop", stop), parse("", stop), parse("plain", "select 1"), ...execute("plain"), sync);
    expect((await holder.outcome()).error).toBeUndefined();
    expect((await holder.run(`${stop}; select 1/0`)).error?.code).toBe("22012");
    await runAll(holder, "select 1");
    expect(await held()).toBe("backup");
    expect(await holder.backendPid()).toBe(pid);
    // In a transaction that starts another one it goes on.
    await runAll(holder, "begin", "select pg_backup_start('again', true)");
    expect(await held()).toBe("backup");
    holder.send(...execute("stop"), sync);
    expect((await holder.outcome()).error).toBeUndefined();
    await runAll(holder, "commit", "select 1");
    expect(await held()).toBeUndefined();
  });

  test.each(reasons)("%s: %j, until %s", async (reason, begins, ends) => {
    const holder = await pooled.connect();
    using other = await pooled.connect();
    const pid = await holder.backendPid();
    await runAll(holder, ...begins);
    const answer = other.backendPid();
    await pooled.untilWaiting(1);
    expect((await holder.raw.until("NoticeResponse")).at(-1)).toMatchObject({
      fields: { message: `server connection is reserved for this client: ${reason}` },
    });
    if (ends === undefined) {
      await holder.close();
      expect(await answer).not.toBe(pid);
      await pooled.untilClosedFor("state that cannot be reset");
      return;
    }
    await runAll(holder, ends);
    expect(await answer).toBe(pid);
    await holder.close();
  });

  test("opaque_setting: what only a superuser may set, until it is reset", async () => {
    await place.lab.primary.query(`create role plain login;
      create function privileged() returns text language sql security definer
      as $$ select set_config('track_functions', 'all', false) $$`);
    using holder = await pooled.connect({ user: "plain" });
    using other = await pooled.connect({ user: "plain" });
    await runAll(holder, "select privileged()");
    const answer = other.value("show track_functions");
    await pooled.untilWaiting(1);
    expect((await holder.raw.until("NoticeResponse")).at(-1)).toMatchObject({
      fields: {
        message: "server connection is reserved for this client: opaque_setting",
        detail: "Because of: select privileged()",
      },
    });
    expect(await holder.value("show track_functions")).toBe("all");
    await runAll(holder, "reset all");
    expect(await answer).toBe("none");
    expect(await holder.value("show track_functions")).toBe("none");
  });

  test("a function that sets what it is told to is not run by its definition", async () => {
    using client = await pooled.connect();
    using other = await pooled.connect();
    const pid = await client.backendPid();
    const body = "begin perform set_config(name, '1', false); end";
    await runAll(
      client,
      `create function sets_named(name text) returns void language plpgsql as $$ ${body} $$`,
      `create procedure calls_named(name text) language plpgsql as $$ ${body} $$; create function two() returns int language sql as 'select 2'`,
    );
    expect(await other.backendPid()).toBe(pid);
    await runAll(client, "drop function sets_named, two; drop procedure calls_named");
  });

  test("pin_notice: a NOTICE says why, if that is wanted", async () => {
    using client = await pooled.connect();
    client.send(query("create temp table x (a int)"));
    const notice = (await client.raw.until("NoticeResponse")).at(-1);
    expect(notice).toMatchObject({
      fields: {
        severity: "NOTICE",
        message: "server connection is reserved for this client: temp_object",
      },
    });
  });

  test("the console and the NOTICE name the statement, without its literals", async () => {
    using client = await pooled.connect();
    using console = await openConsole(pooled);
    await runAll(client, "begin", "select 'secret', pg_advisory_lock(4711)");
    client.send(query("commit"));
    const statement = "select ?, pg_advisory_lock(?)";
    const fields = { detail: `Because of: ${statement}` };
    expect((await client.raw.until("NoticeResponse")).at(-1)).toMatchObject({ fields });
    expect(await table(console, "show reservations")).toEqual([
      {
        client: expect.stringMatching(/^\d+$/),
        database: "postgres",
        user: "postgres",
        reservation: "advisory_lock",
        seconds: "0",
        statement,
      },
    ]);
    // What comes next is answered behind the ledger.
    await runAll(client, "create temp table x (a int)", "select pg_advisory_unlock_all()", "select 1");
    const [held] = await table(console, "show reservations");
    expect(held).toMatchObject({ reservation: "temp_object", statement: "create temp table x (a int)" });
    await runAll(client, "drop table x", "select 1");
    expect(await table(console, "show reservations")).toEqual([]);
    const counts = await table(console, "show reservation_stats");
    expect(counts).toContainEqual({
      database: "postgres",
      user: "postgres",
      reservation: "temp_object",
      now: "0",
      total: "1",
    });
  });

  test("the statement that says what it does is named rather than one that may have done it", async () => {
    using client = await pooled.connect();
    using console = await openConsole(pooled);
    client.send(query("create temp table x (a int)"), query("select pg_advisory_lock(1)"));
    await client.raw.until("ReadyForQuery");
    await client.raw.until("ReadyForQuery");
    await runAll(client, "select 1");
    const held = await table(console, "show reservations");
    expect(held.map(({ reservation, statement }) => [reservation, statement])).toEqual([
      ["temp_object", "create temp table x (a int)"],
      ["advisory_lock", "select pg_advisory_lock(?)"],
    ]);
  });

  test("the console names what is open as well, by which statement, and counts it", async () => {
    using client = await pooled.connect();
    using console = await openConsole(pooled);
    const held = async (): Promise<unknown[]> =>
      (await table(console, "show reservations")).map(({ reservation, statement }) => [
        reservation,
        statement,
      ]);
    const until = (...rows: [string, string][]): Promise<unknown> =>
      waitToSee(held, (seen) => isDeepStrictEqual(seen, rows), `reservations ${JSON.stringify(rows)}`);

    await runAll(client, "begin isolation level serializable /* why */");
    expect(await held()).toEqual([]);
    await runAll(client, "select 1");
    const begin: [string, string] = ["transaction", "begin isolation level serializable"];
    await until(begin);
    client.send(query("copy kept (a) from stdin /* 'x' */"));
    await client.raw.until("CopyInResponse");
    await until(begin, ["copy", "copy kept (a) from stdin"]);
    client.send({ kind: "CopyDone" });
    await client.outcome();
    client.send(parse("rows", "select generate_series(1, 10)"), ...execute("rows").slice(0, 1));
    client.send({ kind: "Execute", portal: "", maxRows: 2 }, { kind: "Flush" });
    await client.raw.until("PortalSuspended");
    await until(begin, ["portal", "select generate_series(?, ?)"]);
    client.send({ kind: "Flush" }, sync);
    await client.outcome();
    await runAll(client, "commit", "select 1");
    await until();

    await runAll(client, "select 'x'; begin; select 2");
    await until(["transaction", "select ?; begin; select ?"]);
    // One that is no beginning is no cause.
    await runAll(client, "begin", "create temp table x (a int)", "commit", "begin read only, deferrable");
    const temporary: [string, string] = ["temp_object", "create temp table x (a int)"];
    await until(temporary, ["transaction", "begin read only deferrable"]);
    await runAll(client, "rollback");
    client.send(parse("", "select 3"), ...execute("", []), { kind: "Flush" });
    await client.raw.until("CommandComplete");
    await until(temporary, ["portal", "select ?"]);
    client.send(sync);
    await client.outcome();
    await runAll(client, "drop table x", "select 1");
    await until();

    const counts = (await table(console, "show reservation_stats")).map(({ reservation, now, total }) =>
      [reservation, now, total].join(" "),
    );
    expect(counts).toEqual(
      expect.arrayContaining(["transaction 0 3", "copy 0 1", "portal 0 2", "temp_object 0 1"]),
    );
  });

  test("COPY to a client that does not read, and a replication connection", async () => {
    using client = await pooled.connect();
    using console = await openConsole(pooled);
    client.raw.stream.pause();
    client.send(parse("out", "copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout"));
    client.send(...execute("out"), sync);
    const held = (): ReturnType<typeof table> => table(console, "show reservations");
    const statement = "copy (select repeat(?, ?) from generate_series(?, ?)) to stdout";
    await waitToSee(
      held,
      ([row]) => row?.["reservation"] === "copy" && row["statement"] === statement,
      "COPY",
    );
    const counts = await table(console, "show reservation_stats");
    expect(counts.find(({ reservation }) => reservation === "copy")).toMatchObject({ now: "1", total: "1" });
    client.destroy();
    const streaming = await pooled.connect({ parameters: [["replication", "true"]] });
    await runAll(streaming, "IDENTIFY_SYSTEM");
    await waitToSee(
      held,
      (rows) => rows.map(({ reservation }) => reservation).join() === "replication",
      "it",
    );
    await streaming.close();
  });

  test("nothing is held for what was rolled back, or goes with its transaction", async () => {
    using client = await pooled.connect();
    using other = await pooled.connect();
    for (const [doing, end] of [
      ["create temp table x (a int)", "rollback"],
      ["create temp table x (a int) on commit drop", "commit"],
      ["declare c cursor with hold for select 1", "rollback"],
      ["listen news", "rollback"],
      ["select pg_advisory_xact_lock(1)", "commit"],
      ["select lo_open(lo_create(0), 131072)", "commit"],
    ] as const) {
      await runAll(client, "begin", doing, end);
      expect(await other.value("select 1")).toBe("1");
    }
  });

  test("a client that leaves with one has its server reset and shared", async () => {
    const pids = new Set<string | null>();
    for (const sql of ["create temp table x (a int)", "listen news", "prepare p as select 1"]) {
      const client = await pooled.connect();
      await runAll(client, sql);
      pids.add(await client.backendPid());
      await client.close();
    }
    expect(pids.size).toBe(1);
  });
});
