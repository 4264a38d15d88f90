/** COPY both ways, small and large, by all drivers, with errors in the middle of it. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect } from "vitest";
import { postgresSql } from "./drivers.ts";
import { type Target, usePlace, vias, withBlocks } from "./place.ts";
import { hasPsql, psql } from "./psql.ts";
import {
  bind,
  copyData,
  copyDone,
  execute,
  parse,
  query,
  sync,
  TraceClient,
  unnamed,
  withClient,
} from "./trace-client.ts";

/** About 12 MB of text in COPY's format: many times what any buffer on the way holds. */
const largeRows = 125_000;
const largeText = "x".repeat(90);
const largeBytes = Buffer.byteLength(largeChunkOf(0, largeRows));

const place = usePlace();

function largeChunkOf(from: number, to: number): string {
  let text = "";
  for (let id = from; id < to; id++) text += `${id}\t${largeText}\n`;
  return text;
}

function* largeChunks(): Generator<string> {
  for (let from = 0; from < largeRows; from += 1000) yield largeChunkOf(from, from + 1000);
}

async function emptyTable(target: Target, name: string): Promise<void> {
  await withClient(target, (client) =>
    client.rows(`drop table if exists ${name}; create table ${name} (id int, t text)`),
  );
}

describe("raw", () => {
  place.each("COPY in and out by the simple protocol", vias, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists copied; create table copied (id int, t text, n numeric)");
      const traces = [
        await client.ask(
          query("copy copied from stdin"),
          copyData("1\tone\t1.5\n"),
          copyData("2\t\\N\t\\N\n3\t\t0\n4\tta"),
          copyData("b\\there, ü\t1e10\n"),
          copyDone,
        ),
        await client.ask(query("copy copied to stdout")),
        await client.ask(query("copy copied to stdout (format csv, header, force_quote *)")),
        await client.ask(query("copy (select * from copied where id = 1) to stdout (format binary)")),
        await client.ask(query("copy copied from stdin"), copyDone),
        await client.ask(query("copy (select 1 where false) to stdout")),
        await client.ask(query("select count(*) from copied")),
      ];
      expect(traces[0]).toContain('"COPY 4"');
      return traces;
    }),
  );

  place.each("COPY by the extended protocol", vias, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists copied; create table copied (id int, t text, n numeric)");
      return [
        await client.ask(...unnamed("copy copied from stdin"), copyData("1\tone\t1\n"), copyDone, sync),
        await client.ask(...unnamed("copy copied to stdout"), sync),
        await client.ask(
          parse("c", "copy copied to stdout"),
          bind("c"),
          execute(),
          bind("c"),
          execute(),
          sync,
        ),
        await client.ask(...unnamed("select count(*) from copied"), sync),
      ];
    }),
  );

  place.each("COPY, several in one query string and with other statements", vias, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists copied; create table copied (id int)");
      return [
        await client.ask(query("copy (select 1) to stdout; select 2; copy (values (3), (4)) to stdout")),
        await client.ask(
          query("copy copied from stdin; select 'between'; copy copied from stdin"),
          copyData("1\n"),
          copyDone,
          copyData("2\n"),
          copyData("3\n"),
          copyDone,
          query("select count(*) from copied"),
        ),
      ];
    }),
  );

  place.each("bad data in the middle, and what is sent behind the error", vias, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists copied; create table copied (id int)");
      const good = (from: number) =>
        copyData(Array.from({ length: 100 }, (_, i) => `${from + i}\n`).join(""));
      const traces = [
        await client.ask(
          query("copy copied from stdin"),
          good(0),
          copyData("bad\n"),
          good(100),
          good(200),
          copyDone,
          query("select 'next'"),
        ),
        await client.ask(
          query("copy copied from stdin"),
          good(0),
          { kind: "CopyFail", message: "the client gives up: ü" },
          query("select 'next'"),
        ),
        await client.ask(
          ...unnamed("copy copied from stdin"),
          good(0),
          copyData("bad\n"),
          good(100),
          copyDone,
          sync,
          query("select 'next'"),
        ),
        await client.ask(
          ...unnamed("copy copied from stdin"),
          good(0),
          { kind: "CopyFail", message: "no" },
          sync,
          query("select 'next'"),
        ),
        await client.ask(
          query("copy (select 10 / (50 - n) from generate_series(1, 100) n) to stdout"),
          query("select 'next'"),
        ),
        await client.ask(query("copy no_such_table from stdin"), good(0), copyDone, query("select 'next'")),
        await client.ask(
          ...unnamed("copy no_such_table from stdin"),
          good(0),
          copyDone,
          sync,
          query("select 'next'"),
        ),
        await client.ask(
          copyData("stray\n"),
          copyDone,
          { kind: "CopyFail", message: "stray" },
          query("select count(*) from copied"),
        ),
      ];
      expect(traces.at(-1)).toContain("'0'");
      return traces;
    }),
  );

  place.each("a query in the place of COPY data", vias, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists copied; create table copied (id int)");
      client.send(query("copy copied from stdin"), copyData("1\n"), query("select 'not now'"));
      const trace = (await client.rest()).map((message) => client.trace(message)).join("");
      expect(trace).toContain("protocol synchronization was lost");
      return [trace, await withClient(target, (next) => next.rows("select count(*) from copied"))];
    }),
  );

  place.each("COPY in a transaction that is rolled back, and in one that is not", withBlocks, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists copied; create table copied (id int)");
      const traces: string[] = [];
      for (const end of ["rollback", "commit"]) {
        traces.push(
          await client.ask(
            query("begin"),
            query("copy copied from stdin"),
            copyData("1\n2\n"),
            copyDone,
            query(end),
          ),
          await client.ask(query("copy copied to stdout")),
        );
      }
      return traces;
    }),
  );

  place.each("a client that goes away in the middle of COPY", vias, async (target) => {
    await emptyTable(target, "abandoned");
    for (const leave of ["Terminate", "reset"] as const) {
      const client = await TraceClient.connect(target);
      client.send(query("copy abandoned from stdin"));
      await client.until("CopyInResponse");
      client.send(copyData("1\tx\n"));
      if (leave === "Terminate") await client.close();
      else client.stream.reset();
    }
    const reader = await TraceClient.connect(target);
    reader.send(query("copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout"));
    await reader.until("CopyOutResponse");
    reader.stream.reset();
    return withClient(target, (client) => client.rows("select * from abandoned"));
  });

  place.each("one COPY message of 8 MB", vias, (target) =>
    withClient(target, async (client) => {
      await client.rows("drop table if exists copied; create table copied (id int, t text)");
      const text = "y".repeat(8_000_000);
      const traces = [await client.ask(query("copy copied from stdin"), copyData(`1\t${text}\n`), copyDone)];
      expect(await client.rows("select length(t) from copied")).toEqual([["8000000"]]);
      client.send(query("copy copied to stdout"));
      const messages = await client.until("ReadyForQuery");
      traces.push(
        messages
          .map((message) => (message.kind === "CopyData" ? `${message.data.length}` : message.kind))
          .join(" "),
      );
      return traces;
    }),
  );
});

