/** What the messages that name prepared statements look like inside, and what is put in their place. */
import { protocolViolation } from "../base/errors.ts";
import type { Server } from "../pool/server.ts";
import { Frontend, headerBytes } from "../wire/constants.ts";
import { encodeErrorResponse } from "../wire/encode-backend.ts";
import type { Output } from "./output.ts";

const statementTarget = 0x53; // S, in Describe and Close

/** An ErrorResponse that speaks of the statement by the client's name (latin1, byte for byte). */
export function renamed(error: Buffer, serverName: string, clientName: string): Buffer {
  const whole = error.length === 1 + error.readUInt32BE(1);
  const index = error.indexOf(serverName, 0, "latin1");
  if (whole && index >= 0) {
    const name = Buffer.from(clientName, "latin1");
    const result = Buffer.concat([error.subarray(0, index), name, error.subarray(index + serverName.length)]);
    result.writeUInt32BE(result.length - 1, 1);
    return result;
  }
  const text = Buffer.from(clientName, "latin1").toString("utf8");
  return encodeErrorResponse({
    severity: "ERROR",
    code: "42P05",
    message: `prepared statement "${text}" already exists`,
  });
}

/** Where the name of a statement begins in a message; undefined if the message names none. */
export function nameStartOf(type: number, buffer: Buffer, start: number, end: number): number | undefined {
  switch (type) {
    case Frontend.parse:
      return start + headerBytes;
    case Frontend.bind:
      return endOfName(buffer, start + headerBytes, end) + 1;
    case Frontend.describe:
    case Frontend.close:
      return namesStatement(buffer, start, end) ? start + headerBytes + 1 : undefined;
    default:
      return undefined;
  }
}

/** Whether a Describe or Close is about a statement. One without a body is about nothing. */
export function namesStatement(buffer: Buffer, start: number, end: number): boolean {
  return start + headerBytes < end && buffer[start + headerBytes] === statementTarget;
}

export function appendWhole(output: Output, server: Server, message: Buffer): void {
  output.append(message, 0, message.length, server.transport);
}

/** Where the NUL of the string at `start` is. Throws PeerError 08P01 in PostgreSQL's words (pqformat.c). */
export function endOfName(buffer: Buffer, start: number, end: number): number {
  const zero = start < end ? buffer.indexOf(0, start) : -1;
  if (zero < 0 || zero >= end) throw protocolViolation("invalid string in message");
  return zero;
}
