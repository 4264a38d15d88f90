/** How many units a server gets at once, and when it gets no more: time stands still or is moved on. */
import { setImmediate as turn } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { VirtualClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { connectOptions } from "../../../src/client/conninfo/options.ts";
import { ServerBudget } from "../../../src/pool/budget.ts";
import { type Candidate, Multiplexer } from "../../../src/pool/multiplexer.ts";
import { Pace } from "../../../src/pool/pace.ts";
import { Pool } from "../../../src/pool/pool.ts";
import { Handling, Request } from "../../../src/pool/replies.ts";
import { RoundTrip } from "../../../src/pool/round-trip.ts";
import type { Server } from "../../../src/pool/server.ts";
import type { SharedServer } from "../../../src/pool/shared-server.ts";
import { TransactionStatus } from "../../../src/wire/constants.ts";
import { poolSettings } from "../../kit/pool-settings.ts";
import { type ScriptedPeer, ScriptedServer } from "../../kit/scripted-server.ts";
import { waitUntil } from "../../kit/wait.ts";

/** A unit that is sent, and stays unanswered unless a test answers for the server. */
class Unit implements Candidate {
  readonly pace: Pace;
  server: SharedServer | undefined;
  done = false;
  failed = false;
  /** How often it had to run again. */
  returned = 0;
  readonly #multiplexer: Multiplexer;
  readonly queryWaitTimeoutMs = undefined;
  readonly sameKey = undefined;
  readonly congested = false;

  constructor(multiplexer: Multiplexer, pace: Pace) {
    this.#multiplexer = multiplexer;
    this.pace = pace;
  }

  sendUnit(shared: SharedServer): void {
    this.server = shared;
    shared.server.replies.push(Request.query, Handling.forward);
  }

  fits(): boolean {
    return true;
  }

  follow(): boolean {
    return false;
  }

  onReplies(): boolean {
    return true;
  }

  reword(message: Buffer): Buffer {
    return message;
  }

  onUnitDone(): void {
    this.done = true;
  }

  onUnitReturned(): void {
    this.returned++;
    this.server = undefined;
    this.#multiplexer.submit(this);
  }

  onUnitLost(): void {}
  onQueued(): void {}
  onRefused(): void {}
  onLeased(): void {}

  onLeaseFailed(): void {
    this.failed = true;
  }

  onLongWait(): void {}
}

/** Of a statement whose every answer takes so long. */
function paced(ms: number): Pace {
  const pace = new Pace();
  for (let run = 0; run < 4; run++) {
    pace.observe(ms, 100, 2);
    pace.observeAnswer(ms);
  }
  return pace;
}

interface Place {
  readonly multiplexer: Multiplexer;
  readonly clock: VirtualClock;
  readonly pool: Pool;
  readonly budget: ServerBudget;
  /** Has the server that runs the unit answer it. */
  readonly answer: (unit: Unit) => Promise<void>;
}

/** A multiplexer with so many servers, which only greet. */
async function multiplexed(servers: number): Promise<Place> {
  const peers = new Map<number, ScriptedPeer>();
  const upstream = await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome({ pid: peers.size + 1 });
    peers.set(peers.size + 1, peer);
    await peer.closed;
  });
  const clock = new VirtualClock();
  const budget = new ServerBudget("pool_size", servers);
  const pool = new Pool({
    name: "test",
    settings: { ...poolSettings, multiplex: true, sizeMin: servers },
    connectOptions: () =>
      connectOptions({
        hosts: [{ host: "127.0.0.1", port: upstream.port }],
        user: "postgres",
        database: "postgres",
        sslmode: "disable",
      }),
    budgets: [budget],
    clock,
    logger: silentLogger,
  });
  onTestFinished(async () => {
    pool.close();
    await upstream.stop();
  });
  pool.clients = 1;
  await waitUntil(() => {
    pool.tick();
    return pool.size === servers && pool.nextIdle !== undefined;
  }, "the servers are there");
  return {
    multiplexer: new Multiplexer(pool, clock, { roundTrip: new RoundTrip(), onStandby: false }),
    clock,
    pool,
    budget,
    answer: async (unit) => {
      const peer = peers.get(unit.server?.server.backendPid ?? 0);
      peer?.send(
        { kind: "CommandComplete", tag: "SELECT 0" },
        { kind: "ReadyForQuery", status: TransactionStatus.idle },
      );
      await waitUntil(() => unit.done, "the unit is answered");
    },
  };
}

/** What the clock of the pooler does a few times a second. */
async function tick(place: Place): Promise<void> {
  place.clock.advance(250);
  place.pool.tick();
  place.multiplexer.tick();
  await turn();
  await turn();
}

/** Submits a unit and lets its turn end. */
async function submit(multiplexer: Multiplexer, pace: Pace): Promise<Unit> {
  const unit = new Unit(multiplexer, pace);
  expect(multiplexer.submit(unit)).toBe(true);
  await turn();
  await turn();
  return unit;
}

test.each([
  [0.5, 5],
  [0.125, 17],
  [0.001, 64],
])(
  "a server whose statements take %f ms is given %i at once, the rest can still go anywhere",
  async (ms, depth) => {
    const { multiplexer } = await multiplexed(1);
    for (let unit = 0; unit < 70; unit++) await submit(multiplexer, paced(ms));
    expect(multiplexer.servers.map((server) => server.depth)).toEqual([depth]);
    expect(multiplexer.clientsCount).toBe(70 - depth);
  },
);

