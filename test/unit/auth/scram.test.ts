import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { saltedPassword } from "../../../src/auth/pbkdf2.ts";
import {
  decodeBase64,
  hmac,
  isNonce,
  parseIterations,
  scramIterationsMax,
  scramKeys,
  sha256,
  xorKeys,
} from "../../../src/auth/scram.ts";
import { ScramServer } from "../../../src/auth/scram-server.ts";
import { buildScramSecret } from "../../../src/auth/secret.ts";
import { PeerError } from "../../../src/base/errors.ts";
import {
  boundExchange,
  type Exchange,
  endPoint,
  plainExchange,
  runExchange,
  type Step,
  saltedPasswordSync,
  secretOf,
} from "./exchange.ts";

/** RFC 7677, section 3. */
const rfc7677 = {
  salt: Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"),
  iterations: 4096,
  serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
  clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
  serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  withoutProof: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
  proof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
  serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};

describe("the vector of RFC 7677", () => {
  test("the server half plays it byte for byte", async () => {
    const salted = await saltedPassword("pencil", rfc7677.salt, rfc7677.iterations);
    const server = new ScramServer({
      secret: buildScramSecret(salted, rfc7677.salt, rfc7677.iterations),
      doomed: false,
      tls: false,
      endPoint: undefined,
      nonce: rfc7677.serverNonce,
    });
    expect(server.mechanisms).toEqual(["SCRAM-SHA-256"]);
    const challenge = server.first("SCRAM-SHA-256", Buffer.from(rfc7677.clientFirst));
    expect(challenge.toString()).toBe(rfc7677.serverFirst);
    const { data, clientKey, serverKey } = server.final(
      Buffer.from(`${rfc7677.withoutProof},p=${rfc7677.proof}`),
    );
    expect(data.toString()).toBe(rfc7677.serverFinal);
    expect({ clientKey, serverKey }).toEqual(scramKeys(salted));
  });

  test("the key schedule gives the client's proof", () => {
    const { clientKey } = scramKeys(saltedPasswordSync("pencil", rfc7677.salt, rfc7677.iterations));
    const authMessage = `${rfc7677.clientFirst.slice(3)},${rfc7677.serverFirst},${rfc7677.withoutProof}`;
    const proof = xorKeys(clientKey, hmac(sha256(clientKey), authMessage));
    expect(proof.toString("base64")).toBe(rfc7677.proof);
  });
});

