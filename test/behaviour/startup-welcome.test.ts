/** What a client is told when its session begins, and with which settings it then works. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { protocolVersion32, TransactionStatus } from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, type RawSession, rawCancel, rawClient } from "../kit/raw-client.ts";
import { ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { errorOf, startPooler, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();

/** One server, so that whoever comes gets the one that the others have used. */
const oneServer = { pool_mode: "transaction", default_pool_size: 1 } as const;

/** A name that no pooler can foretell the server's spelling of, so that a server must be asked. */
const asksServer = "ünïcode";

async function direct(parameters: readonly (readonly [string, string])[]): Promise<RawSession> {
  const client = await rawClient(place.lab.primary.port);
  const session = await client.startup({ parameters });
  client.destroy();
  return session;
}

function kindsOf(session: RawSession): string[] {
  const kinds = session.messages.map(({ kind }) => kind);
  return kinds.filter((kind, index) => kind !== kinds[index - 1]);
}

describe("order", () => {
  let pooler: TestPooler;
  beforeAll(async () => {
    pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test.each([
    ["with a new server", []],
    ["of a server that was used before", []],
    ["when a server has to be asked", [["application_name", asksServer]]],
  ] as const)("acceptance 52, 54: the wire order of a welcome %s", async (_what, parameters) => {
    const { client, session } = await pooler.login({ parameters });
    expect(kindsOf(session)).toEqual([
      "AuthenticationOk",
      "BackendKeyData",
      "ParameterStatus",
      "ReadyForQuery",
    ]);
    expect(session.messages.at(-1)).toEqual({ kind: "ReadyForQuery", status: TransactionStatus.idle });
    await client.close();
  });

  test("acceptance 52, 53: every parameter is reported that PostgreSQL reports, each once", async () => {
    const { client, session } = await pooler.login({ parameters: [["application_name", "same"]] });
    const own = await direct([["application_name", "same"]]);
    expect(session.parameters).toEqual(own.parameters);
    const reports = session.messages.filter(({ kind }) => kind === "ParameterStatus");
    expect(reports).toHaveLength(own.parameters.size);
    client.destroy();
  });

  test("acceptance 52, 71: the key is not the server's own, and no two clients have the same", async () => {
    const logins = await Promise.all(Array.from({ length: 20 }, () => pooler.login()));
    const keys = logins.map(({ session }) => `${session.pid} ${session.key.toString("hex")}`);
    expect(new Set(keys).size).toBe(keys.length);
    for (const { client, session } of logins) {
      expect(session.pid).toBeGreaterThan(0);
      expect(session.key).toHaveLength(4);
      expect(await value(client, "select pg_backend_pid()")).not.toBe(String(session.pid));
      client.destroy();
    }
  });
});

describe("values", () => {
  const settings: readonly (readonly [string, string])[] = [
    ["DateStyle", "German, DMY"],
    ["TimeZone", "Asia/Tokyo"],
    ["IntervalStyle", "iso_8601"],
    ["client_encoding", "LATIN1"],
    ["standard_conforming_strings", "off"],
    ["application_name", "of the first"],
    ["search_path", "pg_catalog"],
    ["default_transaction_read_only", "on"],
  ];

  test.each([
    ["from what is known", []],
    ["when a server has to be asked", [["application_name", asksServer]]],
    [
      "when several values have to be asked for",
      [
        ["timezone", "utc"],
        ["intervalstyle", "SQL_standard"],
      ],
    ],
  ] as const)(
    "acceptance 53: what another client has SET is not told to the next one, %s",
    async (_what, parameters) => {
      await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
      const { client: first } = await pooler.login();
      for (const [name, to] of settings) await first.rows(`set ${name} to ${quoted(to)}`);
      expect(await value(first, "show datestyle")).toBe("German, DMY");
      // The first one stays: the server is given on with all its settings.
      const { client: next, session } = await pooler.login({ parameters });
      const own = await direct(parameters);
      expect(session.parameters).toEqual(own.parameters);
      for (const [name] of settings) {
        expect([name, await value(next, `show ${name}`)]).toEqual([name, own.parameters.get(name)]);
      }
      // And the first one has lost nothing.
      for (const [name, to] of settings) expect(await value(first, `show ${name}`)).toBe(to);
      await first.close();
      await next.close();
    },
  );

  test("acceptance 53: half a value is completed from the defaults, not from another client's", async () => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    const { client: first } = await pooler.login();
    await first.rows("set datestyle to 'German, YMD'");
    for (const style of ["DMY", "iso", "sql", "postgres, mdy"]) {
      const { client, session } = await pooler.login({ parameters: [["datestyle", style]] });
      const own = await direct([["datestyle", style]]);
      expect(session.parameters.get("DateStyle")).toBe(own.parameters.get("DateStyle"));
      expect(await value(client, "show datestyle")).toBe(own.parameters.get("DateStyle"));
      client.destroy();
    }
    first.destroy();
  });

  test.each([
    "it's",
    "back\\slash",
    "'; select pg_terminate_backend(pg_backend_pid()); --",
    "E'\\'' || \"quoted\"",
    "x".repeat(63),
    "x".repeat(64),
    "x".repeat(5000),
    `${"x".repeat(62)}ü`,
    "line\nbreak\ttab",
    "",
    " blank at both ends ",
    "100 % café ☕",
  ])("acceptance 33, 55: application_name %j is what PostgreSQL makes of it", async (name) => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    const parameters = [["application_name", name]] as const;
    const own = await direct(parameters);
    for (const _again of ["asked for", "remembered"]) {
      const { client, session } = await pooler.login({ parameters });
      expect(session.parameters.get("application_name")).toBe(own.parameters.get("application_name"));
      expect(await value(client, "show application_name")).toBe(own.parameters.get("application_name"));
      const seen = "select application_name from pg_stat_activity where pid = pg_backend_pid()";
      expect(await value(client, seen)).toBe(own.parameters.get("application_name"));
      await client.close();
    }
  });

  test("acceptance 55: names that need quotes mean the same when backslashes are special", async () => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    const name = "a\\'b\\\\";
    const { client } = await pooler.login({
      parameters: [
        ["standard_conforming_strings", "off"],
        ["application_name", name],
      ],
    });
    const { client: other } = await pooler.login();
    for (const [who, expected] of [
      [client, name],
      [other, ""],
      [client, name],
    ] as const) {
      expect(await value(who, "show application_name")).toBe(expected);
    }
    client.destroy();
    other.destroy();
  });

  test.each([
    ["datestyle", "no such style"],
    ["timezone", "Nowhere/Nothing"],
    ["client_encoding", "klingon"],
    ["intervalstyle", "x"],
    ["standard_conforming_strings", "perhaps"],
    ["options", "-c no_such_setting=1"],
    // PgBouncer 1.26.0 and before never came back from this (1.26.1).
    ["options", "-c="],
    ["options", "-c =1"],
    ["options", "--=1"],
    ["no_such_setting", "1"],
  ])("a startup value that PostgreSQL refuses is refused in its words: %s=%s", async (name, text) => {
    await using pooler = await startPooler({
      node: place.lab.primary,
      settings: { ...oneServer, sqlstate_compat: "pgbouncer" },
    });
    const refusals = [];
    for (const port of [pooler.port, place.lab.primary.port]) {
      const client = await rawClient(port);
      client.sendStartup({ parameters: [[name, text]] });
      const { severity, code, message, detail, hint } = errorOf((await client.rest()).at(-1));
      refusals.push({ severity, code, message, detail, hint });
    }
    expect(refusals[0]).toEqual(refusals[1]);
    // Nobody else suffers from it.
    const { client } = await pooler.login();
    expect(await value(client, "select 1")).toBe("1");
    client.destroy();
  });
});

