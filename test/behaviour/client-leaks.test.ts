/**
 * Ten thousand connections that come to nothing, in every way there is: of none a socket, a timer or a listener
 * is left. The servers are as small as they can be, because time is spent on numbers here, not on protocol.
 */
import { getEventListeners, once, setMaxListeners } from "node:events";
import net from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type ConnectError,
  type ConnectOptions,
  cancelBackend,
  type OpenOptions,
  openConnection,
} from "../../src/client/index.ts";
import * as libpq from "../../src/client/libpq/index.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import { encodeBackend } from "../../src/wire/encode-backend.ts";
import type { BackendMessage } from "../../src/wire/messages.ts";
import { waitUntil } from "../kit/wait.ts";
import { alone, start } from "./client-libpq-loop.ts";
import { optionsFor, resources } from "./client-traces.ts";

/** What a server answers to the first, second, … bytes of a client; undefined: nothing more. Null: it closes. */
type Behaviour = readonly (((received: Buffer) => Buffer) | null)[];

const say = (...messages: readonly BackendMessage[]): (() => Buffer) => {
  const bytes = Buffer.concat(messages.map(encodeBackend));
  return () => bytes;
};
const plain = (text: string): (() => Buffer) => {
  const bytes = Buffer.from(text);
  return () => bytes;
};
const fatal = (code: string): (() => Buffer) =>
  say({
    kind: "ErrorResponse",
    fields: { severity: "FATAL", severityLocalized: "FATAL", code, message: "no" },
  });

/** The client's nonce and more, as SCRAM wants it, and so little to iterate that many can be done. */
function challenge(received: Buffer): Buffer {
  const nonce = /r=([^,]+)/.exec(received.toString("latin1"))?.[1] ?? "";
  const data = Buffer.from(`r=${nonce}more,s=${Buffer.from("salt").toString("base64")},i=64`);
  return encodeBackend({ kind: "AuthenticationSASLContinue", data });
}

const ready = { kind: "ReadyForQuery", status: TransactionStatus.idle } as const;
const welcome = say(
  { kind: "AuthenticationOk" },
  { kind: "ParameterStatus", name: "server_version", value: "12.4" },
  { kind: "BackendKeyData", pid: 7, key: Buffer.from("abcd") },
  ready,
);

const behaviours = {
  silent: [],
  closes: [null],
  refuses: [fatal("28000")],
  starting: [fatal("57P03")],
  noTls: [plain("N")],
  brokenTls: [plain("S"), plain("this is not TLS")],
  stuckTls: [plain("S")],
  wrongPassword: [say({ kind: "AuthenticationCleartextPassword" }), fatal("28P01")],
  stuckPassword: [say({ kind: "AuthenticationCleartextPassword" })],
  scram: [say({ kind: "AuthenticationSASL", mechanisms: ["SCRAM-SHA-256"] }), challenge, fatal("28P01")],
  full: [say({ kind: "AuthenticationOk" }), fatal("53300")],
  stuckLogin: [say({ kind: "AuthenticationOk" })],
  welcoming: [welcome],
  nonsense: [plain("HTTP/1.1 400 Bad Request\r\n\r\n")],
} satisfies Record<string, Behaviour>;
type Server = keyof typeof behaviours;

const listening: net.Server[] = [];
const open = new Set<net.Socket>();
const ports = {} as Record<Server | "nobody", number>;

beforeAll(async () => {
  for (const [name, behaviour] of Object.entries(behaviours)) {
    const server = net.createServer({ noDelay: true }, (socket) => serve(socket, behaviour));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    listening.push(server);
    ports[name as Server] = (server.address() as net.AddressInfo).port;
  }
  ports.nobody = 1;
});

afterAll(() => {
  for (const server of listening) server.close();
});

function serve(socket: net.Socket, behaviour: Behaviour): void {
  open.add(socket);
  socket.on("close", () => open.delete(socket));
  socket.on("error", () => undefined);
  if (behaviour[0] === null) socket.end();
  let step = 0;
  socket.on("data", (received: Buffer) => {
    const answer = behaviour[step++];
    if (typeof answer === "function") socket.write(answer(received));
  });
}

