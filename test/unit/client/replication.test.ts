/** Replication without a server: positions, the messages inside CopyData, command texts, what a server is told. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  baseBackupCommand,
  createSlotCommand,
  dropSlotCommand,
  startLogicalCommand,
  startPhysicalCommand,
  timelineHistoryCommand,
} from "../../../src/client/replication/commands.ts";
import { formatLsn, parseLsn } from "../../../src/client/replication/lsn.ts";
import {
  decodeBackup,
  decodeReplication,
  encodeStatus,
  type Keepalive,
  type WalData,
} from "../../../src/client/replication/messages.ts";
import { ReplicationProgress } from "../../../src/client/replication/progress.ts";
import { Timestamp } from "../../../src/client/types/timestamp.ts";

const time = new Timestamp(0);
/** 2026-11-21 12:00:00.000007 UTC, as microseconds since 2000. */
const serverTime = 848_620_800_000_007n - 864_000_000_000n;

/** A CopyData in the middle of a buffer. */
function framed(contents: Buffer): [Buffer, number, number] {
  const buffer = Buffer.alloc(contents.length + 11, 0xee);
  contents.copy(buffer, 8);
  return [buffer, 3, contents.length + 8];
}

function walData(position: bigint, text: string): Buffer {
  const bytes = Buffer.alloc(25);
  bytes.write("w");
  bytes.writeBigUInt64BE(position, 1);
  bytes.writeBigUInt64BE(position + 0x1000n, 9);
  bytes.writeBigInt64BE(serverTime, 17);
  return Buffer.concat([bytes, Buffer.from(text)]);
}

describe("positions", () => {
  test("are those of pg_lsn", () => {
    expect(parseLsn("0/16B3748")).toBe(0x16b3748n);
    expect(parseLsn("16/b374d848")).toBe(0x16_b374_d848n);
    expect(formatLsn(0n)).toBe("0/0");
    expect(formatLsn(0x16_b374_d848n)).toBe("16/B374D848");
    expect(formatLsn(0x1_0000_0001n)).toBe("1/1");
  });

  test("survive being written and read, and nothing else is one", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (position) => {
        expect(parseLsn(formatLsn(position))).toBe(position);
      }),
    );
    for (const text of [
      "",
      "0",
      "0/",
      "/0",
      "0/0/0",
      " 0/0",
      "0/0\n",
      "G/0",
      "0/123456789",
      "-1/0",
      "0x1/0",
    ]) {
      expect(() => parseLsn(text), text).toThrow(expect.objectContaining({ sqlstate: "22P02" }));
    }
    for (const position of [-1n, 2n ** 64n]) {
      expect(() => formatLsn(position)).toThrow(
        expect.objectContaining({ code: "client.bad_lsn", sqlstate: "22003" }),
      );
    }
  });
});

