/** The pool itself, against servers that only greet and answer nothing. */
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { VirtualClock } from "../../../src/base/clock.ts";
import type { Failure } from "../../../src/base/errors.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { connectOptions } from "../../../src/client/conninfo/options.ts";
import { ServerBudget } from "../../../src/pool/budget.ts";
import { Pool } from "../../../src/pool/pool.ts";
import type { Server } from "../../../src/pool/server.ts";
import type { PoolSettings } from "../../../src/pool/settings.ts";
import type { Waiter } from "../../../src/pool/waiters.ts";
import { poolSettings } from "../../kit/pool-settings.ts";
import { type Script, ScriptedServer } from "../../kit/scripted-server.ts";
import { waitUntil } from "../../kit/wait.ts";

const greet: Script = async (peer) => {
  await peer.expectStartup("startup");
  peer.welcome();
  await peer.closed;
};

const refuse: Script = async (peer) => {
  await peer.expectStartup("startup");
  peer.fail("28P01", "password authentication failed");
};

/** Its time was up before anybody asked it for anything: idle_session_timeout. */
const expire: Script = async (peer) => {
  await peer.expectStartup("startup");
  peer.welcome();
  peer.fail("57P05", "terminating connection due to idle-session timeout");
};

class Client implements Waiter {
  server: Server | undefined;
  failure: Failure | undefined;
  longWaits = 0;

  onLeased(server: Server): void {
    this.server = server;
  }

  onLeaseFailed(failure: Failure): void {
    this.failure = failure;
  }

  onLongWait(): void {
    this.longWaits++;
  }

  /** Asks for a server, and has it when this resolves. */
  async lease(pool: Pool): Promise<Server> {
    this.ask(pool);
    await waitUntil(() => this.server !== undefined || this.failure !== undefined, "an answer");
    if (this.server === undefined) throw this.failure as Failure;
    return this.server;
  }

  ask(pool: Pool): void {
    this.server = pool.lease(this);
  }
}

/** Pools of one budget and one node. */
async function poolsOf(
  script: Script | readonly Script[],
  max: number,
  ...each: Partial<PoolSettings>[]
): Promise<{ pools: Pool[]; node: ScriptedServer; clock: VirtualClock }> {
  const node = await ScriptedServer.start(script);
  const budget = new ServerBudget("pool_size", max);
  const clock = new VirtualClock();
  const options = connectOptions({
    user: "ada",
    database: "engine",
    sslmode: "disable",
    hosts: [{ host: "127.0.0.1", port: node.port }],
  });
  const pools = each.map(
    (own, index) =>
      new Pool({
        name: `pool ${index}`,
        settings: { ...poolSettings, ...own },
        connectOptions: () => options,
        budgets: [budget],
        clock,
        logger: silentLogger,
      }),
  );
  for (const pool of pools) pool.clients = 1;
  onTestFinished(async () => {
    for (const pool of pools) pool.close();
    await node.stop();
  });
  return { pools, node, clock };
}

/** Lets everything that is under way come about. */
async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await turn();
}

const sizes = (pools: Pool[]): number => pools.reduce((sum, { size }) => sum + size, 0);

test("servers go to clients in the order in which they came", async () => {
  const { pools } = await poolsOf(greet, 1, {});
  const [pool] = pools as [Pool];
  const [first, second, third] = [new Client(), new Client(), new Client()] as const;
  const server = await first.lease(pool);
  second.ask(pool);
  third.ask(pool);
  expect(pool.queue.size).toBe(2);
  pool.release(server, false);
  expect(second.server).toBe(server);
  expect(third.server).toBeUndefined();
  pool.release(server, false);
  expect(third.server).toBe(server);
  expect(pool.size).toBe(1);
});

test("a client that has left is not served", async () => {
  const { pools } = await poolsOf(greet, 1, {});
  const [pool] = pools as [Pool];
  const [first, second] = [new Client(), new Client()] as const;
  const server = await first.lease(pool);
  second.ask(pool);
  pool.cancelWait(second);
  pool.release(server, false);
  expect(second.server).toBeUndefined();
  expect(pool.queue.size).toBe(0);
});

