/** Replication with servers that PostgreSQL never is, or seldom: what must not come, and ends at odd moments. */
import { expect, test } from "vitest";
import { connectReplication, type ReplicationConnection } from "../../src/client/replication/connection.ts";
import { encodeStatus } from "../../src/client/replication/messages.ts";
import type { ReplicationStream } from "../../src/client/replication/stream.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import type { BackendMessage } from "../../src/wire/messages.ts";
import { type ScriptedPeer, ScriptedServer } from "../kit/scripted-server.ts";
import { optionsFor } from "./client-traces.ts";
import { all, isData } from "./replication-lab.ts";

const both: BackendMessage = { kind: "CopyBothResponse", format: 0, columnFormats: [] };
const out: BackendMessage = { kind: "CopyOutResponse", format: 0, columnFormats: [] };
const ready: BackendMessage = { kind: "ReadyForQuery", status: TransactionStatus.idle };
const done: BackendMessage = { kind: "CopyDone" };
const complete = (tag: string): BackendMessage => ({ kind: "CommandComplete", tag });
const copy = (data: Buffer): BackendMessage => ({ kind: "CopyData", data });

function walData(position: bigint, text: string): BackendMessage {
  const bytes = Buffer.alloc(25);
  bytes.write("w");
  bytes.writeBigUInt64BE(position, 1);
  return copy(Buffer.concat([bytes, Buffer.from(text)]));
}

function keepalive(position: bigint, reply: boolean): BackendMessage {
  const bytes = Buffer.alloc(18);
  bytes.write("k");
  bytes.writeBigUInt64BE(position, 1);
  bytes[17] = Number(reply);
  return copy(bytes);
}

/** A result of one row; numbers are of the type int8, the rest is text. */
function rows(row: Readonly<Record<string, string | number>>): BackendMessage[] {
  const shape = { tableOid: 0, attributeNumber: 0, typeSize: -1, typeModifier: -1, format: 0 } as const;
  const entries = Object.entries(row);
  return [
    {
      kind: "RowDescription",
      columns: entries.map(([name, value]) => ({
        ...shape,
        name,
        typeOid: typeof value === "number" ? 20 : 25,
      })),
    },
    { kind: "DataRow", values: entries.map(([, value]) => Buffer.from(String(value))) },
    complete("SELECT"),
  ];
}

/** A server that answers the first Query by a script. */
async function serve(script: (peer: ScriptedPeer, sql: string) => Promise<void>): Promise<ScriptedServer> {
  return await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    await script(peer, (await peer.expect("Query")).sql);
  });
}

async function open(server: ScriptedServer): Promise<ReplicationConnection> {
  return await connectReplication(optionsFor(server.port));
}

const stream = async (connection: ReplicationConnection): Promise<ReplicationStream> =>
  await connection.startPhysical({ position: 16n, statusIntervalMs: 0 });

test("the end of a timeline is answered when all has been taken, with what was confirmed", async () => {
  await using server = await serve(async (peer, sql) => {
    expect(sql).toBe("START_REPLICATION PHYSICAL 0/10");
    peer.send(both, walData(16n, "one"), keepalive(19n, true), walData(19n, "two"), done);
    const asked = await peer.expect("CopyData");
    expect(asked.data.readBigUInt64BE(1)).toBe(0n);
    const told = await peer.expect("CopyData");
    expect([1, 9, 17].map((at) => told.data.readBigUInt64BE(at))).toEqual([22n, 22n, 0n]);
    await peer.expect("CopyDone");
    peer.send(...rows({ next_tli: 2, next_tli_startpos: "0/16" }));
    peer.send(complete("START_STREAMING"), ready);
    await peer.expect("Terminate");
  });
  await using connection = await open(server);
  const taken = await stream(connection);
  const texts: string[] = [];
  for await (const event of taken) {
    if (!isData(event)) continue;
    texts.push(event.data.toString());
    if (texts.length === 2) taken.confirm({ flushed: event.end });
  }
  expect(texts).toEqual(["one", "two"]);
  expect(taken.nextTimeline).toEqual({ timeline: 2, position: 22n });
  await connection.close();
  await server.finished;
});

