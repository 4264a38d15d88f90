/** The login half of the machine: each method, and what must never be answered. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { saltedPassword } from "../../../src/auth/pbkdf2.ts";
import { ScramServer } from "../../../src/auth/scram-server.ts";
import { buildScramSecret, type ScramSecret } from "../../../src/auth/secret.ts";
import type { ConnectOptions } from "../../../src/client/conninfo/options.ts";
import { AuthenticationCode, Frontend } from "../../../src/wire/constants.ts";
import {
  encodeAuthenticationCleartextPassword,
  encodeAuthenticationMD5Password,
  encodeAuthenticationSASL,
  encodeAuthenticationSASLContinue,
  encodeAuthenticationSASLFinal,
  encodeBackend,
} from "../../../src/wire/encode-backend.ts";
import { authenticationOk, type Pace, paces, Script, welcome } from "./script.ts";

const cleartextRequest = encodeAuthenticationCleartextPassword();
const md5Request = encodeAuthenticationMD5Password(Buffer.of(1, 2, 3, 4));
const sasl = encodeAuthenticationSASL(["SCRAM-SHA-256"]);
const saslPlus = encodeAuthenticationSASL(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
const md5 = (text: string | Buffer): string => createHash("md5").update(text).digest("hex");

/** A connection up to the point where the server speaks. */
function begun(given: Partial<ConnectOptions>, pace: Pace = "whole"): Script {
  const script = new Script(given, pace);
  script.connect();
  if (given.sslmode === "require") {
    script.startup();
    script.says(Buffer.from("S"));
    script.startTls(Buffer.alloc(32, 5));
  }
  script.startup();
  return script;
}

/** The body of the 'p' message that the client sends. */
function answer(script: Script): Buffer {
  const message = script.written();
  expect(message[0]).toBe(Frontend.password);
  expect(message.readUInt32BE(1)).toBe(message.length - 1);
  return message.subarray(5);
}

async function secretFor(password: string): Promise<ScramSecret> {
  const salt = Buffer.alloc(16, 3);
  return buildScramSecret(await saltedPassword(password, salt, 4096), salt, 4096);
}

/** Takes the client's SASLInitialResponse apart. */
function initialResponse(body: Buffer): { mechanism: string; data: Buffer } {
  const end = body.indexOf(0);
  expect(body.readInt32BE(end + 1)).toBe(body.length - end - 5);
  return { mechanism: body.toString("latin1", 0, end), data: body.subarray(end + 5) };
}

describe.each(paces)("answers that come %s", (pace) => {
  test("acceptance 76: a password in clear text, where it stays on this machine", () => {
    const script = begun({ password: "pässword" }, pace);
    script.says(cleartextRequest);
    expect(answer(script).toString()).toBe("pässword\0");
    script.says(welcome);
    script.done();
  });

  test("acceptance 76: md5(md5(password + user) + salt), from the password or its stored hash", () => {
    const stored = md5("secretada");
    const expected = `md5${md5(Buffer.concat([Buffer.from(stored), Buffer.of(1, 2, 3, 4)]))}\0`;
    for (const given of [{ password: "secret" }, { md5Hash: stored }]) {
      const script = begun(given, pace);
      script.says(md5Request);
      expect(answer(script).toString()).toBe(expected);
      script.says(welcome);
      expect(script.done().scramKeys).toBeUndefined();
    }
  });

  test("acceptance 76: SCRAM-SHA-256, and the keys are enough for the next login", async () => {
    const secret = await secretFor("secret");
    const login = async (given: Partial<ConnectOptions>): Promise<Script> => {
      const server = new ScramServer({
        secret,
        doomed: false,
        tls: false,
        endPoint: undefined,
        nonce: "server",
      });
      const script = begun(given, pace);
      script.says(sasl);
      const { mechanism, data } = initialResponse(answer(script));
      expect(mechanism).toBe("SCRAM-SHA-256");
      script.says(encodeAuthenticationSASLContinue(server.first(mechanism, data)));
      const demand = script.machine.poll();
      if (demand.kind === "derive") {
        const salted = await saltedPassword(demand.password, demand.salt, demand.iterations);
        script.event({ kind: "derived", saltedPassword: salted });
      }
      const final = server.final(answer(script));
      script.says(encodeAuthenticationSASLFinal(final.data), welcome);
      return script;
    };
    const { scramKeys } = (await login({ password: "secret" })).done();
    expect(scramKeys?.serverKey).toEqual(secret.serverKey);
    const again = (await login({ scramKeys })).done();
    expect(again.scramKeys).toEqual(scramKeys);
  });
});

