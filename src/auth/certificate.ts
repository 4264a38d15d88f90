/**
 * Names in a client's TLS certificate, for the authentication method `cert`: the common name of its subject
 * must be the user name (docs 20.12).
 */

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