describe("postgres", () => {
  place.each("postgres: 12 MB in and out as streams", vias, async (target) => {
    await emptyTable(target, "copied_streams");
    const sql = postgresSql(target);
    const writable = await sql`copy copied_streams from stdin`.writable();
    await pipeline(Readable.from(largeChunks()), writable);
    const [counted] =
      await sql`select count(*)::int as rows, sum(length(t))::int as bytes, sum(id)::text as ids from copied_streams`;
    expect(counted).toMatchObject({ rows: largeRows, bytes: largeRows * largeText.length });
    const readable = await sql`copy (select * from copied_streams order by id) to stdout`.readable();
    let bytes = 0;
    for await (const chunk of readable) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(largeBytes);
    await sql.end();
    return { ...counted };
  });

  place.each("postgres: a stream that is given up in the middle", vias, async (target) => {
    await emptyTable(target, "copied_badly");
    const sql = postgresSql(target);
    const writable = await sql`copy copied_badly from stdin`.writable();
    writable.on("error", () => undefined);
    writable.write(largeChunkOf(0, 1000));
    writable.destroy(new Error("the client gives up"));
    const [after] = await sql`select count(*)::int as rows from copied_badly`;
    await sql.end();
    expect(after).toEqual({ rows: 0 });
    return { ...after };
  });
});

describe.skipIf(!hasPsql)("psql", () => {
  place.each("psql: \\copy of 12 MB in and out", vias, async (target) => {
    const folder = await mkdtemp(path.join(tmpdir(), "pgsluice-copy-"));
    try {
      const [input, output] = [path.join(folder, "in"), path.join(folder, "out")];
      await writeFile(input, Readable.from(largeChunks()));
      await emptyTable(target, "copied_by_psql");
      const result = await psql(
        target,
        `\\copy copied_by_psql from '${input}'\nselect count(*) from copied_by_psql;\n\\copy (select * from copied_by_psql order by id) to '${output}'\nselect 'usable';\n`,
      );
      expect(result).toMatchObject({ errors: "", status: 0 });
      expect((await readFile(input)).equals(await readFile(output))).toBe(true);
      return result.output;
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  place.each("psql: COPY with bad data", vias, async (target) => {
    await emptyTable(target, "copied_badly");
    const result = await psql(
      target,
      'copy copied_badly from stdin;\n1\tone\nbad\ttwo\n3\tthree\n\\.\nselect count(*) from copied_badly;\ncopy copied_badly from stdin (format csv);\n1,"a,b"\n\\.\ncopy copied_badly to stdout;\n',
    );
    expect(result.errors).toContain("22P02");
    return result;
  });
});
