/** sslmode in the handshake machine: PostgreSQL's table of modes and answers, one row per test. */
import { describe, expect, test } from "vitest";
import type { ConnectOptions, SslMode } from "../../../src/client/conninfo/options.ts";
import {
  certificateCheck,
  connectOptions,
  serverNameIndication,
} from "../../../src/client/conninfo/options.ts";
import { authenticationOk, fatal, ready, Script, welcome } from "./script.ts";

const byteS = Buffer.from("S");
const byteN = Buffer.from("N");

/** Plays a server and writes down what happens: `ssl`, `tls`, `startup`, `reconnect`, and the end. */
function play(
  given: Partial<ConnectOptions>,
  server: { answer?: Buffer; handshake?: "fails"; refuses?: { plain?: string; tls?: string } },
): string {
  const script = new Script({ sslrootcert: "-----BEGIN", ...given });
  const steps: string[] = [];
  let encrypted = false;
  for (;;) {
    const demand = script.machine.poll();
    switch (demand.kind) {
      case "connect":
        encrypted = false;
        script.event({ kind: "connected" });
        break;
      case "write": {
        const request = script.startup();
        if (request.kind === "ssl") {
          steps.push("ssl");
          script.says(server.answer ?? byteS);
          break;
        }
        steps.push(request.kind);
        const code = server.refuses?.[encrypted ? "tls" : "plain"];
        script.says(code === undefined ? welcome : fatal(code, "no"));
        break;
      }
      case "startTls":
        steps.push(demand.direct ? "direct tls" : "tls");
        if (server.handshake === "fails") {
          script.event({ kind: "tlsFailed", error: new Error("alert") });
        } else {
          encrypted = true;
          script.event({ kind: "tlsStarted", endPoint: undefined, alpn: "postgresql" });
        }
        break;
      case "disconnect":
        steps.push("reconnect");
        script.event({ kind: "disconnected" });
        break;
      case "done":
        return [...steps, demand.result.tls ? "= encrypted" : "= plain"].join(" ");
      case "failed":
        return [...steps, `= ${demand.error.code} ${demand.error.sqlstate}`].join(" ");
      default:
        throw new Error(`unexpected demand ${demand.kind}`);
    }
  }
}

const table: [mode: SslMode, what: string, server: Parameters<typeof play>[1], steps: string][] = [
  ["disable", "accepts", {}, "startup = plain"],
  ["disable", "refuses plain", { refuses: { plain: "28000" } }, "startup = client.server_refused 28000"],
  ["allow", "accepts", {}, "startup = plain"],
  [
    "allow",
    "refuses plain",
    { refuses: { plain: "28000" } },
    "startup reconnect ssl tls startup = encrypted",
  ],
  [
    "allow",
    "refuses plain and has no TLS",
    { refuses: { plain: "28000" }, answer: byteN },
    "startup reconnect ssl = client.tls_failed 28000",
  ],
  ["prefer", "accepts", {}, "ssl tls startup = encrypted"],
  ["prefer", "has no TLS", { answer: byteN }, "ssl startup = plain"],
  ["prefer", "fails at TLS", { handshake: "fails" }, "ssl tls reconnect startup = plain"],
  ["prefer", "refuses TLS", { refuses: { tls: "28000" } }, "ssl tls startup reconnect startup = plain"],
  [
    "prefer",
    "refuses both",
    { refuses: { tls: "28P01", plain: "28000" } },
    "ssl tls startup reconnect startup = client.server_refused 28000",
  ],
  ["prefer", "answers E", { answer: fatal("0A000", "what?") }, "ssl reconnect startup = plain"],
  [
    "prefer",
    "has no TLS and refuses plain",
    { answer: byteN, refuses: { plain: "28000" } },
    "ssl startup = client.server_refused 28000",
  ],
  ["require", "accepts", {}, "ssl tls startup = encrypted"],
  ["require", "has no TLS", { answer: byteN }, "ssl = client.tls_failed 08001"],
  ["require", "fails at TLS", { handshake: "fails" }, "ssl tls = client.tls_failed 08001"],
  ["require", "refuses TLS", { refuses: { tls: "28000" } }, "ssl tls startup = client.server_refused 28000"],
  ["verify-ca", "has no TLS", { answer: byteN }, "ssl = client.tls_failed 08001"],
  ["verify-full", "accepts", {}, "ssl tls startup = encrypted"],
];