describe("servers", () => {
  test("acceptance 54: a server that was left inside a transaction is not handed on", async () => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    const { client: first } = await pooler.login();
    await first.rows("begin; create temp table left_behind ()");
    const pid = await value(first, "select pg_backend_pid()");
    first.destroy();
    const { client: next } = await pooler.login();
    expect(await next.query("select pg_current_xact_id_if_assigned()")).toContainEqual({
      kind: "ReadyForQuery",
      status: TransactionStatus.idle,
    });
    expect(await value(next, "select pg_backend_pid()")).not.toBe(pid);
    next.destroy();
  });

  test("acceptance 56: a server that breaks while a login uses it is replaced unseen", async () => {
    const welcome = [
      { kind: "AuthenticationOk" },
      { kind: "ParameterStatus", name: "application_name", value: "" },
      { kind: "ReadyForQuery", status: TransactionStatus.idle },
    ] as const;
    await using server = await ScriptedServer.start([
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send(...welcome);
        await peer.expect("Query");
        peer.stream.reset();
      },
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send(...welcome);
        await peer.expect("Query");
        peer.send(
          { kind: "ParameterStatus", name: "application_name", value: "asked" },
          { kind: "CommandComplete", tag: "SELECT 1" },
          { kind: "ReadyForQuery", status: TransactionStatus.idle },
        );
        await peer.closed;
      },
    ]);
    await using pooler = await startPooler({ node: { port: server.port }, settings: oneServer });
    const { client, session } = await pooler.login({ parameters: [["application_name", asksServer]] });
    expect(session.parameters.get("application_name")).toBe("asked");
    expect(server.accepted).toBe(2);
    client.destroy();
  });

  test("acceptance 46-48: clients with different options share the pool and do not evict each other", async () => {
    await using pooler = await startPooler({
      node: place.lab.primary,
      settings: { pool_mode: "transaction", default_pool_size: 4 },
    });
    const kinds = [
      [["options", "-c work_mem=1MB"]],
      [
        ["work_mem", "2MB"],
        ["extra_float_digits", "2"],
      ],
      [["application_name", "one"]],
      [["application_name", "two"]],
    ] as const;
    const pids = new Map<string, Set<string>>();
    for (let round = 0; round < 10; round++) {
      for (const parameters of kinds) {
        // The order of options makes no difference.
        const sent = round % 2 === 0 ? parameters : parameters.toReversed();
        const { client } = await pooler.login({ parameters: sent });
        const [row] = await client.rows("select current_setting('work_mem'), pg_backend_pid()");
        const [workMem = "", pid = ""] = row?.map(String) ?? [];
        pids.set(workMem, (pids.get(workMem) ?? new Set()).add(pid));
        await client.close();
      }
    }
    // Three kinds of server, one each: application_name follows its client to any.
    expect([...pids.keys()].toSorted()).toEqual(["1MB", "2MB", "4MB"]);
    for (const [workMem, used] of pids) expect([workMem, used.size]).toEqual([workMem, 1]);
    expect(pooler.log).not.toContain("closing server");
  });

  test("acceptance 47, 48: with room for one server they take turns, and nobody fails", async () => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    const clients: RawClient[] = [];
    for (const workMem of ["1MB", "2MB", "3MB"]) {
      clients.push((await pooler.login({ parameters: [["work_mem", workMem]] })).client);
    }
    const asked = clients.map((client) => client.rows("select current_setting('work_mem'), pg_sleep(0.01)"));
    expect((await Promise.all(asked)).map(([row]) => row?.[0])).toEqual(["1MB", "2MB", "3MB"]);
    for (const client of clients) client.destroy();
  });

  test("acceptance 47: names and values that would run together are told apart", async () => {
    await using pooler = await startPooler({
      node: place.lab.primary,
      settings: { pool_mode: "transaction", default_pool_size: 4 },
    });
    const seen: (string | null | undefined)[] = [];
    for (const parameters of [
      [["my.a", "b=c"]],
      [["my.a", "x"]],
      [
        ["my.a", "b=c"],
        ["my.b", ""],
      ],
    ] as const) {
      const { client } = await pooler.login({ parameters });
      seen.push(
        await value(client, "select concat(current_setting('my.a'), '/', current_setting('my.b', true))"),
      );
      await client.close();
    }
    expect(seen).toEqual(["b=c/", "x/", "b=c/"]);
  });
});

