import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AuthMethod, LoginAction, LoginOptions } from "../../../src/auth/login.ts";
import { md5Hash } from "../../../src/auth/md5.ts";
import { scramKeys } from "../../../src/auth/scram.ts";
import type { Secret } from "../../../src/auth/secret.ts";
import { AssertionError } from "../../../src/base/assert.ts";
import { PeerError } from "../../../src/base/errors.ts";
import { encodeSaslInitialResponse } from "../../../src/wire/encode-frontend.ts";
import type { BackendMessage } from "../../../src/wire/messages.ts";
import { endPoint, saltedPasswordSync, secretOf } from "./exchange.ts";
import {
  body,
  decode,
  iterations,
  logIn,
  methods,
  newMachine,
  password,
  salt,
  secrets,
  shape,
  user,
} from "./login-client.ts";

/** A PasswordMessage or SASLResponse body as a client writes it. */
const text = (value: string): Buffer => Buffer.from(`${value}\0`);

describe("the methods that ask for nothing", () => {
  test("trust", () => {
    for (const secret of [secrets.md5, undefined]) {
      expect(newMachine({ method: "trust", secret }).start()).toEqual({
        kind: "ok",
        data: undefined,
        keys: undefined,
        password: undefined,
      });
    }
  });

  test("reject", () => {
    expect(newMachine({ method: "reject" }).start()).toMatchObject({
      kind: "fail",
      error: { message: "login rejected", sqlstate: "28000", source: "client" },
    });
  });

  test.each([
    ["alice", "alice", "ok"],
    ["alice", "Alice", "fail"],
    ["alice", "bob", "fail"],
    ["alice", undefined, "fail"],
    ["", "", "fail"],
  ])("cert: user %j with a certificate of %j is %s", (name, certificateUser, kind) => {
    const action = newMachine({
      method: "cert",
      user: name,
      tls: { secure: true, certificateUser },
    }).start();
    expect(action.kind).toBe(kind);
    if (action.kind === "fail") {
      expect(action.error).toMatchObject({ message: "certificate authentication failed", sqlstate: "28000" });
    }
  });
});

test.each([
  ["trust", '"trust" authentication failed'],
  ["cert", "certificate authentication failed"],
] as const)("%s lets in nobody of whom it is known that there is no such user", (method, message) => {
  const tls = { secure: true, certificateUser: user };
  expect(newMachine({ method, tls }).start().kind).toBe("ok");
  expect(newMachine({ method, tls, missing: true }).start()).toMatchObject({
    kind: "fail",
    error: { message, sqlstate: "28000" },
  });
});

describe("ldap", () => {
  const started = (): ReturnType<typeof newMachine> => {
    const machine = newMachine({ method: "ldap", secret: undefined });
    expect(machine.start().kind).toBe("send");
    return machine;
  };

  test("the directory is asked, and what it says is done", () => {
    const good = started();
    expect(good.receive(text(password))).toEqual({ kind: "ask", password });
    expect(good.answered(true)).toMatchObject({ kind: "ok", password, keys: undefined });
    const bad = started();
    bad.receive(text(password));
    expect(bad.answered(false)).toMatchObject({
      kind: "fail",
      error: { message: "LDAP authentication failed", sqlstate: "28P01" },
    });
  });

  test("it is never asked about an empty password", () => {
    expect(started().receive(text(""))).toMatchObject({
      kind: "fail",
      error: { message: "empty password returned by client" },
    });
  });

  test("a client that goes on talking meanwhile has failed, whatever the directory says", () => {
    const machine = started();
    machine.receive(text(password));
    const failed = machine.receive(text(password));
    expect(failed).toMatchObject({ kind: "fail", error: { code: "peer.unexpected_password" } });
    expect(machine.answered(true)).toEqual(failed);
    expect(() => started().answered(true)).toThrow(AssertionError);
  });
});