test.each(table)("sslmode %s, the server %s", (sslmode, _, server, steps) => {
  expect(play({ sslmode }, server)).toBe(steps);
});

test("direct TLS sends nothing in the clear and demands ALPN", () => {
  const options = { sslmode: "require", sslnegotiation: "direct" } as const;
  expect(play(options, {})).toBe("direct tls startup = encrypted");
  for (const alpn of [undefined, "http/1.1"]) {
    const script = new Script(options);
    script.connect();
    script.demand("startTls");
    script.event({ kind: "tlsStarted", endPoint: undefined, alpn });
    expect(script.failed().code).toBe("client.tls_failed");
  }
});

test("without ALPN, TLS that was asked for in the clear is good enough", () => {
  const script = new Script({ sslmode: "require" });
  script.connect();
  script.startup();
  script.says(byteS);
  script.demand("startTls");
  script.event({ kind: "tlsStarted", endPoint: undefined, alpn: undefined });
  script.startup();
  script.says(welcome);
  expect(script.done().tls).toBe(true);
});

test("Unix sockets are never encrypted", () => {
  expect(play({ sslmode: "require", hosts: [{ host: "/run/pg", port: 5432 }] }, {})).toBe("startup = plain");
});

describe("bytes in the clear behind the answer to SSLRequest", () => {
  test.each(["S", "N"])("are fatal after %s (CVE-2021-23222), also where plain would do", (answer) => {
    const script = new Script({ sslmode: "prefer" });
    script.connect();
    script.startup();
    script.says(Buffer.from(answer), authenticationOk, ready);
    expect(script.failed()).toMatchObject({ code: "client.protocol_violation", sqlstate: "08P01" });
    expect(script.failed().message).toMatch(/unencrypted data after SSL response/);
  });

  test("an answer that is none ends the attempt", () => {
    const script = new Script({ sslmode: "prefer" });
    script.connect();
    script.startup();
    script.says(Buffer.from("H"));
    expect(script.failed().message).toMatch(/invalid response to SSL negotiation/);
  });

  test("bytes that come while TLS begins cannot pass as the session's", () => {
    const script = new Script({ sslmode: "require" });
    script.connect();
    script.startup();
    script.says(byteS);
    script.machine.receive(Buffer.from(welcome));
    expect(script.failed()).toMatchObject({ code: "client.protocol_violation" });
  });
});

describe("what is asked of the server's certificate", () => {
  const options = (given: Partial<ConnectOptions>): ConnectOptions =>
    connectOptions({ user: "ada", ...given });

  test.each([
    ["require", undefined, "none"],
    ["prefer", undefined, "none"],
    ["require", "ca.pem", "chain"],
    ["prefer", "ca.pem", "chain"],
    ["verify-ca", "ca.pem", "chain"],
    ["verify-full", "ca.pem", "chain-and-name"],
    ["verify-full", "system", "chain-and-name"],
  ] as const)("sslmode %s with sslrootcert %s: %s", (sslmode, sslrootcert, check) => {
    expect(certificateCheck(options({ sslmode, sslrootcert }))).toBe(check);
  });

  test.each([
    ["db.example", "db.example"],
    ["localhost", "localhost"],
    ["10.0.0.1", undefined],
    ["::1", undefined],
    ["1.2", undefined],
  ])("the name told to the server for host %s is %s", (host, name) => {
    expect(serverNameIndication(options({}), host)).toBe(name);
    expect(serverNameIndication(options({ sslsni: false }), host)).toBeUndefined();
  });

  test.each([
    [{ sslmode: "verify-ca" }, /needs certificates to trust/],
    [{ sslmode: "verify-ca", sslrootcert: "system" }, /use "verify-full"/],
    [{ sslmode: "prefer", sslnegotiation: "direct" }, /use "require"/],
    [{ sslcert: "c.pem" }, /together or not at all/],
  ] as const)("%o is refused before anything is opened", (given, text) => {
    expect(() => new Script(given)).toThrow(text);
  });
});
