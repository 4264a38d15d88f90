/** Settings belong to the client that made them, wherever its statements run. */
import { describe, expect } from "vitest";
import { pgClient, postgresSql } from "./drivers.ts";
import { type Target, usePlace, vias, withBlocks } from "./place.ts";
import { parse, query, run, sync, TraceClient, unnamed, withClient } from "./trace-client.ts";

const clientCount = 8;
const place = usePlace();

const shown = [
  "TimeZone",
  "DateStyle",
  "IntervalStyle",
  "application_name",
  "search_path",
  "client_encoding",
  "standard_conforming_strings",
] as const;
const showAll = `select ${shown.map((name) => `current_setting('${name}')`).join(", ")}`;
/** Depends on TimeZone, DateStyle and IntervalStyle. */
const rendered = "select '2024-07-01 12:00:00+00'::timestamptz::text, '1 day 2 hours'::interval::text";

/** Settings of the `i`th client: no two have the same ones. */
function settingsOf(i: number): [name: string, value: string][] {
  return [
    ["TimeZone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"][i % 4] ?? "UTC"],
    ["DateStyle", ["ISO, MDY", "German", "SQL, DMY", "Postgres, MDY"][(i >> 1) % 4] ?? "ISO"],
    ["IntervalStyle", ["postgres", "iso_8601"][i % 2] ?? "postgres"],
    ["application_name", `client ${i} 'quoted' \\ü`],
    ["search_path", [`schema_${i}, public`, `"Upper ${i}", pg_catalog`, "''"][i % 3] ?? ""],
  ];
}

async function withClients<T>(
  clients: Promise<TraceClient>[],
  use: (clients: TraceClient[]) => Promise<T>,
): Promise<T> {
  const connected = await Promise.all(clients);
  try {
    return await use(connected);
  } finally {
    await Promise.all(connected.map((client) => client.close()));
  }
}

/** What all clients see of their settings while they compete for servers. */
async function observe(clients: readonly TraceClient[]): Promise<unknown[]> {
  const seen: unknown[] = [];
  for (let round = 0; round < 6; round++) {
    const values = await Promise.all(
      clients.map(async (client) => [...(await client.rows(showAll)), ...(await client.rows(rendered))]),
    );
    if (round > 0) expect(values).toEqual(seen[0]);
    seen.push(values);
  }
  return [seen[0], clients.map(({ parameters }) => Object.fromEntries(parameters))];
}

function connectMany(
  target: Target,
  extra: (i: number) => [string, string][] = () => [],
): Promise<TraceClient>[] {
  return Array.from({ length: clientCount }, (_, i) => TraceClient.connect(target, extra(i)));
}