describe.each(methods)("method %s", (method) => {
  const failedText = (kind: Secret["kind"]): string =>
    method === "scram-sha-256" || (method === "md5" && kind === "scram")
      ? "SASL authentication failed"
      : "password authentication failed";

  test.each(["plain", "md5", "scram"] as const)("secret %s, the right password", (kind) => {
    const { end, client } = logIn({ method, secret: secrets[kind] }, password);
    if (method === "scram-sha-256" && kind === "md5") {
      // An md5 hash cannot take part in SCRAM.
      expect(end).toMatchObject({ kind: "fail", error: { message: "SASL authentication failed" } });
      return;
    }
    expect(end.kind).toBe("ok");
    if (client !== undefined) expect(client.verified).toBe(true);
    if (end.kind !== "ok") return;
    const knowsPassword = method === "password" || kind === "plain";
    expect(end.password).toBe(knowsPassword ? password : undefined);
    const expectKeys = client !== undefined || (method === "password" && kind === "scram");
    expect(end.keys !== undefined).toBe(expectKeys);
    if (client !== undefined) expect(end.keys).toEqual(client.keys);
    if (kind === "scram") expect(end.keys).toEqual(scramKeys(saltedPasswordSync(password, salt, iterations)));
  });

  test.each(["plain", "md5", "scram"] as const)("secret %s, a wrong password", (kind) => {
    const { end } = logIn({ method, secret: secrets[kind] }, `${password}.`);
    expect(end).toMatchObject({
      kind: "fail",
      error: {
        message: failedText(kind),
        code: "peer.authentication_failed",
        sqlstate: "28P01",
        source: "client",
      },
    });
  });

  test.each(["plain", "md5", "scram"] as const)(
    "an unknown user looks like one with the secret %s and a wrong password",
    (kind) => {
      const known = kind === "scram" ? { kind, secret: secretOf("other", salt, iterations) } : secrets[kind];
      const wrong = logIn({ method, secret: known }, "a guess");
      const unknown = logIn({ method, secret: undefined, unknownUserKind: kind }, "a guess");
      expect(shape(unknown)).toEqual(shape(wrong));
    },
  );

  test("no password lets an unknown user in", () => {
    for (const unknownUserKind of ["plain", "md5", "scram"] as const) {
      fc.assert(
        fc.property(
          fc.string({ minLength: 1 }).filter((s) => !s.includes("\0")),
          (sent) => {
            expect(logIn({ method, secret: undefined, unknownUserKind }, sent).end.kind).toBe("fail");
          },
        ),
        { numRuns: 30 },
      );
    }
  });

  test("an empty stored password lets nobody in", () => {
    const known: Secret[] = [
      { kind: "plain", password: "" },
      { kind: "plain", password: "a\0b" },
      { kind: "md5", hash: md5Hash(user, "") },
    ];
    for (const secret of known) {
      for (const sent of ["", "a"]) expect(logIn({ method, secret }, sent).end.kind).toBe("fail");
    }
  });
});

