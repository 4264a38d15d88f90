/** What a client is told about protocol versions, and the messages that begin its session. */
import { PeerError } from "../base/errors.ts";
import type { CancelKey } from "../pool/cancel-registry.ts";
import { protocolVersion30, protocolVersion32, TransactionStatus } from "../wire/constants.ts";
import {
  encodeAuthenticationOk,
  encodeBackendKeyData,
  encodeNegotiateProtocolVersion,
  encodeReadyForQuery,
} from "../wire/encode-backend.ts";

/** Newest minor version of protocol 3 that is spoken here. */
export const minorMax = 2;
/** There is no protocol 3.1 (docs 54.1): whoever asks for it gets 3.0. */
const minorReserved = 1;

/**
 * NegotiateProtocolVersion, if the client asks for a newer minor version or for options that are not known
 * here; undefined if it gets what it asks for.
 */
export function negotiation(minor: number, unknownOptions: readonly string[]): Buffer | undefined {
  if (minor <= minorMax && minor !== minorReserved && unknownOptions.length === 0) return undefined;
  const version = minor >= minorMax ? protocolVersion32 : protocolVersion30;
  return encodeNegotiateProtocolVersion(version, unknownOptions);
}

/**
 * The order in which a client of a reused server has always been greeted: Ok, key, parameters, ready.
 * `told`: ParameterStatus messages, and what else there is to tell; `authenticated`: it has had its AuthenticationOk.
 */
export function greeting(key: CancelKey, told: readonly Buffer[], authenticated: boolean): Buffer {
  const keyData = encodeBackendKeyData(key.pid, key.secret);
  const ready = encodeReadyForQuery(TransactionStatus.idle);
  return Buffer.concat(
    authenticated ? [keyData, ...told, ready] : [encodeAuthenticationOk(), keyData, ...told, ready],
  );
}

export function unsupportedVersion(major: number, minor: number): PeerError {
  return new PeerError(
    `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.${minorMax}`,
    {
      code: "login.unsupported_protocol",
      sqlstate: "0A000",
      source: "client",
    },
  );
}