test("bytes that come while PBKDF2 runs wait for it", async () => {
  const secret = await secretFor("secret");
  const server = new ScramServer({ secret, doomed: false, tls: false, endPoint: undefined, nonce: "server" });
  const script = begun({ password: "secret" });
  script.says(sasl);
  const { mechanism, data } = initialResponse(answer(script));
  const challenge = encodeAuthenticationSASLContinue(server.first(mechanism, data));
  const impatient = encodeBackend({
    kind: "ErrorResponse",
    fields: { severity: "FATAL", code: "57014", message: "canceling authentication due to timeout" },
  });
  script.says(challenge, impatient.subarray(0, 9));
  script.demand("derive");
  script.machine.receive(impatient.subarray(9));
  script.demand("derive");
  script.event({ kind: "derived", saltedPassword: Buffer.alloc(32) });
  script.written();
  expect(script.failed().sqlstate).toBe("57014");

  const flooded = begun({ password: "secret" });
  flooded.says(sasl);
  initialResponse(answer(flooded));
  flooded.says(
    encodeAuthenticationSASLContinue(Buffer.from(`r=${Buffer.alloc(18, 7).toString("base64")}s,s=AAAA,i=1`)),
  );
  flooded.demand("derive");
  for (let i = 0; i < 10; i++) flooded.machine.receive(Buffer.alloc(8 * 1024));
  expect(flooded.failed().code).toBe("client.protocol_violation");
});

