/** Replication connections against a real server: streams of the log and of changes, slots, their ends and failures. */
import { afterEach, describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import {
  connectReplication,
  type ReplicationConnection,
  type ReplicationConnectOptions,
} from "../../src/client/replication/connection.ts";
import { formatLsn } from "../../src/client/replication/lsn.ts";
import type { ReplicationStream } from "../../src/client/replication/stream.ts";
import { Lab } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { all, ask, isData, isMessage, position, slotPosition, take, targetOf } from "./replication-lab.ts";

const settings = { wal_level: "logical", max_wal_senders: "20", max_replication_slots: "30" };
const place = useLab({ settings });
const opened: ReplicationConnection[] = [];
let names = 0;

const slotName = (): string => `slot_${++names}`;

async function open(
  options: ReplicationConnectOptions = {},
  parameters: readonly (readonly [string, string])[] = [],
): Promise<ReplicationConnection> {
  const connection = await connectReplication(targetOf(place.lab.primary, { parameters }), options);
  opened.push(connection);
  return connection;
}

/** A table, a publication of it, a slot, and a stream of its changes. */
async function subscribe(
  options: { readonly signal?: AbortSignal; readonly statusIntervalMs?: number } = {},
) {
  const { primary } = place.lab;
  const name = slotName();
  await primary.query(
    `CREATE TABLE ${name} (a int PRIMARY KEY, b text); CREATE PUBLICATION ${name} FOR TABLE ${name}`,
  );
  const connection = await open();
  await connection.createSlot(name, { plugin: "pgoutput", snapshot: "nothing" });
  const plugin = { proto_version: 1, publication_names: name };
  const start = (): Promise<ReplicationStream> => connection.startLogical({ slot: name, plugin, ...options });
  return { name, connection, start, stream: await start() };
}

afterEach(async () => {
  for (const connection of opened.splice(0)) await connection.close();
});

const sqlstate = (code: string): unknown => expect.objectContaining({ sqlstate: code });

describe("a replication connection", () => {
  test("identifies the system, with and without a database", async () => {
    const { primary } = place.lab;
    const systemId = await ask(primary, "SELECT system_identifier FROM pg_control_system()");
    const before = await position(primary);
    const logical = await open();
    const identity = await logical.identifySystem();
    expect(identity).toMatchObject({ systemId, timeline: 1, database: "postgres" });
    expect(identity.position).toBeGreaterThanOrEqual(before);
    const physical = await open({ mode: "physical" });
    expect(await physical.identifySystem()).toMatchObject({ systemId, database: undefined });
  });

  test("takes the mode that the target names", async () => {
    const connection = await open({}, [["replication", "true"]]);
    expect((await connection.identifySystem()).database).toBeUndefined();
  });

  test("runs SQL where it has a database, and other commands anywhere", async () => {
    const logical = await open();
    expect((await logical.execute("SELECT 1 AS one; SELECT 2 AS two")).map(({ rows }) => rows)).toEqual([
      [{ one: 1 }],
      [{ two: 2 }],
    ]);
    const physical = await open({ mode: "physical" });
    expect((await physical.execute("SHOW wal_level"))[0]?.rows).toEqual([{ wal_level: "logical" }]);
    await expect(physical.execute("SELECT 1")).rejects.toMatchObject({ code: "client.server_error" });
    expect((await physical.identifySystem()).timeline).toBe(1);
  });

  test("makes, reads and drops slots", async () => {
    const connection = await open();
    const [physical, logical] = [slotName(), slotName()];
    expect(await connection.createSlot(physical, { reserveWal: true })).toMatchObject({
      name: physical,
      consistentPosition: 0n,
      plugin: undefined,
    });
    const read = await connection.readSlot(physical);
    expect(read?.restartTimeline).toBe(1);
    expect(read?.restartPosition).toBe(await slotPosition(place.lab.primary, physical, "restart_lsn"));
    const created = await connection.createSlot(logical, {
      plugin: "pgoutput",
      twoPhase: true,
      failover: true,
    });
    expect(created).toMatchObject({ name: logical, plugin: "pgoutput" });
    expect(created.consistentPosition).toBeGreaterThan(0n);
    expect(created.snapshotName).toMatch(/^[0-9A-F-]+$/);
    const slots = `SELECT two_phase::text || failover || temporary FROM pg_replication_slots WHERE slot_name = '${logical}'`;
    expect(await ask(place.lab.primary, slots)).toBe("truetruefalse");
    await connection.dropSlot(logical);
    await connection.dropSlot(physical, { wait: true });
    expect(await connection.readSlot(physical)).toBeUndefined();
    await connection.createSlot(physical, { temporary: true });
    expect(await connection.readSlot(physical)).toEqual({
      restartPosition: undefined,
      restartTimeline: undefined,
    });
  });

  test("names are quoted, and no text ends early", async () => {
    const connection = await open();
    await expect(connection.createSlot("it's; \\ -- /*")).rejects.toMatchObject({
      sqlstate: "42602",
      message: expect.stringContaining("it's; \\ -- /*"),
    });
    await expect(connection.createSlot('a"b')).rejects.toMatchObject({ code: "client.bad_option" });
    const slot = slotName();
    await connection.createSlot(slot, { plugin: "test_decoding" });
    const plugin = { "include-xids": "it's\\" };
    await expect(connection.startLogical({ slot, plugin })).rejects.toMatchObject({
      sqlstate: "22023",
      message: expect.stringContaining("it's\\"),
    });
  });
});

describe("failures", () => {
  test("carry the server's SQLSTATE, and the connection goes on", async () => {
    const connection = await open();
    const slot = slotName();
    await connection.createSlot(slot, { plugin: "pgoutput" });
    await expect(connection.startLogical({ slot: "missing" })).rejects.toEqual(sqlstate("42704"));
    await expect(connection.startPhysical({ slot: "missing", position: 0n })).rejects.toEqual(
      sqlstate("42704"),
    );
    await expect(connection.createSlot(slot, { plugin: "pgoutput" })).rejects.toEqual(sqlstate("42710"));
    await expect(connection.createSlot(slotName(), { plugin: "no_plugin" })).rejects.toEqual(
      sqlstate("58P01"),
    );
    await expect(connection.dropSlot("missing")).rejects.toEqual(sqlstate("42704"));
    await expect(connection.readSlot(slot)).rejects.toEqual(sqlstate("0A000"));
    await expect(connection.timelineHistory(1)).rejects.toEqual(sqlstate("58P01"));
    const ahead = (await position(place.lab.primary)) + 0x1000_0000n;
    const impossible = await connection.startPhysical({ position: ahead });
    await expect(all(impossible)).rejects.toMatchObject({
      code: "client.server_error",
      message: expect.stringContaining(formatLsn(ahead)),
    });
    expect((await connection.identifySystem()).timeline).toBe(1);
  });

  test("of options are told before anything is sent", async () => {
    const connection = await open();
    await expect(connection.startPhysical({ position: -1n })).rejects.toMatchObject({
      code: "client.bad_lsn",
    });
    await expect(connection.timelineHistory(0.5)).rejects.toMatchObject({ code: "client.bad_option" });
    await expect(connection.baseBackup({ kilobytesPerSecondMax: 1 })).rejects.toEqual(sqlstate("22023"));
    expect((await connection.identifySystem()).timeline).toBe(1);
  });

  test("an ordinary connection knows no replication commands, and this one no parameters", async () => {
    const target = targetOf(place.lab.primary);
    await using ordinary = await connect(target);
    await expect(ordinary.execute("IDENTIFY_SYSTEM")).rejects.toEqual(sqlstate("42601"));
    await using walsender = await connect({ ...target, parameters: [["replication", "database"]] });
    await expect(walsender.query("IDENTIFY_SYSTEM")).rejects.toEqual(sqlstate("08P01"));
  });

  test("a role without REPLICATION is refused", async () => {
    await place.lab.primary.query("CREATE ROLE reader LOGIN");
    const target = targetOf(place.lab.primary, { user: "reader" });
    await expect(connectReplication(target)).rejects.toMatchObject({
      code: "client.server_refused",
      sqlstate: "42501",
    });
  });
});

describe("a physical stream", () => {
  test("brings the log of a write, and what is confirmed is seen by the server", async () => {
    const { primary } = place.lab;
    const connection = await open({ mode: "physical" }, [["application_name", "receiver"]]);
    const slot = slotName();
    await connection.createSlot(slot, { reserveWal: true });
    const from = (await position(primary)) & ~0xffffn;
    const stream = await connection.startPhysical({ slot, position: from, statusIntervalMs: 0 });
    await primary.query(
      "CREATE TABLE written (text text); INSERT INTO written VALUES ('a word to be found')",
    );
    const until = await position(primary);
    const events = stream[Symbol.asyncIterator]();
    const log: Buffer[] = [];
    let expected = from;
    for (const event of await take(events, ({ end }) => end >= until)) {
      if (!isData(event)) continue;
      expect(event.start).toBe(expected);
      expect(event.serverEnd).toBeGreaterThanOrEqual(event.end);
      expected = event.end;
      log.push(event.data);
    }
    expect(Buffer.concat(log).includes("a word to be found")).toBe(true);
    stream.confirm({ written: expected, flushed: expected - 8n, applied: expected - 16n });
    const seen = `SELECT concat_ws(' ', write_lsn, flush_lsn, replay_lsn) FROM pg_stat_replication WHERE application_name = 'receiver'`;
    const told = [expected, expected - 8n, expected - 16n].map(formatLsn).join(" ");
    await waitUntil(async () => (await ask(primary, seen)) === told, "the server has heard of it");
    expect(await slotPosition(primary, slot, "restart_lsn")).toBe(expected - 8n);
    // Nothing that was confirmed is lost, however soon the end comes, and nothing is taken back.
    stream.confirm({ flushed: expected });
    stream.confirm({ flushed: 1n });
    await stream.stop();
    expect(await connection.readSlot(slot)).toMatchObject({ restartPosition: expected });
  });

  test("tells how far it is without being asked", async () => {
    const { primary } = place.lab;
    const connection = await open({ mode: "physical" }, [["application_name", "teller"]]);
    await using stream = await connection.startPhysical({
      position: await position(primary),
      statusIntervalMs: 10,
    });
    const replied = "SELECT reply_time FROM pg_stat_replication WHERE application_name = 'teller'";
    await waitUntil(async () => (await ask(primary, replied)) !== null, "a first status");
    const first = await ask(primary, replied);
    await waitUntil(async () => (await ask(primary, replied)) !== first, "another status");
    expect(stream.nextTimeline).toBeUndefined();
  });

  test("answers a server that asks whether anybody is there", async () => {
    const parameters = [["options", "-c wal_sender_timeout=200ms"]] as const;
    const connection = await open({ mode: "physical" }, parameters);
    const stream = await connection.startPhysical({
      position: await position(place.lab.primary),
      statusIntervalMs: 0,
    });
    // Unanswered, the second request would be the end of the connection.
    let requests = 0;
    for await (const event of stream) {
      if (event.kind === "keepalive" && event.replyRequested && ++requests === 4) break;
    }
    expect((await connection.identifySystem()).timeline).toBe(1);
  });

  test("ends with its timeline, and goes on with the next", async () => {
    await using lab = await Lab.start({ standbys: 1 });
    const [primary, standby] = lab.nodes as [Lab["primary"], Lab["primary"]];
    await using connection = await connectReplication(targetOf(standby), { mode: "physical" });
    const { timeline, position: from } = await connection.identifySystem();
    const stream = await connection.startPhysical({ position: from & ~0xffffn, timeline });
    await primary.query("CREATE TABLE before AS SELECT 1");
    await lab.untilReplayed();
    await standby.promote();
    const events = await within(all(stream), "the timeline ends");
    const next = stream.nextTimeline;
    expect(next?.timeline).toBe(2);
    expect(events.findLast(isData)?.end).toBe(next?.position);
    const history = await connection.timelineHistory(2);
    expect(history).toMatchObject({ fileName: "00000002.history" });
    expect(history.content).toContain(formatLsn(next?.position ?? 0n).split("/")[1]);
    const position = (next?.position ?? 0n) & ~0xffffn;
    await using more = await connection.startPhysical({ position, timeline: 2 });
    await standby.query("CREATE TABLE after AS SELECT 'on the second timeline'");
    for await (const event of more) if (isData(event) && event.data.includes("on the second timeline")) break;
    // A timeline that has ended where one asks to begin is told of at once, without any data.
    const nothing = await connection.startPhysical({ position: next?.position ?? 0n, timeline: 1 });
    expect(await all(nothing)).toEqual([]);
    expect(nothing.nextTimeline).toEqual(next);
  });
});

describe("a logical stream", () => {
  test("brings changes, and goes on behind what was confirmed", async () => {
    const { primary } = place.lab;
    const { name, stream, start } = await subscribe();
    await primary.query(`INSERT INTO ${name} VALUES (1, 'one'), (2, 'two')`);
    const events = stream[Symbol.asyncIterator]();
    const first = (await take(events, (event) => isMessage(event, "C"))).filter(isData);
    expect(first.map(({ data }) => String.fromCharCode(data[0] as number)).join("")).toBe("BRIIC");
    expect(Math.abs((first[0]?.time.getTime() ?? 0) - Date.now())).toBeLessThan(3_600_000);
    const end = first.at(-1)?.end ?? 0n;
    expect(stream.positions.flushed).toBeLessThan(end);
    stream.confirm({ flushed: end });
    await waitUntil(
      async () => (await slotPosition(primary, name, "confirmed_flush_lsn")) >= end,
      "the slot is where it was confirmed",
    );
    await stream.stop();
    expect(await events.next()).toEqual({ done: true, value: undefined });
    await primary.query(`INSERT INTO ${name} VALUES (3, 'three')`);
    await using again = await start();
    const second = await take(again[Symbol.asyncIterator](), (event) => isMessage(event, "C"));
    const inserts = second.filter((event) => isMessage(event, "I"));
    expect(inserts.map(({ data }) => data.includes("three"))).toEqual([true]);
  });

  test("what was not confirmed comes again", async () => {
    const { name, stream, start } = await subscribe();
    await place.lab.primary.query(`INSERT INTO ${name} VALUES (1, 'again')`);
    for await (const event of stream) if (isMessage(event, "C")) break;
    const events = (await start())[Symbol.asyncIterator]();
    const repeated = await take(events, (event) => isMessage(event, "C"));
    expect(repeated.some((event) => isMessage(event, "I") && event.data.includes("again"))).toBe(true);
    await events.return?.();
  });

  test("without changes of its own lets the server throw away the log of others", async () => {
    const { primary } = place.lab;
    const { name, connection, stream } = await subscribe({ statusIntervalMs: 10 });
    const taking = all(stream);
    await primary.query("CREATE TABLE others AS SELECT generate_series(1, 1000)");
    const until = await position(primary);
    await waitUntil(
      async () => (await slotPosition(primary, name, "confirmed_flush_lsn")) >= until,
      "the slot has followed",
    );
    // A change that is not confirmed holds it, whatever comes behind.
    await primary.query(`INSERT INTO ${name} VALUES (1, 'held')`);
    const held = await position(primary);
    await primary.query("INSERT INTO others SELECT generate_series(1, 1000)");
    const beyond = await position(primary);
    await waitUntil(() => stream.positions.written >= beyond, "the keepalives behind it have come");
    expect(stream.positions.flushed).toBeLessThan(held);
    stream.confirm({ flushed: held });
    await primary.query("INSERT INTO others SELECT generate_series(1, 1000)");
    const last = await position(primary);
    await waitUntil(
      async () => (await slotPosition(primary, name, "confirmed_flush_lsn")) >= last,
      "the slot follows again",
    );
    await connection.close();
    expect((await taking).some((event) => isMessage(event, "C"))).toBe(true);
  });

  test("is read no faster than it is taken", async () => {
    const { primary } = place.lab;
    const { name, stream } = await subscribe();
    await primary.query(`INSERT INTO ${name} SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i`);
    const waits = `SELECT wait_event FROM pg_stat_activity JOIN pg_replication_slots ON pid = active_pid WHERE slot_name = '${name}'`;
    await waitUntil(async () => (await ask(primary, waits)) === "WalSenderWriteData", "the server waits");
    // Time enough to read all of it, if it were read.
    await ask(primary, "SELECT count(*) FROM generate_series(1, 5000000)");
    expect(await ask(primary, waits)).toBe("WalSenderWriteData");
    let inserts = 0;
    for await (const event of stream) {
      if (isMessage(event, "I")) inserts++;
      if (isMessage(event, "C")) break;
    }
    expect(inserts).toBe(50_000);
  });

  test("can be left in the middle of a large transaction", async () => {
    const { primary } = place.lab;
    const { name, connection, stream } = await subscribe();
    await primary.query(`INSERT INTO ${name} SELECT i, repeat('x', 500) FROM generate_series(1, 50000) i`);
    let inserts = 0;
    for await (const event of stream) if (isMessage(event, "I") && ++inserts === 10) break;
    expect((await connection.identifySystem()).timeline).toBe(1);
    await connection.dropSlot(name);
  });
});

describe("the end of a stream", () => {
  test("by a signal rejects with its reason, once the connection can be used", async () => {
    const control = new AbortController();
    const { connection, stream, name } = await subscribe({ signal: control.signal });
    const taking = all(stream);
    await place.lab.primary.query(`INSERT INTO ${name} VALUES (1, 'x')`);
    control.abort(new Error("enough"));
    await expect(taking).rejects.toThrow("enough");
    expect((await connection.identifySystem()).timeline).toBe(1);
    await expect(connection.startLogical({ slot: name, signal: control.signal })).rejects.toThrow("enough");
  });

  test("by a signal before it begins cancels what the server waits for", async () => {
    const { primary } = place.lab;
    const connection = await open();
    await using blocker = await primary.connect();
    await blocker.query("BEGIN; CREATE TABLE blocking (a int)");
    const control = new AbortController();
    const name = slotName();
    const creating = connection.createSlot(name, { plugin: "pgoutput", signal: control.signal });
    const waits = `SELECT active_pid FROM pg_replication_slots WHERE slot_name = '${name}'`;
    await waitUntil(async () => (await ask(primary, waits)) !== null, "the slot is being made");
    control.abort(new Error("too long"));
    await expect(creating).rejects.toThrow("too long");
    await blocker.query("ROLLBACK");
    await expect(connection.dropSlot(name)).rejects.toEqual(sqlstate("42704"));
  });

  test("while it runs, all else is refused; its events are taken once", async () => {
    const { connection, stream, name } = await subscribe();
    const refused = { code: "client.replication_active", sqlstate: "55000" };
    await expect(connection.identifySystem()).rejects.toMatchObject(refused);
    await expect(connection.baseBackup()).rejects.toMatchObject(refused);
    await expect(connection.startLogical({ slot: name })).rejects.toMatchObject(refused);
    const events = stream[Symbol.asyncIterator]();
    const next = events.next();
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "client.query_taken" });
    await stream.stop();
    expect((await next).done === true || (await events.next()).done).toBe(true);
    expect((await connection.identifySystem()).timeline).toBe(1);
  });

  test("closing the connection ends it, also where nobody takes anything", async () => {
    const { primary } = place.lab;
    const { connection, name } = await subscribe();
    await primary.query(`INSERT INTO ${name} SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i`);
    await within(connection.close(), "the connection is closed");
    expect(await connection.closed).toBeUndefined();
    const active = `SELECT active FROM pg_replication_slots WHERE slot_name = '${name}'`;
    await waitUntil(async () => (await ask(primary, active)) === "f", "the slot is free");
  });

  test("a destroyed connection rejects, and a slot that is in use is told", async () => {
    const { connection, stream, name } = await subscribe();
    const other = await open();
    await expect(other.startLogical({ slot: name })).rejects.toEqual(sqlstate("55006"));
    await expect(other.dropSlot(name)).rejects.toEqual(sqlstate("55006"));
    const taking = all(stream);
    connection.destroy();
    await expect(taking).rejects.toMatchObject({ code: "client.connection_closed", sqlstate: "08003" });
    await expect(stream.stop()).rejects.toMatchObject({ code: "client.connection_closed" });
    await stream[Symbol.asyncDispose]();
    await other.dropSlot(name, { wait: true });
  });

  test("a server that is stopped waits for nobody, and one that is killed is a lost connection", async () => {
    await using lab = await Lab.start({ settings });
    const { primary } = lab;
    const lost = { code: "client.connection_lost" };
    for (const end of [() => primary.stop("fast"), () => primary.kill()]) {
      await primary.start();
      await using connection = await connectReplication(targetOf(primary), { mode: "physical" });
      const stream = await connection.startPhysical({ position: (await position(primary)) & ~0xffffn });
      await primary.query("CREATE TABLE IF NOT EXISTS last AS SELECT 'the last words'");
      let words = false;
      const taking = (async () => {
        for await (const event of stream) words ||= isData(event) && event.data.includes("the last words");
      })();
      const rejected = expect(taking).rejects.toMatchObject(lost);
      await waitUntil(() => words, "it streams");
      await end();
      await rejected;
      await expect(stream.stop()).rejects.toMatchObject(lost);
      expect(connection.usable).toBe(false);
    }
  });
});
