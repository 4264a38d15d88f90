/** The handshake machine: which step follows which, and where each failure leads. */
import { describe, expect, test } from "vitest";
import { ConnectError } from "../../../src/client/errors.ts";
import { connectionStatusNumber } from "../../../src/client/handshake/status.ts";
import { protocolVersion30, protocolVersion32 } from "../../../src/wire/constants.ts";
import {
  encodeBackend,
  encodeBackendKeyData,
  encodeNegotiateProtocolVersion,
  encodeNoticeResponse,
  encodeParameterStatus,
} from "../../../src/wire/encode-backend.ts";
import { authenticationOk, fatal, paces, ready, Script, welcome } from "./script.ts";

const twoHosts = [
  { host: "10.0.0.1", port: 5432 },
  { host: "10.0.0.2", port: 5433 },
];
/** A message of a type that no server of ours sends. */
const unknownMessage = Buffer.from("?\0\0\0\x04", "latin1");

describe.each(paces)("answers that come %s", (pace) => {
  test("a login without a password: every status, and what the session knows", () => {
    const script = new Script({}, pace);
    script.connect();
    expect(script.startup()).toMatchObject({ kind: "startup", major: 3, minor: 0 });
    script.says(
      welcome.subarray(0, -ready.length),
      encodeNoticeResponse({ severity: "WARNING", code: "01000", message: "hm" }),
      ready,
    );
    expect(script.done()).toMatchObject({
      backendPid: 42,
      cancelKey: Buffer.of(1, 2, 3, 4),
      protocolVersion: protocolVersion30,
      tls: false,
      parameters: new Map([["server_version", "18.4"]]),
      notices: [{ message: "hm" }],
      endpoint: { host: "127.0.0.1", address: "127.0.0.1", port: 5432 },
    });
  });

  test("acceptance 77: a server's error during the login comes with all its fields and its SQLSTATE", () => {
    const script = new Script({ hosts: twoHosts }, pace);
    script.connect();
    script.startup();
    script.says(
      authenticationOk,
      fatal("3D000", 'database "x" does not exist', { detail: "d", hint: "h", file: "postinit.c" }),
    );
    const error = script.failed();
    expect(error).toBeInstanceOf(ConnectError);
    expect(error).toMatchObject({
      code: "client.server_refused",
      sqlstate: "3D000",
      detail: "d",
      hint: "h",
      source: "server",
      serverError: { severity: "FATAL", code: "3D000", detail: "d", hint: "h", file: "postinit.c" },
    });
    expect(error.message).toBe(
      'connection to server at "10.0.0.1", port 5432 failed: FATAL:  database "x" does not exist',
    );
    expect(error.attempts, "the other host is not tried").toHaveLength(1);
  });

  test("acceptance 77: a session without a cancel key is still a session", () => {
    const script = new Script({}, pace);
    script.connect();
    script.startup();
    script.says(authenticationOk, encodeParameterStatus("a", "b"), ready);
    expect(script.done()).toMatchObject({ backendPid: 0, cancelKey: undefined });
  });

  test("acceptance 77: a cancel key longer than 4 bytes is taken in 3.2 and refused in 3.0", () => {
    const key = Buffer.alloc(32, 9);
    const newer = new Script({ maxProtocolVersion: protocolVersion32 }, pace);
    newer.connect();
    expect(newer.startup()).toMatchObject({ major: 3, minor: 2 });
    newer.says(authenticationOk, encodeBackendKeyData(-5, key), ready);
    expect(newer.done()).toMatchObject({
      backendPid: -5,
      cancelKey: key,
      protocolVersion: protocolVersion32,
    });

    const older = new Script({}, pace);
    older.connect();
    older.startup();
    older.says(authenticationOk, encodeBackendKeyData(5, key));
    expect(older.failed()).toMatchObject({ code: "client.protocol_violation", sqlstate: "08P01" });
  });

  test.each([
    [
      "before the login",
      Buffer.alloc(0),
      "expected authentication request from server, but received message type 63",
    ],
    ["after it", authenticationOk, "unexpected message from server during startup: message type 63"],
  ])("acceptance 77: a message of unknown type %s is a protocol error", (_, before, text) => {
    const script = new Script({}, pace);
    script.connect();
    script.startup();
    script.says(before, unknownMessage);
    expect(script.failed()).toMatchObject({ code: "client.protocol_violation", sqlstate: "08P01" });
    expect(script.failed().message).toContain(text);
  });

  test("57P03 leads to the next host, and the error keeps both", () => {
    const script = new Script({ hosts: twoHosts }, pace);
    script.connect();
    script.startup();
    script.says(fatal("57P03", "the database system is starting up"));
    script.disconnect();
    expect(script.connect().endpoint).toMatchObject({ host: "10.0.0.2", port: 5433 });
    script.startup();
    script.says(fatal("57P03", "the database system is shutting down"));
    const error = script.failed();
    expect(error.sqlstate).toBe("57P03");
    expect(error.attempts.map(({ host }) => host)).toEqual(["10.0.0.1", "10.0.0.2"]);
    expect(error.message.split("\n")).toEqual([
      'connection to server at "10.0.0.1", port 5432 failed: FATAL:  the database system is starting up',
      'connection to server at "10.0.0.2", port 5433 failed: FATAL:  the database system is shutting down',
    ]);
  });

  test("a wrong password ends the attempt, whatever hosts are left", () => {
    const script = new Script({ hosts: twoHosts }, pace);
    script.connect();
    script.startup();
    script.says(fatal("28P01", "password authentication failed"));
    expect(script.failed()).toMatchObject({ sqlstate: "28P01", attempts: [{ host: "10.0.0.1" }] });
  });

  test("what a server sends behind ReadyForQuery is handed over", () => {
    const script = new Script({}, "whole");
    script.connect();
    script.startup();
    script.says(welcome, Buffer.from("later"));
    expect(script.done().rest.toString()).toBe("later");
  });

  test("a server that speaks only 3.0 is talked to in 3.0", () => {
    const script = new Script({ maxProtocolVersion: protocolVersion32 }, pace);
    script.connect();
    script.startup();
    script.says(encodeNegotiateProtocolVersion(protocolVersion30, []), welcome);
    expect(script.done().protocolVersion).toBe(protocolVersion30);
  });
});

