/**
 * The error that is no message: a postmaster that cannot start a process for the connection has no protocol to
 * speak of, and says so as protocol 2 did: `E`, text, NUL (postmaster.c report_fork_failure_to_client). It is told
 * from ErrorResponse by what would be its length. libpq looks for it in the same way (fe-connect.c).
 */
import { protocolViolation } from "../../base/errors.ts";
import { Backend, headerBytes, shortServerMessageBytesMax } from "../../wire/constants.ts";
import { decodeText } from "../../wire/text.ts";

/** ErrorResponse has at least a length word, one field and the final NUL. */
const lengthMin = 8;

/** What a server has begun with: not known yet, a message of protocol 3, or a text. */
export type Opening =
  | { readonly kind: "unknown" | "message" }
  | { readonly kind: "text"; readonly text: string };

/** Judges the first bytes of a server. Throws PeerError (08P01) for a text without end. */
export function readOpening(bytes: Buffer): Opening {
  if (bytes.length > 0 && bytes[0] !== Backend.errorResponse) return { kind: "message" };
  if (bytes.length < headerBytes) return { kind: "unknown" };
  const length = bytes.readUInt32BE(1);
  if (length >= lengthMin && length <= shortServerMessageBytesMax) return { kind: "message" };
  const end = bytes.indexOf(0, 1);
  if (end >= 0) return { kind: "text", text: decodeText(bytes, 1, end).trimEnd() };
  if (bytes.length <= shortServerMessageBytesMax) return { kind: "unknown" };
  throw protocolViolation("received invalid error message", { source: "server" });
}
