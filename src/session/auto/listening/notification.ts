/** NotificationResponse as bytes, and the statements about channels. */

import { isAscii } from "../../../pool/parameters.ts";
import { encodeQuery } from "../../../wire/encode-frontend.ts";

/** Header, then the process id of whoever notified (docs 54.7). */
const pidAt = 5;
const channelAt = 9;

/** The process id of the server that notified. */
export function pidOf(notification: Buffer): number {
  return notification.readInt32BE(pidAt);
}

export function channelOf(notification: Buffer): string {
  return notification.toString("utf8", channelAt, notification.indexOf(0, channelAt));
}

export function payloadOf(notification: Buffer): string {
  return notification.toString("utf8", notification.indexOf(0, channelAt) + 1, notification.length - 1);
}

/** A copy that names another process. */
export function withPid(notification: Buffer, pid: number): Buffer {
  const copy = Buffer.from(notification);
  copy.writeInt32BE(pid, pidAt);
  return copy;
}

/**
 * One transaction of the pooler's own: no time limit of the client's ends it, and it waits for no disk and no standby,
 * since what it notifies need not outlive a crash. In a Query of several statements SET LOCAL is in a transaction block.
 */
export function inOneTransaction(statements: readonly string[]): Buffer {
  return encodeQuery([...ownSettings, ...statements].join("; "));
}

const ownSettings = [
  "SET LOCAL statement_timeout TO 0",
  "SET LOCAL lock_timeout TO 0",
  "SET LOCAL synchronous_commit TO off",
];

export function listen(channel: string): string {
  return `LISTEN ${identifier(channel)}`;
}

export function unlisten(channel: string): string {
  return `UNLISTEN ${identifier(channel)}`;
}

/** Tells places apart in the order of notifications: by `number`. */
export function notifyMarker(channel: string, number: number): string {
  return `NOTIFY ${identifier(channel)}, '${number}'`;
}

/** In ASCII, whatever the server takes texts to be encoded in. */
function identifier(name: string): string {
  const quoted = name.replaceAll('"', '""');
  if (isAscii(name)) return `"${quoted}"`;
  const escaped = quoted.replaceAll("\\", "\\\\").replaceAll(/[^\0-\x7f]/gu, escapeOf);
  return `U&"${escaped}"`;
}

function escapeOf(char: string): string {
  return `\\+${(char.codePointAt(0) ?? 0).toString(16).padStart(6, "0")}`;
}
