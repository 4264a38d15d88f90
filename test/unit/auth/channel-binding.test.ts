import { createHash, X509Certificate } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tlsServerEndPoint } from "../../../src/auth/channel-binding.ts";
import { certificates } from "./certificates.ts";

/** The hash each certificate binds by; undefined where its signature has none. */
const hashes: Record<string, string | undefined> = {
  "rsa-md5": "sha256",
  "rsa-sha1": "sha256",
  "rsa-sha256": "sha256",
  "rsa-sha512": "sha512",
  "ecdsa-sha1": "sha256",
  "ecdsa-sha256": "sha256",
  "ecdsa-sha384": "sha384",
  "ecdsa-sha3-256": "sha3-256",
  "pss-sha1": "sha256",
  "pss-sha384": "sha384",
  ed25519: undefined,
};

describe("tls-server-end-point", () => {
  test.each(Object.entries(hashes))("%s is hashed by %s", (name, hash) => {
    const certificate = certificates[name] ?? Buffer.alloc(0);
    expect(new X509Certificate(certificate).subject).toBe(`CN=${name}`);
    const expected = hash === undefined ? undefined : createHash(hash).update(certificate).digest();
    expect(tlsServerEndPoint(certificate)).toEqual(expected);
  });

  test("every fixture is in the table", () => {
    expect(Object.keys(certificates).sort()).toEqual(Object.keys(hashes).sort());
  });

  test("a certificate cut short has no end point, and never throws", () => {
    const certificate = certificates["rsa-sha256"] ?? Buffer.alloc(0);
    for (let length = 0; length < certificate.length; length += 1) {
      expect(tlsServerEndPoint(certificate.subarray(0, length))).toBeUndefined();
    }
  });

  test("changed and arbitrary bytes never throw", () => {
    const certificate = certificates["pss-sha384"] ?? Buffer.alloc(0);
    const changed = fc
      .tuple(fc.nat({ max: certificate.length - 1 }), fc.nat({ max: 255 }))
      .map(([at, byte]) => {
        const copy = Buffer.from(certificate);
        copy[at] = byte;
        return copy;
      });
    const noise = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.oneof(changed, noise), (der) => {
        const result = tlsServerEndPoint(der);
        expect(result === undefined || Buffer.isBuffer(result)).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });
});
