/**
 * Thousands of queries aborted, and hundreds of connections ended, at moments that nobody has chosen: nothing of
 * them is left, and every answer is still the answer to its own question. A seed tells the moments again.
 */
import { getEventListeners } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import { connectOptions } from "../../src/client/conninfo/options.ts";
import { useLab } from "../kit/lab.ts";
import { nothingLeftSince, resources } from "./client-traces.ts";

const setup = useLab();

function open(): Promise<Connection> {
  const { primary } = setup.lab;
  const hosts = [{ host: primary.host, port: primary.port }];
  return connect(connectOptions({ hosts, user: "postgres", sslmode: "disable" }), {
    prepareThreshold: 2,
    statementCacheSize: 3,
  });
}

/** Numbers below a bound, the same for the same seed (mulberry32). */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** After so many turns of the event loop; at once for none. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await nextTurn();
}

const reason = new Error("aborted by the test");

/** One question whose answer is known; what is asked tells in which way. Throws if the answer is another's. */
async function ask(connection: Connection, kind: number, n: number, signal?: AbortSignal): Promise<void> {
  const slow = n % 3 === 0 && kind === 0 ? ", pg_sleep(0.002)" : "";
  const text = `SELECT $1::int4 AS n ${slow} FROM generate_series(1, ${kind === 1 ? 3000 : 2}) -- ${n % 7}`;
  switch (kind) {
    case 0: {
      const { rows } = await connection.query<{ n: number }>(text, [n], { signal });
      expect(rows.map((row) => row.n)).toEqual([n, n]);
      return;
    }
    case 1: {
      let left = 1 + (n % 4000);
      for await (const row of connection.query<{ n: number }>(text, [n], { signal })) {
        expect(row.n).toBe(n);
        if (--left === 0) return;
      }
      return;
    }
    case 2: {
      const copy = connection.copyTo(`COPY (SELECT ${n} FROM generate_series(1, 2)) TO STDOUT`, { signal });
      let all = "";
      for await (const chunk of copy) all += chunk.toString();
      expect(all).toBe(`${n}\n${n}\n`);
      return;
    }
    case 3: {
      async function* source(): AsyncGenerator<string> {
        yield `${n}\n`;
        await nextTurn();
        yield `${n}\n`;
      }
      const sql = "CREATE TEMP TABLE IF NOT EXISTS c (a int); COPY c FROM STDIN";
      expect(await connection.copyFrom(sql, source(), { signal })).toEqual({ rowCount: 2 });
      return;
    }
    default: {
      const [result] = await connection.execute(`SELECT ${n} AS n`, { signal });
      expect(result?.rows).toEqual([{ n }]);
    }
  }
}

test("two thousand queries are aborted at any moment", async () => {
  const roll = chance(20_261_121);
  const before = resources();
  const connections = await Promise.all(Array.from({ length: 5 }, open));
  const shared = new AbortController();
  let aborted = 0;
  await Promise.all(
    connections.map(async (connection, lane) => {
      for (let round = 0; round < 80; round++) {
        const burst = Array.from({ length: 5 }, async (_, index) => {
          const n = lane * 1_000_000 + round * 10 + index;
          const control = new AbortController();
          const signal = AbortSignal.any([control.signal, shared.signal]);
          const asked = ask(connection, roll(5), n, signal);
          asked.catch(() => {});
          const plain = ask(connection, roll(5), n + 500_000);
          await turns(roll(12));
          control.abort(reason);
          await asked.catch((error: unknown) => {
            if (error !== reason) throw error;
            aborted++;
          });
          await plain;
          expect(getEventListeners(signal, "abort")).toEqual([]);
        });
        await Promise.all(burst);
      }
      expect(connection.transactionState).toBe("idle");
    }),
  );
  expect(aborted).toBeGreaterThan(200);
  for (const connection of connections) await connection.close();
  await nothingLeftSince(before);
}, 120_000);

test("two hundred connections are closed, destroyed or reset at any moment", async () => {
  const roll = chance(7);
  const before = resources();
  for (let batch = 0; batch < 20; batch++) {
    await Promise.all(
      Array.from({ length: 10 }, async (_, index) => {
        const connection = await open();
        const control = new AbortController();
        const asked = Array.from({ length: 6 }, (_unused, place) =>
          ask(connection, roll(5), batch * 1000 + index * 10 + place, place % 2 ? control.signal : undefined),
        );
        const outcomes = Promise.allSettled(asked);
        await turns(roll(15));
        const how = roll(4);
        if (roll(2) === 0) control.abort(reason);
        if (how === 0) connection.destroy();
        const resetting = how >= 2 ? connection.reset().catch(() => {}) : undefined;
        await turns(roll(4));
        if (how === 3) connection.destroy();
        const closing = connection.close();
        for (const outcome of await outcomes) {
          if (outcome.status === "fulfilled") continue;
          const { reason: error } = outcome;
          if (error !== reason && error.code !== "client.connection_closed") throw error;
        }
        await Promise.all([resetting, closing, connection.close()]);
        expect(getEventListeners(control.signal, "abort")).toEqual([]);
      }),
    );
  }
  await nothingLeftSince(before);
}, 120_000);
