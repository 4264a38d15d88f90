/** Functions that an administrator lists as reading or as writing: the nodes tell by their own ports where a call ran. */
import { expect, test } from "vitest";
import type { LabNode } from "../../src/lab/index.ts";
import { waitUntil } from "../kit/wait.ts";
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
