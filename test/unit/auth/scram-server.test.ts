import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ScramServer } from "../../../src/auth/scram-server.ts";
import { PeerError } from "../../../src/base/errors.ts";
import { endPoint, secretOf } from "./exchange.ts";

const secret = secretOf("pencil", Buffer.from("01234567"), 2);
const proof = Buffer.alloc(32).toString("base64");

function newServer(tls = false): ScramServer {
  return new ScramServer({
    secret,
    doomed: false,
    tls,
    endPoint: tls ? endPoint : undefined,
    nonce: "SERVER",
  });
}

function firstError(text: string, mechanism = "SCRAM-SHA-256", tls = false): unknown {
  return thrown(() => newServer(tls).first(mechanism, Buffer.from(text, "latin1")));
}

function finalError(text: string): unknown {
  const server = newServer();
  server.first("SCRAM-SHA-256", Buffer.from("n,,n=,r=CLIENT"));
  return thrown(() => server.final(Buffer.from(text, "latin1")));
}

function thrown(action: () => unknown): unknown {
  try {
    action();
    return undefined;
  } catch (error) {
    return error;
  }
}

const malformed = { message: "malformed SCRAM message", code: "peer.scram_malformed", sqlstate: "08P01" };

describe("client-first-message", () => {
  test.each(["n,,n=,r=abc", "y,,n=,r=abc", "n,,n=user,r=abc", "n,,n=,r=abc,x=y,z=1", "n,,n=a=2Cb,r=abc"])(
    "takes %s",
    (text) => {
      expect(firstError(text)).toBeUndefined();
    },
  );

  test.each([
    ["nothing", ""],
    ["another flag", "x,,n=,r=abc"],
    ["no flag", ",,n=,r=abc"],
    ["no second comma", "n,n=,r=abc"],
    ["no user", "n,,r=abc"],
    ["no nonce", "n,,n="],
    ["an empty nonce", "n,,n=,r="],
    ["a nonce that cannot be printed", "n,,n=,r=a\x01c"],
    ["a nonce twice", "n,,n=,r=abc,r=abd"],
    ["a user twice", "n,,n=,r=abc,n=x"],
    ["another order", "n,,r=abc,n="],
    ["a comma at the end", "n,,n=,r=abc,"],
    ["a zero byte at the end", "n,,n=,r=abc\0"],
    ["something else for an authorization identity", "n,b=x,n=,r=abc"],
    ["binding without its mechanism", "p=tls-server-end-point,,n=,r=abc"],
  ])("refuses %s", (_name, text) => {
    expect(firstError(text)).toMatchObject({ ...malformed, source: "client" });
  });

  test("refuses the mechanism -PLUS without binding data", () => {
    expect(firstError("n,,n=,r=abc", "SCRAM-SHA-256-PLUS", true)).toMatchObject(malformed);
    expect(firstError("y,,n=,r=abc", "SCRAM-SHA-256-PLUS", true)).toMatchObject(malformed);
  });

  test("refuses another type of channel binding", () => {
    expect(firstError("p=tls-unique,,n=,r=abc", "SCRAM-SHA-256-PLUS", true)).toMatchObject({
      message: "unsupported SCRAM channel-binding type",
      sqlstate: "08P01",
    });
  });

  test("refuses a mechanism that was not offered", () => {
    for (const mechanism of ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "scram-sha-256", ""]) {
      expect(firstError("n,,n=,r=abc", mechanism)).toMatchObject({
        message: "client selected an invalid SASL authentication mechanism",
        sqlstate: "08P01",
      });
    }
  });

  test("refuses an authorization identity and a mandatory extension by name", () => {
    expect(firstError("n,a=admin,n=,r=abc")).toMatchObject({
      message: "client uses authorization identity, but it is not supported",
      sqlstate: "0A000",
    });
    expect(firstError("n,,m=x,n=,r=abc")).toMatchObject({
      message: "client requires an unsupported SCRAM extension",
      sqlstate: "0A000",
    });
  });
});

describe("client-final-message", () => {
  test.each([
    ["nothing", ""],
    ["no nonce (which made PgBouncer before 1.26.0 crash)", `c=biws,p=${proof}`],
    ["nothing but a proof", `p=${proof}`],
    ["no proof", "c=biws,r=CLIENTSERVER"],
    ["nothing but the binding", "c=biws"],
    ["no binding", `r=CLIENTSERVER,p=${proof}`],
    ["a proof that is not last", `c=biws,r=CLIENTSERVER,p=${proof},x=y`],
    ["two proofs", `c=biws,r=CLIENTSERVER,p=${proof},p=${proof}`],
    ["two nonces", `c=biws,r=CLIENTSERVER,r=CLIENTSERVER,p=${proof}`],
    ["an empty proof", "c=biws,r=CLIENTSERVER,p="],
    ["a short proof", `c=biws,r=CLIENTSERVER,p=${Buffer.alloc(31).toString("base64")}`],
    ["a long proof", `c=biws,r=CLIENTSERVER,p=${Buffer.alloc(64).toString("base64")}`],
    ["a proof with spare bits", `c=biws,r=CLIENTSERVER,p=${proof.slice(0, -2)}B=`],
    ["a proof without padding", `c=biws,r=CLIENTSERVER,p=${proof.slice(0, -1)}`],
    ["a zero byte", `c=biws,r=CLIENTSERVER,p=${proof}\0`],
  ])("refuses %s", (_name, text) => {
    expect(finalError(text)).toMatchObject({ ...malformed, source: "client" });
  });

  test("refuses another nonce", () => {
    for (const nonce of ["CLIENT", "CLIENTSERVERX", "CLIENTSERVEr", ""]) {
      expect(finalError(`c=biws,r=${nonce},p=${proof}`)).toMatchObject({
        message: "invalid SCRAM response",
        sqlstate: "08P01",
      });
    }
  });

  test("refuses another header than the first message had", () => {
    for (const header of ["y,,", "p=tls-server-end-point,,", "n,a=x,", ""]) {
      const binding = Buffer.from(header).toString("base64");
      expect(finalError(`c=${binding},r=CLIENTSERVER,p=${proof}`)).toMatchObject({
        message: "unexpected SCRAM channel-binding attribute in client-final-message",
        sqlstate: "08P01",
      });
    }
  });

  test("a well-formed message with a wrong proof is a wrong password", () => {
    for (const extension of ["", ",x=y"]) {
      expect(finalError(`c=biws,r=CLIENTSERVER${extension},p=${proof}`)).toMatchObject({ sqlstate: "28P01" });
    }
  });
});

test("any bytes give PeerError, never anything else", () => {
  const pieces = fc.constantFrom(
    "n",
    "y",
    "p=",
    ",",
    "r=",
    "CLIENT",
    "SERVER",
    "c=",
    "biws",
    "=",
    "\0",
    "m=",
    proof,
    "é",
  );
  const noise = fc.oneof(
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
    fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(noise, (text) => {
      const error = firstError(text);
      if (error !== undefined) expect(error).toBeInstanceOf(PeerError);
      expect(finalError(text)).toBeInstanceOf(PeerError);
    }),
    { numRuns: 1000 },
  );
});

test("what a peer sent never shows in a message", () => {
  const loud = "SECRETSECRET";
  for (const error of [
    firstError(`n,,n=,r=${loud}\x01`),
    firstError(`p=${loud},,n=,r=a`),
    finalError(`c=biws,r=${loud},p=${proof}`),
  ]) {
    expect(`${(error as PeerError).message}${(error as PeerError).detail ?? ""}`).not.toContain(loud);
  }
});