describe("the two halves together", () => {
  const password = fc
    .string({ unit: "binary", minLength: 1, maxLength: 40 })
    .filter((p) => !p.includes("\0"));
  const exchanges = fc.record({
    password,
    salt: fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    iterations: fc.integer({ min: 1, max: 5 }),
    bound: fc.boolean(),
    channelBinding: fc.constantFrom<Exchange["channelBinding"]>("disable", "prefer"),
  });

  test("the right password always succeeds, and both sides hold the same keys", () => {
    fc.assert(
      fc.property(exchanges, ({ password, bound, ...rest }) => {
        const base = bound ? boundExchange : plainExchange;
        const result = runExchange({ ...base, ...rest, clientPassword: password, serverPassword: password });
        expect(result.mechanism).toBe(
          bound && rest.channelBinding === "prefer" ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
        );
        expect(result.clientKeys).toEqual(result.serverKeys);
      }),
    );
  });

  test("the keys of one exchange are good for the next, without the password", () => {
    const { serverKeys } = runExchange(plainExchange);
    const again = runExchange({ ...boundExchange, clientPassword: "", clientKeys: serverKeys });
    expect(again.clientKeys).toEqual(serverKeys);
  });

  test("a wrong password and a doomed exchange fail alike", () => {
    for (const change of [{ clientPassword: "pencils" }, { doomed: true }]) {
      expect(failure({ ...plainExchange, ...change })).toMatchObject({
        message: "SASL authentication failed",
        code: "peer.authentication_failed",
        sqlstate: "28P01",
        source: "client",
      });
    }
  });

  test("one wrong byte anywhere fails with PeerError", () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.constantFrom<Step>(0, 1, 2, 3),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (bound, step, position, mask) => {
          const tamper = (at: Step, message: Buffer): Buffer => {
            if (at !== step) return message;
            const copy = Buffer.from(message);
            const index = position % copy.length;
            copy.writeUInt8(copy.readUInt8(index) ^ mask, index);
            return copy;
          };
          expect(failure({ ...(bound ? boundExchange : plainExchange), tamper })).toBeInstanceOf(PeerError);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("bytes added, taken away or replaced fail with PeerError", () => {
    const edit = fc.record({
      step: fc.constantFrom<Step>(0, 1, 2, 3),
      start: fc.nat({ max: 150 }),
      removed: fc.nat({ max: 60 }),
      added: fc.oneof(
        fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
        fc
          .constantFrom(",", "=", ",,", ",x=y", ",r=z", "p=", "m=a,", "a=b", "=", "\0", "i=1")
          .map((text) => Buffer.from(text)),
      ),
    });
    fc.assert(
      fc.property(fc.boolean(), edit, (bound, { step, start, removed, added }) => {
        let changed = false;
        const tamper = (at: Step, message: Buffer): Buffer => {
          if (at !== step) return message;
          const from = Math.min(start, message.length);
          const result = Buffer.concat([message.subarray(0, from), added, message.subarray(from + removed)]);
          changed = !result.equals(message);
          return result;
        };
        const exchange = { ...(bound ? boundExchange : plainExchange), tamper };
        const error = failure(exchange);
        if (changed) expect(error).toBeInstanceOf(PeerError);
        else expect(error).toBeUndefined();
      }),
      { numRuns: 2000 },
    );
  });
});

describe("channel binding", () => {
  const withoutPlus = (): string[] => ["SCRAM-SHA-256"];

  test.each([
    ["both sides can", {}, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"],
    ["the client must", { channelBinding: "require" }, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"],
    ["the client may not", { channelBinding: "disable" }, "SCRAM-SHA-256", "n,,"],
    ["our certificate has no hash", { serverEndPoint: undefined }, "SCRAM-SHA-256", "y,,"],
    ["the client knows no hash", { clientEndPoint: undefined }, "SCRAM-SHA-256", "n,,"],
    ["no TLS", { tls: false }, "SCRAM-SHA-256", "n,,"],
  ] as const)("%s", (_name, change, mechanism, header) => {
    const result = runExchange({ ...boundExchange, ...change });
    expect(result.mechanism).toBe(mechanism);
    expect(result.messages[0]?.startsWith(`${header}n=,r=`)).toBe(true);
  });

  test("an offer taken away on the way is noticed by the server", () => {
    expect(failure({ ...boundExchange, offer: withoutPlus })).toMatchObject({
      message: "SCRAM channel binding negotiation error",
      code: "peer.channel_binding_negotiation",
      sqlstate: "28000",
    });
  });

  test("an offer taken away on the way is noticed by a client that must bind", () => {
    const error = failure({ ...boundExchange, channelBinding: "require", offer: withoutPlus });
    expect(error).toMatchObject({ code: "peer.channel_binding_required", source: "server" });
  });

  test("a client that must bind refuses a certificate without a hash", () => {
    const error = failure({ ...boundExchange, channelBinding: "require", clientEndPoint: undefined });
    expect(error).toMatchObject({ code: "peer.channel_binding_required", source: "server" });
  });

  test("somebody in between with another certificate fails", () => {
    const error = failure({ ...boundExchange, clientEndPoint: Buffer.from(endPoint).fill(8) });
    expect(error).toMatchObject({ code: "peer.channel_binding_failed", sqlstate: "28000" });
  });

  test("a flag changed from y to n by somebody in between fails", () => {
    const tamper = (step: Step, message: Buffer): Buffer =>
      step === 0 ? Buffer.from(`n${message.toString("latin1").slice(1)}`, "latin1") : message;
    expect(failure({ ...boundExchange, offer: withoutPlus, tamper })).toBeInstanceOf(PeerError);
  });

  test("an offer of -PLUS without TLS is refused", () => {
    const error = failure({ ...plainExchange, offer: (mechanisms) => [...mechanisms, "SCRAM-SHA-256-PLUS"] });
    expect(error).toMatchObject({
      message: "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection",
      sqlstate: "08P01",
    });
  });
});

describe("the small parts", () => {
  test("base64 has one spelling", () => {
    expect(decodeBase64("AAE=")).toEqual(Buffer.from([0, 1]));
    for (const text of ["AAE", "AAF=", "AAE==", "AA E=", "AAE=\n", "-_8=", "A", "="]) {
      expect(decodeBase64(text), text).toBeUndefined();
    }
  });

  test("rounds are between 1 and the limit, spelled one way", () => {
    expect(parseIterations("1", scramIterationsMax)).toBe(1);
    expect(parseIterations("1000000", scramIterationsMax)).toBe(1_000_000);
    for (const text of [
      "0",
      "1000001",
      "-1",
      "+1",
      " 1",
      "1 ",
      "01",
      "1.0",
      "1e3",
      "0x10",
      "",
      "9".repeat(30),
    ]) {
      expect(parseIterations(text, scramIterationsMax), text).toBeUndefined();
    }
  });

  test("a nonce is printable and has no comma", () => {
    expect(isNonce("abc+/=~!")).toBe(true);
    for (const text of ["", "a,b", "a b", "a\n", "\x7f", "é"]) expect(isNonce(text), text).toBe(false);
  });

  test("a secret knows its own password", () => {
    const secret = secretOf("pencil", rfc7677.salt, 2);
    const { clientKey } = scramKeys(saltedPasswordSync("pencil", rfc7677.salt, 2));
    expect(sha256(clientKey)).toEqual(secret.storedKey);
  });
});

function failure(exchange: Exchange): unknown {
  try {
    runExchange(exchange);
    return undefined;
  } catch (error) {
    return error;
  }
}
