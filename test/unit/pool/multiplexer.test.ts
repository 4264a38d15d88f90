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
import { RoundTrip } from "../../../src/pool/round-trip.ts";
import type { SharedServer } from "../../../src/pool/shared-server.ts";
import { poolSettings } from "../../kit/pool-settings.ts";
import { ScriptedServer } from "../../kit/scripted-server.ts";
import { waitUntil } from "../../kit/wait.ts";

/** A unit that is sent and stays unanswered. */
class Unanswered implements Candidate {
  readonly pace: Pace;
  server: SharedServer | undefined;
  readonly queryWaitTimeoutMs = undefined;
  readonly sameKey = undefined;
  readonly congested = false;

  constructor(pace: Pace) {
    this.pace = pace;
  }

  sendUnit(shared: SharedServer): void {
    this.server = shared;
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

  onUnitDone(): void {}
  onUnitReturned(): void {}
  onUnitLost(): void {}
  onQueued(): void {}
  onRefused(): void {}
  onLeased(): void {}
  onLeaseFailed(): void {}
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

/** A multiplexer with so many servers, which only greet. */
async function multiplexed(servers: number): Promise<{ multiplexer: Multiplexer; clock: VirtualClock }> {
  const upstream = await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    await peer.closed;
  });
  const clock = new VirtualClock();
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
    budgets: [new ServerBudget("pool_size", servers)],
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
  };
}

/** Submits a unit and lets its turn end. */
async function submit(multiplexer: Multiplexer, pace: Pace): Promise<Unanswered> {
  const unit = new Unanswered(pace);
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
