import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { md5Hash, md5Response, md5ResponseFromHash } from "../../../src/auth/md5.ts";
import { preparePassword, saltedPassword } from "../../../src/auth/pbkdf2.ts";
import { buildScramSecret, formatScramSecret, parseSecret } from "../../../src/auth/secret.ts";
import { AssertionError } from "../../../src/base/assert.ts";
import { OperationError } from "../../../src/base/errors.ts";

/** The secret of an empty password, from PostgreSQL's regression test `password`. */
const ofEmptyPassword =
  "SCRAM-SHA-256$4096:hpFyHTUsSWcR7O9P$LgZFIt6Oqdo27ZFKbZ2nV+vtnYM995pDh9ca6WSi120=:qVV5NeluNfUPkwm7Vqat25RjSPLkGeoZBQs6wVv+um4=";
const key = Buffer.alloc(32, 1).toString("base64");

describe("stored secrets", () => {
  test("a SCRAM secret of PostgreSQL's own is what we would make", async () => {
    const salt = Buffer.from("hpFyHTUsSWcR7O9P", "base64");
    const made = buildScramSecret(await saltedPassword("", salt, 4096), salt, 4096);
    expect(formatScramSecret(made)).toBe(ofEmptyPassword);
    expect(parseSecret(ofEmptyPassword)).toEqual({ kind: "scram", secret: made });
  });

  test("writing and reading a SCRAM secret is identity", () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => Buffer.from(b));
    const secrets = fc.record({
      iterations: fc.integer({ min: 1, max: 0x7fff_ffff }),
      salt: fc.uint8Array({ minLength: 1, maxLength: 64 }).map((b) => Buffer.from(b)),
      storedKey: bytes,
      serverKey: bytes,
    });
    fc.assert(
      fc.property(secrets, (secret) => {
        expect(parseSecret(formatScramSecret(secret))).toEqual({ kind: "scram", secret });
      }),
    );
  });

  test("an md5 hash loses its prefix", () => {
    const hash = "85939a5ce845f1a1b620742e3c659e0a";
    expect(parseSecret(`md5${hash}`)).toEqual({ kind: "md5", hash });
  });

  test("leading zeros of the rounds are read as PostgreSQL reads them", () => {
    expect(parseSecret(`SCRAM-SHA-256$0004096:AAAA$${key}:${key}`)).toMatchObject({
      kind: "scram",
      secret: { iterations: 4096 },
    });
  });

  test.each([
    "",
    "pencil",
    "md5",
    "md585939a5ce845f1a1b620742e3c659e0",
    "md585939A5CE845F1A1B620742E3C659E0A",
    "md585939a5ce845f1a1b620742e3c659e0a0",
    "md5012345678901234567890123456789zz",
    `SCRAM-SHA-256$0:AAAA$${key}:${key}`,
    `SCRAM-SHA-256$-1:AAAA$${key}:${key}`,
    `SCRAM-SHA-256$2147483648:AAAA$${key}:${key}`,
    `SCRAM-SHA-256$4096:$${key}:${key}`,
    `SCRAM-SHA-256$4096:AAAA$${key}`,
    `SCRAM-SHA-256$4096:AAAA$${key}:`,
    `SCRAM-SHA-256$4096:AAAA$${key}:AAAA`,
    `SCRAM-SHA-256$4096:AAAA$${key.slice(0, -1)}:${key}`,
    `SCRAM-SHA-256$4096:AAA$${key}:${key}`,
    `SCRAM-SHA-1$4096:AAAA$${key}:${key}`,
    `scram-sha-256$4096:AAAA$${key}:${key}`,
    `SCRAM-SHA-256$4096:AAAA$${key}:${key}\n`,
  ])("%j is a password in clear text", (text) => {
    expect(parseSecret(text)).toEqual({ kind: "plain", password: text });
  });
});

describe("md5", () => {
  test("the hash is that of PostgreSQL's regression test", () => {
    expect(md5Hash("regress_passwd_empty", "")).toBe("85939a5ce845f1a1b620742e3c659e0a");
  });

  test("the answer to a salt, with the password and with its hash", () => {
    const salt = Buffer.from([1, 2, 3, 255]);
    const answer = "md55f0388cdae34fff99488f7c4c4a91735";
    expect(md5Response("alice", "secret", salt)).toBe(answer);
    expect(md5ResponseFromHash("4a0a68b43b6cd5cf266fa02f196e2371", salt)).toBe(answer);
  });

  test("a zero byte is refused, since no message could carry it", () => {
    expect(() => md5Hash("alice", "a\0b")).toThrow(OperationError);
  });
});

describe("SaltedPassword", () => {
  test("is that of RFC 7677", async () => {
    const salt = Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64");
    const salted = await saltedPassword("pencil", salt, 4096);
    expect(salted.toString("hex")).toBe("c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d");
  });

  test.each([
    ["a soft hyphen goes away (RFC 4013 example 1)", "I\u00adX", "IX"],
    ["ASCII stays", "user", "user"],
    ["case stays", "USER", "USER"],
    ["compatibility forms are composed (example 4)", "\u00aa", "a"],
    ["the numeral nine becomes letters (example 5)", "\u2168", "IX"],
    ["a wide blank becomes a blank", "a\u00a0b", "a b"],
    ["a control character is taken raw (example 6)", "\u0007", "\u0007"],
    ["a control character beside letters is taken raw", "\u2168\u0007", "\u2168\u0007"],
    ["mixed directions are taken raw (example 7)", "\u0627\u0031", "\u0627\u0031"],
    ["unassigned characters are taken raw", "\u2168\u0221", "\u2168\u0221"],
    ["nothing left is taken raw", "\u00ad", "\u00ad"],
    ["bytes that are not UTF-8 are taken raw", "\u2168\udcff", "\u2168\udcff"],
    ["nothing stays nothing", "", ""],
  ])("%s", (_name, password, prepared) => {
    expect(preparePassword(password)).toBe(prepared);
  });

  test("rounds out of bounds are a mistake of ours", async () => {
    for (const iterations of [0, -1, 1.5, 1_000_001, Number.NaN]) {
      await expect(saltedPassword("a", Buffer.from("b"), iterations)).rejects.toThrow(AssertionError);
    }
  });

  test("a zero byte is refused", async () => {
    await expect(saltedPassword("a\0b", Buffer.from("b"), 1)).rejects.toThrow(OperationError);
  });
});
