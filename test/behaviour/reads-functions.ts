/** Functions that an administrator lists as reading or as writing, and the function that says where a read goes: the nodes tell by their own ports where a call ran. */
import { expect, test } from "vitest";
import type { ReadRouteHook } from "../../src/index.ts";
import type { LabNode } from "../../src/lab/index.ts";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { nodesThatRan } from "./node-kit.ts";
import { execute, parse, sync } from "./pooled.ts";
import type { ReadsKit } from "./reads-transactions.ts";

export function listsOfFunctions(kit: ReadsKit): void {
  test("read_only_function_list: on a standby though volatile; write_function_list: never", async () => {
    const { primary, standbys } = kit.lab();
    await primary.query(
      "create function where_it_runs() returns text language plpgsql as $$ begin return current_setting('port'); end $$",
    );
    await kit.lab().untilReplayed();
    using client = await kit.pooled().connect();
    const asked = async (text: string): Promise<LabNode | undefined> => {
      const port = Number(await client.value(`select ${text}`));
      return kit.lab().nodes.find((node) => node.port === port);
    };
    await kit.reload({ read_your_writes: "none" });
    await kit.untilOnStandby(client);
    expect(await asked("where_it_runs()")).toBe(primary);
    await kit.reload({ read_your_writes: "none", read_only_function_list: ["where_.*", "a\\.b"] });
    await waitUntil(
      async () => standbys.includes((await asked("where_it_runs()")) ?? primary),
      "it is read there",
    );
    await kit.reload({
      read_your_writes: "none",
      read_only_function_list: ["where_.*"],
      write_function_list: ["public\\.where_it_runs", "current_setting"],
    });
    await waitUntil(
      async () => (await asked("public.where_it_runs()")) === primary,
      "it is listed as one that writes",
    );
    expect(await asked("current_setting('port')")).toBe(primary);
    expect(await asked("lower(pg_catalog.current_setting('port'))")).toBe(primary);
    await client.run("begin read only");
    expect(await asked("current_setting('port')")).toBe(primary);
    await client.run("commit");
    const refused = kit.reload({ write_function_list: ["a("] });
    await expect(refused).rejects.toThrow('pgsluice.write_function_list: "a(": Invalid regular expression');
    await primary.query("drop function where_it_runs()");
    await kit.reload({});
  });
}

export function noticesOnTheWay(kit: ReadsKit): void {
  test.each([true, false])(
    "multiplex = %s: what came before a plan was found out of date is not said twice",
    async (multiplex) => {
      const { primary, standbys } = kit.lab();
      const [near] = standbys as [LabNode];
      await primary.query(
        "create function noisy(int) returns int immutable language plpgsql as $$ begin raise notice 'noise'; return $1; end $$",
      );
      await kit.lab().untilReplayed();
      await kit.reload({ read_your_writes: "none", read_only_function_list: ["noisy"], multiplex });
      using client = await kit.pooled().connect();
      await kit.untilOnStandby(client);
      await client.run(`set pgsluice.route = 'node=${near.name}'`);
      await client.ask(
        parse("noise", `select noisy($1) as "${multiplex}"`),
        parse("things", "select * from things"),
        sync,
      );
      // Its argument is known when the call is planned: it is made then, in Bind.
      const [noise, things] = [execute("noise", ["1"]), execute("things")];
      const [bindNoise] = noise as [FrontendMessage & { kind: "Bind" }];
      const batch = [bindNoise, ...things, sync] as const;
      const kinds = async (): Promise<string[]> => {
        const { messages, error } = await client.ask(...batch);
        expect(error).toBeUndefined();
        return messages.map(({ kind }) => kind);
      };
      const told = ["NoticeResponse", "BindComplete", "BindComplete", "CommandComplete", "ReadyForQuery"];
      await waitToSee(
        async () => {
          await client.ask(...things, sync);
          return (await nodesThatRan(kit.lab(), "select * from things")).includes(near);
        },
        (seen) => seen,
        `it runs on ${near.name}`,
      );
      // Five times: then a plan is kept that makes the call when it runs.
      expect(await kinds()).toEqual(told);
      await primary.query("alter table things add other int");
      await kit.lab().untilReplayed();
      // On the primary the notice is news.
      expect((await kinds()).filter((kind) => kind !== "NoticeResponse")).toEqual(told.slice(1));
      expect(await kinds()).toEqual(told);
      await primary.query("drop function noisy(int)");
      await kit.reload({});
    },
  );
}

