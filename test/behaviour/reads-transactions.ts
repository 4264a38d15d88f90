/** Read-only transactions in auto mode: on a standby as a whole. The nodes tell by their own ports where a statement ran. */
import { expect, test } from "vitest";
import type { Lab, LabNode } from "../../src/lab/index.ts";
import { waitUntil } from "../kit/wait.ts";
import { type nodesOf, nodesThatRan } from "./node-kit.ts";
import {
  type Client,
  execute,
  type Outcome,
  type Pooled,
  type PooledOptions,
  parse,
  query,
  sync,
} from "./pooled.ts";

export interface ReadsKit {
  readonly lab: () => Lab;
  readonly pooled: () => Pooled;
  /** With reads on standbys, these settings, and [nodes.NAME] if they are not the lab's as they are. */
  readonly reload: (
    settings: Readonly<Record<string, unknown>>,
    nodes?: ReturnType<typeof nodesOf>,
  ) => Promise<void>;
  readonly options: (settings: Readonly<Record<string, unknown>>) => PooledOptions;
  readonly untilOnStandby: (client: Client) => Promise<void>;
  /** Replay of all standbys, paused or not. */
  readonly replay: (paused: boolean) => Promise<void>;
}

const count = "select count(*) from things";
export const port = "select current_setting('port')";

/** Of an answer that tells a port. */
export function roleOf(
  { lab }: ReadsKit,
  { rows, error }: Pick<Outcome, "rows" | "error">,
): string | undefined {
  return error?.code ?? lab().nodes.find((node) => node.port === Number(rows[0]?.[0]))?.role;
}

/** Runs texts, and tells of each the role of the node that has answered, or the SQLSTATE, or the command tag. */
export async function outcomes(kit: ReadsKit, client: Client, texts: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const text of texts) {
    const outcome = await client.run(text);
    found.push(roleOf(kit, outcome) ?? outcome.tags[0] ?? "");
  }
  return found;
}

/** Where a transaction runs of which this is the beginning. */
async function roleBehind(
  kit: ReadsKit,
  client: Client,
  begin: string,
  first: string = port,
): Promise<string> {
  const [, , role = ""] = await outcomes(kit, client, [begin, first, "select inet_server_port()", "commit"]);
  return role;
}

export async function kill(node: LabNode, where: string): Promise<void> {
  await node.query(
    `select pg_terminate_backend(pid, 10000) from pg_stat_activity where pid <> pg_backend_pid() and ${where}`,
  );
}

/** A client of a pooler that reads on standbys whatever was written. */
export async function reader(kit: ReadsKit): Promise<Client> {
  await kit.reload({ read_your_writes: "none" });
  const client = await kit.pooled().connect();
  await kit.untilOnStandby(client);
  return client;
}

export function readOnlyTransactions(kit: ReadsKit): void {
  anyWords(kit);
  extendedProtocol(kit);
  readOnlyByDefault(kit);
  onPrimary(kit);
  ownWrites(kit);
  moved(kit);
  notMoved(kit);
  staysThere(kit);
  standbyLost(kit);
  limits(kit);
}

function anyWords(kit: ReadsKit): void {
  test("BEGIN READ ONLY in any words: the transaction runs on a standby as a whole, and its server is shared again", async () => {
    using client = await reader(kit);
    for (const begin of [
      "begin read only",
      "START TRANSACTION READ ONLY",
      "begin work isolation level repeatable read, read only",
      "begin deferrable, read only",
    ]) {
      expect(
        await outcomes(kit, client, [begin, port, "select inet_server_port()", count, "commit"]),
        begin,
      ).toEqual([
        /start/i.test(begin) ? "START TRANSACTION" : "BEGIN",
        "standby",
        "standby",
        "SELECT 1",
        "COMMIT",
      ]);
    }
    await kit.pooled().untilServers(kit.pooled().pooler.counts.servers);
    using other = await kit.pooled().connect();
    await other.run("insert into things values (1)");
    expect(await outcomes(kit, client, ["insert into things values (2)", port])).toEqual([
      "INSERT 0 1",
      "standby",
    ]);
  });
}

