/** Hundreds of clients, in the mode that is the default a thousand, at once over ten servers, each reading back its own tokens. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type Connection, connect, drivers } from "./drivers.ts";
import { type Target, usePlace } from "./place.ts";
import { PoolerProcess } from "./pooler-process.ts";
import { withClient } from "./trace-client.ts";

const poolSize = 10;
const rounds = 5;
const place = usePlace({ vias: ["direct"] });

/** What one client does in one round; each form reads its tokens back in another way. */
type Exchange = (connection: Connection, token: string, client: number) => Promise<void>;

const singly: readonly Exchange[] = [
  async (connection, token) => {
    expect(await connection.simple(`select '${token}'`)).toEqual([[token]]);
  },
  async (connection, token) => {
    expect(await connection.query("select $1::text", [token])).toEqual([[token]]);
  },
  async (connection, token, client) => {
    expect(await connection.prepared("select $1::text || $2::text", [token, `${client}`])).toEqual([
      [token + client],
    ]);
  },
  async (connection, token) => {
    await connection.prepared("insert into tokens values ($1)", [token]);
    expect(await connection.query("select token from tokens where token = $1", [token])).toEqual([[token]]);
  },
  async (connection, token) => {
    await expect(connection.query(`select $1::text, 1 / 0 /* ${token} */`, [token])).rejects.toMatchObject({
      code: "22012",
    });
  },
];

const inBlocks: readonly Exchange[] = [
  ...singly,
  async (connection, token) => {
    await connection.simple("begin");
    await connection.query("select set_config('pgsluice.token', $1, true)", [token]);
    expect(await connection.prepared("select current_setting('pgsluice.token')")).toEqual([[token]]);
    expect(await connection.simple("select current_setting('pgsluice.token')")).toEqual([[token]]);
    await connection.simple("commit");
  },
  async (connection, token) => {
    await connection.simple("begin");
    await connection.prepared("insert into tokens values ($1)", [token]);
    expect(await connection.prepared("select count(*)::int from tokens where token = $1", [token])).toEqual([
      [1],
    ]);
    await connection.simple("rollback");
    expect(await connection.query("select count(*)::int from tokens where token = $1", [token])).toEqual([
      [0],
    ]);
  },
  async (connection, token) => {
    await connection.simple("begin");
    await connection.query(`declare mine cursor for select $1::text || n from generate_series(1, 3) n`, [
      token,
    ]);
    expect(await connection.simple("fetch 2 from mine")).toEqual([[`${token}1`], [`${token}2`]]);
    expect(await connection.simple("fetch 2 from mine")).toEqual([[`${token}3`]]);
    await connection.simple("rollback");
  },
];

/** The same numbers for everybody on every run, but for no two clients the same order. */
function chooser(seed: number): (count: number) => number {
  let state = seed;
  return (count) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (state >>> 8) % count;
  };
}

async function converse(
  connection: Connection,
  client: number,
  exchanges: readonly Exchange[],
): Promise<void> {
  const choose = chooser(client + 1);
  for (let round = 0; round < rounds; round++) {
    const token = `${client}:${round}:${randomBytes(8).toString("hex")}:${"x".repeat(choose(2000))}`;
    await exchanges[choose(exchanges.length)]?.(connection, token, client);
  }
}

function join(target: Target, client: number): Promise<Connection> {
  return connect(drivers[client % drivers.length] ?? "pg", target, { applicationName: `client ${client}` });
}

/** All are there before the first says anything, and until the last has said all. */
async function runTogether(target: Target, count: number, exchanges: readonly Exchange[]): Promise<void> {
  const connections: Connection[] = [];
  // A few at a time: the kernel's queue of connections that wait to be accepted is short.
  for (let i = 0; i < count; i += 100) {
    const some = Array.from({ length: Math.min(100, count - i) }, (_, k) => join(target, i + k));
    connections.push(...(await Promise.all(some)));
  }
  await Promise.all(connections.map((connection, i) => converse(connection, i, exchanges)));
  for (const [i, connection] of connections.entries()) {
    expect(await connection.simple("show application_name")).toEqual([[`client ${i}`]]);
    await connection.close();
  }
}

/** Each leaves when it has said all, because the next waits for its server. */
async function runInTurn(target: Target, count: number, exchanges: readonly Exchange[]): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const connection = await join(target, i);
      await converse(connection, i, exchanges);
      expect(await connection.simple("show application_name")).toEqual([[`client ${i}`]]);
      await connection.close();
    }),
  );
}

describe("tokens", () => {
  test("a hundred clients (direct)", async () => {
    const target = place.target("direct");
    await withClient(target, (client) =>
      client.rows("drop table if exists tokens; create table tokens (token text)"),
    );
    await runTogether(target, 100, inBlocks);
  });

  test.each([
    ["auto", 1000],
    ["transaction", 300],
    ["statement", 300],
    ["session", 300],
  ] as const)(
    "acceptance 16: many clients over ten servers, and no cross-talk (%s: %i)",
    async (mode, clientCount) => {
      const upstream = place.target("direct");
      await withClient(upstream, (client) =>
        client.rows("drop table if exists tokens; create table tokens (token text)"),
      );
      await using pooler = await PoolerProcess.start(upstream, mode, {
        max_client_conn: 2000,
        default_pool_size: poolSize,
        listen_backlog: 2000,
      });
      if (mode === "session") await runInTurn(pooler.target, clientCount, inBlocks);
      else await runTogether(pooler.target, clientCount, mode === "statement" ? singly : inBlocks);
      const serverCount = await withClient(upstream, (client) =>
        client.value(
          "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
        ),
      );
      expect(Number(serverCount)).toBeLessThanOrEqual(poolSize);
      expect(pooler.complaints).toEqual([]);
    },
    240_000,
  );
});
