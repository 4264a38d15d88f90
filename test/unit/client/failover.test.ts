/**
 * Which failure leads where, over a list of hosts: what ends the whole attempt and what does not; the password of
 * each host; application_name that an old server does not know; values that no list of hosts should have.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type ConnectOptions,
  connectOptions,
  startupParameters,
} from "../../../src/client/conninfo/options.ts";
import { encodeBackend, encodeParameterStatus } from "../../../src/wire/encode-backend.ts";
import { authenticationOk, fatal, paces, ready, Script, welcome } from "./script.ts";

const second = { host: "10.0.0.2", port: 5432 };
const askForPassword = encodeBackend({ kind: "AuthenticationCleartextPassword" });

/** How the first host fails. */
const failures: Readonly<Record<string, (script: Script) => void>> = {
  "is refused by TCP"(script) {
    script.demand("resolve");
    script.event({ kind: "resolved", addresses: ["10.0.0.1"] });
    script.refuseConnection();
  },
  "has no address"(script) {
    script.demand("resolve");
    script.event({ kind: "resolveFailed", error: new Error("ENOTFOUND") });
  },
  "runs out of time while it is looked up"(script) {
    script.demand("resolve");
    script.event({ kind: "timedOut" });
  },
  "is starting up (57P03)"(script) {
    reached(script);
    script.says(fatal("57P03", "the database system is starting up"));
    script.disconnect();
  },
  "is starting up, as it says after it asked for a password"(script) {
    reached(script);
    script.says(askForPassword);
    script.written();
    script.says(fatal("57P03", "the database system is starting up"));
    script.disconnect();
  },
  "has a session of the wrong kind"(script) {
    reached(script);
    script.says(
      authenticationOk,
      encodeParameterStatus("server_version", "18.0"),
      encodeParameterStatus("default_transaction_read_only", "on"),
      encodeParameterStatus("in_hot_standby", "off"),
      ready,
    );
    script.message();
    script.disconnect();
  },
  "accepts and never answers"(script) {
    reached(script);
    script.event({ kind: "timedOut" });
    script.disconnect();
  },
  "answers one byte and no more"(script) {
    reached(script);
    script.says(Buffer.from("R"));
    script.event({ kind: "timedOut" });
    script.disconnect();
  },
  "stops in the middle of its welcome"(script) {
    reached(script);
    script.says(welcome.subarray(0, -3));
    script.event({ kind: "timedOut" });
    script.disconnect();
  },
};

/** Failures that no other host can mend. */
const endings: Readonly<Record<string, (script: Script) => void>> = {
  "refuses the password (28P01)"(script) {
    script.says(askForPassword);
    script.written();
    script.says(fatal("28P01", "password authentication failed"));
  },
  "refuses the user (28000)": (script) => script.says(fatal("28000", "no pg_hba.conf entry")),
  "has no such database, as it says after the login": (script) =>
    script.says(authenticationOk, fatal("3D000", "no such database")),
  "is full, as it says after the login": (script) =>
    script.says(authenticationOk, fatal("53300", "too many")),
  "shuts down after the login (57P03)": (script) =>
    script.says(authenticationOk, fatal("57P03", "going down")),
  "closes without a word": (script) => script.event({ kind: "ended", error: undefined }),
  "breaks off": (script) => script.event({ kind: "ended", error: new Error("ECONNRESET") }),
  "asks for what cannot be given": (script) =>
    script.says(encodeBackend({ kind: "AuthenticationUnsupported", code: 7, data: Buffer.alloc(0) })),
  "is no PostgreSQL": (script) => script.says(Buffer.from("HTTP/1.1 400 Bad Request")),
};

function reached(script: Script): void {
  script.demand("resolve");
  script.event({ kind: "resolved", addresses: ["10.0.0.1"] });
  script.connect();
  script.startup();
}

const begin = (given: Partial<ConnectOptions> = {}): Script =>
  new Script({
    hosts: [{ host: "db.example", port: 5432 }, second],
    password: "secret",
    allowCleartextPassword: true,
    ...given,
  });