/** Nobody ever aborts it: what listens to it in the end has been forgotten. */
const patient = new AbortController();
const atOnce = 40;
setMaxListeners(2 * atOnce, patient.signal);

type Kind = readonly [what: string, run: () => Promise<unknown>];

/** By promise: fails by itself, with this code. */
const fails = (
  server: Server | "nobody",
  code: string,
  given: Partial<ConnectOptions> = {},
  more: OpenOptions = {},
): Kind => [
  `${server}: ${code}`,
  async () => {
    const attempt = openConnection(optionsFor(ports[server], given), { signal: patient.signal, ...more });
    expect(await codeOf(attempt)).toBe(code);
  },
];

/** By promise: aborted as soon as it has come to this status. */
const abortedIn = (
  server: Server,
  status: string,
  given: Partial<ConnectOptions> = {},
  more: OpenOptions = {},
): Kind => [
  `${server}: aborted in ${status}`,
  async () => {
    const controller = new AbortController();
    const attempt = openConnection(optionsFor(ports[server], given), {
      ...more,
      signal: controller.signal,
      onStatus: (now) => {
        if (now === status) controller.abort();
      },
    });
    expect(await codeOf(attempt)).toBe("client.connect_aborted");
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  },
];

/** By polls: finished as soon as it has come to this status; the caller listens to a signal of his own meanwhile. */
const finishedIn = (server: Server, status: string, more = "", surroundings = {}): Kind => [
  `${server}: finished in ${status}`,
  async () => {
    const conn = start(ports[server], more, surroundings);
    while (libpq.status(conn) !== status) {
      // An attempt that has failed is always ready: without this the loop would never let anything else run.
      if (libpq.status(conn) === "BAD") throw new Error(libpq.errorMessage(conn));
      await libpq.ready(conn, { signal: patient.signal, endTimeMs: performance.now() + 60_000 });
      libpq.connectPoll(conn);
    }
    const waiting = libpq.ready(conn, { signal: patient.signal, endTimeMs: performance.now() + 60_000 });
    libpq.finish(conn);
    await waiting;
  },
];

const password = { password: "x" };
const never: OpenOptions = { resolve: () => new Promise(() => undefined) };
const named = { hosts: [{ host: "db.example", port: 5432 }] };
const cancelTarget = (server: Server | "nobody"): Parameters<typeof cancelBackend>[1] => ({
  endpoint: { host: "127.0.0.1", address: "127.0.0.1", port: ports[server] },
  tls: false,
  backendPid: 7,
  cancelKey: Buffer.from("abcd"),
});

