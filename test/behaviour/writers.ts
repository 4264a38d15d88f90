/**
 * Clients that each write numbers nobody else writes, one after the other, and keep a ledger: what was acknowledged, and
 * what nobody can tell. Half of them write in transactions. One that is sent away connects again, and so does one whose
 * transaction has failed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Crowd } from "./crowd.ts";
import { type Client, type Outcome, outcomeOf } from "./pooled.ts";

const readerPauseMs = 100;
const numbersPerWriter = 1_000_000;

export class Writers extends Crowd {
  readonly acknowledged: number[] = [];
  readonly unknown: number[] = [];
  /** Of the errors that writers met, by the statement that met them. */
  readonly errors: { readonly sqlstate: string; readonly commits: boolean }[] = [];

  /** Resolves when `count` further writes have been acknowledged. */
  async untilAcknowledged(count: number, timeoutMs?: number): Promise<void> {
    await this.untilMore(() => this.acknowledged.length, count, "further writes are acknowledged", timeoutMs);
  }

  protected override async work(first: Client, index: number): Promise<void> {
    let client = first;
    for (let i = 0; !this.stopped; i++) {
      const id = index * numbersPerWriter + i;
      const insert = `insert into ${this.table} values (${id})`;
      const statements = index % 2 === 0 ? [insert] : ["begin", insert, "commit"];
      const { sqlstate, commits, ended } = await runAll(client, statements, this.patienceMs);
      if (sqlstate === undefined) {
        this.acknowledged.push(id);
        continue;
      }
      this.errors.push({ sqlstate, commits });
      // PostgreSQL's own last words leave open what became of a statement that commits; 08006 of ours promises that nothing did.
      if (commits && sqlstate !== "08006") this.unknown.push(id);
      if (!ended && statements.length === 1) continue;
      client.destroy();
      client = await this.connect();
    }
    client.destroy();
  }
}

/** Clients that each count the rows of a table, over and over; each expects never to see fewer than before. */
export class Readers extends Crowd {
  /** SQLSTATEs of the errors that readers met. */
  readonly errors: string[] = [];
  answered = 0;
  /** How often a reader saw fewer rows than before. */
  wentBack = 0;

  /** Resolves when `count` further reads have been answered. */
  async untilAnswered(count: number): Promise<void> {
    await this.untilMore(() => this.answered, count, "further reads are answered");
  }

  protected override async work(first: Client): Promise<void> {
    let client = first;
    let seen = 0;
    while (!this.stopped) {
      client.send({ kind: "Query", sql: `select count(*) from ${this.table}` });
      const { error, rows } = await outcomeOrEnd(client, this.patienceMs);
      if (error !== undefined) {
        this.errors.push(error === "closed" ? error : error.code);
        client.destroy();
        client = await this.connect();
        continue;
      }
      const count = Number(rows?.[0]?.[0]);
      if (!(count >= seen)) this.wentBack++;
      seen = count;
      this.answered++;
      // All of them at full speed would leave the writers no time on a small machine.
      await sleep(readerPauseMs);
    }
    client.destroy();
  }
}

/** Runs statements one after the other until one fails: how that ended, and whether it was the last one. */
async function runAll(
  client: Client,
  statements: readonly string[],
  patienceMs: number | undefined,
): Promise<{ readonly sqlstate: string | undefined; readonly commits: boolean; readonly ended: boolean }> {
  for (const [index, sql] of statements.entries()) {
    client.send({ kind: "Query", sql });
    const { error, ended } = await outcomeOrEnd(client, patienceMs);
    if (error === undefined) continue;
    const sqlstate = error === "closed" ? error : error.code;
    return { sqlstate, commits: index === statements.length - 1, ended };
  }
  return { sqlstate: undefined, commits: true, ended: false };
}

type OutcomeOrEnd = { readonly ended: boolean } & (
  | Pick<Outcome, "error" | "rows">
  | { readonly error: "closed"; readonly rows?: undefined }
);

/**
 * Up to ReadyForQuery, or to the end of the session. That comes without a word ("closed") where half an answer has
 * reached the client already: a text would be taken for the rest of it.
 */
export async function outcomeOrEnd(client: Client, patienceMs?: number): Promise<OutcomeOrEnd> {
  const messages = [];
  for (;;) {
    const message = await client.raw.next("an answer", patienceMs).catch((error: unknown) => {
      if (client.raw.isClosed) return undefined;
      throw error;
    });
    if (message === undefined) return { error: "closed", ended: true };
    messages.push(message);
    const fatal = message.kind === "ErrorResponse" && message.fields.severity === "FATAL";
    if (fatal || message.kind === "ReadyForQuery") return { ...outcomeOf(messages), ended: fatal };
  }
}