describe("raw", () => {
  place.each("SET in each client", vias, (target) =>
    withClients(connectMany(target), async (clients) => {
      await Promise.all(
        clients.map(async (client, i) => {
          for (const [name, value] of settingsOf(i)) {
            const text = name === "search_path" ? value : `'${value.replaceAll("'", "''")}'`;
            await client.rows(`set ${name} to ${text}`);
          }
        }),
      );
      return observe(clients);
    }),
  );

  place.each("startup parameters of each client", vias, (target) =>
    withClients(
      connectMany(target, (i) => settingsOf(i).filter(([name]) => name !== "search_path")),
      async (clients) => [
        clients.map(({ session }) => Object.fromEntries(session.parameters)),
        await observe(clients),
      ],
    ),
  );

  place.each("startup parameters in odd spellings", vias, (target) =>
    withClients(
      [
        [["timezone", "europe/berlin"]],
        [["TIMEZONE", "<+03>-03"]],
        [["timezone", "5.5"]],
        [["DATESTYLE", "german"]],
        [["datestyle", "euro"]],
        [["DateStyle", "  ISO ,  DMY "]],
        [["client_encoding", "latin1"]],
        [["client_encoding", "'utf-8'"]],
        [["CLIENT_ENCODING", "Unicode"]],
        [["Application_Name", "x".repeat(100)]],
        [["application_name", "tab\tand ü"]],
        [["application_name", ""]],
        [["standard_conforming_strings", "OFF"]],
        [["intervalstyle", "ISO_8601"]],
        [["extra_float_digits", "3"]],
        [["search_path", 'a, "B c", public']],
        [["options", "-c search_path=from_options,public -c TimeZone=Asia/Tokyo"]],
        [["options", "--DateStyle=sql\\ ,dmy -c work_mem=5MB"]],
        [["statement_timeout", "123s"]],
        [
          ["application_name", "first"],
          ["application_name", "last"],
        ],
      ].map((extra) => TraceClient.connect(target, extra as [string, string][])),
      async (clients) => [
        clients.map(({ session }) => Object.fromEntries(session.parameters)),
        await observe(clients),
        await Promise.all(
          clients.map((client) =>
            client.rows("show work_mem; show statement_timeout; show extra_float_digits"),
          ),
        ),
      ],
    ),
  );

  place.each("wrong startup parameters are refused", vias, async (target) => {
    const refusals: string[] = [];
    for (const parameter of [
      ["TimeZone", "Nowhere/Else"],
      ["datestyle", "esperanto"],
      ["client_encoding", "klingon"],
      ["no_such_parameter", "1"],
      ["work_mem", "much"],
    ] as const) {
      const attempt = TraceClient.connect(target, [parameter]);
      await expect(attempt, parameter[0]).rejects.toThrow("ErrorResponse");
      refusals.push(
        await attempt.then(
          () => "",
          (error: Error) => error.message,
        ),
      );
    }
    return refusals;
  });

  // Without startup parameters: behind a pooler those are settings of the session, not what RESET goes back to.
  place.each(
    "RESET, RESET ALL and DISCARD ALL bring a client back to the server's settings",
    vias,
    (target) =>
      withClients(connectMany(target), async (clients) => {
        const seen: unknown[] = [];
        for (const reset of [
          "reset timezone; reset application_name",
          "reset all",
          "discard all",
          "set timezone to default; set application_name to default",
        ]) {
          await Promise.all(
            clients.map((client, i) =>
              client.rows(`set timezone = 'Etc/GMT+${i}'; set application_name = 'changed'`),
            ),
          );
          await Promise.all(clients.map((client) => client.rows(reset)));
          seen.push(await observe(clients));
        }
        return seen;
      }),
  );

  place.each("SET in a transaction that is rolled back, SET LOCAL, and set_config", withBlocks, (target) =>
    withClients(connectMany(target), async (clients) => {
      const seen: unknown[] = [];
      const all = async (sql: (i: number) => string): Promise<void> => {
        await Promise.all(clients.map((client, i) => client.rows(sql(i))));
        seen.push(await observe(clients));
      };
      await all((i) => `set timezone = 'Etc/GMT+${i}'`);
      await all(() => "begin; set timezone = 'Asia/Tokyo'; rollback");
      await all(
        () => "begin; set local timezone = 'Asia/Tokyo'; set local application_name = 'local'; commit",
      );
      await all((i) => `begin; set timezone = 'Etc/GMT-${i}'; commit`);
      await all(() => "begin; savepoint s; set timezone = 'Asia/Tokyo'; rollback to s; commit");
      await all(
        (i) =>
          `select set_config('TimeZone', 'Etc/GMT+${i}', false), set_config('DateStyle', 'German', true)`,
      );
      return seen;
    }),
  );

  place.each("SET by the extended protocol, and in a pipeline", vias, (target) =>
    withClients(connectMany(target), async (clients) => {
      const traces = await Promise.all(
        clients.map((client, i) =>
          client.ask(
            ...unnamed(`set timezone = 'Etc/GMT+${i}'`),
            sync,
            ...unnamed("show timezone"),
            parse("zone", "select current_setting('TimeZone')"),
            ...run("zone"),
            sync,
            query(`set application_name = 'piped ${i}'`),
            ...run("zone"),
            ...unnamed("show application_name"),
            sync,
          ),
        ),
      );
      return [traces, await observe(clients)];
    }),
  );

  place.each("text in another encoding", vias, (target) =>
    withClients(
      [TraceClient.connect(target, [["client_encoding", "LATIN1"]]), ...connectMany(target)],
      async ([latin, ...others]) => {
        if (latin === undefined) throw new Error("the first client is there");
        const seen: unknown[] = [];
        for (let round = 0; round < 5; round++) {
          latin.send(
            parse("", "select $1::text, chr(252), length($1)"),
            {
              kind: "Bind",
              portal: "",
              statement: "",
              formats: [],
              values: [Buffer.from([0xfc, 0xe9])],
              resultFormats: [],
            },
            { kind: "Execute", portal: "", maxRows: 0 },
            sync,
          );
          const [latinTrace, ...traces] = await Promise.all([
            latin.until("ReadyForQuery"),
            ...others.map((client) =>
              client.ask(...unnamed("select $1::text, chr(252), length($1)", ["üé"]), sync),
            ),
          ]);
          seen.push(
            latinTrace.flatMap((message) =>
              message.kind === "DataRow" ? message.values.map((value) => value?.toString("hex")) : [],
            ),
            traces,
          );
        }
        return seen;
      },
    ),
  );
});

