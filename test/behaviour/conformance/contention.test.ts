/** Clients that leave a unit of work open while others want its server, and statements that want its memory. */
import { describe, expect } from "vitest";
import { waitUntil } from "../../kit/wait.ts";
import { type Target, usePlace, vias, withBlocks } from "./place.ts";
import {
  bind,
  closePortal,
  closeStatement,
  describePortal,
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
/** One server may hold two statements, and there are two of them. */
const place = usePlace({ poolSize: 2, pooler: { max_prepared_statements: 2 } });

async function withClients<T>(target: Target, use: (clients: TraceClient[]) => Promise<T>): Promise<T> {
  const clients = await Promise.all(Array.from({ length: clientCount }, () => TraceClient.connect(target)));
  try {
    return await use(clients);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}

/** Everything up to the first message of a kind, as a trace. */
async function traceUntil(client: TraceClient, kind: Parameters<TraceClient["until"]>[0]): Promise<string> {
  return (await client.until(kind)).map((message) => client.trace(message)).join("");
}

describe("batches that are open across Flush", () => {
  place.each("a portal is bound, described and executed in separate writes", vias, (target) =>
    withClients(target, async (clients) => {
      const traces: string[] = [];
      for (let round = 0; round < 5; round++) {
        traces.push(
          ...(await Promise.all(
            clients.map(async (client, i) => {
              let trace = "";
              client.send(parse(`s${round}`, `select ${i}::int, $1::text`), flush);
              trace += await traceUntil(client, "ParseComplete");
              client.send(bind(`s${round}`, [`${round}`], "portal"), flush);
              trace += await traceUntil(client, "BindComplete");
              client.send(describePortal("portal"), flush);
              trace += await traceUntil(client, "RowDescription");
              client.send(execute("portal"), flush);
              trace += await traceUntil(client, "CommandComplete");
              client.send(closePortal("portal"), closeStatement(`s${round}`), flush);
              for (const _ of [1, 2]) trace += await traceUntil(client, "CloseComplete");
              return trace + (await client.ask(sync));
            }),
          )),
        );
      }
      for (const [i, trace] of traces.entries()) expect(trace).toContain(`'${i % clientCount}'`);
      return traces;
    }),
  );

  place.each("what a batch has done is undone by an error before its Sync, not before", vias, (target) =>
    withClients(target, async (clients) => {
      await clients[0]?.rows("drop table if exists opened; create table opened (client int)");
      const traces = await Promise.all(
        clients.map(async (client, i) => {
          client.send(...unnamed("insert into opened values ($1)", [`${i}`]), flush);
          const first = await traceUntil(client, "CommandComplete");
          client.send(...unnamed("select count(*) from opened where client = $1", [`${i}`]), flush);
          const second = await traceUntil(client, "CommandComplete");
          const third = await client.ask(...unnamed(i % 2 === 0 ? "select 1/0" : "select 1"), sync);
          return [first, second, third];
        }),
      );
      const rows = await clients[0]?.rows("select client from opened order by client");
      expect(rows).toEqual([["1"], ["3"], ["5"], ["7"]]);
      return [traces, rows];
    }),
  );

  // The transaction that the batch has begun goes on behind the query.
  place.each("a simple query behind a batch without Sync", withBlocks, (target) =>
    withClients(target, async (clients) =>
      Promise.all(
        clients.map(async (client, i) => [
          await client.ask(parse("s", `select ${i}`), ...run("s"), query(`select 'simple ${i}'`)),
          await client.ask(...run("s"), sync, query("select 'next'")),
        ]),
      ),
    ),
  );

  place.each("a client that leaves with a batch open", vias, async (target) => {
    await withClient(target, (client) =>
      client.rows("drop table if exists left_open; create table left_open (id int)"),
    );
    for (let i = 0; i < 6; i++) {
      const client = await TraceClient.connect(target);
      client.send(...unnamed("insert into left_open values ($1)", [`${i}`]), flush);
      await client.until("CommandComplete");
      if (i % 2 === 0) await client.close();
      else client.stream.reset();
    }
    return withClient(target, async (client) => {
      await client.rows("alter table left_open add n int");
      return client.rows("select * from left_open");
    });
  });
});

describe("more statements than a server may hold", () => {
  place.each("used in turn, and many in one batch", vias, (target) =>
    withClients(target, async (clients) => {
      const names = ["a", "b", "c", "d", "e"];
      await Promise.all(
        clients.map((client, i) =>
          client.ask(...names.map((name) => parse(name, `select '${name}${i % 3}', $1::text`)), sync),
        ),
      );
      const traces: string[] = [];
      for (let round = 0; round < 6; round++) {
        traces.push(
          ...(await Promise.all(
            clients.map((client, i) =>
              round % 2 === 0
                ? client.ask(...names.flatMap((name) => run(name, [`${round}`])), sync)
                : client.ask(...run(names[(i + round) % names.length] ?? "a", ["one"]), sync),
            ),
          )),
        );
      }
      return traces;
    }),
  );

  place.each("portals outlive the place of their statement", withBlocks, (target) =>
    withClients(target, (clients) =>
      Promise.all(
        clients.map(async (client, i) => {
          const names = ["p", "q", "r"];
          return [
            await client.ask(query("begin")),
            await client.ask(
              ...names.flatMap((name) => [
                parse(name, `select '${name}', ${i}, n from generate_series(1, 4) n`),
                bind(name, [], name),
                execute(name, 1),
              ]),
              sync,
            ),
            await client.ask(...names.map((name) => execute(name, 2)), describeStatement("p"), sync),
            await client.ask(...names.map((name) => execute(name)), query("commit")),
            await client.ask(...names.map(closeStatement), sync),
          ];
        }),
      ),
    ),
  );

  place.each("with errors between, so that what was injected is skipped", vias, (target) =>
    withClients(target, async (clients) => {
      await Promise.all(
        clients.map((client) =>
          client.ask(parse("x", "select 'x'"), parse("y", "select 'y'"), parse("z", "select 'z'"), sync),
        ),
      );
      const traces: string[][] = [];
      for (let round = 0; round < 8; round++) {
        traces.push(
          await Promise.all(
            clients.map((client) =>
              client.ask(
                ...run("x"),
                ...unnamed("select 1/0"),
                ...run("y"),
                ...run("z"),
                parse("w", "select 'w'"),
                sync,
                ...run("y"),
                ...run("z"),
                sync,
                ...run("x"),
                sync,
              ),
            ),
          ),
        );
      }
      return traces;
    }),
  );

  place.each("a table that goes and comes under statements of many clients", vias, (target) =>
    withClients(target, async (clients) => {
      const [first] = clients as [TraceClient];
      await first.rows("drop table if exists coming; create table coming (id int)");
      await Promise.all(clients.map((client) => client.ask(parse("c", "select count(*) from coming"), sync)));
      const codes: string[][] = [];
      for (let round = 0; round < 4; round++) {
        await first.rows("drop table coming");
        const gone = await Promise.all(clients.map((client) => client.ask(...run("c"), sync)));
        for (const trace of gone) expect(trace).toContain('C "42P01"');
        await first.rows("create table coming (id int)");
        codes.push(await Promise.all(clients.map((client) => client.ask(...run("c"), sync))));
      }
      return codes;
    }),
  );
});

describe("requests that are odd but allowed to be sent", () => {
  place.each("wrong counts, formats and names", vias, (target) =>
    withClient(target, async (client) => {
      const odd = parse("odd", "select $1::int, $2::text");
      const bound = { kind: "Bind", portal: "", statement: "odd", resultFormats: [] } as const;
      const value = Buffer.from("1");
      return [
        await client.ask(parse("", "select $1::int, $2::text"), bind("", ["1"]), execute(), sync),
        await client.ask(odd, { ...bound, formats: [0, 0, 0], values: [value, value] }, execute(), sync),
        await client.ask({ ...bound, formats: [1, 0], values: [value, value] }, execute(), sync),
        await client.ask({ ...bound, formats: [7], values: [value, value] }, execute(), sync),
        await client.ask(
          { ...bound, formats: [0], values: [value, value], resultFormats: [1, 0, 1] },
          execute(),
          sync,
        ),
        await client.ask(bind("odd", ["x", "y"]), execute(), sync),
        await client.ask(execute("unknown"), sync),
        await client.ask(describePortal("unknown"), sync),
        await client.ask(closePortal("unknown"), sync),
        await client.ask(bind("odd", ["1", "2"], "twice"), bind("odd", ["1", "2"], "twice"), sync),
        await client.ask(parse("several", "select 1; select 2"), sync),
        await client.ask(parse("empty", ""), describeStatement("empty"), ...run("empty"), sync),
        await client.ask(parse("no types", "select $1"), describeStatement("no types"), sync),
        await client.ask(parse("typed", "select $1", [999_999]), sync),
        await client.ask(closeStatement("odd"), closeStatement("empty"), closeStatement("no types"), sync),
      ];
    }),
  );

  place.each("thousands of messages in one write", vias, (target) =>
    withClients(target, (clients) =>
      Promise.all(
        clients.slice(0, 4).map(async (client, i) => {
          const trace = await client.ask(
            ...Array.from({ length: 1000 }, (_, n) =>
              n % 3 === 0
                ? [query(`select repeat('${i}', ${n})`)]
                : n % 3 === 1
                  ? [...unnamed("select $1::text", [`${i}:${n}`]), sync]
                  : [...unnamed(`select 1 / (${n} % 4)`), sync],
            ).flat(),
          );
          return trace.length;
        }),
      ),
    ),
  );

  place.each("statements right before Terminate are carried out", vias, async (target) => {
    await withClient(target, (client) =>
      client.rows("drop table if exists parting; create table parting (id int)"),
    );
    for (let i = 0; i < 5; i++) {
      const client = await TraceClient.connect(target);
      client.send(
        query(`insert into parting values (${i})`),
        ...unnamed("insert into parting values (10)"),
        sync,
        { kind: "Terminate" },
      );
      await client.closed;
    }
    return withClient(target, async (client) => {
      await waitUntil(
        async () => (await client.value("select count(*) from parting")) === "10",
        "all rows are there",
      );
      return client.rows("select id from parting order by id");
    });
  });

  place.each("clients that come and go by the hundred", vias, async (target) => {
    const values: unknown[] = [];
    for (let round = 0; round < 20; round++) {
      values.push(
        ...(await Promise.all(
          Array.from({ length: 10 }, (_, i) =>
            withClient(target, (client) => client.value(`select ${round * 10 + i}`)),
          ),
        )),
      );
    }
    expect(values).toEqual(Array.from({ length: 200 }, (_, i) => String(i)));
  });
});
