import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ScramClient } from "../../../src/auth/scram-client.ts";
import { PeerError } from "../../../src/base/errors.ts";
import { answerChallenge, saltedPasswordSync } from "./exchange.ts";

const ours = "fyko+d2lbbFgONRv9qkxdawL";
const goodFirst = `r=${ours}3rfcNHYJ,s=MDEyMzQ1Njc=,i=2`;

function startedClient(): ScramClient {
  const client = new ScramClient({
    mechanisms: ["SCRAM-SHA-256"],
    channelBinding: "prefer",
    tls: false,
    endPoint: undefined,
    credential: { password: "pencil" },
    nonce: ours,
  });
  client.initial();
  return client;
}

function challengeError(serverFirst: string): unknown {
  try {
    startedClient().challenge(Buffer.from(serverFirst, "latin1"));
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("server-first-message", () => {
  test("asks for PBKDF2", () => {
    expect(startedClient().challenge(Buffer.from(goodFirst))).toEqual({
      kind: "derive",
      password: "pencil",
      salt: Buffer.from("01234567"),
      iterations: 2,
    });
  });

  test.each([
    ["a nonce that does not extend ours", "r=xyko+d2lbbFgONRv9qkxdawL3rfc,s=MDEyMzQ1Njc=,i=2"],
    ["a nonce cut short", "r=fyko+d2lbbFgONRv9qkxda,s=MDEyMzQ1Njc=,i=2"],
    ["our own nonce sent back", `r=${ours},s=MDEyMzQ1Njc=,i=2`],
    ["a nonce with a blank", `r=${ours} 3rfc,s=MDEyMzQ1Njc=,i=2`],
  ])("refuses %s", (_name, text) => {
    expect(challengeError(text)).toMatchObject({
      code: "peer.scram_nonce_mismatch",
      sqlstate: "08P01",
      source: "server",
    });
  });

  test.each([
    ["nothing", ""],
    ["no nonce", "s=MDEyMzQ1Njc=,i=2"],
    ["no salt", `r=${ours}x,i=2`],
    ["an empty salt", `r=${ours}x,s=,i=2`],
    ["no rounds", `r=${ours}x,s=MDEyMzQ1Njc=`],
    ["another order", `s=MDEyMzQ1Njc=,r=${ours}x,i=2`],
    ["a nonce twice", `r=${ours}x,s=MDEyMzQ1Njc=,i=2,r=${ours}x`],
    ["rounds twice", `r=${ours}x,s=MDEyMzQ1Njc=,i=2,i=2`],
    ["a mandatory extension", `m=x,r=${ours}x,s=MDEyMzQ1Njc=,i=2`],
    ["an extension", `${goodFirst},x=y`],
    ["a comma at the end", `${goodFirst},`],
    ["a zero byte at the end", `${goodFirst}\0`],
    ["base64 without padding", `r=${ours}x,s=MDEyMzQ1Njc,i=2`],
    ["base64 with spare bits", `r=${ours}x,s=MDEyMzQ1Njd=,i=2`],
    ["base64 with a blank", `r=${ours}x,s=MDEy MzQ1Njc=,i=2`],
    ["0 rounds", `r=${ours}x,s=MDEyMzQ1Njc=,i=0`],
    ["-1 rounds", `r=${ours}x,s=MDEyMzQ1Njc=,i=-1`],
    ["1,000,001 rounds", `r=${ours}x,s=MDEyMzQ1Njc=,i=1000001`],
    ["2^32 + 1 rounds", `r=${ours}x,s=MDEyMzQ1Njc=,i=4294967297`],
    ["rounds that are no number", `r=${ours}x,s=MDEyMzQ1Njc=,i=2x`],
  ])("refuses %s", (_name, text) => {
    expect(challengeError(text)).toMatchObject({
      message: "malformed SCRAM message",
      code: "peer.scram_malformed",
      sqlstate: "08P01",
      source: "server",
    });
  });

  test.each([1, 1_000_000])(
    "takes %d rounds, and no more (PgBouncer before 1.26.0 took any number)",
    (iterations) => {
      expect(challengeError(`r=${ours}x,s=MDEyMzQ1Njc=,i=${iterations}`)).toBeUndefined();
    },
  );

  test("any bytes give a challenge or PeerError", () => {
    const pieces = fc.constantFrom("r=", ours, ",", "s=", "MDEy", "i=", "1", "=", "\0", "m=", "x", "é");
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
      fc.array(pieces, { maxLength: 12 }).map((parts) => Buffer.from(parts.join(""))),
    );
    fc.assert(
      fc.property(noise, (bytes) => {
        const error = challengeError(bytes.toString("latin1"));
        if (error !== undefined) expect(error).toBeInstanceOf(PeerError);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("server-final-message", () => {
  function verifyError(serverFinal: string): unknown {
    const client = startedClient();
    answerChallenge(client, Buffer.from(goodFirst));
    try {
      client.verify(Buffer.from(serverFinal, "latin1"));
      return undefined;
    } catch (error) {
      expect(client.verified).toBe(false);
      expect(client.keys).toBeUndefined();
      return error;
    }
  }

  test("refuses the signature of a server that does not know the password", () => {
    expect(verifyError(`v=${Buffer.alloc(32, 1).toString("base64")}`)).toMatchObject({
      message: "incorrect server signature",
      code: "peer.scram_server_signature",
      sqlstate: "28P01",
    });
  });

  test.each([
    ["nothing", ""],
    ["an empty signature", "v="],
    ["a short signature", `v=${Buffer.alloc(31).toString("base64")}`],
    ["a long signature", `v=${Buffer.alloc(33).toString("base64")}`],
    ["two signatures", `v=${Buffer.alloc(32).toString("base64")},v=${Buffer.alloc(32).toString("base64")}`],
    ["an extension", `v=${Buffer.alloc(32).toString("base64")},x=y`],
    ["another attribute", "r=abc"],
  ])("refuses %s", (_name, text) => {
    expect(verifyError(text)).toMatchObject({ code: "peer.scram_malformed", source: "server" });
  });

  test("shows the server's error if it is one of the known form", () => {
    expect(verifyError("e=invalid-proof")).toMatchObject({
      message: "error received from server in SCRAM exchange: invalid-proof",
      sqlstate: "28P01",
    });
    expect(verifyError("e=\x1b[31mred")).toMatchObject({
      message: "error received from server in SCRAM exchange: an unprintable error",
    });
  });
});

describe("the order of steps", () => {
  const outOfOrder = { code: "peer.sasl_out_of_order", sqlstate: "08P01", source: "server" };

  test("a second start is the server's mistake", () => {
    expect(() => startedClient().initial()).toThrow(
      expect.objectContaining({ ...outOfOrder, message: "duplicate SASL authentication request" }),
    );
  });

  test("a second challenge is the server's mistake, and ends the exchange", () => {
    const client = startedClient();
    answerChallenge(client, Buffer.from(goodFirst));
    expect(() => client.challenge(Buffer.from(goodFirst))).toThrow(expect.objectContaining(outOfOrder));
    expect(() => client.verify(Buffer.from("v="))).toThrow(expect.objectContaining(outOfOrder));
  });

  test("an end before the challenge is the server's mistake", () => {
    const client = startedClient();
    const end = Buffer.from(`v=${Buffer.alloc(32).toString("base64")}`);
    expect(() => client.verify(end)).toThrow(expect.objectContaining(outOfOrder));
    expect(client.verified).toBe(false);
  });

  test("an end before PBKDF2 is done is the server's mistake", () => {
    const client = startedClient();
    client.challenge(Buffer.from(goodFirst));
    expect(() => client.verify(Buffer.from("v="))).toThrow(expect.objectContaining(outOfOrder));
    expect(() => client.derived(saltedPasswordSync("pencil", Buffer.from("01234567"), 2))).toThrow();
  });
});

test("no mechanism of ours is an error that names none of theirs", () => {
  const client = new ScramClient({
    mechanisms: ["OAUTHBEARER"],
    channelBinding: "prefer",
    tls: true,
    endPoint: undefined,
    credential: { password: "pencil" },
    nonce: ours,
  });
  expect(() => client.initial()).toThrow(
    expect.objectContaining({
      message: "none of the server's SASL authentication mechanisms are supported",
      code: "peer.sasl_mechanism",
    }),
  );
});