test("acceptance 102: a login shows libpq's statuses in libpq's order, also through TLS", () => {
  const plain = new Script();
  plain.connect();
  plain.startup();
  plain.says(authenticationOk);
  plain.demand("read");
  plain.says(ready);
  expect(plain.statuses).toEqual(["NEEDED", "STARTED", "MADE", "AWAITING_RESPONSE", "AUTH_OK", "OK"]);

  const secure = new Script({ sslmode: "require" });
  secure.connect();
  secure.startup();
  secure.says(Buffer.from("S"));
  secure.startTls();
  secure.startup();
  secure.says(authenticationOk);
  secure.says(ready);
  expect(secure.statuses).toEqual([
    ...["NEEDED", "STARTED", "MADE", "SSL_STARTUP", "MADE", "AWAITING_RESPONSE", "AUTH_OK", "OK"],
  ]);
  expect(connectionStatusNumber).toMatchObject({
    OK: 0,
    BAD: 1,
    STARTED: 2,
    MADE: 3,
    SSL_STARTUP: 7,
    AUTHENTICATING: 15,
  });
});

test("acceptance 100: an attempt that cannot even begin is an object all the same, and BAD", () => {
  const script = new Script({ hosts: [{ host: "10.0.0.1", port: 0 }] });
  expect(script.machine.status).toBe("NEEDED");
  script.machine.poll();
  expect(script.failed().message).toContain('invalid port number: "0"');
});

