/** Read-only transactions that begin with something else than a read, on a standby, and what becomes of it when they move or are lost. */
import { expect, test } from "vitest";
import { waitUntil } from "../kit/wait.ts";
import { execute, type Outcome, parse, sync } from "./pooled.ts";
import { kill, outcomes, port, type ReadsKit, reader, roleOf } from "./reads-transactions.ts";

/** What the client was told of a setting. */
function toldOf(name: string, { messages }: Outcome): string[] {
  return messages.flatMap((message) =>
    message.kind === "ParameterStatus" && message.name === name ? [message.value] : [],
  );
}

const tokyo = "set local timezone to 'Asia/Tokyo'";

export function openedTransactions(kit: ReadsKit): void {
  openedBySettings(kit);
  openedMeanwhile(kit);
  lostWithSettings(kit);
}

function openedBySettings(kit: ReadsKit): void {
  test("it may begin with what reads nothing: SET LOCAL, set_config, SHOW, savepoints", async () => {
    using client = await reader(kit);
    const first = await client.value("show timezone");
    const begin = "begin read only";
    for (const texts of [
      ["set local statement_timeout = 10000", tokyo],
      ["select set_config('timezone', 'Asia/Tokyo', true)"],
      ["show transaction_read_only", "savepoint a", tokyo, "release a"],
      ["savepoint a", tokyo, "rollback to a", "savepoint b", tokyo],
    ]) {
      await client.run(begin);
      for (const text of texts) expect([text, (await client.run(text)).status]).toEqual([text, "T"]);
      expect([texts, roleOf(kit, await client.run(port))]).toEqual([texts, "standby"]);
      expect(await client.value("show timezone")).toBe("Asia/Tokyo");
      // All of it is done again where the transaction moves to.
      expect((await client.run("select pg_advisory_xact_lock(7)")).status).toBe("T");
      expect(roleOf(kit, await client.run(port))).toBe("primary");
      expect(await client.value("show timezone")).toBe("Asia/Tokyo");
      expect([texts, toldOf("TimeZone", await client.run("commit"))]).toEqual([texts, [first]]);
      expect(await client.value("show timezone")).toBe(first);
      await kit.untilOnStandby(client);
    }
    // An error is the primary's word, and SET TRANSACTION READ WRITE is in time.
    expect(await outcomes(kit, client, [begin, "set local timezone to 'nowhere'", port, "rollback"])).toEqual(
      ["BEGIN", "22023", "25P02", "ROLLBACK"],
    );
    const writes = ["set transaction read write", "insert into things values (1)", "show timezone", "commit"];
    expect(await outcomes(kit, client, [begin, tokyo, ...writes])).toEqual([
      "BEGIN",
      "SET",
      "SET",
      "INSERT 0 1",
      "SHOW",
      "COMMIT",
    ]);
    // In the extended protocol; the next transaction by COMMIT AND CHAIN begins without it.
    await kit.untilOnStandby(client);
    await client.run(begin);
    const told = await client.ask(parse("", tokyo), ...execute(""), sync);
    expect([told.status, toldOf("TimeZone", told)]).toEqual(["T", ["Asia/Tokyo"]]);
    expect(await outcomes(kit, client, ["commit and chain", "listen x", port])).toEqual([
      "COMMIT",
      "LISTEN",
      "primary",
    ]);
    expect(await client.value("show timezone")).toBe(first);
    await client.run("rollback");
  });
}

function openedMeanwhile(kit: ReadsKit): void {
  test("it begins on a standby also while its client's own server is asked for the catalogs", async () => {
    const { primary } = kit.lab();
    using client = await reader(kit);
    await using holder = await primary.connect();
    await holder.query("begin; lock table pg_catalog.pg_policy in access exclusive mode");
    await primary.query("create function beside() returns int language sql as 'select 1'");
    await waitUntil(async () => {
      // Only for those who do something is it asked whether others have changed the catalogs.
      await client.run(port);
      const { rows } = await primary.query(
        "select count(*) from pg_locks where relation = 'pg_policy'::regclass and not granted",
      );
      return rows[0]?.[0] === "1";
    }, "the catalogs are read");
    expect(await outcomes(kit, client, ["begin read only", tokyo, port, "commit"])).toEqual([
      "BEGIN",
      "SET",
      "standby",
      "COMMIT",
    ]);
    await holder.query("rollback");
    await primary.query("drop function beside");
  });
}

function lostWithSettings(kit: ReadsKit): void {
  test("what was set in one that is lost is gone with it, and the client is told", async () => {
    using client = await reader(kit);
    const first = await client.value("show timezone");
    const lose = (): Promise<void> =>
      kit.pooled().losingServer(async () => {
        for (const node of kit.lab().standbys) await kill(node, "state like 'idle in transaction%'");
      });
    // It begins again, with it.
    expect(await outcomes(kit, client, ["begin read only", tokyo, port])).toEqual([
      "BEGIN",
      "SET",
      "standby",
    ]);
    await lose();
    expect(await client.value("show timezone")).toBe("Asia/Tokyo");
    expect(await outcomes(kit, client, [port, "commit"])).toEqual(["standby", "COMMIT"]);
    // It has failed before it is lost.
    expect(await outcomes(kit, client, ["begin read only", tokyo, "select 1 / 0"])).toEqual([
      "BEGIN",
      "SET",
      "22012",
    ]);
    await lose();
    expect(await outcomes(kit, client, [port, "rollback", "show timezone"])).toEqual([
      "25P02",
      "ROLLBACK",
      "SHOW",
    ]);
    expect(await client.value("show timezone")).toBe(first);
    // It cannot begin again.
    await kit.untilOnStandby(client);
    const begin = "begin isolation level repeatable read, read only";
    expect(await outcomes(kit, client, [begin, port, tokyo])).toEqual(["BEGIN", "standby", "SET"]);
    await lose();
    expect((await client.run(port)).error?.code).toBe("57P01");
    expect(toldOf("TimeZone", await client.run("rollback"))).toEqual([first]);
    expect(await client.value("show timezone")).toBe(first);
  });
}
