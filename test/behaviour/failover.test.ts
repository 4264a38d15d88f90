/**
 * The primary is lost, and another node becomes it: who hears of it, that nothing acknowledged is lost, and that the
 * old primary is left alone when it returns. Who answered is asked of PostgreSQL itself.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { Finding } from "../../src/check/finding.ts";
import { checkServers } from "../../src/check/servers.ts";
import { checkConfig } from "../../src/config/load.ts";
import { FaultProxy, type LabNode } from "../../src/lab/index.ts";
import { Credentials } from "../../src/server/credentials.ts";
import type { NodeEvent } from "../../src/server/node-events.ts";
import { protocolVersion30 } from "../../src/wire/constants.ts";
import { encodeStartup } from "../../src/wire/startup.ts";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { nodeRow, openConsole, startPooled, table } from "./console-client.ts";
import { ledgerOf, mend, nodesOf, promoteBest, receiveBy, watched } from "./node-kit.ts";
import { type Client, execute, parse, sync } from "./pooled.ts";
import { Readers, Writers } from "./writers.ts";

const place = useLab({
  standbys: 2,
  // Whatever is acknowledged is on another node too.
  settings: { synchronous_standby_names: "ANY 1 (*)", wal_receiver_timeout: "2s" },
});

afterEach(async ({ task }) => {
  if (task.result?.state === "fail") await mend(place.lab);
});

async function portOf(client: Client): Promise<number> {
  return Number(await client.value("select inet_server_port()"));
}

async function stateOf(console: Client, node: string): Promise<string | null | undefined> {
  return (await nodeRow(console, node))["state"];
}

describe("the primary is killed under writing clients", () => {
  test("50 writers and 200 readers: nothing acknowledged is lost, sessions outlive it, and the old primary is fenced when it returns", async () => {
    const { lab } = place;
    const old = lab.primary;
    await lab.primary.query("create table ledger (id int primary key)");
    await using pooled = await startPooled(
      lab,
      watched(lab, { settings: { pool_mode: "auto", max_client_conn: 400 } }),
    );
    using console = await openConsole(pooled);
    using idle = await pooled.connect();
    expect(await portOf(idle)).toBe(old.port);
    expect(await idle.value("select pg_is_in_recovery()")).toBe("f");
    await using writers = new Writers(pooled, "ledger");
    await writers.start(50);
    await writers.untilAcknowledged(200);
    await using readers = new Readers(pooled, "ledger");
    await readers.start(200);
    using inTransaction = await pooled.connect();
    await inTransaction.run("begin");
    await inTransaction.run("insert into ledger values (-1)");

    const killedMs = performance.now();
    await old.kill();
    await waitUntil(
      () => pooled.log.some(({ message }) => message === "no primary"),
      "the loss of the primary is noticed",
    );
    const waiting = idle.value("select inet_server_port()");
    const next = await promoteBest(lab, old);
    await Promise.all([writers.untilAcknowledged(200), readers.untilAnswered(400)]);
    const awayMs = performance.now() - killedMs;
    // The statement that was sent in between has waited for the new primary.
    expect(Number(await waiting)).toBe(next.port);
    expect(await idle.value("select pg_is_in_recovery()")).toBe("f");
    await Promise.all([writers.stop(), readers.stop()]);
    const lost = (await inTransaction.raw.rest()).at(-1);
    // PostgreSQL's last words, where it had some, and ours: what may have been committed is told from what was not.
    const honest = expect.stringMatching(/^(57P01|08006)$/) as unknown;
    expect(lost).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL", code: honest } });
    for (const { sqlstate } of writers.errors) {
      expect(["57P01", "08006", "08007", "closed"]).toContain(sqlstate);
    }
    expect(writers.errors.length).toBeLessThanOrEqual(50);

    // What was acknowledged, and of the rest only what was told to be unknown.
    expect(await ledgerOf(next, "ledger", writers)).toEqual({ lost: [], unexplained: [] });
    expect(readers.errors.filter((code) => !["57P01", "08006", "08007", "closed"].includes(code))).toEqual(
      [],
    );
    expect(readers.wentBack).toBe(0);

    await old.start();
    await waitUntil(async () => (await stateOf(console, old.name)) === "fenced", "the old primary is fenced");
    expect(await old.query("select pg_is_in_recovery()")).toMatchObject({ rows: [["f"]] });
    expect(await portOf(idle)).toBe(next.port);
    expect(
      (
        await old.query(
          "select count(*) from pg_stat_activity where backend_type = 'client backend' and application_name <> 'pgsluice health check' and pid <> pg_backend_pid()",
        )
      ).rows,
    ).toEqual([["0"]]);
    process.stdout.write(`failover: ${Math.round(awayMs)} ms until 200 further writes and 400 reads\n`);
    await old.stop("immediate");
    await lab.rejoin(old);
  });
});

describe("several nodes", () => {
  test("acceptance 23: without any node clients wait for failover_timeout, and hear 08S01, which node it is and what to do", async () => {
    await using pooled = await startPooled(
      place.lab,
      watched(place.lab, {
        nodes: { a: { port: 1, role: "auto" }, b: { port: 2, role: "auto" } },
        settings: { failover_timeout: 0.3 },
      }),
    );
    const raw = await rawClient(pooled.place);
    raw.send(encodeStartup(protocolVersion30, [["user", "postgres"]]));
    expect((await raw.rest()).at(-1)).toMatchObject({
      kind: "ErrorResponse",
      fields: {
        ...{ severity: "FATAL", code: "08S01", message: "pgsluice is not accepting any new connections" },
        detail:
          'all backend nodes are down, pgsluice requires at least one valid node: node "a" refuses connections; node "b" refuses connections',
        hint: expect.stringContaining("Repair the backend nodes") as unknown,
      },
    });
    using console = await openConsole(pooled);
    await waitUntil(async () => (await stateOf(console, "a")) === "down", "the node is seen to be down");
    expect(await nodeRow(console, "a")).toMatchObject({
      role: "unknown",
      reason: "refuses connections",
      primary: "0",
    });
    expect(await console.run("promote a")).toMatchObject({ error: { code: "55000" } });
  });

  test("acceptance 22: required_nodes that are not up refuse logins to their database with 08S01, which node it is and what to do", async () => {
    const { lab } = place;
    const { primary } = lab;
    const here = { host: primary.host, port: primary.port, role: "auto" };
    await using pooled = await startPooled(
      lab,
      watched(lab, {
        nodes: { a: here, b: { port: 1, role: "auto" } },
        databases: {
          all: { dbname: "postgres", required_nodes: ["*"] },
          one: { dbname: "postgres", required_nodes: ["b"] },
          "*": { required_nodes: ["a"] },
        },
      }),
    );
    using console = await openConsole(pooled);
    await waitUntil(async () => (await stateOf(console, "a")) === "up", "the first node is up");
    await waitUntil(async () => (await stateOf(console, "b")) === "down", "the other one is down");
    using client = await pooled.connect();
    expect(await portOf(client)).toBe(primary.port);
    for (const database of ["all", "one"]) {
      const raw = await rawClient(pooled.place);
      raw.send(
        encodeStartup(protocolVersion30, [
          ["user", "postgres"],
          ["database", database],
        ]),
      );
      expect((await raw.rest()).at(-1)).toMatchObject({
        kind: "ErrorResponse",
        fields: {
          ...{ severity: "FATAL", code: "08S01" },
          message: `pgsluice does not serve database "${database}" while a required node is down`,
          detail: 'node "b" is down: refuses connections',
          hint: expect.stringContaining("Repair the node, or take it from required_nodes") as unknown,
        },
      });
    }
    // One that is taken out is as good as down, for those who come later.
    await console.run("detach a");
    await expect(pooled.connect()).rejects.toThrow("while a required node is down");
    await console.run("attach a");
    await waitUntil(async () => (await stateOf(console, "a")) === "up", "it is up again");
    expect(await portOf(client)).toBe(primary.port);
  });

  test.each(["session", "transaction", "auto"])(
    "a statement that has waited for failover_timeout fails with 57P03, and its session goes on (%s)",
    async (mode) => {
      const { lab } = place;
      await using proxy = await FaultProxy.start({ port: lab.primary.port });
      const nodes = { ...nodesOf(lab), [lab.primary.name]: { port: proxy.port, role: "auto" } };
      const settings = { failover_timeout: 0.3, health_check_max_retries: 0, pool_mode: mode };
      await using pooled = await startPooled(lab, watched(lab, { nodes, settings }));
      using client = await pooled.connect();
      using other = await pooled.connect();
      await proxy.set({ refuse: true });
      proxy.closeAll();
      await waitUntil(
        () => pooled.log.some(({ message }) => message === "no primary"),
        "the loss of the primary is noticed",
      );
      const error = {
        severity: "ERROR",
        code: "57P03",
        message: "there is no primary to run this on (failover_timeout)",
      };
      expect(await client.run("select 1")).toMatchObject({ error, status: "I" });
      expect(await client.ask(parse("", "select 1"), ...execute(""), sync)).toMatchObject({
        error,
        status: "I",
      });
      if (mode === "auto") {
        // PostgreSQL has not heard of the BEGIN, which failed with what came behind it.
        expect(await other.run("begin")).toMatchObject({ error: undefined, status: "T" });
        expect(await other.run("select 1")).toMatchObject({ error, status: "E" });
        expect(await other.run("rollback")).toMatchObject({ error: undefined, status: "I" });
      }
      await proxy.heal();
      await waitUntil(
        () => pooled.log.findLast(({ message }) => message.includes("primary"))?.message === "primary found",
        "the primary is found again",
      );
      expect(await client.value("select inet_server_port()")).toBe(String(lab.primary.port));
      expect(await other.value("select inet_server_port()")).toBe(String(lab.primary.port));
    },
  );

  test("health_check_user asks in health_check_database every health_check_period, and a node that misses health_check_timeout for health_check_max_retries times more is down", async () => {
    const { lab } = place;
    const [standby] = lab.standbys as [LabNode];
    await lab.primary.query("create role watching login");
    await lab.primary.query("create database watched");
    await lab.untilReplayed();
    const settings = {
      ...{ health_check_user: "watching", health_check_database: "watched", health_check_period: 0.1 },
      ...{ health_check_timeout: 0.4, health_check_max_retries: 1 },
    };
    await using pooled = await startPooled(lab, watched(lab, { settings }));
    using console = await openConsole(pooled);
    await waitUntil(async () => (await stateOf(console, standby.name)) === "up", "the standby is up");
    const asking = `select query from pg_stat_activity where usename = 'watching' and datname = 'watched'`;
    expect((await standby.query(asking)).rows[0]?.[0]).toContain("pg_is_in_recovery");
    await standby.pause();
    try {
      await waitUntil(async () => (await stateOf(console, standby.name)) === "down", "the standby is down");
      expect(await nodeRow(console, standby.name)).toMatchObject({ reason: "did not answer in time" });
    } finally {
      await standby.resume();
    }
    await waitUntil(async () => (await stateOf(console, standby.name)) === "up", "the standby is up again");
  });

  test("weight and zone of a node are shown, max_connections is kept to, and cluster_state_file remembers what was said of it", async () => {
    const { lab } = place;
    await using folder = await tempFolder();
    const nodes = nodesOf(lab);
    const name = lab.standbys[0]?.name ?? "";
    nodes[name] = { ...nodes[name], weight: 3, zone: "east" };
    nodes[lab.primary.name] = { ...nodes[lab.primary.name], max_connections: 2 };
    const settings = { cluster_state_file: path.join(folder.path, "state.json"), pool_mode: "transaction" };
    const options = watched(lab, { nodes, settings });
    {
      await using pooled = await startPooled(lab, options);
      using console = await openConsole(pooled);
      await waitUntil(async () => (await stateOf(console, name)) === "up", "the standby is up");
      expect(await nodeRow(console, name)).toMatchObject({ weight: "3", zone: "east", max_connections: "0" });
      const clients = await Promise.all(Array.from({ length: 4 }, () => pooled.connect()));
      await Promise.all(clients.map((client) => client.run("select pg_sleep(0.1)")));
      expect(pooled.mostServers).toBe(2);
      for (const client of clients) client.destroy();
      expect(await console.run(`fence ${name}`)).toMatchObject({ error: undefined });
      expect(await nodeRow(console, name)).toMatchObject({
        state: "fenced",
        reason: "an administrator fenced it",
      });
    }
    await using pooled = await startPooled(lab, options);
    using console = await openConsole(pooled);
    await waitUntil(
      async () => (await nodeRow(console, name))["role"] === "standby",
      "the standby has answered",
    );
    expect(await stateOf(console, name)).toBe("fenced");
    expect(await console.run(`unfence ${name}`)).toMatchObject({ error: undefined });
    await waitUntil(async () => (await stateOf(console, name)) === "up", "the standby is up again");
    for (const [command, state] of [
      ["drain", "draining"],
      ["detach", "down"],
      ["quarantine", "quarantined"],
      ["attach", "up"],
    ]) {
      expect(await console.run(`${command} ${name}`)).toMatchObject({ error: undefined });
      await waitUntil(async () => (await stateOf(console, name)) === state, `the standby is ${state}`);
    }
  });

  test("pgsluice check finds nothing wrong with a standby whose role is to be found out", async () => {
    const nodes = nodesOf(place.lab);
    const config = checkConfig({ pgsluice: { health_check_user: "postgres" }, nodes }, process.cwd());
    const findings: Finding[] = [];
    await checkServers(config, new Credentials(), (finding) => findings.push(finding));
    expect(findings.filter(({ code }) => code !== "servers.room")).toEqual([]);
  });

  test("nodes come and go by a reload, the primary among them, and so does following it", async () => {
    const { lab } = place;
    const all = nodesOf(lab);
    const { [lab.primary.name]: primary = {}, ...others } = all;
    await using pooled = await startPooled(lab, watched(lab));
    using client = await pooled.connect();
    expect(await portOf(client)).toBe(lab.primary.port);
    await pooled.reload(watched(lab, { nodes: others }));
    const waiting = portOf(client);
    await pooled.untilWaiting(1);
    await pooled.reload(watched(lab, { nodes: all }));
    expect(await waiting).toBe(lab.primary.port);
    await pooled.reload({ onlyNodes: { only: { ...primary, role: "primary" } } });
    expect(await portOf(client)).toBe(lab.primary.port);
    await pooled.reload(watched(lab));
    expect(await portOf(client)).toBe(lab.primary.port);
  });

  test("PROMOTE under 100 writing clients: a planned switchover without an error for anybody, and with all that was acknowledged", async () => {
    const { lab } = place;
    const old = lab.primary;
    const next = lab.standbys[0] as LabNode;
    await old.query("create table switched (id int primary key)");
    await using pooled = await startPooled(lab, watched(lab, { settings: { pool_mode: "transaction" } }));
    using console = await openConsole(pooled);
    using idle = await pooled.connect();
    await idle.run("set application_name to 'stays'");
    await using writers = new Writers(pooled, "switched");
    await writers.start(100);
    await writers.untilAcknowledged(300);
    const [before] = await table(console, "show nodes");
    expect(before).toMatchObject({ name: "node1", configured_role: "auto", state: "up", reason: "" });

    await receiveBy(lab, next);
    // What the old primary writes by itself, up to the end and later, keeps no standby from following the new one, which
    // waits for a second node to confirm what is written, as the old one did.
    const promoting = console.run(`promote ${next.name}`);
    while (next.role === "standby") await old.query("checkpoint");
    await old.query("checkpoint");
    expect(await promoting).toMatchObject({ error: undefined, tags: ["PROMOTE"] });
    await writers.untilAcknowledged(200);
    await writers.stop();
    expect(writers.errors).toEqual([]);
    expect(await portOf(idle)).toBe(next.port);
    expect(await idle.value("show application_name")).toBe("stays");
    const sum = writers.acknowledged.reduce((total, id) => total + id, 0);
    const { rows } = await next.query("select count(*), sum(id) from switched");
    expect(rows).toEqual([[String(writers.acknowledged.length), String(sum)]]);
    await waitUntil(async () => (await stateOf(console, old.name)) === "fenced", "the old primary is fenced");
    await old.stop("immediate");
    await lab.rejoin(old);
    await waitUntil(
      async () => (await nodeRow(console, old.name))["role"] === "standby",
      "it is seen as a standby",
    );
    expect(await console.run(`unfence ${old.name}`)).toMatchObject({ error: undefined });
    await waitUntil(async () => (await stateOf(console, old.name)) === "up", "the old primary is a standby");
  });

  test("failover_command and a function are told that the primary is lost, the function promotes, and both are told who it is now", async () => {
    const { lab } = place;
    await using folder = await tempFolder();
    const written = path.join(folder.path, "events");
    const names = "PGSLUICE_EVENT PGSLUICE_NODE PGSLUICE_NODE_PORT PGSLUICE_OLD_PRIMARY PGSLUICE_STATE";
    const line = `process.env.${names.split(" ").join("+' '+process.env.")}`;
    const script = `require("fs").appendFileSync(process.argv[1], ${line} + "\\n")`;
    const settings = { failover_command: [process.execPath, "-e", script, written], failover_timeout: 30 };
    const old = lab.primary;
    let promoted: LabNode | undefined;
    const events: NodeEvent[] = [];
    const onNodeEvent = async (event: NodeEvent): Promise<void> => {
      events.push(event);
      if (event.kind === "primary_lost") promoted = await promoteBest(lab, old);
    };
    await using pooled = await startPooled(lab, watched(lab, { settings }), { onNodeEvent });
    using client = await pooled.connect();
    expect(await portOf(client)).toBe(old.port);
    using console = await openConsole(pooled);
    for (const { name } of lab.standbys) {
      await waitUntil(async () => (await stateOf(console, name)) === "up", `${name} is up`);
    }
    await old.kill();
    await waitUntil(
      () => events.some(({ kind }) => kind === "primary_found"),
      "the function has promoted",
      20_000,
    );
    expect(await portOf(client)).toBe(promoted?.port);
    const placeOf = ({ name, host, port }: LabNode): object => ({ name, host, port });
    expect(events.find(({ kind }) => kind === "primary_lost")).toMatchObject({
      ...{ oldPrimary: placeOf(old), candidate: { host: "127.0.0.1" } },
      reason: `node "${old.name}", the primary, is not reached`,
    });
    expect(events.find(({ kind }) => kind === "primary_found")).toEqual({
      kind: "primary_found",
      primary: placeOf(promoted as LabNode),
      oldPrimary: placeOf(old),
    });
    const lines = async (): Promise<string> => readFile(written, "utf8").catch(() => "");
    await waitUntil(async () => (await lines()).includes("primary_found"), "the command has run");
    const text = await lines();
    expect(text).toContain(`node_state ${old.name} ${old.port} undefined down\n`);
    expect(text).toMatch(new RegExp(`^primary_lost node\\d \\d+ ${old.name} undefined$`, "m"));
    expect(text).toContain(`primary_found ${promoted?.name} ${promoted?.port} ${old.name} undefined\n`);
  });
});