test("acceptance 101: each poll says what to wait for, the socket may change in between, the end stays", () => {
  const script = new Script({ sslmode: "prefer" });
  const asked: string[] = [];
  const answer = (kind: "connect" | "write" | "read" | "startTls" | "disconnect", then: () => void): void => {
    script.demand(kind);
    asked.push(kind);
    then();
  };
  const connected = (): void => script.event({ kind: "connected" });
  const written = (): void => script.event({ kind: "written" });
  answer("connect", connected);
  answer("write", written);
  answer("read", () => script.says(Buffer.from("S")));
  answer("startTls", () => script.event({ kind: "tlsFailed", error: new Error("alert") }));
  answer("disconnect", () => script.event({ kind: "disconnected" }));
  answer("connect", connected);
  answer("write", written);
  answer("read", () => script.says(welcome));
  const done = script.demand("done");
  script.event({ kind: "ended", error: undefined });
  expect(script.demand("done")).toBe(done);
  expect(asked.filter((kind) => kind === "connect")).toHaveLength(2);
});

test("acceptance 75: by default the startup packet is version 3.0 with user and database only", () => {
  const script = new Script({ user: "ada", database: "books" });
  script.connect();
  expect(script.startup()).toEqual({
    kind: "startup",
    major: 3,
    minor: 0,
    parameters: [
      ["user", "ada"],
      ["database", "books"],
    ],
  });
});

test.each(["user", "database"])(
  "acceptance 75: a %s too long for the startup packet is refused, nothing is opened",
  (name) => {
    expect(() => new Script({ [name]: "x".repeat(10_000) })).toThrow(/startup packet is too long/);
  },
);

describe("addresses", () => {
  test("every address of a host is tried, then the next host", () => {
    const script = new Script({
      hosts: [
        { host: "db.example", port: 1 },
        { host: "/run/pg", port: 2 },
      ],
    });
    expect(script.demand("resolve").host).toBe("db.example");
    script.event({ kind: "resolved", addresses: ["10.0.0.1", "::1"] });
    expect(script.refuseConnection().endpoint).toEqual({ host: "db.example", address: "10.0.0.1", port: 1 });
    expect(script.refuseConnection().endpoint.address).toBe("::1");
    expect(script.refuseConnection().endpoint).toEqual({ host: "/run/pg", address: "/run/pg", port: 2 });
    const error = script.failed();
    expect(error).toMatchObject({ code: "client.connect_failed", sqlstate: "08001", serverError: undefined });
    expect(error.message.split("\n")).toEqual([
      'connection to server at "db.example" (10.0.0.1), port 1 failed: connect ECONNREFUSED',
      'connection to server at "db.example" (::1), port 1 failed: connect ECONNREFUSED',
      'connection to server on socket "/run/pg/.s.PGSQL.2" failed: connect ECONNREFUSED',
    ]);
  });

  test("a name that does not resolve, a port out of range and a socket path too long cost only their host", () => {
    const script = new Script({
      hosts: [
        { host: "nowhere.example", port: 1 },
        { host: "10.0.0.1", port: 70_000 },
        { host: `/${"x".repeat(100)}`, port: 5432 },
        { host: "10.0.0.2", port: 2 },
      ],
    });
    script.demand("resolve");
    script.event({ kind: "resolveFailed", error: new Error("ENOTFOUND") });
    expect(script.refuseConnection().endpoint.address).toBe("10.0.0.2");
    const texts = script.failed().attempts.map(({ message }) => message);
    expect(texts[0]).toBe('could not translate host name "nowhere.example" to address: ENOTFOUND');
    expect(texts[1]).toContain('invalid port number: "70000"');
    expect(texts[2]).toContain("is too long (maximum 107 bytes)");
  });

  test("acceptance 99: an address that is given needs no look-up, and the host stays the name", () => {
    const script = new Script({
      hosts: [{ host: "db.example", address: "10.0.0.9", port: 1 }],
      sslmode: "require",
    });
    expect(script.connect().endpoint).toEqual({ host: "db.example", address: "10.0.0.9", port: 1 });
    script.startup();
    script.says(Buffer.from("S"));
    expect(script.demand("startTls").host).toBe("db.example");
  });

  test("acceptance 103: time that runs out leads to the next address; only a fresh address starts the time anew", () => {
    const script = new Script({ hosts: twoHosts, sslmode: "prefer" });
    expect(script.connect().fresh).toBe(true);
    script.startup();
    script.says(Buffer.from("S"));
    script.event({ kind: "tlsFailed", error: new Error("bad record") });
    script.disconnect();
    expect(script.connect().fresh, "the same address, without TLS").toBe(false);
    script.event({ kind: "timedOut" });
    script.disconnect();
    expect(script.connect().fresh).toBe(true);
    script.event({ kind: "timedOut" });
    expect(script.failed()).toMatchObject({ code: "client.connect_timeout", sqlstate: "08001" });
  });
});

