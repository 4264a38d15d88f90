/** Poolers that watch all nodes of a lab. */
import type { Lab, LabNode } from "../../src/lab/index.ts";
import type { PooledOptions } from "./pooled.ts";
import type { Writers } from "./writers.ts";

/** Options of a pooler that follows the primary among the nodes of a lab, under the lab's names. */
export function watched(lab: Lab, { settings, nodes, ...options }: PooledOptions = {}): PooledOptions {
  return {
    ...options,
    onlyNodes: nodes ?? nodesOf(lab),
    settings: { health_check_user: "postgres", health_check_period: 0.2, ...settings },
  };
}

/** [nodes.NAME] for each node of a lab, its role to be found out. */
export function nodesOf(lab: Lab): Record<string, Record<string, unknown>> {
  return Object.fromEntries(lab.nodes.map(({ name, host, port }) => [name, { host, port, role: "auto" }]));
}

/** The standby that has received the most becomes the primary in place of `old`, and the others that run follow it. */
export async function promoteBest(lab: Lab, old: LabNode): Promise<LabNode> {
  const standbys = lab.nodes.filter((node) => node !== old && node.isRunning);
  const received = await Promise.all(
    standbys.map(async (node) => {
      const { rows } = await node.query("select pg_last_wal_receive_lsn() - '0/0'::pg_lsn");
      return { node, bytes: Number(rows[0]?.[0]) };
    }),
  );
  const [best, ...others] = received.toSorted((a, b) => b.bytes - a.bytes).map(({ node }) => node);
  if (best === undefined) throw new Error("no standby is left");
  await best.promote();
  for (const other of others) await other.follow(best);
  return best;
}

/** What a node has of a ledger: acknowledged and not there, and there without anybody who could have written it. */
export async function ledgerOf(
  node: LabNode,
  name: string,
  { acknowledged, unknown }: Pick<Writers, "acknowledged" | "unknown">,
): Promise<{ readonly lost: readonly number[]; readonly unexplained: readonly number[] }> {
  const { rows } = await node.query(`select id from ${name} where id >= 0`);
  const there = new Set(rows.map(([id]) => Number(id)));
  const allowed = new Set([...acknowledged, ...unknown]);
  return {
    lost: acknowledged.filter((id) => !there.has(id)),
    unexplained: [...there].filter((id) => !allowed.has(id)),
  };
}

/** Nodes on which a text was run last by some server. */
export async function nodesThatRan(lab: Lab, text: string): Promise<LabNode[]> {
  const found = await Promise.all(
    lab.nodes.map(async (node) => {
      const { rows } = await node.query(
        `select 1 from pg_stat_activity where query = '${text.replaceAll("'", "''")}' and pid <> pg_backend_pid()`,
      );
      return rows.length > 0 ? [node] : [];
    }),
  );
  return found.flat();
}