describe("an unknown user", () => {
  test("has the same salt at every try, its own, and another under another key", () => {
    const saltOf = (change: Partial<LoginOptions>): string => {
      const messages = logIn({ secret: undefined, ...change }, "x").trace as BackendMessage[];
      const challenge = messages.find((message) => message.kind === "AuthenticationSASLContinue");
      return /,s=([^,]+),/.exec(challenge?.data.toString() ?? "")?.[1] ?? "";
    };
    expect(saltOf({})).toHaveLength(24);
    expect(saltOf({})).toBe(saltOf({}));
    expect(saltOf({ user: "bob" })).not.toBe(saltOf({}));
    expect(saltOf({ mockKey: Buffer.from("another key") })).not.toBe(saltOf({}));
    expect(saltOf({ secret: secrets.plain }), "a secret in clear text gets the same salt").toBe(saltOf({}));
    expect(saltOf({ secret: secrets.md5 }), "so does one that SCRAM cannot use").toBe(saltOf({}));
  });

  test("asks for the same derivation at every try, so that what is kept serves it as any other", () => {
    const demand = (): LoginAction => {
      const machine = newMachine({ method: "scram-sha-256", secret: undefined, unknownUserKind: "plain" });
      machine.start();
      return machine.receive(body(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=abc"))));
    };
    expect(demand()).toMatchObject({ kind: "derive", iterations });
    expect(demand()).toEqual(demand());
  });

  test("is asked by md5 under the method md5, unless told otherwise", () => {
    expect(logIn({ method: "md5", secret: undefined }, "x").trace[0]).toMatchObject({
      kind: "AuthenticationMD5Password",
    });
  });
});

describe("SCRAM", () => {
  test("is bound to the channel where there is one", () => {
    const { trace, end, client } = logIn(
      { tls: { secure: true, endPoint }, secret: secrets.scram },
      password,
    );
    expect(trace[0]).toMatchObject({ mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] });
    expect(end.kind).toBe("ok");
    expect(client?.channelBound).toBe(true);
  });

  test("is not bound without a hash of the certificate", () => {
    const { trace, end } = logIn({ tls: { secure: true, endPoint: undefined } }, password);
    expect(trace[0]).toMatchObject({ mechanisms: ["SCRAM-SHA-256"] });
    expect(end.kind).toBe("ok");
  });

  test("a client that did not see our offer of -PLUS is refused", () => {
    const machine = newMachine({ tls: { secure: true, endPoint }, secret: secrets.scram });
    machine.start();
    const first = encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("y,,n=,r=abc"));
    expect(machine.receive(body(first))).toMatchObject({
      kind: "fail",
      error: { message: "SCRAM channel binding negotiation error", sqlstate: "28000" },
    });
  });

  test("a first message without data is answered by an empty challenge", () => {
    const machine = newMachine({ secret: secrets.scram });
    machine.start();
    const empty = Buffer.concat([text("SCRAM-SHA-256"), Buffer.from([255, 255, 255, 255])]);
    const action = machine.receive(empty);
    expect(action.kind === "send" && decode(action.data)).toEqual({
      kind: "AuthenticationSASLContinue",
      data: Buffer.alloc(0),
    });
    expect(machine.receive(Buffer.from("n,,n=,r=abc")).kind).toBe("send");
  });

  test("a final message without a nonce fails and does no more harm (it crashed PgBouncer before 1.26)", () => {
    const machine = newMachine({ secret: secrets.scram });
    machine.start();
    machine.receive(body(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=abc"))));
    expect(machine.receive(Buffer.from("c=biws,p=AAAA"))).toMatchObject({
      kind: "fail",
      error: { message: "malformed SCRAM message", sqlstate: "08P01" },
    });
  });

  test.each([
    ["an unknown mechanism", body(encodeSaslInitialResponse("OAUTHBEARER", Buffer.from("n,,\u0001")))],
    [
      "-PLUS where it was not offered",
      body(encodeSaslInitialResponse("SCRAM-SHA-256-PLUS", Buffer.from("p=x"))),
    ],
  ])("%s is refused by PgBouncer's text", (_name, message) => {
    const machine = newMachine({});
    machine.start();
    expect(machine.receive(message)).toMatchObject({
      kind: "fail",
      error: { message: "client selected an invalid SASL authentication mechanism", sqlstate: "08P01" },
    });
  });

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["a mechanism without its end", Buffer.from("SCRAM-SHA-256")],
    ["no length", text("SCRAM-SHA-256")],
    ["a length below -1", Buffer.concat([text("SCRAM-SHA-256"), Buffer.from([255, 255, 255, 254])])],
    ["more length than data", Buffer.concat([text("SCRAM-SHA-256"), Buffer.from([0, 0, 0, 2, 65])])],
    ["more data than length", Buffer.concat([text("SCRAM-SHA-256"), Buffer.from([0, 0, 0, 1, 65, 65])])],
  ])("SASLInitialResponse with %s is malformed", (_name, message) => {
    const machine = newMachine({});
    machine.start();
    expect(machine.receive(message)).toMatchObject({ kind: "fail", error: { sqlstate: "08P01" } });
  });

  test("the first message is kept as it was while PBKDF2 runs", () => {
    const machine = newMachine({ secret: secrets.plain });
    machine.start();
    const message = Buffer.from(body(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=abc"))));
    const demand = machine.receive(message);
    message.fill(0);
    if (demand.kind !== "derive") throw new Error("no demand");
    const challenge = machine.derived(saltedPasswordSync(demand.password, demand.salt, demand.iterations));
    expect(challenge.kind === "send" && decode(challenge.data)).toMatchObject({
      data: expect.toSatisfy((data: Buffer) => data.toString().startsWith("r=abc")),
    });
  });
});

describe("password messages", () => {
  const failing = (message: Buffer, method: AuthMethod = "password"): LoginAction => {
    const machine = newMachine({ method });
    machine.start();
    return machine.receive(message);
  };

  test("an empty password", () => {
    for (const method of ["password", "md5"] as const) {
      expect(failing(text(""), method)).toMatchObject({
        kind: "fail",
        error: { message: "empty password returned by client", sqlstate: "28P01" },
      });
    }
  });

  test("an over-long password", () => {
    expect(failing(text("p".repeat(65_531)))).toMatchObject({
      kind: "fail",
      error: { message: "password too long", sqlstate: "28P01" },
    });
    expect(failing(Buffer.alloc(65_536, 65))).toMatchObject({
      kind: "fail",
      error: { message: "password message too long", sqlstate: "08P01" },
    });
    const long = "p".repeat(65_530);
    expect(logIn({ method: "password", secret: { kind: "plain", password: long } }, long).end.kind).toBe(
      "ok",
    );
  });

  test.each([
    ["no end", Buffer.from("pencil")],
    ["bytes after its end", Buffer.from("pencil\0x\0")],
    ["no bytes at all", Buffer.alloc(0)],
  ])("with %s is malformed", (_name, message) => {
    expect(failing(message)).toMatchObject({ kind: "fail", error: { sqlstate: "08P01" } });
  });

  test("bytes that are not UTF-8 never match a replacement character", () => {
    const machine = newMachine({ method: "password", secret: { kind: "plain", password: "a\ufffd" } });
    machine.start();
    expect(machine.receive(Buffer.from([97, 0xff, 0])).kind).toBe("fail");
  });

  test("a stored secret with too many rounds is not worth a processor", () => {
    const costly: Secret = {
      kind: "scram",
      secret: { ...secretOf(password, salt, 1), iterations: 1_000_001 },
    };
    const { trace, end } = logIn({ method: "password", secret: costly }, password);
    expect(trace[1]).toMatchObject({ demand: "derive", iterations });
    expect(end.kind).toBe("fail");
  });
});

describe("after the end", () => {
  const unexpected = {
    kind: "fail",
    error: { message: "unexpected password message", code: "peer.unexpected_password", sqlstate: "08P01" },
  };

  test("a message more is an error, after success and after failure", () => {
    const trusted = newMachine({ method: "trust" });
    trusted.start();
    expect(trusted.receive(text(password))).toMatchObject(unexpected);
    const machine = newMachine({ method: "password", secret: secrets.plain });
    machine.start();
    expect(machine.receive(text("wrong")).kind).toBe("fail");
    expect(machine.receive(text(password))).toMatchObject(unexpected);
  });

  test("a message while PBKDF2 runs is an error, and its result comes too late", () => {
    const machine = newMachine({ method: "password", secret: secrets.scram });
    machine.start();
    expect(machine.receive(text(password)).kind).toBe("derive");
    expect(machine.receive(text(password))).toMatchObject(unexpected);
    expect(machine.derived(saltedPasswordSync(password, salt, iterations))).toMatchObject(unexpected);
  });

  test("steps that nobody asked for are mistakes of ours", () => {
    const machine = newMachine({ method: "password" });
    machine.start();
    expect(() => machine.start()).toThrow(AssertionError);
    expect(() => machine.derived(Buffer.alloc(32))).toThrow(AssertionError);
    for (const scramIterations of [0, 1_000_001, 1.5]) {
      expect(() => newMachine({ scramIterations })).toThrow(AssertionError);
    }
  });
});

test("any messages give actions, never an exception, and never let an unknown user in", () => {
  const noise = fc.oneof(
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom(
      text(password),
      body(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=abc"))),
      body(encodeSaslInitialResponse("SCRAM-SHA-256-PLUS", Buffer.from("p=tls-server-end-point,,n=,r=abc"))),
      Buffer.from("c=biws,r=abc,p=AAAA"),
    ),
  );
  const options = fc.record({
    method: fc.constantFrom(...methods),
    secret: fc.constantFrom(secrets.plain, secrets.md5, secrets.scram, undefined),
    unknownUserKind: fc.constantFrom<Secret["kind"]>("plain", "md5", "scram"),
  });
  fc.assert(
    fc.property(options, fc.array(noise, { minLength: 1, maxLength: 5 }), (change, messages) => {
      const machine = newMachine(change);
      machine.start();
      for (const message of messages) {
        let action = machine.receive(message);
        if (action.kind === "derive") {
          action = machine.derived(saltedPasswordSync(action.password, action.salt, action.iterations));
        }
        if (action.kind === "fail") expect(action.error).toBeInstanceOf(PeerError);
        if (change.secret === undefined) expect(action.kind).not.toBe("ok");
      }
    }),
    { numRuns: 500 },
  );
});