const kinds: readonly Kind[] = [
  fails("nobody", "client.connect_failed"),
  fails("closes", "client.connection_lost"),
  fails("refuses", "client.server_refused"),
  fails("starting", "client.server_refused"),
  fails("noTls", "client.tls_failed", { sslmode: "require" }),
  fails("brokenTls", "client.tls_failed", { sslmode: "require" }),
  fails("wrongPassword", "client.server_refused", password),
  fails("scram", "client.server_refused", password),
  fails("scram", "client.login_failed"),
  fails("full", "client.connect_timeout", { connectTimeoutMs: 5 }),
  fails("nonsense", "client.protocol_violation"),
  fails("silent", "client.connect_timeout", { connectTimeoutMs: 2 }),
  fails("silent", "client.connect_timeout", { connectTimeoutMs: 60_000 }, { timeoutMs: 2 }),
  fails("stuckTls", "client.connect_timeout", { sslmode: "require", connectTimeoutMs: 5 }),
  fails("silent", "client.bad_option", { sslmode: "require", sslrootcert: "/nowhere" }),
  fails("silent", "client.connect_timeout", named, { ...never, timeoutMs: 2 }),
  abortedIn("silent", "NEEDED", named, never),
  abortedIn("silent", "STARTED"),
  abortedIn("silent", "MADE"),
  abortedIn("silent", "SSL_STARTUP", { sslmode: "prefer" }),
  abortedIn("stuckPassword", "AWAITING_RESPONSE", password),
  abortedIn("stuckLogin", "AUTH_OK"),
  abortedIn("welcoming", "CHECK_WRITABLE", { targetSessionAttrs: "read-write" }),
  [
    "scram: aborted while keys are derived",
    async () => {
      const controller = new AbortController();
      const attempt = codeOf(
        openConnection(optionsFor(ports.scram, password), { signal: controller.signal }),
      );
      setTimeout(() => controller.abort(), 3);
      expect(["client.connect_aborted", "client.server_refused"]).toContain(await attempt);
    },
  ],
  finishedIn("silent", "NEEDED", "host=db.example", never),
  finishedIn("silent", "STARTED"),
  finishedIn("silent", "MADE"),
  finishedIn("stuckTls", "SSL_STARTUP", "sslmode=require"),
  finishedIn("silent", "AWAITING_RESPONSE"),
  finishedIn("scram", "BAD", "password=x"),
  finishedIn("stuckLogin", "AUTH_OK"),
  finishedIn("welcoming", "CHECK_WRITABLE", "target_session_attrs=read-write"),
  finishedIn("welcoming", "OK"),
  finishedIn("wrongPassword", "BAD", "password=x"),
  finishedIn("brokenTls", "BAD", "sslmode=require"),
  [
    "a reset that is finished in the middle",
    async () => {
      const conn = start(ports.silent);
      const resetting = libpq.reset(conn, { signal: patient.signal, timeoutMs: 60_000 });
      libpq.finish(conn);
      expect(await resetting).toBe("failed");
    },
  ],
  [
    "a cancel request that is not taken",
    async () => {
      const limits = { timeoutMs: 3, signal: patient.signal };
      const attempt = cancelBackend(optionsFor(ports.silent), cancelTarget("silent"), limits);
      expect(await codeOf(attempt)).toBe("client.connect_timeout");
    },
  ],
  [
    "a cancel request that is finished in the middle",
    async () => {
      const source = { ...cancelTarget("silent"), options: optionsFor(ports.silent) };
      const cancel = libpq.cancelCreate(source);
      libpq.cancelStart(cancel);
      while (libpq.cancelStatus(cancel) !== "AWAITING_RESPONSE") {
        await libpq.ready(cancel);
        libpq.cancelPoll(cancel);
      }
      libpq.cancelFinish(cancel);
    },
  ],
  [
    "a cancel request that gets an answer",
    async () => {
      const source = { ...cancelTarget("nonsense"), options: optionsFor(ports.nonsense) };
      using cancel = libpq.cancelCreate(source);
      expect(await libpq.cancelBlocking(cancel, { signal: patient.signal })).toBe(false);
    },
  ],
  [
    "a ping",
    async () => {
      const conninfo = `host=127.0.0.1 port=${ports.refuses} user=ada sslmode=disable`;
      expect(await libpq.ping(conninfo, { signal: patient.signal, timeoutMs: 60_000 }, alone)).toBe("OK");
    },
  ],
];

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return await attempt.then(
    () => "open",
    (error: ConnectError) => error.code,
  );
}

const total = 10_000;

test("acceptance 105: of 10,000 connections that fail or are given up, nothing is left", async () => {
  const before = resources();
  const each = Math.ceil(total / kinds.length);
  const jobs = kinds.flatMap((kind) => Array<Kind>(each).fill(kind));
  // Neighbours are of different kinds, so that they are under way together.
  const order = jobs.map((_, index) => jobs[(index * 2731) % jobs.length] as Kind);
  expect(new Set(order.slice(0, atOnce * 4)).size).toBeGreaterThan(kinds.length / 2);
  const queue = order.values();
  const worker = async (): Promise<void> => {
    for (const [what, run] of queue) {
      await run().catch((error: unknown) => {
        throw new Error(what, { cause: error });
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));

  await waitUntil(() => open.size === 0, "every server has seen every client go");
  expect(getEventListeners(patient.signal, "abort")).toHaveLength(0);
  // The last turn of a socket's end is Node's own.
  const more = (): string[] =>
    [...resources()].flatMap(([name, count]) => (count > (before.get(name) ?? 0) ? [name] : []));
  await waitUntil(() => more().length === 0, `nothing is left of ${more().join(", ")}`, 2000);
});
