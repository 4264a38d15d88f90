/** Poolers that watch all nodes of a lab, and what a cluster manager does to its nodes. */
import type { Lab, LabNode } from "../../src/lab/index.ts";
import { waitUntil } from "../kit/wait.ts";
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
  // One that still received something after it was asked could have more than the chosen one: it would be lost, and
  // could follow nobody.
  await Promise.all(standbys.map(stopReceiving));
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

async function stopReceiving(standby: LabNode): Promise<void> {
  await standby.follow(undefined);
  await waitUntil(async () => {
    const { rows } = await standby.query(
      "select current_setting('primary_conninfo') = '' and not exists (select from pg_stat_wal_receiver)",
    );
    return rows[0]?.[0] === "t";
  }, `${standby.name} receives nothing more`);
}

/**
 * The other standbys receive by way of `next`, which is to be promoted: none of them has ever more than it. One that
 * receives from the old primary up to the end can have a record more (a checkpoint's), and follow nobody then.
 */
export async function receiveBy(lab: Lab, next: LabNode): Promise<void> {
  const others = lab.standbys.filter((node) => node !== next);
  for (const other of others) await other.follow(next);
  await waitUntil(
    async () => {
      const { rows } = await next.query("select count(*) from pg_stat_replication where state = 'streaming'");
      return rows[0]?.[0] === String(others.length);
    },
    `${others.map(({ name }) => name).join()} receives by way of ${next.name}`,
  );
}

/** Whatever a test that failed has left: one primary, of the highest timeline, and all others stream from it. */
export async function mend(lab: Lab): Promise<void> {
  for (const node of lab.nodes) await node.resume();
  if (!lab.primary.isRunning) await lab.primary.start();
  const primaries = lab.nodes.filter(({ role, isRunning }) => role === "primary" && isRunning);
  const timelines = await Promise.all(
    primaries.map(async (node) => {
      const { rows } = await node.query("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)");
      return { node, timeline: String(rows[0]?.[0]) };
    }),
  );
  const [primary] = timelines.toSorted((a, b) => b.timeline.localeCompare(a.timeline));
  if (primary === undefined) throw new Error("there is no primary");
  const others = lab.nodes.filter((node) => node !== primary.node);
  for (const node of others) await node.stop("immediate");
  for (const node of others) await lab.rejoin(node);
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