test.each(Object.keys(failures))("acceptance 103: a first host that %s gives way to the second", (name) => {
  const script = begin(name.includes("wrong kind") ? { targetSessionAttrs: "read-write" } : {});
  failures[name]?.(script);
  expect(script.connect()).toMatchObject({ endpoint: { host: "10.0.0.2" }, fresh: true });
  script.startup();
  script.says(
    welcome.subarray(0, -ready.length),
    encodeParameterStatus("default_transaction_read_only", "off"),
    encodeParameterStatus("in_hot_standby", "off"),
    ready,
  );
  expect(script.done().endpoint.host).toBe("10.0.0.2");
});

test.each(Object.keys(endings))("a first host that %s ends the attempt", (name) => {
  const script = begin();
  reached(script);
  endings[name]?.(script);
  expect(script.failed().attempts).toHaveLength(1);
});

test("a socket that is being given up may end as it likes", () => {
  const script = begin({ hosts: [{ host: "10.0.0.1", port: 1 }, second] });
  script.connect();
  script.startup();
  script.says(fatal("57P03", "starting up"));
  script.demand("disconnect");
  script.event({ kind: "ended", error: new Error("ECONNRESET") });
  script.event({ kind: "timedOut" });
  script.machine.receive(Buffer.from(welcome));
  script.disconnect();
  expect(script.connect().endpoint.host).toBe("10.0.0.2");
});

test("errors of all tries are in the text, each headed by host, address and port", () => {
  const script = begin();
  failures["is starting up (57P03)"]?.(script);
  script.refuseConnection();
  expect(script.failed().message.split("\n")).toEqual([
    'connection to server at "db.example" (10.0.0.1), port 5432 failed: FATAL:  the database system is starting up',
    'connection to server at "10.0.0.2", port 5432 failed: connect ECONNREFUSED',
  ]);
});

describe.each(paces)("a server that cannot start a process, and says so %s", (pace) => {
  const text = Buffer.from(
    "Ecould not fork new process for connection: Resource temporarily unavailable\n\0",
  );
  const start = (given: Partial<ConnectOptions>): Script => {
    const script = new Script({ hosts: [{ host: "10.0.0.1", port: 1 }, second], ...given }, pace);
    script.connect();
    script.startup();
    return script;
  };

  test("is quoted", () => {
    const script = start({});
    script.says(text);
    expect(script.failed()).toMatchObject({
      code: "client.server_refused",
      sqlstate: "08001",
      serverError: undefined,
      message:
        'connection to server at "10.0.0.1", port 1 failed: ' +
        "could not fork new process for connection: Resource temporarily unavailable",
    });
  });

  test("may fare better with TLS, as with any error before the login", () => {
    const script = start({ sslmode: "allow" });
    script.says(text);
    script.disconnect();
    expect(script.connect().endpoint.host).toBe("10.0.0.1");
    expect(script.startup()).toEqual({ kind: "ssl" });
  });

  test("must come to an end", () => {
    const script = start({});
    script.demand("read");
    script.machine.receive(Buffer.alloc(30_000, "E"));
    script.demand("read");
    script.machine.receive(Buffer.from("E"));
    expect(script.failed()).toMatchObject({ code: "client.protocol_violation" });
  });

  test("which closes in the middle of it has closed", () => {
    const script = start({});
    script.says(text.subarray(0, 20));
    script.event({ kind: "ended", error: undefined });
    expect(script.failed().code).toBe("client.connection_lost");
  });
});