function extendedProtocol(kit: ReadsKit): void {
  test("the same in the extended protocol, with the client's settings and prepared statements", async () => {
    using client = await reader(kit);
    await client.run("set datestyle to german");
    await client.ask(parse("begins", "begin read only"), sync);
    await client.ask(
      parse(
        "dated",
        "select date '2026-11-28', inet_server_port() from things right join (values (1)) v on true",
      ),
      sync,
    );
    await client.ask(parse("asks", "select $1::text, current_setting('port')"), sync);
    for (let turn = 0; turn < 3; turn++) {
      expect((await client.ask(...execute("begins"), sync)).status).toBe("T");
      const [[text, first] = []] = (await client.ask(...execute("asks", ["a"]), sync)).rows;
      const [[date, second] = []] = (await client.ask(...execute("dated"), sync)).rows;
      expect([text, date, second]).toEqual(["a", "28.11.2026", first]);
      expect([turn, roleOf(kit, { rows: [[first ?? null]], error: undefined })]).toEqual([turn, "standby"]);
      // A portal that is read in parts.
      const bind = {
        kind: "Bind",
        portal: "p",
        statement: "",
        formats: [],
        values: [],
        resultFormats: [],
      } as const;
      const part = { kind: "Execute", portal: "p", maxRows: 2 } as const;
      const parts = await client.ask(parse("", "select generate_series(1, 3)"), bind, part, sync);
      expect(parts.rows).toEqual([["1"], ["2"]]);
      expect((await client.ask(part, sync)).rows).toEqual([["3"]]);
      expect((await client.run("commit")).status).toBe("I");
    }
    // Everything in one write, and a batch in parts.
    client.send(query("begin read only"), query(port), query("select inet_server_port()"), query("commit"));
    const roles: unknown[] = [];
    for (let unit = 0; unit < 4; unit++) roles.push(roleOf(kit, await client.outcome()));
    expect(roles).toEqual([undefined, "standby", "standby", undefined]);
    await client.run("begin read only");
    expect(roleOf(kit, await client.run(port))).toBe("standby");
    client.send(
      parse("", "select $1::int4 + inet_server_port() - 1"),
      { kind: "Describe", target: "statement", name: "" },
      { kind: "Flush" },
    );
    await client.raw.until("RowDescription");
    client.send(...execute("", ["1"]), { kind: "Flush" });
    await client.raw.until("CommandComplete");
    client.send(sync);
    expect((await client.outcome()).status).toBe("T");
    expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
  });
}

function readOnlyByDefault(kit: ReadsKit): void {
  test("default_transaction_read_only: set by the client, for its role, or by SET SESSION CHARACTERISTICS", async () => {
    using client = await reader(kit);
    expect(await roleBehind(kit, client, "begin")).toBe("primary");
    for (const [on, off] of [
      ["set default_transaction_read_only = on", "reset default_transaction_read_only"],
      [
        "set session characteristics as transaction read only",
        "set session characteristics as transaction read write",
      ],
    ] as const) {
      await client.run(on);
      expect([on, await roleBehind(kit, client, "begin")]).toEqual([on, "standby"]);
      expect(await roleBehind(kit, client, "begin read write")).toBe("primary");
      await client.run(off);
      expect(await roleBehind(kit, client, "begin")).toBe("primary");
    }
    const { primary } = kit.lab();
    await primary.query("create role reports login");
    await primary.query("alter role reports set default_transaction_read_only = on");
    await kit.lab().untilReplayed();
    using report = await kit.pooled().connect({ user: "reports" });
    await kit.untilOnStandby(report);
    expect(await roleBehind(kit, report, "begin")).toBe("standby");
    report.destroy();
    await kit.pooled().untilSessions(1);
  });
}