test("a client that has waited too long is told so", async () => {
  const { pools, clock } = await poolsOf(greet, 1, { queryWaitNotifyMs: 5_000 });
  const [pool] = pools as [Pool];
  await new Client().lease(pool);
  const second = new Client();
  second.ask(pool);
  clock.advance(5_000);
  pool.tick();
  pool.tick();
  expect(second.longWaits).toBe(1);
  clock.advance(114_999);
  pool.tick();
  expect(second.failure).toBeUndefined();
  clock.advance(1);
  pool.tick();
  expect(second.failure).toMatchObject({ message: "query_wait_timeout", sqlstate: "53300" });
});

describe("pools that share a budget", () => {
  test("an idle server of a sibling makes room, and never more are open than may be", async () => {
    const { pools, clock } = await poolsOf(greet, 1, { sizeMin: 1 }, {});
    const [first, second] = pools as [Pool, Pool];
    const server = await new Client().lease(first);
    first.release(server, false);
    clock.advance(60_000);
    const client = new Client();
    client.ask(second);
    expect(sizes(pools)).toBe(1);
    await waitUntil(() => client.server !== undefined, "a server");
    await settle();
    expect(sizes(pools)).toBe(1);
    expect(first.size).toBe(0);
  });

  test("a sibling that has waited longer gets the place, and the minimum of the other waits", async () => {
    const { pools, node, clock } = await poolsOf(greet, 1, { sizeMin: 1 }, {});
    const [first, second] = pools as [Pool, Pool];
    const server = await new Client().lease(first);
    const client = new Client();
    client.ask(second);
    clock.advance(60_000);
    first.release(server, false);
    await waitUntil(() => client.server !== undefined, "a server of the second pool");
    for (let i = 0; i < 5; i++) {
      clock.advance(1_000);
      for (const pool of pools) pool.tick();
      await settle();
      expect(sizes(pools)).toBe(1);
    }
    expect(node.accepted).toBe(2);
  });

  test("a login that fails is not tried again at once", async () => {
    const { pools, node, clock } = await poolsOf(refuse, 5, {}, {});
    const [first] = pools as [Pool, Pool];
    const client = new Client();
    client.ask(first);
    await waitUntil(() => client.failure !== undefined, "the refusal");
    expect(client.failure).toMatchObject({ sqlstate: "28P01" });
    const next = new Client();
    next.ask(first);
    expect(next.failure?.message).toContain("server login has been failing");
    for (const pool of pools) pool.tick();
    await settle();
    expect(node.accepted).toBe(1);
    clock.advance(15_000);
    new Client().ask(first);
    await waitUntil(() => node.accepted === 2, "another try");
  });
});

test("a server that has idled out before anybody used it is no failed login", async () => {
  const { pools, node, clock } = await poolsOf([expire, expire, greet], 2, {});
  const [pool] = pools as [Pool];
  const client = new Client();
  client.ask(pool);
  for (let accepted = 1; accepted <= 2; accepted++) {
    await waitUntil(() => pool.size === 0 && node.accepted === accepted, "its end");
    await settle();
    expect([node.accepted, client.failure]).toEqual([accepted, undefined]);
    clock.advance(500);
    pool.tick();
  }
  await waitUntil(() => client.server !== undefined, "a server");
  expect(client.server?.fit).toBe(true);
});

test("a server that is not clean is closed, not handed on", async () => {
  const { pools } = await poolsOf(greet, 2, {});
  const [pool] = pools as [Pool];
  const server = await new Client().lease(pool);
  server.replies.push(1, 0); // a Query that is not answered yet
  pool.release(server, false);
  expect(server.closed).toBe(true);
  expect(pool.size).toBe(0);
});

test("server_round_robin gives each server its turn; without it the last one is used again", async () => {
  for (const roundRobin of [false, true]) {
    const { pools } = await poolsOf(greet, 3, { roundRobin });
    const [pool] = pools as [Pool];
    const clients = [new Client(), new Client(), new Client()];
    const servers: Server[] = [];
    for (const client of clients) servers.push(await client.lease(pool));
    for (const server of servers) pool.release(server, false);
    const turns: Server[] = [];
    for (let i = 0; i < 3; i++) {
      const server = await new Client().lease(pool);
      turns.push(server);
      pool.release(server, false);
    }
    expect(new Set(turns).size).toBe(roundRobin ? 3 : 1);
    expect(turns[0]).toBe(servers[roundRobin ? 0 : 2]);
  }
});

