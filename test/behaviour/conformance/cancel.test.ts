/** Cancel requests by every driver: 57014, and a session that works on. */
import { describe, expect, test } from "vitest";
import { rawCancel } from "../../kit/raw-client.ts";
import { waitToSee, waitUntil } from "../../kit/wait.ts";
import { failure, pgClient, postgresSql } from "./drivers.ts";
import { type Target, usePlace, vias, withBlocks } from "./place.ts";
import { collect, hasPsql, hasTerminal, startPsql, startPsqlInTerminal } from "./psql.ts";
import {
  bind,
  describePortal,
  execute,
  parse,
  query,
  sync,
  TraceClient,
  unnamed,
  withClient,
} from "./trace-client.ts";

const place = usePlace();
/** Long enough that only a cancel ends it. */
const long = "select pg_sleep(300)";

/** Waits until PostgreSQL runs a statement that holds `mark`, which must be told apart by target. */
async function untilRunning(target: Target, mark: string, count = 1): Promise<void> {
  const question = `select count(*) from pg_stat_activity where datname = '${target.database}' and state = 'active' and query like '%${mark}%' and pid <> pg_backend_pid()`;
  await withClient(place.target("direct"), (watcher) =>
    waitToSee(
      () => watcher.value(question),
      (found) => found === String(count),
      `${count} statements with ${mark} run`,
    ),
  );
}

describe("raw", () => {
  place.each("a simple query, and the session works on", vias, (target) =>
    withClient(target, async (client) => {
      const traces: string[] = [];
      for (let round = 0; round < 5; round++) {
        client.send(query(`${long} /* simple */`));
        await untilRunning(target, "/* simple");
        await rawCancel(target, client.session);
        traces.push(await client.untilReady(), await client.ask(query("select 'usable'")));
      }
      expect(traces[0]).toContain('C "57014"');
      return traces;
    }),
  );

  place.each("a key of protocol 3.2", vias, async (target) => {
    await using client = await TraceClient.connect(target, [], 196_610);
    client.send(query(`${long} /* long key */`));
    await untilRunning(target, "/* long key");
    await rawCancel(target, client.session);
    const trace = await client.untilReady();
    expect(trace).toContain('C "57014"');
    return trace;
  });

  place.each("in the middle of a pipeline: skipped to its Sync, the next batch runs", vias, (target) =>
    withClient(target, async (client) => {
      client.send(
        ...unnamed("select 1"),
        ...unnamed(`${long} /* piped */`),
        ...unnamed("select 'skipped'"),
        sync,
        ...unnamed("select 2"),
        sync,
        query("select 3"),
      );
      await untilRunning(target, "/* piped");
      await rawCancel(target, client.session);
      const trace = await client.untilReady(3);
      expect(trace).not.toContain("skipped");
      return trace;
    }),
  );

  place.each("in a transaction, which has failed then", withBlocks, (target) =>
    withClient(target, async (client) => {
      const traces = [await client.ask(query("begin"))];
      client.send(query(`${long} /* in block */`));
      await untilRunning(target, "/* in block");
      await rawCancel(target, client.session);
      traces.push(
        await client.untilReady(),
        await client.ask(query("select 1")),
        await client.ask(query("rollback")),
      );
      return traces;
    }),
  );

  place.each("while rows are being sent", vias, (target) =>
    withClient(target, async (client) => {
      client.send(
        query(
          "select n, pg_sleep(case when n > 1000 then 300 else 0 end) from generate_series(1, 2000) n /* rows */",
        ),
      );
      await untilRunning(target, "/* rows");
      await rawCancel(target, client.session);
      const messages = await client.until("ReadyForQuery");
      const error = messages.find(({ kind }) => kind === "ErrorResponse");
      expect(error).toMatchObject({ fields: { code: "57014" } });
      return [await client.ask(query("select 'usable'"))];
    }),
  );

  place.each("while the server waits for COPY data", vias, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists canceled; create table canceled (id int)");
      client.send(query("copy canceled from stdin"));
      await client.until("CopyInResponse");
      await rawCancel(target, client.session);
      // The server notices when the next data comes, at the latest.
      client.send({ kind: "CopyData", data: Buffer.from("1\n") }, { kind: "CopyDone" });
      await client.until("ReadyForQuery");
      return client.ask(query("select 'usable'"));
    }),
  );

  place.each("when nothing runs, with a wrong key, and of a session that has left", vias, async (target) => {
    const gone = await TraceClient.connect(target);
    await gone.close();
    return withClient(target, async (client) => {
      const { pid, key } = client.session;
      await rawCancel(target, client.session);
      const wrong = Buffer.from(key);
      wrong[0] = (wrong[0] ?? 0) ^ 1;
      await rawCancel(target, { pid, key: wrong });
      await rawCancel(target, { pid: 0, key: Buffer.alloc(4) });
      await rawCancel(target, gone.session);
      return [
        await client.ask(query("select 'untouched'")),
        await client.ask(...unnamed("select 'still'"), sync),
      ];
    });
  });

  place.each("hits the one who is meant, of many that run", vias, async (target) => {
    const clients = await Promise.all(Array.from({ length: 3 }, () => TraceClient.connect(target)));
    for (const client of clients) client.send(query("select pg_sleep(300), 'many' /* many */"));
    await untilRunning(target, "/* many", clients.length);
    const traces: string[] = [];
    for (const [i, client] of clients.entries()) {
      await rawCancel(target, client.session);
      traces.push(await client.untilReady());
      await untilRunning(target, "/* many", clients.length - i - 1);
    }
    await Promise.all(clients.map((client) => client.close()));
    return traces;
  });
});