test("nobody is sent behind a unit that is older than its kind is when it is answered", async () => {
  const { multiplexer, clock } = await multiplexed(2);
  const first = await submit(multiplexer, paced(0.1));
  clock.advance(0.25);
  expect((await submit(multiplexer, paced(0.1))).server, "sooner than another one would wake").toBe(
    first.server,
  );
  clock.advance(0.1);
  const elsewhere = await submit(multiplexer, paced(0.1));
  expect(elsewhere.server).toBeDefined();
  expect(elsewhere.server).not.toBe(first.server);
  expect(multiplexer.servers.map((server) => server.depth)).toEqual([2, 1]);
});

test("a kind whose answers often take long is waited for as long", async () => {
  const { multiplexer, clock } = await multiplexed(2);
  const often = paced(0.1);
  for (let run = 0; run < 1000; run++) often.observeAnswer(run % 20 === 0 ? 6 : 0.1);
  const first = await submit(multiplexer, often);
  clock.advance(2);
  expect((await submit(multiplexer, often)).server).toBe(first.server);
  clock.advance(10);
  expect((await submit(multiplexer, often)).server).not.toBe(first.server);
});

test("a turn in which nothing was to be sent is a turn: nobody is sent behind a blocked unit because the time stood still", async () => {
  const { multiplexer, clock, answer } = await multiplexed(2);
  const blocked = await submit(multiplexer, paced(0.5));
  const other = await submit(multiplexer, paced(0.5));
  expect(other.server).not.toBe(blocked.server);
  clock.advance(0.2);
  await answer(other);
  clock.advance(1000);
  expect((await submit(multiplexer, paced(0.5))).server).not.toBe(blocked.server);
  expect(multiplexer.stuckCount).toBe(1);
});

test("who was sent behind a unit that turns out to be blocked runs on another server, in the same order", async () => {
  const place = await multiplexed(2);
  const { multiplexer } = place;
  const units = [1, 2, 3].map(() => new Unit(multiplexer, paced(0.1)));
  for (const unit of units) multiplexer.submit(unit);
  await turn();
  await turn();
  const [blocked, ...behind] = units as [Unit, ...Unit[]];
  expect(new Set(units.map(({ server }) => server)).size).toBe(1);
  await tick(place);
  expect(
    multiplexer.servers.map(({ depth }) => depth),
    "what comes late is no news yet",
  ).toEqual([3]);
  await tick(place);
  expect(behind.map(({ returned }) => returned)).toEqual([1, 1]);
  expect(behind[0]?.server).toBeDefined();
  expect(behind[0]?.server).not.toBe(blocked.server);
  expect(behind[1]?.server).toBe(behind[0]?.server);
  await place.answer(behind[0] as Unit);
  expect(behind[1]?.done).toBe(false);
  expect(blocked).toMatchObject({ returned: 0, done: false });
});

test("as long as no other server can be had, those behind a blocked unit stay there", async () => {
  const place = await multiplexed(1);
  const { multiplexer, budget } = place;
  const blocked = await submit(multiplexer, paced(0.1));
  const behind = await submit(multiplexer, paced(0.1));
  for (let ticks = 0; ticks < 1000; ticks++) await tick(place);
  expect(behind).toMatchObject({ returned: 0, failed: false, server: blocked.server });
  budget.max = 2;
  await waitUntil(async () => {
    await tick(place);
    return behind.server !== blocked.server;
  }, "it runs on the second server");
  expect(behind).toMatchObject({ returned: 1, failed: false });
});

test("who asks for a cancel behind others leaves, and what is sent stays where a request will find it", async () => {
  const place = await multiplexed(2);
  const { multiplexer } = place;
  const blocked = await submit(multiplexer, paced(0.1));
  const cancelled = await submit(multiplexer, paced(0.1));
  const behind = await submit(multiplexer, paced(0.1));
  expect(blocked.server?.withdraw(blocked)).toBe(false);
  expect(cancelled.server?.withdraw(cancelled)).toBe(true);
  for (let ticks = 0; ticks < 3; ticks++) await tick(place);
  expect(cancelled.returned).toBe(0);
  expect(behind.returned).toBe(1);
  expect(blocked.server?.depth).toBe(3);
});

test("who waits for a server of its own gets the one that comes free, and does not wait for one that is stuck", async () => {
  const { multiplexer, clock, pool, answer } = await multiplexed(2);
  const done = await submit(multiplexer, paced(0.1));
  const blocked = await submit(multiplexer, paced(0.1));
  const other = await submit(multiplexer, paced(0.5));
  clock.advance(0.4);
  const late = await submit(multiplexer, paced(0.5));
  expect([done, blocked, other].map(({ server }) => server)).toEqual(Array(3).fill(done.server));
  expect(late.server).not.toBe(done.server);
  let leased: Server | undefined;
  pool.lease({
    onLeased: (server) => (leased = server),
    onLeaseFailed: () => undefined,
    onLongWait: () => undefined,
  });
  await answer(done);
  expect(
    multiplexer.servers.map(({ draining }) => draining),
    "the first one is to be theirs",
  ).toEqual([true, false]);
  clock.advance(1000);
  const queued = await submit(multiplexer, paced(0.1));
  expect(queued.server).toBeUndefined();
  await answer(late);
  expect(leased).toBeDefined();
  expect(queued.server).toBeUndefined();
});