describe("messages", () => {
  test("of a stream are decoded, with data that nobody else writes to", () => {
    const [buffer, start, end] = framed(walData(0x1000n, "log"));
    const physical = decodeReplication("physical", buffer, start, end);
    expect(physical).toMatchObject({ kind: "data", start: 0x1000n, end: 0x1003n, serverEnd: 0x2000n });
    expect(physical.time.toISOString()).toMatch(/^2026-11-\d\dT\d\d:\d\d:\d\d\.000007Z$/);
    expect(decodeReplication("logical", buffer, start, end).end).toBe(0x1000n);
    buffer.fill(0);
    expect((physical as WalData).data.toString()).toBe("log");
    const keepalive = Buffer.alloc(18);
    keepalive.write("k");
    keepalive.writeBigUInt64BE(7n, 1);
    keepalive[17] = 1;
    expect(decodeReplication("logical", ...framed(keepalive))).toMatchObject({
      kind: "keepalive",
      end: 7n,
      replyRequested: true,
    });
  });

  test("of a base backup are decoded", () => {
    const decode = (...parts: (string | Buffer)[]): unknown =>
      decodeBackup(...framed(Buffer.concat(parts.map((part) => Buffer.from(part as string)))));
    expect(decode("n", "base.tar\0", "\0")).toEqual({
      kind: "archive",
      name: "base.tar",
      location: undefined,
    });
    expect(decode("n", "16388.tar\0", "/äß\0")).toEqual({
      kind: "archive",
      name: "16388.tar",
      location: "/äß",
    });
    expect(decode("d", "abc")).toEqual({ kind: "data", data: Buffer.from("abc") });
    expect(decode("d")).toEqual({ kind: "data", data: Buffer.alloc(0) });
    expect(decode("m")).toEqual({ kind: "manifest" });
    expect(decode("p", Buffer.from("0000000100000002", "hex"))).toEqual({
      kind: "progress",
      bytes: 0x1_0000_0002n,
    });
  });

  test("that are none are the server's fault, whatever they are", () => {
    const wrong = expect.objectContaining({ sqlstate: "08P01", source: "server" });
    for (const text of ["", "w", "k", "x", "k".repeat(19), `w${"x".repeat(23)}`]) {
      expect(() => decodeReplication("physical", ...framed(Buffer.from(text))), text).toThrow(wrong);
    }
    for (const text of ["", "n", "nname\0", "nname\0place", "na\0b\0c", "mm", "p", "p123456789", "x"]) {
      expect(() => decodeBackup(...framed(Buffer.from(text))), text).toThrow(wrong);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        for (const decode of [decodeBackup, decodeReplication.bind(undefined, "physical")]) {
          try {
            decode(...framed(Buffer.from(bytes)));
          } catch (error) {
            expect(error).toMatchObject({ sqlstate: expect.stringMatching(/^(08P01|22021)$/) });
          }
        }
      }),
    );
  });

  test("a status holds three positions and the time", () => {
    const bytes = encodeStatus({ written: 3n, flushed: 2n, applied: 2n ** 64n - 1n }, 946_684_800_001);
    expect(bytes.toString("hex")).toBe(
      `72${"3".padStart(16, "0")}${"2".padStart(16, "0")}${"f".repeat(16)}${(1000).toString(16).padStart(16, "0")}00`,
    );
  });
});

describe("commands", () => {
  test("name what was given and nothing else", () => {
    expect(createSlotCommand("a", {})).toBe('CREATE_REPLICATION_SLOT "a" PHYSICAL');
    expect(createSlotCommand("a", { temporary: true, reserveWal: true })).toBe(
      'CREATE_REPLICATION_SLOT "a" TEMPORARY PHYSICAL (RESERVE_WAL true)',
    );
    const logical = { plugin: "pgoutput", snapshot: "use", twoPhase: false, failover: true } as const;
    expect(createSlotCommand("a", logical)).toBe(
      `CREATE_REPLICATION_SLOT "a" LOGICAL "pgoutput" (SNAPSHOT 'use', TWO_PHASE false, FAILOVER true)`,
    );
    expect(dropSlotCommand("a", true)).toBe('DROP_REPLICATION_SLOT "a" WAIT');
    expect(startPhysicalCommand(undefined, 255n, undefined)).toBe("START_REPLICATION PHYSICAL 0/FF");
    expect(startPhysicalCommand("a", 0n, 3)).toBe('START_REPLICATION SLOT "a" PHYSICAL 0/0 TIMELINE 3');
    expect(startLogicalCommand("a", 0n, {})).toBe('START_REPLICATION SLOT "a" LOGICAL 0/0');
    expect(startLogicalCommand("a", 1n, { proto_version: 4, binary: true, x: "it's \\" })).toBe(
      `START_REPLICATION SLOT "a" LOGICAL 0/1 ("proto_version" '4', "binary" 'true', "x" 'it''s \\')`,
    );
    expect(baseBackupCommand({})).toBe("BASE_BACKUP");
    expect(baseBackupCommand({ label: "it's", manifest: true, wal: false, kilobytesPerSecondMax: 32 })).toBe(
      "BASE_BACKUP (LABEL 'it''s', WAL false, MAX_RATE 32, MANIFEST 'yes')",
    );
    expect(timelineHistoryCommand(2 ** 32 - 1)).toBe("TIMELINE_HISTORY 4294967295");
  });

  test("that cannot be written are refused", () => {
    const bad = expect.objectContaining({ code: "client.bad_option", sqlstate: "22023" });
    expect(() => createSlotCommand('a"', {})).toThrow(bad);
    expect(() => startLogicalCommand("a", 0n, { 'x"': 1 })).toThrow(bad);
    for (const number of [0, -1, 1.5, Number.NaN, 2 ** 32])
      expect(() => timelineHistoryCommand(number)).toThrow(bad);
    expect(() => createSlotCommand("a\0", {})).toThrow(expect.objectContaining({ code: "client.bad_text" }));
  });
});

