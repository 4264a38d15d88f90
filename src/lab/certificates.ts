/**
 * Certificates for tests and trials of TLS: an authority, and what it signs for servers and clients. They are
 * made by node:crypto alone, so that no openssl program is needed. Keys are thrown away with the lab: nothing
 * here is meant to protect anything.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import {
  bitString,
  boolean,
  integer,
  nothing,
  objectIdentifier,
  octetString,
  sequence,
  set,
  tagged,
  time,
  utf8String,
} from "./der.ts";

/** A certificate and its private key, as PEM text. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/**
 * `ec`: P-256 with SHA-256; `rsa`: 2048 bits with SHA-256; `ed25519` has no hash of its own, so that channel
 * binding by tls-server-end-point is undefined for it (RFC 5929, 4.1).
 */
export type KeyType = "ec" | "rsa" | "ed25519";

export interface CertificateRequest {
  readonly commonName: string;
  /** Names and numeric addresses that the certificate is for (subjectAltName); none by default. */
  readonly hosts?: readonly string[];
  readonly keyType?: KeyType;
  readonly validFrom?: Date;
  readonly validTo?: Date;
}

const oid = {
  commonName: "2.5.4.3",
  basicConstraints: "2.5.29.19",
  keyUsage: "2.5.29.15",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  subjectAltName: "2.5.29.17",
  subjectKeyIdentifier: "2.5.29.14",
  authorityKeyIdentifier: "2.5.29.35",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  sha256WithRsa: "1.2.840.113549.1.1.11",
  ed25519: "1.3.101.112",
} as const;

const dayMs = 24 * 3600 * 1000;
/** Named bits of KeyUsage (RFC 5280, 4.2.1.3), first bit highest, with the number of bits that do not count. */
const usageOfAuthority = { bits: 0x06, unused: 1 }; // keyCertSign, cRLSign
const usageOfEnd = { bits: 0xa0, unused: 5 }; // digitalSignature, keyEncipherment

interface Keys {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** Signs certificates. */
export class CertificateAuthority {
  /** Its own certificate, signed by itself, as PEM text: what the other side must trust. */
  readonly certificate: string;
  readonly #name: string;
  readonly #keys: Keys;
  readonly #keyType: KeyType;

  constructor(options: { readonly commonName?: string; readonly keyType?: KeyType } = {}) {
    this.#name = options.commonName ?? "pgsluice lab authority";
    this.#keyType = options.keyType ?? "ec";
    this.#keys = makeKeys(this.#keyType);
    this.certificate = this.#sign({ commonName: this.#name }, this.#keys.publicKey, true);
  }