describe("what is refused", () => {
  const refusals: [what: string, given: Partial<ConnectOptions>, request: Buffer, text: RegExp][] = [
    ["no password to give", {}, cleartextRequest, /no password supplied/],
    ["an empty password", { password: "" }, md5Request, /no password supplied/],
    ["no password for SCRAM", {}, sasl, /no password supplied/],
    [
      "clear text over the network",
      { password: "x", hosts: [{ host: "10.0.0.1", port: 1 }] },
      cleartextRequest,
      /cleartext password over an unencrypted connection/,
    ],
    [
      "clear text where it is ruled out",
      { password: "x", allowCleartextPassword: false },
      cleartextRequest,
      /cleartext password over an unencrypted connection/,
    ],
    [
      "a method not in requireAuth",
      { password: "x", requireAuth: ["scram-sha-256"] },
      md5Request,
      /requested a hashed password/,
    ],
    [
      "no authentication, where it is required",
      { requireAuth: ["md5"] },
      authenticationOk,
      /did not complete authentication/,
    ],
    [
      "a binding that md5 cannot have",
      { password: "x", sslmode: "require", channelBinding: "require" },
      md5Request,
      /channel binding required/,
    ],
    [
      "a binding that nobody asked for",
      { sslmode: "require", channelBinding: "require" },
      authenticationOk,
      /without channel binding/,
    ],
    [
      "a binding that the server does not offer",
      { password: "x", sslmode: "require", channelBinding: "require" },
      sasl,
      /channel binding is required/,
    ],
  ];
  test.each(refusals)("%s", (_, given, request, text) => {
    const script = begun(given);
    script.says(request);
    expect(script.failed().code).toBe("client.login_failed");
    expect(script.failed().message).toMatch(text);
  });

  test.each([
    [AuthenticationCode.kerberosV4, "Kerberos 4"],
    [AuthenticationCode.kerberosV5, "Kerberos 5"],
    [AuthenticationCode.crypt, "crypt"],
    [AuthenticationCode.scm, "SCM credential"],
    [AuthenticationCode.gss, "GSSAPI"],
    [AuthenticationCode.sspi, "SSPI"],
    [99, "authentication method 99"],
  ])("acceptance 76, 84: authentication request %i by its name: %s", (code, name) => {
    const script = begun({ password: "x" });
    script.says(encodeBackend({ kind: "AuthenticationUnsupported", code, data: Buffer.alloc(0) }));
    expect(script.failed().code).toBe("client.login_failed");
    expect(script.failed().message).toContain(name);
    expect(script.failed().message).toContain("not supported");
  });

  const foreign = (code: number): Buffer =>
    encodeBackend({ kind: "AuthenticationUnsupported", code, data: Buffer.alloc(0) });
  const oauth = encodeBackend({ kind: "AuthenticationSASL", mechanisms: ["OAUTHBEARER"] });

  test("OAUTHBEARER by its name, and a mechanism that nobody knows", () => {
    const script = begun({ password: "x" });
    script.says(oauth);
    expect(script.failed().message).toMatch(/OAUTHBEARER authentication, which is not supported$/);
    const unknown = begun({ password: "x" });
    unknown.says(encodeBackend({ kind: "AuthenticationSASL", mechanisms: ["PLAIN"] }));
    expect(unknown.failed().message).toMatch(
      /none of the server's SASL authentication mechanisms are supported$/,
    );
  });

  test("OAUTHBEARER does not stand in the way of SCRAM", () => {
    const script = begun({ password: "x" });
    script.says(encodeBackend({ kind: "AuthenticationSASL", mechanisms: ["OAUTHBEARER", "SCRAM-SHA-256"] }));
    expect(initialResponse(answer(script)).mechanism).toBe("SCRAM-SHA-256");
  });

  test.each([
    ["a cleartext password", cleartextRequest],
    ["a hashed password", md5Request],
    ["GSSAPI authentication", foreign(AuthenticationCode.gss)],
    ["SSPI authentication", foreign(AuthenticationCode.sspi)],
    ["SASL authentication", sasl],
    ["OAUTHBEARER authentication", oauth],
  ])("what require_auth does not name, in libpq's words: %s", (what, request) => {
    const others = ["none", "password", "md5", "scram-sha-256"] as const;
    const own = {
      "a cleartext password": "password",
      "a hashed password": "md5",
      "SASL authentication": "scram-sha-256",
    };
    const requireAuth = others.filter((method) => method !== own[what as keyof typeof own]);
    const script = begun({ password: "x", requireAuth });
    script.says(request);
    const head = `authentication method requirement "${requireAuth.join(",")}" failed: server requested ${what}`;
    expect(script.failed().message).toContain(head);
  });

  test.each([
    ["clear text", cleartextRequest],
    ["md5", md5Request],
    ...[1, 2, 4, 6, 7, 8, 9, 99].map((code) => [`method ${code}`, foreign(code)] as const),
  ] as const)("channel_binding=require answers no request but SASL: %s", (_, request) => {
    const script = begun({ password: "x", sslmode: "require", channelBinding: "require" });
    script.says(request);
    expect(script.failed().message).toMatch(
      /channel binding required but not supported by server's authentication request$/,
    );
  });

  const violations: [what: string, first: Buffer, second: Buffer][] = [
    ["a second request after SCRAM began", sasl, cleartextRequest],
    ["a second SCRAM", sasl, sasl],
    ["a second md5", md5Request, md5Request],
    ["acceptance before the server proved itself", sasl, authenticationOk],
    ["a proof without a challenge", sasl, encodeAuthenticationSASLFinal(Buffer.from("v=AAAA"))],
  ];
  test.each(violations)("%s", (_, first, second) => {
    const script = begun({ password: "x" });
    script.says(first);
    answer(script);
    script.says(second);
    expect(script.failed()).toMatchObject({ code: "client.protocol_violation", sqlstate: "08P01" });
  });

  test("a challenge without a SASL exchange", () => {
    const script = begun({ password: "x" });
    script.says(encodeAuthenticationSASLContinue(Buffer.from("r=x")));
    expect(script.failed().code).toBe("client.protocol_violation");
  });

  test("a server that does not know the password", async () => {
    const secret = await secretFor("another");
    const server = new ScramServer({
      secret,
      doomed: false,
      tls: false,
      endPoint: undefined,
      nonce: "server",
    });
    const script = begun({ password: "secret" });
    script.says(sasl);
    const { mechanism, data } = initialResponse(answer(script));
    script.says(encodeAuthenticationSASLContinue(server.first(mechanism, data)));
    const { salt, iterations, password } = script.demand("derive");
    script.event({ kind: "derived", saltedPassword: await saltedPassword(password, salt, iterations) });
    answer(script);
    script.says(encodeAuthenticationSASLFinal(Buffer.from(`v=${Buffer.alloc(32).toString("base64")}`)));
    expect(script.failed()).toMatchObject({ code: "client.login_failed", sqlstate: "28P01" });
  });
});

describe("channel binding over TLS", () => {
  test.each([
    ["prefer", saslPlus, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"],
    ["require", saslPlus, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"],
    ["prefer", sasl, "SCRAM-SHA-256", "y,,"],
    ["disable", saslPlus, "SCRAM-SHA-256", "n,,"],
  ] as const)("%s: chooses the mechanism and says so", (channelBinding, offer, mechanism, header) => {
    const script = begun({ password: "x", sslmode: "require", channelBinding });
    script.says(offer);
    const chosen = initialResponse(answer(script));
    expect(chosen.mechanism).toBe(mechanism);
    expect(chosen.data.toString().startsWith(header)).toBe(true);
  });

  test("-PLUS offered without TLS is fatal", () => {
    const script = begun({ password: "x" });
    script.says(saslPlus);
    expect(script.failed().message).toMatch(/over a non-SSL connection/);
  });
});

test("no error text holds the password", () => {
  const script = begun({ password: "hunter2", hosts: [{ host: "10.0.0.1", port: 1 }] });
  script.says(cleartextRequest);
  const error = script.failed();
  expect(JSON.stringify([error, error.message, error.stack, error.attempts])).not.toContain("hunter2");
});
