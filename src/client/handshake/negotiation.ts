/**
 * NegotiateProtocolVersion as the client sees it: the server names the newest minor version it speaks and
 * the `_pq_.` options it does not know. The rules and texts are libpq's (fe-protocol3.c
 * pqGetNegotiateProtocolVersion3, PostgreSQL 18): an answer that changes nothing, or asks for what was not
 * offered, is a broken server.
 */
import { type PeerError, protocolViolation } from "../../base/errors.ts";
import { protocolVersion30 } from "../../wire/constants.ts";
import { type ConnectOptions, startupParameters } from "../conninfo/options.ts";

const protocolVersion31 = protocolVersion30 + 1;
const optionPrefix = "_pq_.";

/** The version to go on with. Throws PeerError (08P01) if the server's answer breaks a rule. */
export function negotiatedVersion(
  options: ConnectOptions,
  version: number,
  unsupported: readonly string[],
): number {
  const requested = options.maxProtocolVersion;
  if (version > requested) throw invalid("server requested downgrade to a higher-numbered version");
  if (version < protocolVersion30) throw invalid("server requested downgrade to pre-3.0 protocol version");
  if (version === protocolVersion31) {
    throw invalid("server requested downgrade to non-existent 3.1 protocol version");
  }
  if (version === requested && unsupported.length === 0) {
    throw invalid("server negotiated but asks for no changes");
  }
  if (version < options.minProtocolVersion) {
    throw protocolViolation(
      `server only supports protocol version ${versionText(version)}, ` +
        `but "min_protocol_version" was set to ${versionText(options.minProtocolVersion)}`,
      { source: "server", code: "peer.protocol_version" },
    );
  }
  const sent = new Set(startupParameters(options).map(([name]) => name));
  for (const name of unsupported) {
    if (!name.startsWith(optionPrefix)) {
      throw invalid(
        `server reported unsupported parameter name without a "${optionPrefix}" prefix ("${name}")`,
      );
    }
    if (!sent.has(name)) {
      throw invalid(`server reported an unsupported parameter that was not requested ("${name}")`);
    }
  }
  return version;
}

/** 196610 → "3.2". */
function versionText(version: number): string {
  return `${version >>> 16}.${version & 0xffff}`;
}

function invalid(what: string): PeerError {
  return protocolViolation(`received invalid protocol negotiation message: ${what}`, { source: "server" });
}