describe("the password of a host", () => {
  const file = "/home/ada/.pgpass";
  const first = { host: "10.0.0.1", port: 5432 };
  const sent = (given: Partial<ConnectOptions>): string | undefined => {
    const script = begin(given);
    script.connect();
    script.startup();
    script.says(askForPassword);
    if (script.machine.finished) return undefined;
    const { data } = script.demand("write");
    return data.toString("utf8", 5, data.length - 1);
  };

  test("is its own; what was given beats what a file has", () => {
    const given = { hosts: [{ ...first, password: "own" }], password: "all" };
    expect(sent(given)).toBe("own");
    expect(sent({ ...given, hosts: [{ ...first, password: "own", passwordFile: file }] })).toBe("all");
    expect(sent({ hosts: [{ ...first, password: "own", passwordFile: file }], password: undefined })).toBe(
      "own",
    );
    expect(sent({ hosts: [{ ...first, password: "own", passwordFile: file }], password: "" })).toBe("own");
    expect(sent({ hosts: [{ ...first, password: "" }] })).toBe("secret");
    expect(sent({ hosts: [first], password: "" })).toBeUndefined();
  });

  test("is another one at the next host", () => {
    const script = begin({
      hosts: [
        { ...first, password: "one" },
        { ...second, password: "two" },
      ],
    });
    script.connect();
    script.startup();
    script.says(fatal("57P03", "starting up"));
    script.disconnect();
    script.connect();
    script.startup();
    script.says(askForPassword);
    expect(script.message()).toMatchObject({ kind: "PasswordMessage" });
    expect(script.machine.passwordNeeded).toBe(true);
  });

  const refusal = (given: Partial<ConnectOptions>, code: string): string => {
    const script = begin(given);
    script.connect();
    script.startup();
    script.says(askForPassword);
    script.written();
    script.says(fatal(code, "no"));
    return script.failed().message;
  };

  test("is traced to its file if the server refuses it, and only then", () => {
    const fromFile = { hosts: [{ ...first, password: "own", passwordFile: file }], password: undefined };
    const head = 'connection to server at "10.0.0.1", port 5432 failed: FATAL:  no';
    expect(refusal(fromFile, "28P01")).toBe(`${head}\npassword retrieved from file "${file}"`);
    expect(refusal(fromFile, "28000")).toBe(head);
    expect(refusal({ ...fromFile, password: "given" }, "28P01")).toBe(head);
    expect(refusal({ hosts: [{ ...first, password: "own" }] }, "28P01")).toBe(head);
  });

  test("is in no text", () => {
    const hosts = [{ ...first, password: "hunter2", passwordFile: file }];
    const text = refusal({ hosts, password: undefined }, "28P01");
    expect(text).not.toContain("hunter2");
    expect(() => begin({ hosts: [{ ...first, password: "hunter2\0" }] })).toThrow(
      "the password contains a NUL",
    );
  });
});

describe("application_name", () => {
  const named = (script: Script): string | undefined => {
    script.connect();
    const request = script.startup();
    if (request.kind !== "startup") throw new Error(`unexpected ${request.kind}`);
    return request.parameters.find(([name]) => name === "application_name")?.[1];
  };

  test("falls back if there is none, and stands where libpq puts it", () => {
    const names = (given: Partial<ConnectOptions>): string[] =>
      startupParameters(connectOptions({ user: "ada", ...given })).map(([name, value]) => `${name}=${value}`);
    const parameters = [
      ["options", "-c a=b"],
      ["client_encoding", "UTF8"],
    ] as const;
    expect(names({ parameters, fallbackApplicationName: "app" })).toEqual([
      ...["user=ada", "database=ada", "options=-c a=b", "application_name=app", "client_encoding=UTF8"],
    ]);
    expect(names({ fallbackApplicationName: "app" })).toEqual([
      "user=ada",
      "database=ada",
      "application_name=app",
    ]);
    const own = [["application_name", "mine"]] as const;
    expect(names({ parameters: own, fallbackApplicationName: "app" })).not.toContain("application_name=app");
    expect(names({ fallbackApplicationName: "" })).toEqual(["user=ada", "database=ada"]);
  });

  test.each([{ fallbackApplicationName: "app" }, { parameters: [["application_name", "app"]] as const }])(
    "is left out once if a server does not know it (42704): %o",
    (given) => {
      const script = begin({ ...given, hosts: [{ host: "10.0.0.1", port: 1 }, second], sslmode: "allow" });
      expect(named(script)).toBe("app");
      script.says(authenticationOk, fatal("42704", "unrecognized configuration parameter"));
      script.disconnect();
      expect(script.demand("connect")).toMatchObject({ endpoint: { host: "10.0.0.1" }, fresh: false });
      expect(named(script)).toBeUndefined();
      script.says(authenticationOk, fatal("42704", "something else"));
      expect(script.failed().attempts).toHaveLength(2);
    },
  );

  test("is told again to the next address", () => {
    const script = begin({ fallbackApplicationName: "app", hosts: [{ host: "10.0.0.1", port: 1 }, second] });
    named(script);
    script.says(authenticationOk, fatal("42704", "no"));
    script.disconnect();
    expect(named(script)).toBeUndefined();
    script.event({ kind: "timedOut" });
    script.disconnect();
    expect(named(script)).toBe("app");
  });

  test("that was not sent cannot be why 42704 came", () => {
    const script = begin({ hosts: [{ host: "10.0.0.1", port: 1 }] });
    named(script);
    script.says(authenticationOk, fatal("42704", "no"));
    expect(script.failed()).toMatchObject({ sqlstate: "42704", attempts: [{ phase: "AUTH_OK" }] });
  });
});

