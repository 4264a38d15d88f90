import { describe, expect, test } from "vitest";
import {
  errorText,
  prepare,
  query,
  queryParams,
  ReplyWalker,
  reply,
  startup,
} from "../../../src/lab/bench/load/protocol.ts";
import { workload } from "../../../src/lab/bench/load/workloads.ts";

/** A backend message. */
function message(type: number, body: string): Buffer {
  const buffer = Buffer.alloc(5 + Buffer.byteLength(body));
  buffer.writeUInt8(type, 0);
  buffer.writeInt32BE(4 + Buffer.byteLength(body), 1);
  buffer.write(body, 5);
  return buffer;
}

function walk(chunks: readonly Buffer[]): string[] {
  const seen: string[] = [];
  const walker = new ReplyWalker({
    keeps: (type) => type === reply.error,
    onReply: (type, body) => seen.push(`${String.fromCharCode(type)}:${body.toString()}`),
  });
  for (const chunk of chunks) walker.feed(chunk);
  return seen;
}

describe("the walker over replies", () => {
  const stream = Buffer.concat([
    message(0x54, "columns"),
    message(0x44, "row"),
    message(0x6e, ""),
    message(reply.error, "MNo.\0"),
    message(reply.ready, "I"),
  ]);
  const expected = ["T:", "D:", "n:", "E:MNo.\0", "Z:"];

  test("sees each message once, and keeps only the bodies that are wanted", () => {
    expect(walk([stream])).toEqual(expected);
  });

  test("does so wherever the stream is cut", () => {
    for (let cut = 1; cut < stream.length; cut++) {
      expect(walk([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(expected);
    }
    expect(walk(Array.from(stream, (byte) => Buffer.from([byte])))).toEqual(expected);
  });
});

test("the text of an error is its field M", () => {
  expect(errorText(Buffer.from("SERROR\0C42601\0Msyntax error\0\0"))).toBe("syntax error");
  expect(errorText(Buffer.from("SERROR"))).toBe("unknown error");
});

test("requests have the bytes of the protocol", () => {
  expect(query("x").toString("latin1")).toBe("Q\0\0\0\x06x\0");
  expect(startup("u", "d").readInt32BE(4)).toBe(196_608);
  expect(types(prepare("s", "SELECT 1"))).toBe("PS");
  expect(types(queryParams("SELECT $1", ["1"]))).toBe("PBDES");
});

test("the workloads send what pgbench sends", () => {
  expect(types(workload("select", "prepared", 1).next()[0] ?? Buffer.alloc(0))).toBe("BDES");
  const transaction = workload("tpcb", "simple", 1).next();
  expect(transaction).toHaveLength(7);
  expect(transaction[0]?.toString()).toContain("BEGIN;");
  expect(transaction.at(-1)?.toString()).toContain("END;");
  const mixed = workload("mixed", "simple", 1);
  const lengths = Array.from({ length: 10 }, () => mixed.next().length);
  expect(lengths.filter((length) => length > 1)).toHaveLength(2);
});

/** The type bytes of the messages in a buffer. */
function types(buffer: Buffer): string {
  let found = "";
  for (let at = 0; at < buffer.length; at += 1 + buffer.readInt32BE(at + 1)) {
    found += String.fromCharCode(buffer.readUInt8(at));
  }
  return found;
}
