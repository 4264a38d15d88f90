/**
 * Positions in the write-ahead log: 64 bits, written `16/B374D848` (manual, "pg_lsn Type").
 *
 * A bigint, since a number would be wrong from 2^53 on, and pg_resetwal may set any position.
 */

/** Undefined if it is none. */
export function parseLsn(text: string): bigint | undefined {
  const [, high, low] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text) ?? [];
  if (high === undefined || low === undefined) return undefined;
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

export function formatLsn(lsn: bigint): string {
  const part = (value: bigint): string => value.toString(16).toUpperCase();
  return `${part(lsn >> 32n)}/${part(lsn & 0xffffffffn)}`;
}