function onPrimary(kit: ReadsKit): void {
  test("what only a primary can do, or is told to, begins there", async () => {
    using client = await reader(kit);
    const hint = "/* pgsluice: primary */ ";
    for (const [begin, first] of [
      ["begin isolation level serializable, read only", port],
      [`${hint}begin read only`, port],
      ["begin read only", hint + port],
      ["begin read only", "select pg_advisory_xact_lock(1)"],
      ["begin read only", "select pg_current_wal_lsn()"],
      ["begin read only", "set local transaction_read_only = on"],
      ["begin read only", "set local pgsluice.route = 'primary'"],
      ["begin read only", "select set_config('a.b', (select count(*)::text from things), true)"],
      ["begin read only", "declare c cursor with hold for select 1"],
    ] as const) {
      expect([begin, first, await roleBehind(kit, client, begin, first)]).toEqual([begin, first, "primary"]);
      await client.run("close all");
      await kit.untilOnStandby(client);
    }
    const [near, far] = kit.lab().standbys as [LabNode, LabNode];
    for (const node of [near, far]) {
      expect((await client.run(`/* pgsluice: node=${node.name} */ begin read only`)).status).toBe("T");
      expect(await client.value(port)).toBe(String(node.port));
      await client.run("rollback");
    }
    await client.run("set pgsluice.route = 'primary'");
    expect(await roleBehind(kit, client, "begin read only")).toBe("primary");
    await client.run("reset pgsluice.route");
    await kit.untilOnStandby(client);
    expect(await roleBehind(kit, client, "begin read only")).toBe("standby");
    // SET TRANSACTION READ WRITE as PostgreSQL has it: before the first query, and not behind it.
    const insert = "insert into things values (1)";
    const set = "set transaction read write";
    expect(await outcomes(kit, client, ["begin read only", set, insert, "commit"])).toEqual([
      "BEGIN",
      "SET",
      "INSERT 0 1",
      "COMMIT",
    ]);
    expect(await outcomes(kit, client, ["begin read only", port, set, count, "commit"])).toEqual([
      "BEGIN",
      "standby",
      "25001",
      "25P02",
      "ROLLBACK",
    ]);
  });
}

function ownWrites(kit: ReadsKit): void {
  test("read_your_writes: the transaction sees what its client has written", async () => {
    await kit.reload({});
    using client = await kit.pooled().connect();
    await kit.untilOnStandby(client);
    await kit.replay(true);
    await client.run("insert into things values (1)");
    await client.run("begin read only");
    expect(await client.value(count)).toBe("1");
    expect(roleOf(kit, await client.run(port))).toBe("primary");
    await client.run("commit");
    await kit.replay(false);
    await kit.untilOnStandby(client);
    await client.run("begin read only");
    expect(await client.value(count)).toBe("1");
    expect(roleOf(kit, await client.run(port))).toBe("standby");
    await client.run("commit");
  });
}

function moved(kit: ReadsKit): void {
  test("a statement for the primary in the middle of it moves the transaction there, unseen", async () => {
    using client = await reader(kit);
    for (const statement of [
      "select pg_advisory_xact_lock(7)",
      "listen something",
      "lock table things in access share mode",
      "select pg_export_snapshot()",
      "set application_name = 'moved'",
      "/* pgsluice: primary */ select 1",
      "declare c cursor with hold for select 1",
    ]) {
      await client.run("begin read only");
      expect(roleOf(kit, await client.run(port))).toBe("standby");
      const { error, status } = await client.run(statement);
      expect([statement, error, status]).toEqual([statement, undefined, "T"]);
      expect(roleOf(kit, await client.run(port))).toBe("primary");
      expect((await client.run("insert into things values (1)")).error?.code).toBe("25006");
      expect((await client.run("rollback")).status).toBe("I");
      await client.run("discard all");
      await kit.untilOnStandby(client);
    }
    // The standby's servers have no transaction left.
    const open = "select 1 from pg_stat_activity where state like 'idle in transaction%'";
    await waitUntil(async () => {
      const found = await Promise.all(kit.lab().standbys.map((node) => node.query(open)));
      return found.every(({ rows }) => rows.length === 0);
    }, "no transaction is open");
  });
}

function notMoved(kit: ReadsKit): void {
  test("where it cannot be moved it fails with 40001, and runs on the primary when it is tried again", async () => {
    for (const [begin, between] of [
      ["begin isolation level repeatable read, read only", "select 1"],
      ["begin isolation level repeatable read, read only", "set local timezone to 'Asia/Tokyo'"],
      ["begin read only", "declare c cursor for select 1"],
    ] as const) {
      using client = await reader(kit);
      const lock = "select pg_advisory_xact_lock(7)";
      await outcomes(kit, client, [begin, port, between]);
      expect(await outcomes(kit, client, [lock, port, "rollback"])).toEqual(["40001", "25P02", "ROLLBACK"]);
      expect(await outcomes(kit, client, [begin, port, lock, "commit"])).toEqual([
        "BEGIN",
        "primary",
        "SELECT 1",
        "COMMIT",
      ]);
      expect(await client.value("show timezone")).not.toBe("Asia/Tokyo");
    }
  });
}

