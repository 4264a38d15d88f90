/**
 * Clients that read over and over, and now and then write a row of their own: from then on none of their reads may show
 * fewer of these, whichever node answers. Keeps what they met and how long they waited.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Crowd } from "../behaviour/crowd.ts";
import type { Client } from "../behaviour/pooled.ts";
import { outcomeOrEnd } from "../behaviour/writers.ts";

/** All of them at full speed would leave the writers no time. */
const pauseMs = 100;
const readsPerWrite = 20;
const rowsMax = 100_000;

export class FloorReaders extends Crowd {
  /** Of the errors that reads met, and of those that writes met. */
  readonly readErrors: string[] = [];
  readonly writeErrors: string[] = [];
  answered = 0;
  /** Reads that did not show a row that their client was told is written. */
  belowFloor = 0;
  longestReadMs = 0;

  async untilAnswered(count: number, timeoutMs?: number): Promise<void> {
    await this.untilMore(() => this.answered, count, "further reads are answered", timeoutMs);
  }

  protected override async work(first: Client, index: number): Promise<void> {
    let client = first;
    // Rows of writers are not negative.
    const highest = -1 - index * rowsMax;
    let next = highest;
    let written = 0;
    for (let turn = index; !this.stopped; turn++) {
      const writes = turn % readsPerWrite === 0;
      const sql = writes
        ? `insert into ${this.table} values (${next--})`
        : `select count(*) from ${this.table} where id between ${highest - rowsMax + 1} and ${highest}`;
      const sentMs = performance.now();
      client.send({ kind: "Query", sql });
      const { error, rows, ended } = await outcomeOrEnd(client, this.patienceMs);
      if (error !== undefined) {
        (writes ? this.writeErrors : this.readErrors).push(error === "closed" ? error : error.code);
      } else if (writes) {
        written++;
      } else {
        this.answered++;
        this.longestReadMs = Math.max(this.longestReadMs, performance.now() - sentMs);
        if (!(Number(rows?.[0]?.[0]) >= written)) this.belowFloor++;
      }
      if (ended) {
        client.destroy();
        client = await this.connect();
      }
      await sleep(pauseMs);
    }
    client.destroy();
  }
}
