/** What a client is told at login, by a pool whose servers only greet. */
import { expect, onTestFinished, test } from "vitest";
import { VirtualClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { connectOptions } from "../../../src/client/conninfo/options.ts";
import { ServerBudget } from "../../../src/pool/budget.ts";
import { Pool } from "../../../src/pool/pool.ts";
import type { Server } from "../../../src/pool/server.ts";
import { Homes } from "../../../src/session/auto/homes.ts";
import { WelcomeRequest } from "../../../src/session/welcome.ts";
import { poolSettings } from "../../kit/pool-settings.ts";
import { ScriptedServer } from "../../kit/scripted-server.ts";
import { waitUntil } from "../../kit/wait.ts";

/** A pool without clients, of one server. */
async function quietPool(): Promise<{
  pool: Pool;
  server: Server;
  login: () => WelcomeRequest;
  told: string[];
}> {
  const node = await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    await peer.closed;
  });
  const clock = new VirtualClock();
  const options = connectOptions({
    user: "ada",
    database: "engine",
    sslmode: "disable",
    hosts: [{ host: "127.0.0.1", port: node.port }],
  });
  const pool = new Pool({
    name: "pool",
    settings: poolSettings,
    connectOptions: () => options,
    budgets: [new ServerBudget("pool_size", 1)],
    clock,
    logger: silentLogger,
  });
  onTestFinished(async () => {
    pool.close();
    await node.stop();
  });
  let server: Server | undefined;
  pool.lease({
    queryWaitTimeoutMs: undefined,
    onLeased: (leased) => (server = leased),
    onLeaseFailed: (failure) => expect.fail(failure.message),
    onLongWait: () => undefined,
  });
  await waitUntil(() => server !== undefined, "a server");
  pool.release(server as unknown as Server, false);
  const told: string[] = [];
  const login = (): WelcomeRequest =>
    new WelcomeRequest({ id: 1, queryWaitTimeoutMs: undefined }, pool, new Homes(pool, clock), new Map(), {
      onWelcome: () => void told.push("welcome"),
      onWelcomeFailed: ({ message }) => void told.push(message),
      onLongWait: () => undefined,
    });
  return { pool, server: server as unknown as Server, login, told };
}

test("a pool is not forgotten while a client that logs in waits for what a lost server would have told", async () => {
  const { pool, server, login, told } = await quietPool();
  pool.defaults.doubt(server);
  login().start();
  pool.discard(server, "its client has vanished");
  expect([told, pool.size, pool.empty]).toEqual([[], 0, false]);
  pool.defaults.decide(server);
  await waitUntil(() => told.length > 0, "an answer");
  expect([told, pool.logins]).toEqual([["welcome"], 0]);
});

test("it is, if that client leaves", async () => {
  const { pool, server, login, told } = await quietPool();
  pool.defaults.doubt(server);
  const request = login();
  request.start();
  pool.discard(server, "its client has vanished");
  request.abort();
  pool.defaults.decide(server);
  expect([told, pool.size, pool.empty]).toEqual([[], 0, true]);
});
