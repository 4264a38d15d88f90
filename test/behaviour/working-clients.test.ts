/** What an administrator does while a hundred clients work: nothing is lost, nothing is done twice, and nobody is told an error. */
import { describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { rawCancel } from "../kit/raw-client.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { type Client, type Pooled, type PooledOptions, untilRunning } from "./pooled.ts";
import { StoringClients } from "./storing-clients.ts";

const place = useLab();
const clientsCount = 100;
const options: PooledOptions = {
  settings: {
    pool_mode: "transaction",
    default_pool_size: 10,
    max_client_conn: 150,
    admin_users: ["postgres"],
  },
};

describe("a hundred working clients lose no statement", () => {
  const cases: Record<string, (pooled: Pooled, console: Client, turn: number) => Promise<void>> = {
    "PAUSE and RESUME": async (_, console) => {
      expect((await console.run("pause")).tags).toEqual(["PAUSE"]);
      expect((await table(console, "show servers")).filter(({ type }) => type === "S")).toEqual([]);
      expect((await console.run("resume")).tags).toEqual(["RESUME"]);
    },
    RECONNECT: async (_, console) => {
      expect((await console.run("reconnect")).tags).toEqual(["RECONNECT"]);
      expect((await console.run("wait_close")).tags).toEqual(["WAIT_CLOSE"]);
    },
    "a reload of other sizes and limits": async (pooled, _, turn) => {
      const changed = {
        default_pool_size: 3 + turn * 4,
        max_prepared_statements: 10 * turn,
        server_lifetime: 100 + turn,
      };
      await pooled.reload({
        settings: { ...options.settings, ...changed, listen_port: pooled.pooler.address.port },
      });
    },
    "a reload that takes other servers, while paused": async (pooled, console, turn) => {
      expect((await console.run("pause postgres")).tags).toEqual(["PAUSE"]);
      const { host, socketFolder } = place.lab.primary;
      const node = { host: turn % 2 === 0 ? host : socketFolder };
      const settings = { ...options.settings, listen_port: pooled.pooler.address.port };
      await pooled.reload({ settings, node });
      expect((await console.run("resume postgres")).tags).toEqual(["RESUME"]);
    },
  };

  for (const [index, [name, act]] of Object.entries(cases).entries()) {
    test(name, async () => {
      await using pooled = await startPooled(place.lab, options);
      using console = await openConsole(pooled);
      const clients = await StoringClients.start(place.lab, `case_${index}`, clientsCount, pooled.place);
      for (let turn = 0; turn < 3; turn++) {
        await clients.untilAcknowledged(2 * clientsCount);
        await act(pooled, console, turn);
      }
      await clients.untilAcknowledged(2 * clientsCount);
      await clients.check(place.lab);
    });
  }

  test("acceptance 92: cancel requests that come to the wrong one of two peers", async () => {
    await using one = await startPooled(place.lab, { settings: { ...options.settings, peer_id: 1 } });
    const { host, port } = one.pooler.address;
    const peers = { 1: { host, port } };
    await using two = await startPooled(place.lab, { settings: { ...options.settings, peer_id: 2 }, peers });
    const clients = await StoringClients.start(place.lab, "peers", clientsCount, one.place, two.place);
    for (let i = 0; i < 5; i++) {
      using victim = await one.connect();
      const outcome = victim.run(`select pg_sleep(60), 'victim ${i} '`);
      await untilRunning(place.lab, `victim ${i} `);
      await rawCancel(two.place, victim.session);
      expect(await outcome).toMatchObject({ error: { code: "57014" }, status: "I" });
      await clients.untilAcknowledged(clientsCount);
    }
    await clients.check(place.lab);
  });
});