describe("values that are odd", () => {
  test.each(["user", "database"] as const)(
    "a %s with a newline arrives as it is, one with a NUL is refused",
    (key) => {
      const script = begin({ [key]: "a\nb'\\", hosts: [{ host: "10.0.0.1", port: 1 }] });
      script.connect();
      expect(script.startup()).toMatchObject({ parameters: expect.arrayContaining([[key, "a\nb'\\"]]) });
      expect(() => begin({ [key]: "a\0b" })).toThrow(/contains a NUL/);
      expect(() => begin({ [key]: "x".repeat(10_000) })).toThrow(/startup packet is too long/);
    },
  );

  test("a host or an address with a NUL is refused, a port that is no number too", () => {
    expect(() => begin({ hosts: [{ host: "a\0b", port: 1 }] })).toThrow("a host's name contains a NUL");
    expect(() => begin({ hosts: [{ host: "a", address: "1\0", port: 1 }] })).toThrow(
      "a host's name contains a NUL",
    );
    expect(() => begin({ hosts: [{ host: "a", port: Number.NaN }] })).toThrow("invalid port number");
    expect(() => begin({ hosts: [] })).toThrow("no host to connect to");
  });

  test("a password of 100,000 characters and newlines is sent whole", () => {
    const password = "a\n".repeat(50_000);
    const script = begin({ password, hosts: [{ host: "10.0.0.1", port: 1 }] });
    script.connect();
    script.startup();
    script.says(askForPassword);
    expect(script.demand("write").data.toString("utf8", 5)).toBe(`${password}\0`);
  });

  test.each([
    [{ sslMinProtocolVersion: "TLSv1.3", sslMaxProtocolVersion: "TLSv1.2" }, /SSL protocol version range/],
    [{ sslMaxProtocolVersion: "TLSv1.1" }, /SSL protocol version range/],
    [{ sslMinProtocolVersion: "SSLv3" }, /invalid "ssl_min_protocol_version" value: "SSLv3"/],
    [{ sslMaxProtocolVersion: "" }, /invalid "ssl_max_protocol_version" value: ""/],
  ])("%o is refused before anything is opened", (given, text) => {
    expect(() => begin(given as Partial<ConnectOptions>)).toThrow(text);
  });

  test.each([
    { sslMinProtocolVersion: "TLSv1", sslMaxProtocolVersion: "TLSv1" },
    { sslMinProtocolVersion: "TLSv1.3" },
    { sslMaxProtocolVersion: "TLSv1.2" },
  ] as const)("%o is a range", (given) => {
    expect(begin(given).machine.status).toBe("NEEDED");
  });
});

