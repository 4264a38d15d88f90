/**
 * A cancel request races the end of the statement it is meant for, on a server that strangers use in between.
 * PostgreSQL cancels whatever the backend runs when the request arrives, so only the pooler can see to it that
 * this is never a stranger's statement.
 */
import { expect, test } from "vitest";
import { encodeCancelRequest } from "../../src/wire/startup.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import { useLab } from "../kit/lab.ts";
import { CancelGate } from "./cancel-gate.ts";
import { type Client, Pooled } from "./pooled.ts";

const tries = 10_000;
/** Pools of one server each, which race side by side. */
const lanes = 8;
/** Bounds of how long a statement runs; in between it is made to end when its cancel arrives. */
const secondsMin = 0.0002;
const secondsMax = 0.02;

const place = useLab({ settings: { max_connections: "200" } });

interface Tally {
  tries: number;
  /** Statements that were cancelled by PostgreSQL. */
  cancelled: number;
  /** Statements that were cancelled while they waited for the server. */
  cancelledInQueue: number;
  strangers: number;
}

test("acceptance 72, 88: a cancel never hits another client's statement (10,000 tries)", async () => {
  await using gate = await CancelGate.start(place.lab.primary);
  for (let lane = 0; lane < lanes; lane++) await place.lab.primary.query(`create database lane${lane}`);
  await using pooled = await Pooled.start(place.lab, {
    settings: { default_pool_size: 1, log_disconnections: false },
    node: { host: "127.0.0.1", port: gate.port },
  });
  const tally: Tally = { tries: 0, cancelled: 0, cancelledInQueue: 0, strangers: 0 };
  await Promise.all(Array.from({ length: lanes }, (_, lane) => race(pooled, `lane${lane}`, tally)));

  expect(tally.tries).toBe(tries);
  expect(tally.strangers).toBeGreaterThan(0);
  expect(tally.cancelled).toBeGreaterThan(0);
  // Those that reached PostgreSQL and found their statement gone: every one of them could have hit a stranger.
  expect(gate.cancels - tally.cancelled).toBeGreaterThan(0);
}, 300_000);

/** A client that cancels its statements, and a stranger who uses the same server whenever it is free. */
async function race(pooled: Pooled, database: string, tally: Tally): Promise<void> {
  using client = await pooled.connect({ database });
  using stranger = await pooled.connect({ database });
  let over = false;
  const undisturbed = (async () => {
    while (!over) {
      const { error, rows } = await stranger.run("select 'undisturbed'");
      expect(error).toBeUndefined();
      expect(rows).toEqual([["undisturbed"]]);
      tally.strangers++;
    }
  })();
  try {
    let seconds = secondsMin;
    while (tally.tries < tries) {
      tally.tries++;
      const ended = await tryOnce(pooled, client, seconds * (0.5 + Math.random()), tally);
      if (ended === "by cancel") seconds = Math.max(secondsMin, seconds * 0.9);
      else if (ended === "by itself") seconds = Math.min(secondsMax, seconds * 1.1);
    }
  } finally {
    over = true;
  }
  await undisturbed;
}

type Ended = "by cancel" | "by itself" | "in the queue";

async function tryOnce(pooled: Pooled, client: Client, seconds: number, tally: Tally): Promise<Ended> {
  const { pid, key } = client.session;
  const request = await ByteStream.connect(pooled.place);
  const outcome = client.run(`select pg_sleep(${seconds}), 'raced'`);
  await moment();
  request.write(encodeCancelRequest(pid, key));
  expect((await request.readToEnd()).length).toBe(0);
  request.destroy();
  const { rows, error, status } = await outcome;
  expect(status).toBe("I");
  if (error === undefined) {
    expect(rows).toEqual([["", "raced"]]);
    return "by itself";
  }
  expect(error.code).toBe("57014");
  // Only PostgreSQL says where in its source an error comes from.
  if (error.routine === undefined) {
    tally.cancelledInQueue++;
    return "in the queue";
  }
  tally.cancelled++;
  return "by cancel";
}

/** Most cancels are sent once their statement runs, some at once. */
async function moment(): Promise<void> {
  const choice = Math.random();
  if (choice > 0.2) await new Promise((resolve) => setTimeout(resolve, 1));
  else if (choice > 0.1) await new Promise((resolve) => setImmediate(resolve));
}
