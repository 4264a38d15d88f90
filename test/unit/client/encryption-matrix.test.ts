/**
 * Every sslmode against every answer that a server can give, and every way it can let a client in or not: 6 modes,
 * both kinds of negotiation. What has to come of it is said by a model of the manual's table, which knows nothing
 * of statuses and demands.
 */
import { describe, expect, test } from "vitest";
import type { SslMode, SslNegotiation } from "../../../src/client/conninfo/options.ts";
import { fatal, Script, welcome } from "./script.ts";

type Encryption = "plain" | "tls";

const modes: Readonly<Record<SslMode, readonly Encryption[]>> = {
  disable: ["plain"],
  allow: ["plain", "tls"],
  prefer: ["tls", "plain"],
  require: ["tls"],
  "verify-ca": ["tls"],
  "verify-full": ["tls"],
};

/** How a server answers SSLRequest, and what becomes of the TLS handshake. */
const answers = [
  "S",
  "S, handshake fails",
  "S, closes in the handshake",
  "S without ALPN",
  "S with another ALPN",
  "S and more bytes",
  "N",
  "N and more bytes",
  "E",
  "another byte",
  "closes",
] as const;
type Answer = (typeof answers)[number];

/** Whom it lets in. */
const policies: Readonly<Record<string, readonly Encryption[]>> = {
  everybody: ["plain", "tls"],
  "with TLS only": ["tls"],
  "without TLS only": ["plain"],
  nobody: [],
};

const handshakeFails: ReadonlySet<Answer> = new Set([
  "S, handshake fails",
  "S, closes in the handshake",
  "S with another ALPN",
]);

/** What has to happen, in words: each socket's `plain` or `tls` login, `new socket` in between, and the end. */
function model(
  mode: SslMode,
  negotiation: SslNegotiation,
  answer: Answer,
  lets: readonly Encryption[],
): string {
  const steps: string[] = [];
  const tries = modes[mode];
  for (const [index, encryption] of tries.entries()) {
    const last = index === tries.length - 1;
    if (encryption === "tls") {
      const direct = negotiation === "direct";
      if (!direct) {
        steps.push("SSLRequest");
        if (answer === "N" && last) return [...steps, "failed"].join(" ");
        if (answer === "N") continue;
        const fatalAnswer = !answer.startsWith("S") && answer !== "E";
        if (fatalAnswer || answer === "S and more bytes") return [...steps, "failed"].join(" ");
      }
      const fails = handshakeFails.has(answer) || (direct && answer === "S without ALPN");
      if (answer !== "E") steps.push("handshake");
      if (fails || answer === "E") {
        if (last) return [...steps, "failed"].join(" ");
        steps.push("new socket");
        continue;
      }
    }
    steps.push(`${encryption} login`);
    if (lets.includes(encryption)) return [...steps, "in"].join(" ");
    if (last) return [...steps, "failed"].join(" ");
    steps.push("new socket");
  }
  throw new Error("a last try ends");
}

/** What does happen. */
function play(
  mode: SslMode,
  negotiation: SslNegotiation,
  answer: Answer,
  lets: readonly Encryption[],
): string {
  const script = new Script({ sslmode: mode, sslnegotiation: negotiation, sslrootcert: "-----BEGIN" });
  const steps: string[] = [];
  let encryption: Encryption = "plain";
  for (;;) {
    const demand = script.machine.poll();
    switch (demand.kind) {
      case "connect":
        if (steps.length > 0) steps.push("new socket");
        encryption = "plain";
        script.event({ kind: "connected" });
        break;
      case "disconnect":
        script.event({ kind: "disconnected" });
        break;
      case "write": {
        const request = script.startup();
        if (request.kind === "ssl") {
          steps.push("SSLRequest");
          answerSslRequest(script, answer);
        } else {
          steps.push(`${encryption} login`);
          script.says(lets.includes(encryption) ? welcome : fatal("28000", "no"));
        }
        break;
      }
      case "startTls":
        steps.push("handshake");
        encryption = "tls";
        shakeHands(script, answer);
        break;
      case "done":
        expect(demand.result.tls).toBe(encryption === "tls");
        return [...steps, "in"].join(" ");
      case "failed":
        return [...steps, "failed"].join(" ");
      default:
        throw new Error(`unexpected demand ${demand.kind}`);
    }
  }
}

function answerSslRequest(script: Script, answer: Answer): void {
  if (answer === "closes") script.event({ kind: "ended", error: undefined });
  else if (answer === "another byte") script.says(Buffer.from("H"));
  else if (answer === "E") script.says(fatal("0A000", "unsupported frontend protocol"));
  else if (answer.endsWith("more bytes")) script.says(Buffer.from(answer.charAt(0)), welcome);
  else script.says(Buffer.from(answer.charAt(0)));
}

function shakeHands(script: Script, answer: Answer): void {
  const error = new Error("alert");
  if (answer === "S, handshake fails") script.event({ kind: "tlsFailed", error });
  else if (answer === "S, closes in the handshake") script.event({ kind: "ended", error: undefined });
  else {
    const alpn =
      answer === "S without ALPN" ? undefined : answer === "S with another ALPN" ? "http/1.1" : "postgresql";
    script.event({ kind: "tlsStarted", endPoint: undefined, alpn });
  }
}

const directModes: readonly SslMode[] = ["require", "verify-ca", "verify-full"];
const combinations = [
  ...(Object.keys(modes) as SslMode[]).map((mode) => [mode, "postgres"] as const),
  ...directModes.map((mode) => [mode, "direct"] as const),
];

describe.each(combinations)("acceptance 102: sslmode %s, sslnegotiation %s", (mode, negotiation) => {
  const seen = negotiation === "direct" ? answers.filter((answer) => /^S(?! and)/.test(answer)) : answers;
  describe.each(seen)("the server answers %s", (answer) => {
    test.each(Object.keys(policies))("and lets in %s", (policy) => {
      const lets = policies[policy] ?? [];
      expect(play(mode, negotiation, answer, lets)).toBe(model(mode, negotiation, answer, lets));
    });
  });
});

test.each(["disable", "allow", "prefer"] as const)(
  "sslnegotiation direct with sslmode %s is refused by name",
  (sslmode) => {
    expect(() => new Script({ sslmode, sslnegotiation: "direct" })).toThrow(
      `weak sslmode "${sslmode}" may not be used with sslnegotiation=direct (use "require")`,
    );
  },
);

test.each(["28000", "28P01", "3D000", "53300", "XX000"])(
  "error %s before the login ends is worth another try without TLS, and 57P03 another host",
  (code) => {
    const hosts = [
      { host: "10.0.0.1", port: 1 },
      { host: "10.0.0.2", port: 2 },
    ];
    const reached = (sqlstate: string): string => {
      const script = new Script({ sslmode: "prefer", hosts });
      script.connect();
      script.startup();
      script.says(Buffer.from("S"));
      script.startTls();
      script.startup();
      script.says(fatal(sqlstate, "no"));
      script.disconnect();
      const { endpoint } = script.connect();
      return `${endpoint.host} ${script.startup().kind}`;
    };
    expect(reached(code)).toBe("10.0.0.1 startup");
    expect(reached("57P03")).toBe("10.0.0.2 ssl");
  },
);