test("max_waiting_clients: who waits beyond those that a server is coming for is refused", async () => {
  const { pools } = await poolsOf(greet, 1, { waitingMax: 2 });
  const [pool] = pools as [Pool];
  const first = new Client();
  first.ask(pool);
  const [second, third, fourth] = [new Client(), new Client(), new Client()] as const;
  for (const client of [second, third, fourth]) client.ask(pool);
  expect(second.failure ?? third.failure).toBeUndefined();
  expect(fourth.failure).toMatchObject({
    message: "too many clients are waiting for a server (max_waiting_clients)",
    sqlstate: "53300",
  });
  await waitUntil(() => first.server !== undefined, "a server");
  expect(pool.queue.size).toBe(2);
});

test("the pooler itself waits as a client does, but nobody counts it as one", async () => {
  const { pools, clock } = await poolsOf(greet, 1, { waitingMax: 2 });
  const [pool] = pools as [Pool];
  const server = await new Client().lease(pool);
  const own = Object.assign(new Client(), { clientsCount: 0 });
  own.ask(pool);
  expect(pool.queue).toMatchObject({ size: 1, clientsCount: 0, firstClientSinceMs: undefined });
  clock.advance(10);
  const clients = [new Client(), new Client(), new Client()] as const;
  for (const client of clients) client.ask(pool);
  expect(clients.map(({ failure }) => failure?.code)).toEqual([
    undefined,
    undefined,
    "pool.too_many_waiting",
  ]);
  expect(pool.queue).toMatchObject({ size: 3, clientsCount: 2, firstClientSinceMs: clock.now() });
  // The queue is full for clients alone.
  const another = Object.assign(new Client(), { clientsCount: 0 });
  another.ask(pool);
  expect(another.failure).toBeUndefined();
  pool.release(server, false);
  expect(own.server).toBe(server);
  pool.release(server, false);
  expect(clients[0].server).toBe(server);
});

test("pool_idle_timeout closes the servers of a pool without clients, and it can be forgotten", async () => {
  const { pools, clock } = await poolsOf(greet, 2, { poolIdleTimeoutMs: 5_000 });
  const [pool] = pools as [Pool];
  const server = await new Client().lease(pool);
  pool.release(server, false);
  clock.advance(60_000);
  pool.tick();
  expect(pool.size, "a client is there").toBe(1);
  pool.clients = 0;
  clock.advance(4_999);
  pool.tick();
  expect([pool.size, pool.empty]).toEqual([1, false]);
  clock.advance(1);
  pool.tick();
  expect([pool.size, pool.empty]).toEqual([0, true]);
});

test("min_pool_size counts without clients only where it is to", async () => {
  for (const minWithoutClients of [false, true]) {
    const { pools } = await poolsOf(greet, 5, { sizeMin: 2, minWithoutClients, poolIdleTimeoutMs: 1 });
    const [pool] = pools as [Pool];
    pool.clients = 0;
    pool.tick();
    expect(pool.size).toBe(minWithoutClients ? 2 : 0);
    expect(pool.empty).toBe(!minWithoutClients);
    await settle();
  }
});

test("reserve_pool_size: one more server for a client that has waited for reserve_pool_timeout", async () => {
  const { pools, clock } = await poolsOf(greet, 1, { queryWaitTimeoutMs: 0 });
  const [pool] = pools as [Pool];
  pool.group.reserve = 1;
  pool.group.reserveAfterMs = 5_000;
  await new Client().lease(pool);
  const [second, third] = [new Client(), new Client()] as const;
  second.ask(pool);
  third.ask(pool);
  clock.advance(4_999);
  pool.tick();
  expect(pool.size).toBe(1);
  clock.advance(1);
  pool.tick();
  await waitUntil(() => second.server !== undefined, "a server of the reserve");
  clock.advance(60_000);
  pool.tick();
  await settle();
  expect([pool.size, third.server]).toEqual([2, undefined]);
});