describe("sslcertmode=require", () => {
  const outcome = (given: Partial<ConnectOptions>, certificateRequested: boolean | undefined): string => {
    const certificate = { sslcert: "-----BEGIN", sslkey: "-----BEGIN" };
    const script = new Script({ sslmode: "require", sslcertmode: "require", ...certificate, ...given });
    script.connect();
    if (script.startup().kind === "ssl") {
      script.says(Buffer.from("S"));
      script.demand("startTls");
      script.event({ kind: "tlsStarted", endPoint: undefined, alpn: "postgresql", certificateRequested });
      script.startup();
    }
    script.says(welcome);
    return script.machine.status === "OK" ? "in" : script.failed().message.replace(/^.* failed: /, "");
  };

  test("takes only a server that asked for a certificate, and only if one was sent", () => {
    expect(outcome({}, true)).toBe("in");
    expect(outcome({}, false)).toBe("server did not request an SSL certificate");
    expect(outcome({}, undefined)).toBe("server did not request an SSL certificate");
    expect(outcome({ sslmode: "disable" }, true)).toBe("server did not request an SSL certificate");
    const none = { sslcert: undefined, sslkey: undefined };
    expect(outcome(none, true)).toBe("server accepted connection without a valid SSL certificate");
    expect(outcome({ sslcertmode: "allow" }, false)).toBe("in");
    expect(outcome({ sslcertmode: "disable" }, true)).toBe("in");
  });

  test("does not take the request of an earlier connection for one of this", () => {
    const script = new Script({
      sslmode: "prefer",
      sslcertmode: "require",
      sslcert: "-----BEGIN",
      sslkey: "-----BEGIN",
    });
    script.connect();
    script.startup();
    script.says(Buffer.from("S"));
    script.demand("startTls");
    const certificateRequested = true;
    script.event({ kind: "tlsStarted", endPoint: undefined, alpn: "postgresql", certificateRequested });
    script.startup();
    script.says(fatal("28000", "no"));
    script.disconnect();
    script.connect();
    script.startup();
    script.says(welcome);
    expect(script.failed().message).toMatch(/server did not request an SSL certificate$/);
  });
});

const pieces = fc.constantFrom(
  authenticationOk,
  askForPassword,
  encodeParameterStatus("server_version", "9.6"),
  encodeBackend({ kind: "BackendKeyData", pid: 1, key: Buffer.alloc(4) }),
  ready,
  encodeBackend({ kind: "DataRow", values: [Buffer.from("off")] }),
  encodeBackend({ kind: "CommandComplete", tag: "SHOW" }),
  fatal("57P03", "starting up"),
  fatal("42704", "what?"),
  fatal("28000", "no"),
  Buffer.from("N"),
  Buffer.from("?"),
);

test("bytes that come one by one lead to the same statuses and demands as bytes that come at once", () => {
  const run = (
    pace: (typeof paces)[number],
    said: readonly Buffer[],
    given: Partial<ConnectOptions>,
  ): string => {
    const hosts = [{ host: "10.0.0.1", port: 1 }, second];
    const password = { password: "secret", allowCleartextPassword: true };
    const script = new Script({ ...given, ...password, hosts, fallbackApplicationName: "app" }, pace);
    const seen: string[] = [];
    const rest = [...said];
    for (;;) {
      const demand = script.machine.poll();
      seen.push(`${script.machine.status} ${demand.kind}`);
      if (demand.kind === "connect") script.event({ kind: "connected" });
      else if (demand.kind === "write") script.event({ kind: "written" });
      else if (demand.kind === "disconnect") script.event({ kind: "disconnected" });
      else if (demand.kind === "read" && rest.length > 0) script.says(rest.shift() ?? ready);
      else return seen.join("\n");
    }
  };
  fc.assert(
    fc.property(
      fc.array(pieces, { maxLength: 12 }),
      fc.constantFrom("disable" as const, "allow" as const, "prefer" as const),
      fc.constantFrom("any" as const, "read-write" as const, "prefer-standby" as const),
      (said, sslmode, targetSessionAttrs) => {
        const given = { sslmode, targetSessionAttrs };
        expect(run("byte by byte", said, given)).toBe(run("whole", said, given));
      },
    ),
    { numRuns: 500 },
  );
});
