/**
 * Log sequence numbers: positions in the write-ahead log, as bytes since its beginning. PostgreSQL writes the
 * two halves of the 64 bits in hexadecimal, `0/16B3748` (manual, 8.20 "pg_lsn Type"); here they are bigints.
 */
import { OperationError } from "../../base/errors.ts";

const lsnMax = 0xffff_ffff_ffff_ffffn;

/** The number of a position such as `0/16B3748`. Throws OperationError `client.bad_lsn` (22P02) for other texts. */
export function parseLsn(text: string): bigint {
  const halves = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  if (halves === null) throw badLsn(`"${text}" is no position in the write-ahead log`, "22P02");
  return (BigInt(`0x${halves[1]}`) << 32n) | BigInt(`0x${halves[2]}`);
}

/** As PostgreSQL 18 writes it. Throws OperationError `client.bad_lsn` (22003) for a number beyond 64 bits. */
export function formatLsn(position: bigint): string {
  if (position < 0n || position > lsnMax) throw badLsn(`${position} is beyond the write-ahead log`, "22003");
  return `${hexadecimal(position >> 32n)}/${hexadecimal(position & 0xffff_ffffn)}`;
}

const hexadecimal = (half: bigint): string => half.toString(16).toUpperCase();

function badLsn(message: string, sqlstate: string): OperationError {
  return new OperationError(message, { code: "client.bad_lsn", sqlstate, source: "internal" });
}
