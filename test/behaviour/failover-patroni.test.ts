/** Behind Patroni: its members are the nodes, and a failover of its doing is followed. */
import { describe, expect, test } from "vitest";
import { hasPatroni, PatroniCluster } from "../kit/patroni.ts";
import { waitUntil } from "../kit/wait.ts";
import { nodeRow, openConsole, table } from "./console-client.ts";
import { Client, Pooled } from "./pooled.ts";
import { Writers } from "./writers.ts";

describe.skipIf(!hasPatroni())("discovery by Patroni", () => {
  test("its leader is killed, it promotes a replica, writers go on there, and the old leader comes back by itself", async () => {
    await using cluster = await PatroniCluster.start(["p1", "p2"]);
    const settings = {
      ...{ discovery: "patroni", patroni_urls: cluster.urls, discovery_period: 0.5 },
      ...{ health_check_user: "postgres", health_check_period: 0.2, admin_users: "postgres" },
    };
    const nowhere = { primary: { host: "127.0.0.1", port: 1 } };
    await using pooled = await Pooled.start(nowhere, { onlyNodes: {}, settings });
    using idle = await pooled.connect();
    const portOfServer = (): Promise<string | null> => idle.value("select inet_server_port()");
    expect(await portOfServer()).toBe(String(cluster.member("p1").port));
    using console = await openConsole(pooled);
    await waitUntil(async () => (await nodeRow(console, "p2"))["state"] === "up", "the replica is up");
    expect(await table(console, "show nodes")).toMatchObject([
      { name: "p1", port: String(cluster.member("p1").port), role: "primary", primary: "1", state: "up" },
      { name: "p2", port: String(cluster.member("p2").port), role: "standby", primary: "0" },
    ]);
    expect(await console.run("promote p2")).toMatchObject({
      error: { message: "Patroni decides who is promoted: use patronictl switchover" },
    });

    await idle.run("create table ledger (id int primary key)");
    await using writers = new Writers(pooled, "ledger");
    await writers.start(10);
    await writers.untilAcknowledged(100);
    const killedMs = performance.now();
    await cluster.killPostgres("p1");
    await cluster.until(async () => (await cluster.leader()) === "p2", "Patroni promotes the replica");
    const promotedMs = performance.now();
    await writers.untilAcknowledged(100);
    const wroteMs = performance.now();
    await writers.stop();
    for (const { sqlstate } of writers.errors) {
      expect(["57P01", "57P02", "08006", "08007", "closed"]).toContain(sqlstate);
    }
    expect(await portOfServer()).toBe(String(cluster.member("p2").port));

    using direct = await Client.connect({ host: "127.0.0.1", port: cluster.member("p2").port });
    const { rows } = await direct.run("select id from ledger");
    const there = new Set(rows.map(([id]) => Number(id)));
    expect(writers.acknowledged.filter((id) => !there.has(id))).toEqual([]);
    const allowed = new Set([...writers.acknowledged, ...writers.unknown]);
    expect([...there].filter((id) => !allowed.has(id))).toEqual([]);
    const round = (ms: number): number => Math.round(ms - killedMs);
    process.stdout.write(
      `Patroni promoted after ${round(promotedMs)} ms, 100 further writes after ${round(wroteMs)} ms\n`,
    );

    // Patroni rewinds it, and so nobody has to say UNFENCE.
    await waitUntil(
      async () => {
        const { role, state } = await nodeRow(console, "p1");
        return role === "standby" && state === "up";
      },
      "the old leader is a replica that may be used",
      30_000,
    );
    expect(await portOfServer()).toBe(String(cluster.member("p2").port));
  });
});
