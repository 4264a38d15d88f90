/** Results and data of any size pass through bounded memory, however slow the other side is. */
import { once } from "node:events";
import net from "node:net";
import { describe, expect, test } from "vitest";
import { encodeFrontend, encodeStartup, type FrontendMessage } from "../../../src/wire/index.ts";
import { waitToSee, waitUntil } from "../../kit/wait.ts";
import { type Target, usePlace } from "./place.ts";
import { knowsMemory, PoolerProcess } from "./pooler-process.ts";
import { query, sync, TraceClient, unnamed, withClient } from "./trace-client.ts";

const megabyte = 1024 * 1024;
/** By how much the pooler may grow: young garbage, which grows with what passes through, is most of it. */
const growthBytesMax = 100 * megabyte;
/** More than the limit, so that whoever keeps it all is found out. */
const resultBytes = 160 * megabyte;
/** Statement mode passes bytes on as transaction mode does. */
const modes = ["session", "transaction"] as const;

const place = usePlace({ vias: ["direct"] });

/** A socket that is read only as far as it is told to, and keeps nothing of it. */
class SlowReader {
  readonly #socket: net.Socket;
  /** Bytes read in all. */
  received = 0;
  #tail = Buffer.alloc(0);

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.pause();
  }

  static async connect(target: Target): Promise<SlowReader> {
    const socket = net.connect({ host: target.host, port: target.port });
    await once(socket, "connect");
    const reader = new SlowReader(socket);
    const { user, database } = target;
    socket.write(encodeStartup(196_608, Object.entries({ user, database, application_name: "slow reader" })));
    await reader.readToReady();
    reader.received = 0;
    return reader;
  }

  send(...messages: readonly FrontendMessage[]): void {
    this.#socket.write(Buffer.concat(messages.map(encodeFrontend)));
  }

  /** Reads about so many bytes. */
  async read(bytes: number): Promise<void> {
    const end = this.received + bytes;
    while (this.received < end) await this.#readSome();
  }

  /** Reads until a ReadyForQuery stands at the end. */
  async readToReady(): Promise<void> {
    do await this.#readSome();
    while (!this.#tail.equals(Buffer.from([0x5a, 0, 0, 0, 5, 0x49])));
  }

  close(): void {
    this.#socket.destroy();
  }

  async #readSome(): Promise<void> {
    const chunk = this.#socket.read() as Buffer | null;
    if (chunk === null) {
      await once(this.#socket, "readable");
      return;
    }
    this.received += chunk.length;
    this.#tail = Buffer.from(Buffer.concat([this.#tail, chunk.subarray(-6)]).subarray(-6));
  }
}

/** Waits until the server of the slow reader can send no more. */
async function untilBlocked(database: string): Promise<void> {
  await withClient(place.target("direct"), (watcher) =>
    waitToSee(
      () =>
        watcher.value(
          `select wait_event from pg_stat_activity where datname = '${database}' and application_name = 'slow reader'`,
        ),
      (event) => event === "ClientWrite",
      "the server waits for its client to read",
    ),
  );
}

describe.each(modes)("%s", (mode) => {
  /** Every result: how it is asked for. */
  const results: readonly (readonly [name: string, messages: readonly FrontendMessage[]])[] = [
    [
      "many small rows",
      [query(`select n, repeat('x', 90) from generate_series(1, ${Math.floor(resultBytes / 100)}) n`)],
    ],
    [
      "rows of a megabyte",
      [
        ...unnamed(`select repeat('x', ${megabyte}) from generate_series(1, $1::int)`, [
          `${resultBytes / megabyte}`,
        ]),
        sync,
      ],
    ],
    ["one row of all", [query(`select repeat('x', ${resultBytes})`)]],
    [
      "COPY",
      [
        query(
          `copy (select repeat('x', 1000) from generate_series(1, ${Math.floor(resultBytes / 1000)})) to stdout`,
        ),
      ],
    ],
  ];

  test(`acceptance 27: 160 MB of results to a slow reader, in bounded memory (${mode})`, async () => {
    await using pooler = await PoolerProcess.start(place.target("direct"), mode);
    const atRest = knowsMemory ? pooler.memoryBytes : 0;
    // Modes differ in who has the server, not in how bytes pass: in one of them all forms, in the other the first.
    for (const [name, messages] of mode === "transaction" ? results : results.slice(0, 1)) {
      const reader = await SlowReader.connect(pooler.target);
      reader.send(...messages);
      for (let part = 0; part < 3; part++) {
        await reader.read(5 * megabyte);
        await untilBlocked(pooler.target.database);
        if (knowsMemory) expect(pooler.memoryBytes - atRest, name).toBeLessThan(growthBytesMax);
      }
      await reader.readToReady();
      expect(reader.received, name).toBeGreaterThan(resultBytes * 0.9);
      reader.close();
    }
    if (knowsMemory) expect(pooler.memoryPeakBytes - atRest).toBeLessThan(growthBytesMax);
    expect(await withClient(pooler.target, (client) => client.value("select 'usable'"))).toBe("usable");
    expect(pooler.complaints).toEqual([]);
  });

  test(`acceptance 27: 160 MB of data to a server that does not take it, in bounded memory (${mode})`, async () => {
    await using pooler = await PoolerProcess.start(place.target("direct"), mode);
    const atRest = knowsMemory ? pooler.memoryBytes : 0;
    await using holder = await TraceClient.connect(place.target("direct"));
    await holder.rows(`
      drop table if exists taken; create table taken (t text);
      create or replace function wait_for_lock() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
      create trigger wait before insert on taken for each row execute function wait_for_lock();
      select pg_advisory_lock(1)`);
    const socket = await SlowReader.connect(pooler.target);
    socket.send(query("copy taken from stdin"));
    const line = Buffer.from(`${"x".repeat(megabyte - 1)}\n`);
    for (let sent = 0; sent < resultBytes; sent += megabyte) socket.send({ kind: "CopyData", data: line });
    socket.send({ kind: "CopyDone" });
    await waitUntil(
      async () =>
        (await holder.value("select count(*) from pg_locks where locktype = 'advisory' and not granted")) ===
        "1",
      "the server waits within COPY",
    );
    await holder.rows("select pg_advisory_unlock(1)");
    await socket.readToReady();
    socket.close();
    if (knowsMemory) expect(pooler.memoryPeakBytes - atRest).toBeLessThan(growthBytesMax);
    expect(await withClient(pooler.target, (client) => client.value("select 'usable'"))).toBe("usable");
    expect(pooler.complaints).toEqual([]);
  });
});
