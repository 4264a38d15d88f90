/** Standbys that are behind: what each node may be, and that the nodes themselves show who still answers. */
import { expect, test } from "vitest";
import { waitUntil } from "../kit/wait.ts";
import { nodeRow, openConsole } from "./console-client.ts";
import { nodesOf } from "./node-kit.ts";
import type { ReadsKit } from "./reads-transactions.ts";

const count = "select count(*) from things";
const writeMuch = "insert into things select generate_series(1, 1000)";

export function lagOfStandbys(kit: ReadsKit): void {
  test.each([
    ["delay_threshold", { delay_threshold: 100 }],
    ["delay_threshold_by_time", { delay_threshold_by_time: 0.5 }],
  ])("%s: a standby over it gets no reads until it is well below", async (_, settings) => {
    await kit.reload({ read_your_writes: "none", ...settings });
    using client = await kit.pooled().connect();
    await kit.untilOnStandby(client);
    await kit.replay(true);
    await kit.lab().primary.query(writeMuch);
    await waitUntil(async () => (await client.value(count)) === "1000", "the primary is read instead");
    await kit.replay(false);
    await kit.untilOnStandby(client);
    expect(await client.value(count)).toBe("1000");
  });

  test.each([
    ["delay_threshold", 100, "0"],
    ["delay_threshold_by_time", 0.5, "0"],
  ])(
    "%s of a node: one standby loses its reads, the other keeps them, until a reload",
    async (name, strict, none) => {
      const { primary, standbys } = kit.lab();
      const [near, far] = standbys;
      if (near === undefined || far === undefined) throw new Error("two standbys are needed");
      const all = nodesOf(kit.lab());
      const nodes = {
        ...all,
        [near.name]: { ...all[near.name], [name]: strict },
        [far.name]: { ...all[far.name], [name]: 0 },
      };
      // What holds for all is as strict, but for the node that says otherwise.
      const settings = { read_your_writes: "none", admin_users: ["postgres"], [name]: strict };
      await kit.reload(settings, nodes);
      using client = await kit.pooled().connect();
      using console = await openConsole(kit.pooled());
      const reader = async (): Promise<number> =>
        Number(await client.value("select current_setting('port')"));
      const readers = async (turns: number): Promise<Set<number>> => {
        const seen = new Set<number>();
        for (let turn = 0; turn < turns; turn++) seen.add(await reader());
        return seen;
      };
      await waitUntil(async () => (await readers(10)).size === 2, "both standbys are read");
      await kit.replay(true);
      await primary.query(writeMuch);
      await waitUntil(
        async () =>
          (await nodeRow(console, near.name))["reason"] === "is too far behind the primary for reads",
        "the strict one is behind",
      );
      expect(await readers(50)).toEqual(new Set([far.port]));
      expect(await client.value(count)).toBe("0");
      const column = name === "delay_threshold" ? "lag_bytes_max" : "lag_ms_max";
      expect((await nodeRow(console, near.name))[column]).toBe(name === "delay_threshold" ? "100" : "500");
      expect(await nodeRow(console, far.name)).toMatchObject({ state: "up", reason: "", [column]: none });
      // The node's own word is gone: what holds for all takes its reads, too.
      await kit.reload(settings);
      await waitUntil(async () => (await client.value(count)) === "1000", "the primary is read instead");
      await kit.reload(settings, { ...all, [near.name]: { ...all[near.name], [name]: 0 } });
      await waitUntil(async () => (await reader()) === near.port, "the other one is read");
      expect(await readers(50)).toEqual(new Set([near.port]));
    },
  );
}