  /** A new key and its certificate, good for servers and for clients. */
  issue(request: CertificateRequest): Certificate {
    const keys = makeKeys(request.keyType ?? this.#keyType);
    return {
      certificate: this.#sign(request, keys.publicKey, false),
      key: keys.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    };
  }

  /** RFC 5280, 4.1. */
  #sign(request: CertificateRequest, publicKey: KeyObject, authority: boolean): string {
    const now = Date.now();
    const algorithm = signatureAlgorithm(this.#keyType);
    const body = sequence(
      tagged(0, integer(Buffer.of(2)), true), // version 3
      integer(randomBytes(16)),
      algorithm,
      name(this.#name),
      sequence(
        time(request.validFrom ?? new Date(now - dayMs)),
        time(request.validTo ?? new Date(now + 3650 * dayMs)),
      ),
      name(request.commonName),
      publicKey.export({ type: "spki", format: "der" }),
      tagged(3, sequence(...this.#extensions(request, publicKey, authority)), true),
    );
    const hash = this.#keyType === "ed25519" ? null : "sha256";
    const signature = sign(hash, body, this.#keys.privateKey);
    return pem("CERTIFICATE", sequence(body, algorithm, bitString(signature)));
  }

  #extensions(request: CertificateRequest, publicKey: KeyObject, authority: boolean): Buffer[] {
    const usage = authority ? usageOfAuthority : usageOfEnd;
    const extensions = [
      extension(oid.basicConstraints, true, authority ? sequence(boolean(true)) : sequence()),
      extension(oid.keyUsage, true, bitString(Buffer.of(usage.bits), usage.unused)),
      extension(oid.subjectKeyIdentifier, false, octetString(keyIdentifier(publicKey))),
    ];
    if (authority) return extensions;
    const signer = tagged(0, keyIdentifier(this.#keys.publicKey), false);
    extensions.push(
      extension(oid.authorityKeyIdentifier, false, sequence(signer)),
      extension(
        oid.extendedKeyUsage,
        false,
        sequence(objectIdentifier(oid.serverAuth), objectIdentifier(oid.clientAuth)),
      ),
    );
    const { hosts = [] } = request;
    if (hosts.length > 0)
      extensions.push(extension(oid.subjectAltName, false, sequence(...hosts.map(alternativeName))));
    return extensions;
  }
}

/** What {@link makeCertificates} writes: PEM text, and the files that hold it. */
export interface LabCertificates {
  readonly authority: CertificateAuthority;
  readonly authorityFile: string;
  readonly server: Certificate & { readonly certificateFile: string; readonly keyFile: string };
  readonly client: Certificate & { readonly certificateFile: string; readonly keyFile: string };
}

/**
 * Writes ca.crt, server.crt, server.key, client.crt and client.key to a folder. The server's certificate is
 * for `hosts` (by default localhost, 127.0.0.1 and ::1), the client's for the user `user`.
 */
export async function makeCertificates(
  folder: string,
  options: { readonly hosts?: readonly string[]; readonly user?: string; readonly keyType?: KeyType } = {},
): Promise<LabCertificates> {
  const { keyType = "ec", hosts = ["localhost", "127.0.0.1", "::1"], user = "postgres" } = options;
  await mkdir(folder, { recursive: true });
  const authority = new CertificateAuthority({ keyType });
  const authorityFile = path.join(folder, "ca.crt");
  await writeFile(authorityFile, authority.certificate);
  const server = authority.issue({ commonName: hosts[0] ?? "localhost", hosts });
  const client = authority.issue({ commonName: user });
  return {
    authority,
    authorityFile,
    server: { ...server, ...(await writePair(folder, "server", server)) },
    client: { ...client, ...(await writePair(folder, "client", client)) },
  };
}

async function writePair(
  folder: string,
  name: string,
  pair: Certificate,
): Promise<{ certificateFile: string; keyFile: string }> {
  const certificateFile = path.join(folder, `${name}.crt`);
  const keyFile = path.join(folder, `${name}.key`);
  await writeFile(certificateFile, pair.certificate);
  await writeFile(keyFile, pair.key, { mode: 0o600 });
  return { certificateFile, keyFile };
}

function makeKeys(type: KeyType): Keys {
  switch (type) {
    case "ec":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    case "rsa":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    case "ed25519":
      return generateKeyPairSync("ed25519");
  }
}

function signatureAlgorithm(type: KeyType): Buffer {
  switch (type) {
    case "ec":
      return sequence(objectIdentifier(oid.ecdsaWithSha256));
    case "rsa":
      return sequence(objectIdentifier(oid.sha256WithRsa), nothing);
    case "ed25519":
      return sequence(objectIdentifier(oid.ed25519));
  }
}

function name(commonName: string): Buffer {
  return sequence(set(sequence(objectIdentifier(oid.commonName), utf8String(commonName))));
}

function extension(identifier: string, critical: boolean, contents: Buffer): Buffer {
  const mark = critical ? [boolean(true)] : [];
  return sequence(objectIdentifier(identifier), ...mark, octetString(contents));
}

/** RFC 5280, 4.2.1.2, method 1, over the whole key information: it only has to be the same in both places. */
function keyIdentifier(publicKey: KeyObject): Buffer {
  return createHash("sha1")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest();
}

/** GeneralName (RFC 5280, 4.2.1.6): dNSName or iPAddress. */
function alternativeName(host: string): Buffer {
  const family = net.isIP(host);
  if (family === 0) return tagged(2, Buffer.from(host), false);
  return tagged(7, family === 4 ? Buffer.from(host.split(".").map(Number)) : ipv6Bytes(host), false);
}

function ipv6Bytes(address: string): Buffer {
  const [head = "", tail] = address.split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const middle = Array.from({ length: 8 - before.length - after.length }, () => 0);
  const bytes = Buffer.alloc(16);
  for (const [index, group] of [...before, ...middle, ...after].entries())
    bytes.writeUInt16BE(group, index * 2);
  return bytes;
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