describe("progress", () => {
  const data = (end: bigint): WalData => ({
    kind: "data",
    start: end,
    end,
    serverEnd: end,
    time,
    data: Buffer.alloc(0),
  });
  const keepalive = (end: bigint): Keepalive => ({ kind: "keepalive", end, time, replyRequested: false });

  function deliver(progress: ReplicationProgress, event: WalData): void {
    progress.received(event);
    progress.handedOver(event);
    progress.taken(event);
  }

  test("written follows what is taken, the rest only the caller's word", () => {
    const progress = new ReplicationProgress("physical");
    deliver(progress, data(10n));
    progress.received(keepalive(50n));
    expect(progress.positions).toEqual({ written: 10n, flushed: 0n, applied: 0n });
    progress.confirm({ flushed: 20n });
    expect(progress.positions).toEqual({ written: 20n, flushed: 20n, applied: 0n });
    progress.confirm({ written: 5n, flushed: 5n, applied: 5n });
    expect(progress.positions).toEqual({ written: 20n, flushed: 20n, applied: 5n });
    progress.received(keepalive(90n));
    expect(progress.positions.flushed).toBe(20n);
  });

  test("a keepalive confirms itself in a logical stream where all else is confirmed", () => {
    const progress = new ReplicationProgress("logical");
    progress.received(keepalive(5n));
    expect(progress.positions).toMatchObject({ flushed: 5n, applied: 5n });
    deliver(progress, data(10n));
    progress.received(keepalive(20n));
    expect(progress.positions.flushed).toBe(5n);
    progress.confirm({ flushed: 9n });
    progress.received(keepalive(21n));
    expect(progress.positions.flushed).toBe(9n);
    progress.confirm({ flushed: 10n });
    progress.received(keepalive(22n));
    expect(progress.positions.flushed).toBe(22n);
  });

  test("not where a change has come that the caller has not taken", () => {
    const progress = new ReplicationProgress("logical");
    deliver(progress, data(10n));
    // A message without a position, behind the commit that the caller confirms.
    const relation = data(0n);
    progress.received(relation);
    progress.confirm({ flushed: 10n });
    progress.received(keepalive(20n));
    expect(progress.positions.flushed).toBe(10n);
    progress.handedOver(relation);
    progress.received(data(15n));
    progress.confirm({ flushed: 15n });
    progress.received(keepalive(30n));
    expect(progress.positions.flushed).toBe(15n);
  });

  test("never confirms a change that the caller has not confirmed, and never goes back", () => {
    const step = fc.record({
      what: fc.constantFrom("data", "keepalive", "take", "confirm"),
      distance: fc.bigInt({ min: 0n, max: 5n }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const progress = new ReplicationProgress("logical");
        const waiting: WalData[] = [];
        let sent = 0n;
        let firstUnconfirmed: bigint | undefined;
        let last = 0n;
        let before = progress.positions;
        for (const { what, distance } of steps) {
          if (what === "data") {
            const event = data((sent += distance + 1n));
            progress.received(event);
            waiting.push(event);
            firstUnconfirmed ??= event.end;
          } else if (what === "keepalive") {
            progress.received(keepalive((sent += distance)));
          } else if (what === "take") {
            const event = waiting.shift();
            if (event === undefined) continue;
            progress.handedOver(event);
            progress.taken(event);
            last = event.end;
          } else {
            progress.confirm({ flushed: last });
            firstUnconfirmed = waiting[0]?.end;
          }
          const now = progress.positions;
          if (firstUnconfirmed !== undefined) expect(now.flushed < firstUnconfirmed).toBe(true);
          for (const name of ["written", "flushed", "applied"] as const)
            expect(now[name] >= before[name]).toBe(true);
          before = now;
        }
      }),
    );
  });
});
