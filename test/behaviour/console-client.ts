/** Clients of the console, and clients at work while somebody is at the console. */
import { createHash } from "node:crypto";
import type { Lab } from "../../src/lab/index.ts";
import { waitToSee } from "../kit/wait.ts";
import { type Client, Pooled, type PooledOptions } from "./pooled.ts";

/** A pooler with one administrator, `postgres`, and one who may look, `watcher`. */
export function startPooled(
  lab: Lab,
  options: PooledOptions = {},
  own: Parameters<typeof Pooled.start>[2] = {},
): Promise<Pooled> {
  const settings = { admin_users: ["postgres"], stats_users: ["watcher"], ...options.settings };
  return Pooled.start(lab, { ...options, settings }, own);
}

export function openConsole(pooled: Pooled, user = "postgres", database = "pgbouncer"): Promise<Client> {
  return pooled.connect({ user, database });
}

/** Rows of a command, by column. */
export async function table(console: Client, sql: string): Promise<Record<string, string | null>[]> {
  const { messages, rows, error } = await console.run(sql);
  if (error !== undefined) throw new Error(`${sql}: ${error.code} ${error.message}`);
  const description = messages.find((message) => message.kind === "RowDescription");
  const names = description?.columns.map(({ name }) => name) ?? [];
  return rows.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index] ?? null])));
}

/** What SHOW NODES says of a node; empty if it does not know it. */
export async function nodeRow(console: Client, node: string): Promise<Record<string, string | null>> {
  return (await table(console, "show nodes")).find(({ name }) => name === node) ?? {};
}

export async function untilNodeState(console: Client, node: string, state: string): Promise<void> {
  await waitToSee(
    () => nodeRow(console, node),
    (row) => row["state"] === state,
    `${node} is ${state}`,
  );
}

/** Clients that run statements whose answers can be checked, one after the other, until they are told to stop. */
export class Workers {
  readonly #pooled: Pooled;
  readonly #running: Promise<void>[] = [];
  #stopped = false;
  /** Statements that were answered rightly. */
  answered = 0;
  /** Clients that were sent away, with the message each got. */
  readonly sentAway: string[] = [];

  constructor(pooled: Pooled) {
    this.#pooled = pooled;
  }

  async start(count: number, database = "postgres"): Promise<void> {
    const clients = await Promise.all(
      Array.from({ length: count }, () => this.#pooled.connect({ database })),
    );
    for (const [index, client] of clients.entries()) this.#running.push(this.#work(client, index));
  }

  /** Resolves when `count` further statements have been answered. */
  async untilAnswered(count: number): Promise<void> {
    const goal = this.answered + count;
    await waitToSee(
      () => this.answered,
      (answered) => answered >= goal,
      `${count} further statements are answered, ${goal} in all`,
    );
  }

  /** Resolves when all have finished their last statement; rejects if an answer was wrong or missing. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #work(client: Client, index: number): Promise<void> {
    using _ = client;
    for (let i = 0; !this.#stopped; i++) {
      const text = `${index}.${i}`;
      const length = 1 + (i % 3) * 2000;
      const select = `select md5('${text}'), repeat('${index % 10}', ${length})`;
      const { row, fatal } = await ask(client, i % 5 === 0 ? `begin; ${select}; commit` : select);
      if (fatal !== undefined) {
        this.sentAway.push(fatal);
        return;
      }
      const right = row[0] === createHash("md5").update(text).digest("hex") && row[1]?.length === length;
      if (!right) throw new Error(`${select} was answered with ${JSON.stringify(row).slice(0, 200)}`);
      this.answered++;
    }
  }
}

/** The first row of a Query, or why the session was ended instead. Rejects for an error that does not end it. */
async function ask(client: Client, sql: string): Promise<{ row: string[]; fatal?: string }> {
  client.send({ kind: "Query", sql });
  let row: string[] = [];
  for (;;) {
    const message = await client.raw.next(sql);
    if (message.kind === "DataRow") row = message.values.map(String);
    if (message.kind === "ReadyForQuery") return { row };
    if (message.kind !== "ErrorResponse") continue;
    if (message.fields.severity === "FATAL") return { row, fatal: message.fields.message };
    throw new Error(`${sql}: ${message.fields.code} ${message.fields.message}`);
  }
}
