/** What tests of replication share: a connection to a node of a lab, and questions about streams and slots. */
import { type ConnectOptions, connectOptions } from "../../src/client/conninfo/options.ts";
import { parseLsn } from "../../src/client/replication/lsn.ts";
import type { ReplicationEvent, WalData } from "../../src/client/replication/messages.ts";
import type { ReplicationStream } from "../../src/client/replication/stream.ts";
import type { LabNode } from "../../src/lab/node.ts";

export function targetOf(node: LabNode, more: Partial<ConnectOptions> = {}): ConnectOptions {
  const hosts = [{ host: node.host, port: node.port }];
  return connectOptions({ hosts, user: "postgres", database: "postgres", sslmode: "disable", ...more });
}

/** The first value of the first row. */
export async function ask(node: LabNode, sql: string): Promise<string | null> {
  return (await node.query(sql)).rows[0]?.[0] ?? null;
}

export async function position(node: LabNode): Promise<bigint> {
  return parseLsn((await ask(node, "SELECT pg_current_wal_flush_lsn()")) ?? "");
}

/** A column of pg_replication_slots that is a position; 0 for NULL. */
export async function slotPosition(node: LabNode, slot: string, column: string): Promise<bigint> {
  const sql = `SELECT ${column} FROM pg_replication_slots WHERE slot_name = '${slot}'`;
  return parseLsn((await ask(node, sql)) ?? "0/0");
}

/** Takes events until one of them is the wanted one, without ending the stream. Throws if the stream ends. */
export async function take(
  events: AsyncIterator<ReplicationEvent>,
  wanted: (event: ReplicationEvent) => boolean,
): Promise<ReplicationEvent[]> {
  const taken: ReplicationEvent[] = [];
  for (;;) {
    const next = await events.next();
    if (next.done === true) throw new Error("the stream has ended");
    taken.push(next.value);
    if (wanted(next.value)) return taken;
  }
}

export const isData = (event: ReplicationEvent): event is WalData => event.kind === "data";

/** Whether it is the message of pgoutput with this letter (docs 54.9). */
export function isMessage(event: ReplicationEvent, letter: string): event is WalData {
  return isData(event) && event.data[0] === letter.charCodeAt(0);
}

/** Takes everything until the stream ends. */
export async function all(stream: ReplicationStream): Promise<ReplicationEvent[]> {
  const events: ReplicationEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}