describe("pg", () => {
  place.each("pg: cancelled by the driver's own request", vias, async (target) => {
    const client = await pgClient(target);
    const result = failure(client.query(`${long} /* by pg */`));
    await untilRunning(target, "/* by pg");
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
    const key = Buffer.alloc(4);
    key.writeInt32BE(secretKey);
    await rawCancel(target, { pid: processID, key });
    const fields = await result;
    expect(fields["code"]).toBe("57014");
    const after = await client.query("select 'usable' as session");
    await client.end();
    return [fields, after.rows];
  });
});

describe("postgres", () => {
  place.each("postgres: query.cancel()", vias, async (target) => {
    const sql = postgresSql(target);
    const running = sql.unsafe(`${long} /* by postgres */`);
    const result = failure(running.execute());
    await untilRunning(target, "/* by postgres");
    running.cancel();
    const fields = await result;
    expect(fields["code"]).toBe("57014");
    const after = await sql`select 'usable' as session`;
    await sql.end();
    return [fields, [...after]];
  });
});

describe.skipIf(!hasPsql)("psql", () => {
  place.each("psql: Ctrl-C", vias, async (target) => {
    const child = startPsql(target);
    const result = collect(child);
    child.stdin?.write(`select 'before';\n${long} /* by psql */;\n`);
    await untilRunning(target, "/* by psql");
    child.kill("SIGINT");
    child.stdin?.on("error", () => undefined);
    child.stdin?.end("select 'a script ends with what was cancelled';\n");
    const { output, errors, status } = await result;
    expect(errors).toContain("57014");
    expect(output).toBe("before\n");
    return { output, errors, status };
  });
});

describe.skipIf(!hasTerminal)("psql in a terminal", () => {
  place.each("acceptance 87: psql's Ctrl-C, and its session works on", vias, async (target) => {
    const child = startPsqlInTerminal(target);
    const result = collect(child);
    child.stdin?.write(`${long} /* in a terminal */;\n`);
    await untilRunning(target, "/* in a terminal");
    child.stdin?.write("\x03");
    await untilRunning(target, "/* in a terminal", 0);
    child.stdin?.write("select 'us' || 'able';\n\\q\n");
    const { output, status } = await result;
    expect(output).toContain("Cancel request sent");
    expect(output).toContain("57014: canceling statement due to user request");
    expect(output).toContain("\nusable\r");
    return status;
  });
});

test("a client that waits for a server is told at once that it was cancelled", async () => {
  const target = place.target("transaction");
  const holders = await Promise.all(Array.from({ length: 3 }, () => TraceClient.connect(target)));
  for (const holder of holders) await holder.ask(query("begin"));
  const waiting = await TraceClient.connect(target);
  const pooler = target.pooler;
  for (const messages of [
    [query("select 'never'")],
    [...unnamed("select 'never'"), sync],
    [parse("", "select 'never'"), bind(""), describePortal(), execute(), sync],
  ]) {
    waiting.send(...messages);
    await waitUntil(() => pooler?.counts.waiting === 1, "it waits for a server");
    await rawCancel(target, waiting.session);
    const trace = await waiting.untilReady();
    expect(trace).toContain('C "57014" M "canceling statement due to user request"');
    expect(trace).not.toContain("never");
  }
  for (const holder of holders) await holder.ask(query("commit"));
  expect(await waiting.value("select 'usable'")).toBe("usable");
  for (const client of [...holders, waiting]) await client.close();
});
