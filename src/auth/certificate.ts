/**
 * Names in a client's TLS certificate, for the authentication method `cert`: the common name of its subject
 * must be the user name (docs 20.12), or a name that a map of pg_ident.conf knows; rules of pg_hba.conf may
 * take the distinguished name instead (clientname=DN).
 */
import { encodeText } from "../wire/text.ts";

/** The part of node:tls's PeerCertificate that is read; an empty object if the client showed none. */
export interface CertificateSubject {
  readonly subject?: { readonly CN?: string | readonly string[] | undefined } | undefined;
}

/**
 * The common name of a certificate's subject; undefined if there is no certificate or no name, and also if
 * there are several or if one holds a zero byte (be-secure-openssl.c be_tls_open_server refuses those), since
 * whoever signed the certificate may then have meant another user than we would read.
 *
 * Says nothing about trust: the caller hands in only certificates that its authorities vouch for
 * (`TLSSocket.authorized`).
 */
export function subjectCommonName(certificate: CertificateSubject | undefined): string | undefined {
  const name = certificate?.subject?.CN;
  if (typeof name !== "string" || name === "" || name.includes("\0")) return undefined;
  return name;
}

/**
 * The distinguished name of a certificate's subject as PostgreSQL spells it (be-secure-openssl.c: RFC 2253),
 * the most specific name first: `CN=alice,O=Example\, Inc.,C=DE`.
 *
 * `subject` is X509Certificate.subject of node:crypto, which OpenSSL has printed with the escapes of RFC 2253
 * already, but one name a line in the certificate's order, and with characters beyond ASCII as they are.
 * Undefined for an empty subject.
 */
export function distinguishedName(subject: string | undefined): string | undefined {
  if (subject === undefined || subject === "") return undefined;
  const names = subject.split("\n").map((name) => name.split(" + ").toReversed().join("+"));
  return names
    .toReversed()
    .join(",")
    .replaceAll(/[^\0-\x7f]/gu, (character) =>
      encodeText(character).toString("hex").toUpperCase().replaceAll(/../g, "\\$&"),
    );
}