function staysThere(kit: ReadsKit): void {
  test("savepoints, cursors, local settings and AND CHAIN stay on the standby", async () => {
    using client = await reader(kit);
    const texts = [
      "begin read only",
      port,
      "set local timezone to 'Asia/Tokyo'",
      "savepoint a",
      "select 1 / 0",
      "rollback to a",
      "declare c cursor for select inet_server_port() from generate_series(1, 3)",
      "fetch 1 from c",
      "close c",
      "commit and chain",
      port,
      "commit",
    ];
    expect(await outcomes(kit, client, texts)).toEqual([
      "BEGIN",
      "standby",
      "SET",
      "SAVEPOINT",
      "22012",
      "ROLLBACK",
      "DECLARE CURSOR",
      "standby",
      "CLOSE CURSOR",
      "COMMIT",
      "standby",
      "COMMIT",
    ]);
    expect(await client.value("show timezone")).not.toBe("Asia/Tokyo");
    const changed = [
      "begin read only",
      port,
      "commit and chain",
      "set transaction read write",
      "insert into things values (1)",
      "commit",
    ];
    expect(await outcomes(kit, client, changed)).toEqual([
      "BEGIN",
      "standby",
      "COMMIT",
      "SET",
      "INSERT 0 1",
      "COMMIT",
    ]);
  });
}

function standbyLost(kit: ReadsKit): void {
  test("a standby that is lost: an ERROR in the statement that ran or the next one, and the session goes on", async () => {
    using client = await reader(kit);
    const [node] = kit.lab().standbys as [LabNode];
    const begin = `/* pgsluice: node=${node.name} */ begin isolation level repeatable read, read only`;
    // While it is idle.
    expect(await outcomes(kit, client, [begin, port])).toEqual(["BEGIN", "standby"]);
    await kit.pooled().losingServer(() => kill(node, "state = 'idle in transaction'"));
    expect(await outcomes(kit, client, [count, count, "rollback"])).toEqual(["57P01", "25P02", "ROLLBACK"]);
    // While it runs a statement.
    expect(await outcomes(kit, client, [begin, port])).toEqual(["BEGIN", "standby"]);
    const endless = "select count(*) as lost from generate_series(1, 4000000000) a";
    const running = client.run(endless);
    await waitUntil(
      async () => (await nodesThatRan(kit.lab(), endless)).includes(node),
      "it runs on the standby",
    );
    await kill(node, "query like '%as lost from%'");
    expect(await running).toMatchObject({ error: { code: "57P01", severity: "ERROR" }, status: "E" });
    expect(await outcomes(kit, client, [count, "rollback", count])).toEqual([
      "25P02",
      "ROLLBACK",
      "SELECT 1",
    ]);
    await kit.untilOnStandby(client);
    // Nothing was seen that would not be there elsewhere: nobody notices.
    expect(await outcomes(kit, client, ["begin read only", port])).toEqual(["BEGIN", "standby"]);
    await kit.pooled().losingServer(async () => {
      for (const one of kit.lab().standbys) await kill(one, "state = 'idle in transaction'");
    });
    expect((await client.run(count)).status).toBe("T");
    expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
  });
}

function limits(kit: ReadsKit): void {
  test("a statement in it can be cancelled, and its own time limits end the session as everywhere", async () => {
    using client = await reader(kit);
    expect(await outcomes(kit, client, ["begin read only", port])).toEqual(["BEGIN", "standby"]);
    const endless = "select count(*) as canceled from generate_series(1, 4000000000) a";
    const running = client.run(endless);
    await waitUntil(async () => (await nodesThatRan(kit.lab(), endless)).length > 0, "it runs");
    expect((await nodesThatRan(kit.lab(), endless)).map(({ role }) => role)).toEqual(["standby"]);
    await client.cancel();
    expect(await running).toMatchObject({ error: { code: "57014" }, status: "E" });
    expect(await outcomes(kit, client, ["rollback", "set idle_in_transaction_session_timeout = 50"])).toEqual(
      ["ROLLBACK", "SET"],
    );
    await kit.untilOnStandby(client);
    await client.run("begin read only");
    client.send(query(port));
    await client.raw.until("ReadyForQuery");
    const words = await client.raw.rest();
    expect(words).toMatchObject([{ kind: "ErrorResponse", fields: { severity: "FATAL", code: "25P03" } }]);
  });
}