/** Brings a machine to each status from which an attempt can break. */
const reach: Readonly<Record<string, (script: Script) => void>> = {
  NEEDED: (script) => script.demand("resolve"),
  STARTED(script) {
    reach["NEEDED"]?.(script);
    script.event({ kind: "resolved", addresses: ["10.0.0.1"] });
    script.demand("connect");
  },
  MADE(script) {
    reach["STARTED"]?.(script);
    script.event({ kind: "connected" });
    script.demand("write");
  },
  SSL_STARTUP(script) {
    reach["MADE"]?.(script);
    script.event({ kind: "written" });
    script.demand("read");
  },
  "SSL_STARTUP, shaking hands"(script) {
    reach["SSL_STARTUP"]?.(script);
    script.says(Buffer.from("S"));
    script.demand("startTls");
  },
  AWAITING_RESPONSE(script) {
    reach["SSL_STARTUP, shaking hands"]?.(script);
    script.startTls();
    script.startup();
  },
  AUTH_OK(script) {
    reach["AWAITING_RESPONSE"]?.(script);
    script.says(authenticationOk);
  },
};

describe.each(Object.keys(reach))("in status %s", (name) => {
  const begin = (): Script => {
    const script = new Script({ sslmode: "require", hosts: [{ host: "db.example", port: 1 }] });
    reach[name]?.(script);
    expect(script.machine.status).toBe(name.split(",")[0]);
    return script;
  };

  test("acceptance 103: time that runs out ends the attempt and says where it stood", () => {
    const script = begin();
    script.event({ kind: "timedOut" });
    expect(script.failed()).toMatchObject({
      code: "client.connect_timeout",
      attempts: [{ phase: name.split(",")[0] }],
    });
  });

  test("acceptance 105: an attempt that is given up stays given up, whatever comes later", () => {
    const script = begin();
    const reason = new Error("enough");
    script.event({ kind: "aborted", reason });
    const error = script.failed();
    expect(error).toMatchObject({ code: "client.connect_aborted", cause: reason });
    for (const late of [{ kind: "connected" }, { kind: "written" }, { kind: "timedOut" }] as const)
      script.event(late);
    script.machine.receive(welcome);
    expect(script.failed()).toBe(error);
  });
});

test.each(Object.keys(reach).filter((name) => name !== "NEEDED" && name !== "STARTED"))(
  "a server that closes in status %s ends the attempt",
  (name) => {
    const script = new Script({ sslmode: "require", hosts: [{ host: "db.example", port: 1 }] });
    reach[name]?.(script);
    script.event({ kind: "ended", error: undefined });
    const shakingHands = name.includes("shaking");
    expect(script.failed()).toMatchObject({
      code: shakingHands ? "client.tls_failed" : "client.connection_lost",
      sqlstate: shakingHands ? "08001" : "08006",
      attempts: [{ phase: name.split(",")[0] }],
    });
  },
);

