import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Transport } from "../../../src/base/transport.ts";
import { Handling, Request } from "../../../src/pool/replies.ts";
import { ReplyReading, serverReadBytes } from "../../../src/pool/reply-reading.ts";
import { Backend } from "../../../src/wire/constants.ts";
import { complete, FakeTransport, fakeServer, ready, rowDescription } from "./fakes.ts";

const piece = 8192;
const piecesSeen = (1024 * 1024) / piece;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function reading(): { transport: FakeTransport; rows: (bytes: number, times?: number) => void } & {
  reading: ReplyReading;
} {
  const transport = new FakeTransport();
  const made = new ReplyReading(transport.asTransport);
  const rows = (bytes: number, times = 1): void => {
    for (let i = 0; i < times; i++) made.onRows(bytes);
  };
  return { transport, rows, reading: made };
}

test("a long reply in small pieces is read at intervals, and to the end of what has come", () => {
  const { transport, rows } = reading();
  rows(piece, piecesSeen - 1);
  expect(transport.paused).toBe(false);
  rows(piece);
  expect(transport.paused).toBe(true);
  vi.runAllTimers();
  expect(transport.paused).toBe(false);
  rows(serverReadBytes);
  expect(transport.paused).toBe(false);
  rows(piece);
  expect(transport.paused).toBe(true);
});

test("one that comes in large pieces is read at once", () => {
  const { transport, rows } = reading();
  rows(3 * piece, 10 * piecesSeen);
  rows(serverReadBytes, 100);
  expect(transport.paused).toBe(false);
});

test("a reply that ends before is no long one", () => {
  const { transport, rows, reading: paced } = reading();
  for (let i = 0; i < 10; i++) {
    rows(piece, piecesSeen - 1);
    paced.onOther();
  }
  expect(transport.paused).toBe(false);
});

test.each([
  ["next to nothing", 1],
  ["so much that the server may have waited", 40],
])("rests that gather %s are given up, and tried again later", (_, pieces) => {
  const { transport, rows } = reading();
  rows(piece, piecesSeen);
  let rests = 0;
  while (transport.paused && rests < 100) {
    rests++;
    vi.runAllTimers();
    rows(serverReadBytes, Math.floor((pieces * piece) / serverReadBytes));
    rows(Math.max(piece, (pieces * piece) % serverReadBytes));
  }
  expect(rests).toBe(3);
  rows(piece, piecesSeen);
  expect(transport.paused).toBe(true);
});

test("a client that takes no more meanwhile has the last word", () => {
  const { transport, rows, reading: paced } = reading();
  rows(piece, piecesSeen);
  paced.stop();
  vi.runAllTimers();
  expect(transport.paused).toBe(true);
  paced.resume();
  expect(transport.paused).toBe(false);
});

test("a client that takes bytes again does not end a rest", () => {
  const { transport, rows, reading: paced } = reading();
  rows(piece, piecesSeen);
  paced.stop();
  paced.resume();
  expect(transport.paused).toBe(true);
  vi.runAllTimers();
  expect(transport.paused).toBe(false);
  paced.resume();
  expect(transport.paused).toBe(false);
});

test("TLS is read as it comes", () => {
  const transport = Object.assign(new FakeTransport(), { tlsSocket: {} });
  const paced = new ReplyReading(transport as unknown as Transport);
  for (let i = 0; i < 2 * piecesSeen; i++) paced.onRows(piece);
  expect(transport.paused).toBe(false);
});

/** A message of the size of PostgreSQL's buffer. */
function message(type: number): Buffer {
  const bytes = Buffer.alloc(piece);
  bytes.writeUInt8(type);
  bytes.writeUInt32BE(piece - 1, 1);
  return bytes;
}

test("a server rests in the middle of rows and of COPY data, and not where a message is waited for", () => {
  const copyOut = Buffer.of(Backend.copyOutResponse, 0, 0, 0, 7, 0, 0, 0);
  const copyBoth = Buffer.of(Backend.copyBothResponse, 0, 0, 0, 7, 0, 0, 0);
  const rests = (first: Buffer, type: number, shares = false): boolean => {
    const { server, transport, owner } = fakeServer();
    if (shares) Object.assign(owner, { onUnit: () => undefined });
    server.replies.push(Request.query, Handling.forward);
    server.onData(first);
    for (let i = 0; i < piecesSeen; i++) server.onData(message(type));
    return transport.paused;
  };
  expect(rests(rowDescription, Backend.dataRow)).toBe(true);
  expect(rests(copyOut, Backend.copyData)).toBe(true);
  expect(rests(copyBoth, Backend.copyData)).toBe(false);
  expect(rests(rowDescription, Backend.dataRow, true)).toBe(false);
});

test("the end of a reply is read at once", () => {
  const { server, transport, owner } = fakeServer();
  server.replies.push(Request.query, Handling.forward);
  server.onData(rowDescription);
  for (let i = 0; i < piecesSeen; i++) server.onData(message(Backend.dataRow));
  vi.runAllTimers();
  server.onData(Buffer.concat([message(Backend.dataRow), complete("SELECT 1"), ready()]));
  expect(transport.paused).toBe(false);
  expect(owner.heard).toEqual(["settled"]);
});
