/**
 * What a server's answers on the way to TLS mean: the one byte after SSLRequest, and the protocol that the TLS
 * handshake agreed on. Rules and texts are libpq's (fe-connect.c, fe-secure-openssl.c). sans-IO.
 */
import { Backend } from "../../wire/constants.ts";
import type { ConnectErrorCode } from "../errors.ts";

export type TlsAnswer =
  | { readonly kind: "yes" }
  /** Only an unencrypted connection is to be had. */
  | { readonly kind: "no" }
  /** `recoverable`: another kind of encryption may still be tried, on another connection. */
  | {
      readonly kind: "failed";
      readonly code: ConnectErrorCode;
      readonly text: string;
      readonly recoverable: boolean;
    };

const byteS = 0x53;
const byteN = 0x4e;

/** Bytes that came where only TLS may be heard: whoever sent them could pass for the server. */
export const unencryptedData: TlsAnswer & { readonly kind: "failed" } = {
  kind: "failed",
  code: "client.protocol_violation",
  text: "received unencrypted data after SSL response (possible man-in-the-middle attack)",
  recoverable: false,
};

/** One byte answers SSLRequest. More of them are unencrypted and would be taken for encrypted (CVE-2021-23222). */
export function readTlsAnswer(bytes: Buffer): TlsAnswer {
  const answer = bytes.readUInt8(0);
  if (answer === byteS || answer === byteN) {
    if (bytes.length > 1) return unencryptedData;
    return { kind: answer === byteS ? "yes" : "no" };
  }
  if (answer === Backend.errorResponse) {
    // Its text is not read: nothing says yet who sent it.
    const text = "server sent an error response during SSL exchange";
    return { kind: "failed", code: "client.tls_failed", text, recoverable: true };
  }
  const text = `received invalid response to SSL negotiation: byte ${answer}`;
  return { kind: "failed", code: "client.protocol_violation", text, recoverable: false };
}

/** What is wrong with the protocol that the TLS handshake agreed on; only `direct` TLS has to name one. */
export function protocolFault(alpn: string | undefined, direct: boolean): string | undefined {
  if (alpn === undefined) {
    return direct
      ? "direct SSL connection was established without ALPN protocol negotiation extension"
      : undefined;
  }
  return alpn === "postgresql" ? undefined : "SSL connection was established with unexpected ALPN protocol";
}
