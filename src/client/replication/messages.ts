/**
 * The messages inside CopyData of a replication stream and of a base backup (docs 54.4 "Streaming Replication
 * Protocol"). sans-IO.
 */
import { protocolViolation } from "../../base/errors.ts";
import { headerBytes } from "../../wire/constants.ts";
import { decodeText } from "../../wire/text.ts";
import { malformed } from "../query/rows.ts";
import { Timestamp } from "../types/timestamp.ts";

/** A piece of the write-ahead log, or what an output plugin made of a change. */
export interface WalData {
  readonly kind: "data";
  /** Where it begins; for a change, its own position, and 0 for a message that has none. */
  readonly start: bigint;
  /** Everything before this position has come with it; for a change the same as `start`. */
  readonly end: bigint;
  /** The end of the server's log when it was sent. */
  readonly serverEnd: bigint;
  /** The server's clock when it was sent. */
  readonly time: Timestamp;
  /** The caller's own. */
  readonly data: Buffer;
}

/** The server is there, and has sent all that lies before `end`. It is answered without the caller's help. */
export interface Keepalive {
  readonly kind: "keepalive";
  readonly end: bigint;
  readonly time: Timestamp;
  /** Whether the server asked for a status. It has been given one. */
  readonly replyRequested: boolean;
}

export type ReplicationEvent = WalData | Keepalive;
export type ReplicationKind = "physical" | "logical";

/** How far a receiver is: everything before the position. 0 is "not known". */
export interface ReplicationPositions {
  readonly written: bigint;
  readonly flushed: bigint;
  readonly applied: bigint;
}

/** A new archive begins: base.tar, or the one of a tablespace. */
export interface BackupArchive {
  readonly kind: "archive";
  readonly name: string;
  /** Folder of the tablespace; undefined for the cluster's own. */
  readonly location: string | undefined;
}

/** The backup manifest begins. */
export interface BackupManifest {
  readonly kind: "manifest";
}

/** Contents of the archive or manifest that began last. */
export interface BackupData {
  readonly kind: "data";
  /** The caller's own. */
  readonly data: Buffer;
}

/** How many bytes of all archives the server has read so far. */
export interface BackupProgress {
  readonly kind: "progress";
  readonly bytes: bigint;
}

export type BackupEvent = BackupArchive | BackupManifest | BackupData | BackupProgress;

const letters = {
  walData: 0x77, // w
  keepalive: 0x6b, // k
  status: 0x72, // r
  archive: 0x6e, // n
  data: 0x64, // d
  manifest: 0x6d, // m
  progress: 0x70, // p
} as const;

const walHeaderBytes = 25;
const keepaliveBytes = 18;
const statusBytes = 34;
/** 2000-01-01 UTC, from where PostgreSQL counts, in microseconds since 1970. */
const epochMicroseconds = 946_684_800_000_000n;

/** One CopyData of a stream, `buffer[start, end)`. Throws PeerError (08P01) for what is none. */
export function decodeReplication(
  kind: ReplicationKind,
  buffer: Buffer,
  start: number,
  end: number,
): ReplicationEvent {
  const body = start + headerBytes;
  switch (buffer[body]) {
    case letters.walData: {
      if (end < body + walHeaderBytes) throw malformed();
      const data = Buffer.from(buffer.subarray(body + walHeaderBytes, end));
      const position = buffer.readBigUInt64BE(body + 1);
      return {
        kind: "data",
        start: position,
        end: kind === "physical" ? position + BigInt(data.length) : position,
        serverEnd: buffer.readBigUInt64BE(body + 9),
        time: time(buffer, body + 17),
        data,
      };
    }
    case letters.keepalive: {
      if (end !== body + keepaliveBytes) throw malformed();
      return {
        kind: "keepalive",
        end: buffer.readBigUInt64BE(body + 1),
        time: time(buffer, body + 9),
        replyRequested: buffer[body + 17] !== 0,
      };
    }
    default:
      throw unknownLetter("replication stream", buffer, body, end);
  }
}

/** Standby status update: the contents of a CopyData. `now` is milliseconds since 1970. */
export function encodeStatus(positions: ReplicationPositions, now: number): Buffer {
  const bytes = Buffer.alloc(statusBytes);
  bytes[0] = letters.status;
  bytes.writeBigUInt64BE(positions.written, 1);
  bytes.writeBigUInt64BE(positions.flushed, 9);
  bytes.writeBigUInt64BE(positions.applied, 17);
  bytes.writeBigInt64BE(BigInt(Math.trunc(now)) * 1000n - epochMicroseconds, 25);
  return bytes;
}

/** One CopyData of a base backup in the form that it has since PostgreSQL 15. Throws PeerError (08P01). */
export function decodeBackup(buffer: Buffer, start: number, end: number): BackupEvent {
  const body = start + headerBytes;
  switch (buffer[body]) {
    case letters.data:
      return { kind: "data", data: Buffer.from(buffer.subarray(body + 1, end)) };
    case letters.archive: {
      const nameEnd = buffer.indexOf(0, body + 1);
      const locationEnd = nameEnd < 0 ? -1 : buffer.indexOf(0, nameEnd + 1);
      if (nameEnd < 0 || locationEnd !== end - 1) throw malformed();
      const location = decodeText(buffer, nameEnd + 1, locationEnd);
      return {
        kind: "archive",
        name: decodeText(buffer, body + 1, nameEnd),
        location: location === "" ? undefined : location,
      };
    }
    case letters.manifest:
      if (end !== body + 1) throw malformed();
      return { kind: "manifest" };
    case letters.progress:
      if (end !== body + 9) throw malformed();
      return { kind: "progress", bytes: buffer.readBigUInt64BE(body + 1) };
    default:
      throw unknownLetter("base backup", buffer, body, end);
  }
}

function time(buffer: Buffer, at: number): Timestamp {
  return Timestamp.fromEpochMicroseconds(buffer.readBigInt64BE(at) + epochMicroseconds);
}

function unknownLetter(where: string, buffer: Buffer, at: number, end: number): Error {
  const letter = at < end ? `"${String.fromCharCode(buffer[at] as number)}"` : "nothing";
  return protocolViolation(`unexpected ${letter} in a ${where}`, { source: "server" });
}