place.each("raw: the role and the authorization of a session", vias, (target) =>
  withClients(connectMany(target), async (clients) => {
    const [first, ...others] = clients as [TraceClient, ...TraceClient[]];
    await first.rows("drop role if exists somebody; create role somebody");
    const seen: unknown[] = [];
    if (target.via !== "transaction" && target.via !== "statement")
      await first.rows("set session authorization somebody");
    else
      await first
        .rows(
          "begin; set session authorization somebody; select current_user; reset session authorization; commit",
        )
        .catch(() => undefined);
    for (const client of others) seen.push(await client.rows("select current_user, session_user"));
    return seen;
  }),
);

place.each("pg: application_name and settings of a client", vias, async (target) => {
  const clients = await Promise.all(
    Array.from({ length: clientCount }, (_, i) =>
      pgClient(target, {
        application_name: `pg ${i}`,
        statement_timeout: 60_000 + i,
        ...(i % 2 === 0 ? { options: "-c search_path=public" } : {}),
      }),
    ),
  );
  const rows = await Promise.all(
    clients.map(
      async (client) =>
        (
          await client.query(
            "select current_setting('application_name') a, current_setting('statement_timeout') s, current_setting('search_path') p",
          )
        ).rows,
    ),
  );
  await Promise.all(clients.map((client) => client.end()));
  return rows;
});

place.each("postgres: connection parameters", vias, async (target) => {
  const instances = Array.from({ length: clientCount }, (_, i) =>
    postgresSql(target, {
      connection: {
        application_name: `postgres ${i}`,
        TimeZone: i % 2 === 0 ? "UTC" : "Asia/Tokyo",
        search_path: `s${i % 3}`,
      },
    }),
  );
  const rows = await Promise.all(
    instances.map(async (sql) => [
      ...(await sql`select current_setting('application_name') a, now()::text ~ '[+]09' z, current_setting('search_path') p`),
    ]),
  );
  await Promise.all(instances.map((sql) => sql.end()));
  return rows;
});

place.each("a session of protocol 3.2", vias, async (target) => {
  await using client = await TraceClient.connect(target, [], 196_610);
  expect(client.session.key.length).toBeGreaterThan(4);
  const trace = await client.ask(query("select 1"));
  return [client.session.key.length, Object.fromEntries(client.session.parameters), trace];
});

place.each("unknown protocol options are named", vias, async (target) => {
  const client = await withClient(
    target,
    async (connected) =>
      connected.session.messages
        .map((message) => connected.trace(message))
        .filter((line) => line.includes("Negotiate")),
    [["_pq_.no_such_option", "1"]],
  );
  expect(client).toHaveLength(1);
  return client;
});
