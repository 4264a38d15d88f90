/** Prepared statements of more clients than there are servers, so that they have to follow their clients. */
import { describe, expect, test } from "vitest";
import { type Connection, connect, drivers, failure, withConnection } from "./drivers.ts";
import { type Target, usePlace, vias, withBlocks } from "./place.ts";
import {
  bind,
  closeStatement,
  describeStatement,
  execute,
  flush,
  parse,
  query,
  run,
  sync,
  TraceClient,
  unnamed,
  withClient,
} from "./trace-client.ts";

const clientCount = 8;
const place = usePlace();

/** Runs `use` with as many clients as given, all logged in. */
async function withClients<T>(
  target: Target,
  count: number,
  use: (clients: TraceClient[]) => Promise<T>,
): Promise<T> {
  const clients = await Promise.all(Array.from({ length: count }, () => TraceClient.connect(target)));
  try {
    return await use(clients);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}

describe.each(drivers)("%s", (driver) => {
  place.each(`${driver}: the same statements in many clients, over and over`, vias, async (target) => {
    const clients = await Promise.all(Array.from({ length: clientCount }, () => connect(driver, target)));
    const use = async (connection: Connection, client: number): Promise<unknown[]> => {
      const results: unknown[] = [];
      for (let round = 0; round < 30; round++) {
        const statement = round % 4;
        const rows = await connection.prepared(
          `select ${statement} as statement, $1::int * $2::int as product`,
          [client, round],
        );
        expect(rows).toEqual([[statement, client * round]]);
        results.push(rows);
      }
      return results;
    };
    const results = await Promise.all(clients.map(use));
    await Promise.all(clients.map((connection) => connection.close()));
    return results;
  });

  place.each(`${driver}: a statement that fails when it is prepared, and when it runs`, vias, (target) =>
    withConnection(driver, target, async (connection) => {
      await connection.simple(`drop table if exists later_${driver}`);
      const sql = `select count(*)::int + $1::int from later_${driver}`;
      const missing = await failure(connection.prepared(sql, [1]));
      expect(missing["code"]).toBe("42P01");
      await connection.simple(`create table later_${driver} (id int)`);
      const rows = await connection.prepared(sql, [1]);
      expect(rows).toEqual([[1]]);
      const divided = await failure(connection.prepared("select 1 / $1::int", [0]));
      return [missing, rows, divided, await connection.prepared("select 1 / $1::int", [1])];
    }),
  );

  place.each(
    `${driver}: prepared in a transaction that is rolled back, and used behind it`,
    withBlocks,
    (target) =>
      withConnection(driver, target, async (connection) => {
        await connection.simple("begin");
        const sql = "select $1::text || '!'";
        const inside = await connection.prepared(sql, ["a"]);
        await failure(connection.simple("select 1/0"));
        await connection.simple("rollback");
        return [inside, await connection.prepared(sql, ["b"])];
      }),
  );
});

describe("raw", () => {
  place.each("one name, another text in each client", vias, (target) =>
    withClients(target, clientCount, async (clients) => {
      const prepared = await Promise.all(
        clients.map((client, i) => client.ask(parse("mine", `select 'client ${i}', $1`), sync)),
      );
      const rounds: string[][] = [prepared];
      for (let round = 0; round < 20; round++) {
        const traces = await Promise.all(
          clients.map((client) => client.ask(...run("mine", [`${round}`]), describeStatement("mine"), sync)),
        );
        for (const [i, trace] of traces.entries()) expect(trace).toContain(`'client ${i}'`);
        rounds.push(traces);
      }
      return rounds;
    }),
  );

  place.each("a statement is prepared once and then used on every server", vias, (target) =>
    withClients(target, clientCount, async (clients) => {
      await Promise.all(clients.map((client) => client.ask(parse("shared", "select $1::int + 1"), sync)));
      const traces: string[] = [];
      for (let round = 0; round < 10; round++) {
        // All at once, so that all servers are in use and each client gets whichever comes free.
        traces.push(
          ...(await Promise.all(clients.map((client) => client.ask(...run("shared", [`${round}`]), sync)))),
        );
      }
      return traces;
    }),
  );

  place.each("names: closed, used again with another text, taken twice, never given", vias, (target) =>
    withClient(target, async (client) => [
      await client.ask(parse("s", "select 1"), sync),
      await client.ask(...run("s"), sync),
      await client.ask(parse("s", "select 2"), sync),
      await client.ask(...run("s"), sync),
      await client.ask(closeStatement("s"), sync),
      await client.ask(...run("s"), sync),
      await client.ask(describeStatement("s"), sync),
      await client.ask(parse("s", "select 3"), sync),
      await client.ask(...run("s"), closeStatement("s"), parse("s", "select 4"), ...run("s"), sync),
      await client.ask(bind("never"), execute(), sync),
      await client.ask(parse("ünï 'quoted' \"name\"", "select 5"), sync),
      await client.ask(...run("ünï 'quoted' \"name\""), describeStatement("ünï 'quoted' \"name\""), sync),
      await client.ask(parse("ünï 'quoted' \"name\"", "select 5"), sync),
      await client.ask(query("select 6")),
    ]),
  );

  place.each("a Parse that fails leaves its name free", vias, (target) =>
    withClient(target, async (client) => [
      await client.ask(parse("f", "selec"), sync),
      await client.ask(...run("f"), sync),
      await client.ask(parse("f", "select * from no_such_table"), sync),
      await client.ask(parse("f", "select 'now it works'"), sync),
      await client.ask(...run("f"), sync),
      await client.ask(
        parse("g", "select * from no_such_table"),
        sync,
        parse("g", "select 'at once'"),
        ...run("g"),
        sync,
      ),
      await client.ask(...run("g"), sync),
      await client.ask(...run("f"), sync),
    ]),
  );

  place.each("what an error skips has not happened", vias, (target) =>
    withClient(target, async (client) => [
      await client.ask(parse("kept", "select 'kept'"), parse("old", "select 'old'"), sync),
      await client.ask(
        ...unnamed("select 1/0"),
        closeStatement("kept"),
        parse("skipped", "select 'skipped'"),
        closeStatement("old"),
        parse("old", "select 'new'"),
        sync,
      ),
      await client.ask(...run("kept"), sync),
      await client.ask(...run("skipped"), sync),
      await client.ask(...run("old"), sync),
      await client.ask(parse("skipped", "select 'now'"), ...run("skipped"), sync),
      await client.ask(parse("kept", "select 'again'"), sync),
    ]),
  );

  place.each("a name that is used again before the answer is known", vias, (target) =>
    withClient(target, async (client) => [
      await client.ask(parse("a", "select 'a'"), sync),
      await client.ask(...unnamed("select 1/0"), closeStatement("a"), sync, ...run("a"), sync),
      await client.ask(parse("b", "selec"), sync, parse("b", "select 'b'"), sync, ...run("b"), sync),
      await client.ask(...run("b"), sync),
      await client.ask(
        ...unnamed("select 1/0"),
        parse("c", "select 'c'"),
        sync,
        ...run("c"),
        sync,
        query("select 1"),
      ),
      await client.ask(parse("c", "select 'c'"), ...run("c"), closeStatement("c"), sync, ...run("c"), sync),
    ]),
  );

  place.each("DEALLOCATE ALL and DISCARD ALL take all statements", vias, (target) =>
    withClient(target, async (client) => {
      const traces: string[] = [];
      for (const drop of ["deallocate all", "discard all", "DEALLOCATE PREPARE ALL"]) {
        traces.push(
          await client.ask(parse("one", "select 1"), parse("two", "select 2"), sync),
          await client.ask(query(drop)),
          await client.ask(...run("one"), sync),
          await client.ask(parse("two", "select 'new'"), ...run("two"), sync),
          await client.ask(query("deallocate all")),
        );
      }
      return traces;
    }),
  );

  place.each("DEALLOCATE ALL of one client leaves the others' statements", vias, (target) =>
    withClients(target, clientCount, async (clients) => {
      await Promise.all(
        clients.map((client, i) => client.ask(parse("s", `select 'statement ${i % 3}'`), sync)),
      );
      const traces: string[] = [];
      const [first, ...others] = clients as [TraceClient, ...TraceClient[]];
      for (let round = 0; round < 10; round++) {
        await first.ask(query("deallocate all"));
        traces.push(...(await Promise.all(others.map((client) => client.ask(...run("s"), sync)))));
        traces.push(
          await first.ask(...run("s"), sync),
          await first.ask(parse("s", "select 'back'"), ...run("s"), sync),
        );
      }
      return traces;
    }),
  );

  place.each("DEALLOCATE ALL with messages right behind it", vias, (target) =>
    withClients(target, 2, async ([client, other]) => {
      if (client === undefined || other === undefined) throw new Error("there are two clients");
      const traces: string[] = [];
      for (let round = 0; round < 5; round++) {
        traces.push(
          await client.ask(parse("p", "select 'p' || $1"), ...run("p", ["1"]), sync),
          await client.ask(
            query("deallocate all"),
            parse("p", "select 'p' || $1"),
            ...run("p", ["2"]),
            sync,
            parse(`q${round}`, "select 'q' || $1"),
            ...run(`q${round}`, ["3"]),
            sync,
          ),
          await client.ask(...run("p", ["4"]), ...run(`q${round}`, ["5"]), sync),
          await other.ask(parse("p", "select 'p' || $1"), ...run("p", ["6"]), closeStatement("p"), sync),
          await client.ask(closeStatement("p"), sync),
        );
      }
      return traces;
    }),
  );

  place.each("the unnamed statement stays until the next one, and a simple query drops it", vias, (target) =>
    withClients(target, clientCount, async (clients) => {
      const traces: string[] = [];
      await Promise.all(clients.map((client, i) => client.ask(parse("", `select 'unnamed ${i}', $1`), sync)));
      for (let round = 0; round < 5; round++) {
        traces.push(
          ...(await Promise.all(
            clients.map((client) => client.ask(...run("", [`${round}`]), describeStatement(""), sync)),
          )),
        );
      }
      for (const [i, trace] of traces.entries()) expect(trace).toContain(`'unnamed ${i % clientCount}'`);
      const [first, second, third] = clients as [TraceClient, TraceClient, TraceClient];
      traces.push(
        await first.ask(query("select 'simple'")),
        await first.ask(...run("", ["gone"]), sync),
        await second.ask(closeStatement(""), sync),
        await second.ask(...run("", ["gone"]), sync),
        await third.ask(parse("", "selec"), sync),
        await third.ask(...run("", ["gone"]), sync),
      );
      return traces;
    }),
  );

  place.each("Parse, Describe and Flush first, Bind later", vias, (target) =>
    withClients(target, clientCount, async (clients) => {
      const describeFirst = async (client: TraceClient, i: number): Promise<string> => {
        let trace = "";
        client.send(parse("later", `select ${i} + $1::int`), describeStatement("later"), flush);
        for (const message of await client.until("RowDescription")) trace += client.trace(message);
        return trace + (await client.ask(...run("later", ["1"]), sync, ...run("later", ["2"]), sync));
      };
      return Promise.all(clients.map(describeFirst));
    }),
  );

  place.each("parameter types belong to a statement", vias, (target) =>
    withClients(target, clientCount, async (clients) => {
      // int4, text, numeric, unknown: the same text is another statement with each.
      const types = [23, 25, 1700, 0];
      const traces: string[] = [];
      for (const [i, client] of clients.entries()) {
        traces.push(
          await client.ask(
            parse("typed", "select $1", [types[i % types.length] ?? 0]),
            describeStatement("typed"),
            ...run("typed", ["7"]),
            sync,
          ),
        );
      }
      return traces;
    }),
  );

  const tableChanges = (target: Target) =>
    withClient(target, async (client) => [
      await client.ask(
        query(
          "drop table if exists changing; create table changing (a int); insert into changing values (1)",
        ),
      ),
      await client.ask(parse("all", "select * from changing"), ...run("all"), sync),
      await client.ask(query("alter table changing add b text default 'new'")),
      await client.ask(...run("all"), sync),
      await client.ask(closeStatement("all"), parse("all", "select * from changing"), sync),
    ]);
  // In auto mode the statement is parsed anew, unseen: the one answer that is better than PostgreSQL's.
  const asDirectly = vias.filter((via) => via !== "auto");
  place.each("a table changes under a prepared statement", asDirectly, tableChanges);

  test("a table changes under a prepared statement (auto): the new column is there", async () => {
    const [directly, pooled] = await Promise.all(
      [place.target("direct"), place.target("auto")].map((target) => tableChanges(target)),
    );
    expect(JSON.stringify(directly?.[3])).toContain("cached plan must not change result type");
    expect(JSON.stringify(pooled?.[3])).not.toContain("ErrorResponse");
    for (const at of [1, 2, 4]) expect(pooled?.[at]).toEqual(directly?.[at]);
  });

  place.each("statements named by SQL within one transaction", withBlocks, (target) =>
    withClient(target, async (client) => [
      await client.ask(query("begin"), query("prepare by_sql (int) as select $1 * 2")),
      await client.ask(query("execute by_sql (21)"), ...run("by_sql", ["4"]), sync),
      await client.ask(query("deallocate by_sql"), query("commit")),
    ]),
  );
});
