/** What needs a server of one's own: LISTEN, temporary tables, SQL's PREPARE, locks, replication. */
import { describe, expect, test } from "vitest";
import { waitUntil } from "../../kit/wait.ts";
import { pgClient, postgresSql } from "./drivers.ts";
import { usePlace, vias, withBlocks, withSessions } from "./place.ts";
import { collect, hasPsql, psql, startPsql } from "./psql.ts";
import { bind, execute, parse, query, run, sync, TraceClient, unnamed, withClient } from "./trace-client.ts";

const place = usePlace();

describe("LISTEN and NOTIFY", () => {
  place.each("raw: notifications between queries, with transactions", withSessions, async (target) => {
    await using listener = await TraceClient.connect(target);
    await using notifier = await TraceClient.connect(target);
    const traces = [await listener.ask(query("listen events"), query('listen "Other ü"'))];
    await notifier.ask(query("notify events, 'first'"), query("select pg_notify('Other ü', 'zweite: ü')"));
    for (const _ of [1, 2]) traces.push(listener.trace(await listener.expect("NotificationResponse")));
    await notifier.ask(query("begin; notify events, 'rolled back'"), query("rollback"));
    await notifier.ask(query("begin; notify events, 'same'; notify events, 'same'; notify events; commit"));
    for (const _ of [1, 2]) traces.push(listener.trace(await listener.expect("NotificationResponse")));
    traces.push(await listener.ask(query("notify events, 'to myself'")));
    traces.push(await listener.ask(query("unlisten *")));
    await notifier.ask(query("notify events, 'nobody hears'"));
    traces.push(await listener.ask(query("select 'silence'")));
    return traces;
  });

  place.each("raw: NOTIFY works in every mode", vias, async (target) => {
    // Who listens does it directly; who notifies, by the target.
    await using listener = await TraceClient.connect({
      ...place.target("direct"),
      database: target.database,
    });
    await listener.ask(query("listen from_everywhere"));
    await withClient(target, (client) => client.rows("notify from_everywhere, 'heard'"));
    const { channel, payload } = await listener.expect("NotificationResponse");
    return [channel, payload];
  });

  place.each("pg: notifications", withSessions, async (target) => {
    const [listener, notifier] = await Promise.all([pgClient(target), pgClient(target)]);
    const heard: unknown[] = [];
    listener.on("notification", ({ channel, payload }) => heard.push([channel, payload]));
    await listener.query("listen pg_events");
    for (let i = 0; i < 100; i++) await notifier.query("select pg_notify('pg_events', $1)", [`event ${i}`]);
    await waitUntil(() => heard.length === 100, "all events were heard");
    await Promise.all([listener.end(), notifier.end()]);
    return heard;
  });

  place.each("postgres: sql.listen and sql.notify", withSessions, async (target) => {
    const sql = postgresSql(target);
    const heard: string[] = [];
    const listening = await sql.listen("postgres_events", (payload) => {
      heard.push(payload);
    });
    for (let i = 0; i < 20; i++) await sql.notify("postgres_events", `event ${i}`);
    await waitUntil(() => heard.length === 20, "all events were heard");
    await listening.unlisten();
    await sql.end();
    return heard;
  });

  describe.skipIf(!hasPsql)("psql", () => {
    place.each("psql: notifications are shown", withSessions, async (target) => {
      const result = await psql(target, "listen psql_events;\nnotify psql_events, 'seen';\nselect 1;\n");
      expect(result.output).toContain('"psql_events" with payload "seen"');
      return result.output.replace(/PID \d+/, "PID N");
    });
  });
});

