/** A certificate authority that can also revoke: certificates of servers, and lists of those no longer to trust. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import {
  bitString,
  boolean,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  tagged,
  time,
  utf8String,
} from "../../src/lab/der.ts";

export interface RevocableCertificate {
  readonly certificate: string;
  readonly key: string;
  readonly serial: Buffer;
}

const ecdsaWithSha256 = sequence(objectIdentifier("1.2.840.10045.4.3.2"));
const basicConstraints = "2.5.29.19";
const dayMs = 24 * 3600 * 1000;

export class RevocableAuthority {
  readonly certificate: string;
  readonly #name: Buffer;
  readonly #keys = generateKeyPairSync("ec", { namedCurve: "P-256" });

  constructor(commonName: string) {
    this.#name = nameOf(commonName);
    this.certificate = this.#certify(this.#name, this.#keys.publicKey, Buffer.of(1), true);
  }

  issue(commonName: string): RevocableCertificate {
    const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
    // A first bit of zero: the number is positive.
    const serial = Buffer.concat([Buffer.of(1), randomBytes(8)]);
    return {
      certificate: this.#certify(nameOf(commonName), keys.publicKey, serial, false),
      key: keys.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      serial,
    };
  }

  /** A list of these certificates (RFC 5280, section 5.1; version 1, which needs no extensions). */
  revoke(...revoked: readonly RevocableCertificate[]): string {
    const now = Date.now();
    const entries = revoked.map(({ serial }) => sequence(integer(serial), time(new Date(now - dayMs))));
    const body = sequence(
      ecdsaWithSha256,
      this.#name,
      time(new Date(now - dayMs)),
      time(new Date(now + dayMs)),
      ...(entries.length === 0 ? [] : [sequence(...entries)]),
    );
    return this.#signed("X509 CRL", body);
  }

  #certify(subject: Buffer, publicKey: KeyObject, serial: Buffer, authority: boolean): string {
    const now = Date.now();
    const constraints = sequence(
      objectIdentifier(basicConstraints),
      boolean(true),
      octetString(authority ? sequence(boolean(true)) : sequence()),
    );
    const body = sequence(
      tagged(0, integer(Buffer.of(2)), true), // version 3
      integer(serial),
      ecdsaWithSha256,
      this.#name,
      sequence(time(new Date(now - dayMs)), time(new Date(now + dayMs))),
      subject,
      publicKey.export({ type: "spki", format: "der" }),
      tagged(3, sequence(constraints), true),
    );
    return this.#signed("CERTIFICATE", body);
  }

  #signed(label: string, body: Buffer): string {
    const signature = sign("sha256", body, this.#keys.privateKey);
    const der = sequence(body, ecdsaWithSha256, bitString(signature));
    const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
    return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
  }
}

function nameOf(commonName: string): Buffer {
  return sequence(set(sequence(objectIdentifier("2.5.4.3"), utf8String(commonName))));
}