describe("protocol versions", () => {
  test("acceptance 32: 3.0 and 3.2 are spoken as they are asked for", async () => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    for (const [version, keyBytes] of [
      [0x3_0000, 4],
      [0x3_0002, 32],
    ] as const) {
      const { client, session } = await pooler.login({ version });
      expect(session.messages[0]?.kind).toBe("AuthenticationOk");
      expect(session.key).toHaveLength(keyBytes);
      client.destroy();
    }
  });

  test.each([
    ["a newer minor version", 0x3_0003, [], 0x3_0002, []],
    ["the newest there could be", 0x3_ffff, [], 0x3_0002, []],
    ["3.1, which does not exist", 0x3_0001, [], 0x3_0000, []],
    ["unknown options with 3.0", 0x3_0000, ["_pq_.one", "_pq_.two"], 0x3_0000, ["_pq_.one", "_pq_.two"]],
    ["unknown options with 3.2", 0x3_0002, ["_pq_.x"], 0x3_0002, ["_pq_.x"]],
    ["both", 0x3_0009, ["_pq_."], 0x3_0002, ["_pq_."]],
  ] as const)("acceptance 32: %s is negotiated", async (_what, asked, options, version, unsupported) => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    const { client, session } = await pooler.login({
      version: asked,
      parameters: options.map((name) => [name, "on"] as const),
    });
    expect(session.messages[0]).toEqual({ kind: "NegotiateProtocolVersion", version, unsupported });
    expect(session.messages[1]?.kind).toBe("AuthenticationOk");
    expect(session.key).toHaveLength(version === protocolVersion32 ? 32 : 4);
    // None of them reaches the server, where it would be an unknown setting.
    expect(await value(client, "select 1")).toBe("1");
    client.destroy();
  });

  test("acceptance 71: a long key cancels, a part of it does not", async () => {
    await using pooler = await startPooler({ node: place.lab.primary, settings: oneServer });
    const { client, session } = await pooler.login({ version: protocolVersion32 });
    const { client: watcher } = await pooler.login({ database: "template1" });
    const sleeping = client.query("select pg_sleep(60)");
    const running =
      "select count(*) from pg_stat_activity where query like '%pg_sleep(60)' and state = 'active'";
    await waitUntil(async () => (await value(watcher, running)) === "1", "the statement runs");
    await rawCancel(pooler.port, { pid: session.pid, key: session.key.subarray(0, 4) });
    expect(await value(watcher, running)).toBe("1");
    await rawCancel(pooler.port, session);
    expect(errorOf((await sleeping).find(({ kind }) => kind === "ErrorResponse"))).toMatchObject({
      code: "57014",
    });
    expect(await value(client, "select 'usable'")).toBe("usable");
    client.destroy();
    watcher.destroy();
  });
});

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