test("what comes before an error is handed over first, and the connection goes on", async () => {
  await using server = await serve(async (peer) => {
    peer.send(both, walData(16n, "one"));
    peer.fail("58P01", "requested WAL segment has already been removed", "ERROR");
    peer.send(ready);
    await peer.expect("Query");
    peer.send(...rows({ systemid: "1", timeline: "x", xlogpos: "0/0", dbname: "d" }), ready);
    await peer.expect("Terminate");
  });
  await using connection = await open(server);
  const texts: string[] = [];
  const taking = (async () => {
    for await (const event of await stream(connection)) if (isData(event)) texts.push(event.data.toString());
  })();
  await expect(taking).rejects.toMatchObject({ code: "client.server_error", sqlstate: "58P01" });
  expect(texts).toEqual(["one"]);
  // A reply that makes no sense is the server's fault too.
  await expect(connection.identifySystem()).rejects.toMatchObject({ sqlstate: "08P01" });
  await connection.close();
  await server.finished;
});

test("a stream that was stopped throws away what still comes, and says nothing after its end", async () => {
  await using server = await serve(async (peer) => {
    peer.send(both, walData(16n, "one"));
    await peer.expect("CopyData");
    await peer.expect("CopyDone");
    peer.send(walData(19n, "two"), keepalive(22n, true), done, complete("COPY 0"), ready);
    await peer.expect("Terminate");
  });
  await using connection = await open(server);
  const stopped = await stream(connection);
  await stopped.stop();
  stopped.confirm({ flushed: 22n });
  expect(await all(stopped)).toEqual([]);
  expect(stopped.nextTimeline).toBeUndefined();
  await connection.close();
  await server.finished;
});

test("a message that must not come ends the connection", async () => {
  const hostile: BackendMessage[][] = [
    [walData(16n, "before the stream")],
    [done],
    [both, both],
    [both, done, done],
    [both, copy(Buffer.from("x"))],
    [both, copy(Buffer.alloc(0))],
    [both, copy(encodeStatus({ written: 0n, flushed: 0n, applied: 0n }, 0))],
    [both, out],
    [both, { kind: "DataRow", values: [] }],
    [both, done, ...rows({ next_tli: "two", next_tli_startpos: "0/16" })],
    [both, done, ...rows({ next_tli: 2, next_tli_startpos: "behind" })],
    rows({ next_tli: -2, next_tli_startpos: "0/16" }),
    [both, { kind: "ParseComplete" }],
  ];
  for (const messages of hostile) {
    await using server = await serve(async (peer) => {
      peer.send(...messages);
      await peer.closed;
    });
    await using connection = await open(server);
    const taking = (async () => await all(await stream(connection)))();
    const kinds = messages.map(({ kind }) => kind).join(" ");
    await expect(taking, kinds).rejects.toMatchObject({ sqlstate: "08P01", source: "server" });
    expect(connection.usable).toBe(false);
  }
});

test("a base backup that is none ends the connection, or fails", async () => {
  const start = rows({ recptr: "0/28", tli: 1 });
  const tablespaces = rows({ spcoid: 1663, spclocation: "", size: 1 });
  const hostile: BackendMessage[][] = [
    [out],
    [...start, both],
    [...start, out],
    [...start.slice(0, 1), ...tablespaces, out],
    [...tablespaces],
    [...start, ...rows({ spcoid: "x", spclocation: "", size: 1 })],
    [...start, ...tablespaces, out, copy(Buffer.from("nno end"))],
    [...start, ...tablespaces, out, out],
    [...start, ...tablespaces, out, done, ready],
    [complete("SELECT"), ready],
  ];
  for (const messages of hostile) {
    await using server = await serve(async (peer) => {
      peer.send(...messages);
      await peer.closed;
    });
    await using connection = await open(server);
    const taking = (async () => {
      for await (const _ of await connection.baseBackup());
    })();
    const kinds = messages.map(({ kind }) => kind).join(" ");
    await expect(taking, kinds).rejects.toMatchObject({ sqlstate: "08P01", source: "server" });
    connection.destroy();
  }
});