describe("NegotiateProtocolVersion is refused", () => {
  const cases: [string, number, string[], RegExp][] = [
    ["with a higher version", protocolVersion32 + 1, [], /higher-numbered/],
    ["before 3.0", protocolVersion30 - 1, [], /pre-3.0/],
    ["with 3.1", protocolVersion30 + 1, [], /non-existent 3.1/],
    ["without a change", protocolVersion32, [], /asks for no changes/],
    ["with a name of no option", protocolVersion30, ["search_path"], /without a "_pq_."/],
    ["with an option that was not sent", protocolVersion30, ["_pq_.x"], /was not requested/],
  ];
  test.each(cases)("%s", (_, version, names, text) => {
    const script = new Script({ maxProtocolVersion: protocolVersion32 });
    script.connect();
    script.startup();
    script.says(encodeNegotiateProtocolVersion(version, names));
    expect(script.failed()).toMatchObject({ code: "client.protocol_violation" });
    expect(script.failed().message).toMatch(text);
  });

  test("twice, below the minimum, and after the login has begun", () => {
    const downgrade = encodeNegotiateProtocolVersion(protocolVersion30, []);
    const twice = new Script({ maxProtocolVersion: protocolVersion32 });
    twice.connect();
    twice.startup();
    twice.says(downgrade, downgrade);
    expect(twice.failed().message).toMatch(/duplicate/);

    const late = new Script({ maxProtocolVersion: protocolVersion32, password: "x" });
    late.connect();
    late.startup();
    late.says(encodeBackend({ kind: "AuthenticationMD5Password", salt: Buffer.alloc(4) }));
    late.written();
    late.says(downgrade);
    expect(late.failed()).toMatchObject({ code: "client.protocol_violation" });
    expect(late.failed().message).toMatch(/in the middle of a login/);

    const tooOld = new Script({
      minProtocolVersion: protocolVersion32,
      maxProtocolVersion: protocolVersion32,
    });
    tooOld.connect();
    tooOld.startup();
    tooOld.says(downgrade);
    expect(tooOld.failed().message).toMatch(/only supports protocol version 3.0, but "min_protocol_version"/);
  });
});

describe("a cancel request", () => {
  const request = { pid: 7, key: Buffer.from("secret key of 3.2"), tls: false };

  test("acceptance 91: is length, code, pid and key, and is done when the server has closed", () => {
    const script = new Script({}, "whole", { ...request, key: Buffer.of(1, 2, 3, 4) });
    script.connect();
    expect(script.written().toString("hex")).toBe("0000001004d2162e0000000701020304");
    script.demand("read");
    script.event({ kind: "ended", error: undefined });
    script.demand("cancelled");
    expect(script.statuses).toEqual(["ALLOCATED", "STARTED", "MADE", "AWAITING_RESPONSE", "OK"]);
  });

  test("goes through TLS if the session did, whatever sslmode says", () => {
    const script = new Script({ sslmode: "disable" }, "whole", { ...request, tls: true });
    script.connect();
    expect(script.startup()).toEqual({ kind: "ssl" });
    script.says(Buffer.from("S"));
    script.startTls();
    expect(script.startup()).toEqual({ kind: "cancel", pid: 7, key: request.key });
    script.event({ kind: "ended", error: undefined });
    script.demand("cancelled");
  });

  test("any byte in answer, and a connection that breaks, are errors", () => {
    const answered = new Script({}, "whole", request);
    answered.connect();
    answered.written();
    answered.says(Buffer.from("E"));
    expect(answered.failed().message).toMatch(/unexpected response from server/);

    const broken = new Script({}, "whole", request);
    broken.connect();
    broken.written();
    broken.event({ kind: "ended", error: new Error("read ECONNRESET") });
    expect(broken.failed()).toMatchObject({ code: "client.connection_lost", sqlstate: "08006" });
  });
});