describe("state of a session", () => {
  place.each(
    "raw: temporary tables, SQL's PREPARE, settings, sequences, advisory locks",
    withSessions,
    async (target) => {
      await using client = await TraceClient.connect(target);
      await using other = await TraceClient.connect(target);
      const traces = [
        await client.ask(query("create temporary table mine (id int)"), query("insert into mine values (1)")),
        await client.ask(
          query("prepare p (int) as select $1 * 2"),
          query("execute p (21)"),
          ...run("p", ["4"]),
          sync,
        ),
        await client.ask(query("set work_mem = '7MB'"), query("select pg_advisory_lock(42)")),
        await client.ask(query("drop sequence if exists s; create sequence s; select nextval('s')")),
        await client.ask(query("select * from mine; show work_mem; select currval('s')")),
        await client.ask(
          query("declare h cursor with hold for values (1), (2)"),
          query("fetch h"),
          query("fetch h; close h"),
        ),
        await other.ask(query("select pg_try_advisory_lock(42), to_regclass('pg_temp.mine'); show work_mem")),
        await other.ask(query("execute p (1)"), query("select currval('s')")),
      ];
      const pid = await client.value("select pg_backend_pid()");
      for (let i = 0; i < 20; i++) expect(await client.value("select pg_backend_pid()")).toBe(pid);
      return traces;
    },
  );

  place.each("raw: nothing of it is left for the next client", withSessions, async (target) => {
    const seen: unknown[] = [];
    for (let round = 0; round < 4; round++) {
      await using client = await TraceClient.connect(target);
      // The server of the one before is cleaned behind its back, while this client may have another.
      await waitUntil(
        async () => (await client.value("select pg_try_advisory_lock(7)")) === "t",
        "the lock of the client before is gone",
      );
      seen.push(
        await client.rows("select to_regclass('pg_temp.left_over'), count(*) from pg_prepared_statements"),
        await client.rows(
          "select count(*) from pg_listening_channels(); show work_mem; show timezone; select current_user",
        ),
        await client.ask(parse("named", "select 'named'"), bind("named"), execute(), sync),
      );
      await client.rows(`create temporary table left_over (id int); prepare p as select 1; listen left_over; set work_mem = '9MB';
        set timezone = 'Asia/Tokyo'; declare h cursor with hold for select 1; set role pg_monitor`);
    }
    return seen;
  });

  place.each("raw: a client that leaves within a transaction", withBlocks, async (target) => {
    await withClient(target, (client) =>
      client.rows("drop table if exists unfinished; create table unfinished (id int)"),
    );
    for (const way of ["Terminate", "reset"] as const) {
      for (const statements of [
        "insert into unfinished values (1)",
        "insert into unfinished values (1); select 1/0",
      ]) {
        const client = await TraceClient.connect(target);
        await client.ask(query("begin"));
        await client.ask(query(statements));
        if (way === "Terminate") await client.close();
        else client.stream.reset();
      }
    }
    // Locks of the abandoned transactions would make this wait.
    return withClient(target, async (client) => [
      await client.rows("set lock_timeout = '30s'"),
      await client
        .rows("lock table unfinished in access exclusive mode")
        .catch((error: Error) => error.message),
      await client.rows("alter table unfinished add done boolean"),
      await client.rows("select * from unfinished"),
    ]);
  });

  place.each("raw: a session that the server ends", vias, async (target) => {
    const client = await TraceClient.connect(target);
    client.send(query("select pg_terminate_backend(pg_backend_pid())"));
    const trace = (await client.rest()).map((message) => client.trace(message)).join("");
    expect(trace).toContain('S "FATAL" V "FATAL" C "57P01"');
    return [trace, await withClient(target, (next) => next.ask(...unnamed("select 'others work'"), sync))];
  });
});

describe("replication connections", () => {
  for (const replication of ["database", "true"]) {
    place.each(`raw: replication=${replication} and IDENTIFY_SYSTEM`, vias, (target) =>
      withClient(
        target,
        async (client) => {
          const [row] = await client.rows("IDENTIFY_SYSTEM");
          const slot = await client.rows('CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL');
          const show = await client.rows("SHOW wal_level");
          const rows = replication === "database" ? await client.rows("select 1 + 1") : [];
          return [row?.[0], row?.[1], slot.length, show, rows];
        },
        [["replication", replication]],
      ),
    );
  }

  place.each(
    "raw: streaming begins with CopyBothResponse, and ends with CopyDone on both sides",
    vias,
    (target) =>
      withClient(
        target,
        async (client) => {
          const [row] = await client.rows("IDENTIFY_SYSTEM");
          client.send(query(`START_REPLICATION PHYSICAL ${row?.[2]}`));
          const kinds = [(await client.until("CopyBothResponse")).at(-1)?.kind];
          client.send({ kind: "CopyDone" });
          const messages = await client.until("ReadyForQuery");
          kinds.push(...messages.map(({ kind }) => kind).filter((kind) => kind !== "CopyData"));
          return [kinds, await client.rows("SHOW wal_level")];
        },
        [["replication", "true"]],
      ),
  );

  describe.skipIf(!hasPsql)("psql", () => {
    place.each("psql: replication=database", vias, async (target) => {
      const child = startPsql(
        target,
        ["-c", "IDENTIFY_SYSTEM", "-c", "SHOW wal_level"],
        "replication=database",
      );
      const { status, output, errors } = await collect(child);
      expect({ status, errors }).toEqual({ status: 0, errors: "" });
      expect(output).toMatch(/\|1\|[0-9A-F]+\/[0-9A-F]+\|.*\nreplica\n/);
      return output.split("|").slice(0, 2);
    });
  });
});

test("a replication connection has a server of its own, which is closed behind it", async () => {
  const target = place.target("transaction");
  const client = await TraceClient.connect(target, [["replication", "database"]]);
  const pid = await client.value("select pg_backend_pid()");
  for (let i = 0; i < 10; i++) expect(await client.value("select pg_backend_pid()")).toBe(pid);
  await client.close();
  await withClient(place.target("direct"), (watcher) =>
    waitUntil(
      async () => (await watcher.value(`select count(*) from pg_stat_activity where pid = ${pid}`)) === "0",
      "the server of the replication connection is gone",
    ),
  );
});
