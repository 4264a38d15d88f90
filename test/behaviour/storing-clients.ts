/**
 * Clients at work whose every statement can be checked afterwards: each stores rows of its own, one after the other,
 * and counts what was acknowledged. What PostgreSQL holds in the end must be that, no row more and none less.
 */
import { expect } from "vitest";
import type { Lab } from "../../src/lab/index.ts";
import type { Place } from "../kit/byte-stream.ts";
import { waitToSee } from "../kit/wait.ts";
import { Client } from "./pooled.ts";

/** Longer than a loaded machine needs for anything here. */
const patienceMs = 40_000;

export class StoringClients {
  acknowledged = 0;
  /** What clients were told besides what they asked for. */
  readonly errors: string[] = [];
  readonly #table: string;
  readonly #places: readonly Place[];
  #sum = 0;
  #generation = 0;
  #stopped = false;
  #working: Promise<unknown> = Promise.resolve();

  private constructor(table: string, places: readonly Place[]) {
    this.#table = table;
    this.#places = places;
  }

  /** So many clients, spread over the places. `table` is made; nobody else uses it. */
  static async start(lab: Lab, table: string, count: number, ...places: Place[]): Promise<StoringClients> {
    await lab.primary.query(`create table ${table} (client int, n int, text text, primary key (client, n))`);
    await lab.primary.query("alter database postgres set synchronous_commit = off");
    const clients = new StoringClients(table, places);
    clients.#working = Promise.all(Array.from({ length: count }, (_, index) => clients.#work(index)));
    return clients;
  }

  /** Everybody leaves after the statement that is under way, and comes again. */
  comeAgain(): void {
    this.#generation++;
  }

  /** Resolves when `count` further rows have been acknowledged, or somebody was told an error. */
  async untilAcknowledged(count: number): Promise<void> {
    const goal = this.acknowledged + count;
    await waitToSee(
      () => this.acknowledged,
      (acknowledged) => acknowledged >= goal || this.errors.length > 0,
      `${count} further rows are stored, ${goal} in all`,
      patienceMs,
    );
  }

  /** Ends the work and holds what is stored against what was acknowledged. */
  async check(lab: Lab): Promise<void> {
    this.#stopped = true;
    await this.#working;
    expect(this.errors).toEqual([]);
    const { rows } = await lab.primary.query(
      `select count(*), sum(n), count(*) filter (where text = md5(client || '/' || n)) from ${this.#table}`,
    );
    expect(rows).toEqual([[this.acknowledged, this.#sum, this.acknowledged].map(String)]);
  }

  async #work(index: number): Promise<void> {
    const place = this.#places[index % this.#places.length] as Place;
    try {
      for (let n = 1; !this.#stopped; ) {
        const generation = this.#generation;
        const client = await Client.connect(place);
        for (; !this.#stopped && generation === this.#generation; n++) await this.#store(client, index, n);
        await client.close();
      }
    } catch (error) {
      this.errors.push(String(error));
    }
  }

  async #store(client: Client, index: number, n: number): Promise<void> {
    const insert = `insert into ${this.#table} values (${index}, ${n}, md5('${index}/${n}'))`;
    // Some in blocks, which keep their server from one statement to the next.
    if (n % 4 === 0) await this.#run(client, "begin", "BEGIN");
    await this.#run(client, insert, "INSERT 0 1");
    if (n % 4 === 0) await this.#run(client, "commit", "COMMIT");
    this.acknowledged++;
    this.#sum += n;
  }

  async #run(client: Client, sql: string, tag: string): Promise<void> {
    const { error, tags } = await client.run(sql);
    if (error !== undefined || tags.join() !== tag)
      throw new Error(`${sql}: ${error?.message ?? tags.join()}`);
  }
}