export function ofDatabases(kit: ReadsKit): void {
  test("load_balance_mode, read_only_function_list and write_function_list of a database count there instead", async () => {
    const { primary } = kit.lab();
    await primary.query(
      "create function where_it_is() returns text language plpgsql as $$ begin return current_setting('port'); end $$",
    );
    await kit.lab().untilReplayed();
    const list = ["where_.*"];
    const databases = {
      "*": {},
      alone: { dbname: "postgres", load_balance_mode: false },
      vouched: { dbname: "postgres", read_only_function_list: list },
      doubted: { dbname: "postgres", write_function_list: ["current_setting"] },
    };
    await kit.pooled().reload({ ...kit.options({ read_your_writes: "none" }), databases });
    const roles = async (database: string, texts: readonly string[]): Promise<unknown[]> => {
      using client = await kit.pooled().connect({ database });
      // The catalogs are known when a plain read goes where it belongs.
      const plain = "select case when true then current_setting('port') end";
      if (database === "postgres" || database === "vouched") await kit.untilOnStandby(client);
      else await client.value(plain);
      const found: unknown[] = [];
      for (const text of texts) {
        const port = Number(await client.value(`select ${text}`));
        found.push(kit.lab().nodes.find((node) => node.port === port)?.role);
      }
      return found;
    };
    const calls = ["current_setting('port')", "where_it_is()"];
    expect(await roles("postgres", calls)).toEqual(["standby", "primary"]);
    expect(await roles("vouched", calls)).toEqual(["standby", "standby"]);
    for (let turn = 0; turn < 3; turn++) {
      expect(await roles("alone", calls)).toEqual(["primary", "primary"]);
      expect(await roles("doubted", calls)).toEqual(["primary", "primary"]);
    }
    const wrong = { "*": { write_function_list: ["a("] } };
    await expect(kit.pooled().reload({ ...kit.options({}), databases: wrong })).rejects.toThrow(
      'databases."*".write_function_list: "a(": Invalid regular expression',
    );
    await primary.query("drop function where_it_is()");
    await kit.reload({});
  });
}

/** What the program that embeds the pooler says now. */
export const routed: { hook: ReadRouteHook | undefined } = { hook: undefined };

export function routeHook(kit: ReadsKit): void {
  test("routeRead: a function of the program says where reads go, and is passed over when it throws", async () => {
    await kit.reload({ read_your_writes: "none" });
    using client = await kit.pooled().connect({ parameters: [["application_name", "reports"]] });
    await kit.untilOnStandby(client);
    const asked = async (hint = ""): Promise<LabNode | undefined> => {
      const port = Number(await client.value(`${hint}select current_setting('port')`));
      return kit.lab().nodes.find((node) => node.port === port);
    };
    try {
      const seen = new Set<string>();
      for (const { name, role } of kit.lab().nodes) {
        routed.hook = ({ applicationName, database, user, nodes }) => {
          seen.add([applicationName, database, user, nodes.length].join());
          return { kind: "node", name };
        };
        for (let i = 0; i < 5; i++) expect((await asked())?.name).toBe(name);
        expect((await asked("/* pgsluice: primary */ "))?.role).toBe("primary");
        await client.run("begin read only");
        expect((await asked())?.role).toBe(role);
        await client.run("commit");
      }
      expect([...seen]).toEqual([`reports,postgres,postgres,${kit.lab().nodes.length}`]);
      routed.hook = () => {
        throw new Error("no idea");
      };
      for (let i = 0; i < 5; i++) expect((await asked())?.role).toBe("standby");
      const told = kit.pooled().log.filter(({ message }) => message === "routeRead has failed");
      expect(told).toHaveLength(1);
    } finally {
      routed.hook = undefined;
    }
  });
}
