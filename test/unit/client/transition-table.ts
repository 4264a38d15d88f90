/**
 * libpq's machine as a table (fe-connect.c, PostgreSQL 18): what may happen in each status, and what follows.
 * For transitions.test.ts.
 */
import type { ConnectOptions } from "../../../src/client/conninfo/options.ts";
import type { HandshakeEvent } from "../../../src/client/handshake/demands.ts";
import type { ConnectionStatus } from "../../../src/client/handshake/status.ts";
import { protocolVersion32 } from "../../../src/wire/constants.ts";
import { encodeBackend, encodeParameterStatus } from "../../../src/wire/encode-backend.ts";
import type { BackendMessage } from "../../../src/wire/messages.ts";
import { authenticationOk, fatal, ready, type Script } from "./script.ts";

const [byteS, byteN, byteE] = ["S", "N", "E"].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer];
const direct = { sslmode: "require", sslnegotiation: "direct" } as const;
export const plain = { sslmode: "disable" } as const;
const message = (kind: BackendMessage): Buffer => encodeBackend(kind);
const rowOf = (value: string): Buffer => message({ kind: "DataRow", values: [Buffer.from(value)] });
const complete = message({ kind: "CommandComplete", tag: "SHOW" });
const old = encodeParameterStatus("server_version", "13.0");
const recent = (standby: "on" | "off"): Buffer =>
  Buffer.concat([
    encodeParameterStatus("server_version", "18.0"),
    encodeParameterStatus("default_transaction_read_only", "off"),
    encodeParameterStatus("in_hot_standby", standby),
  ]);

/** Brings a machine to a status, by the shortest way its options allow. */
export const reach: Partial<Record<ConnectionStatus, (script: Script) => void>> = {
  ALLOCATED: () => undefined,
  NEEDED: (script) => script.demand("resolve"),
  STARTED(script) {
    if (script.machine.poll().kind === "resolve") {
      script.event({ kind: "resolved", addresses: ["10.0.0.1", "10.0.0.2"] });
    }
    script.demand("connect");
  },
  MADE(script) {
    reach.STARTED?.(script);
    script.event({ kind: "connected" });
  },
  SSL_STARTUP(script) {
    reach.MADE?.(script);
    if (script.machine.status === "MADE") script.event({ kind: "written" });
  },
  AWAITING_RESPONSE(script) {
    reach.MADE?.(script);
    script.event({ kind: "written" });
  },
  AUTH_OK(script) {
    reach.AWAITING_RESPONSE?.(script);
    script.says(authenticationOk);
  },
  CHECK_TARGET(script) {
    reach.AUTH_OK?.(script);
    script.says(old, ready);
  },
  CHECK_WRITABLE(script) {
    reach.CHECK_TARGET?.(script);
    script.event({ kind: "written" });
  },
  CHECK_STANDBY: (script) => reach.CHECK_WRITABLE?.(script),
  CONSUME(script) {
    reach.CHECK_WRITABLE?.(script);
    script.says(rowOf("off"), complete);
  },
};

/** What the server says, what the driver reports, or nothing but a poll. */
export type Event = HandshakeEvent | Buffer | "poll";

export interface Row {
  readonly status: ConnectionStatus;
  /** What PQconnectPoll does there. */
  readonly does: string;
  readonly options?: Partial<ConnectOptions>;
  readonly cancel?: true;
  readonly events: readonly Event[];
  /** The statuses that follow, as far as a caller can see them, and then what the machine asks for. */
  readonly follows: string;
}

export const error: Error = new Error("no");
const tlsStarted = { kind: "tlsStarted", endPoint: undefined, alpn: "postgresql" } as const;
export const connected = { kind: "connected" } as const;
export const written = { kind: "written" } as const;
export const tsa = (targetSessionAttrs: "read-write" | "standby"): Partial<ConnectOptions> => ({
  ...plain,
  targetSessionAttrs,
});
const md5 = message({ kind: "AuthenticationMD5Password", salt: Buffer.alloc(4) });

export const table: Row[] = [
  {
    status: "ALLOCATED",
    does: "PQcancelStart → NEEDED",
    cancel: true,
    events: ["poll"],
    follows: "NEEDED, resolve",
  },
  {
    status: "NEEDED",
    does: "pick address; in progress → STARTED (WRITING)",
    events: [{ kind: "resolved", addresses: ["10.0.0.1"] }],
    follows: "STARTED, connect to 10.0.0.1",
  },
  {
    status: "NEEDED",
    does: "name does not resolve → next host",
    events: [{ kind: "resolveFailed", error }],
    follows: "STARTED, connect to 10.0.0.9",
  },
  {
    status: "STARTED",
    does: "SO_ERROR ≠ 0 → next address",
    events: [{ kind: "connectFailed", error }],
    follows: "STARTED, connect to 10.0.0.2",
  },
  {
    status: "STARTED",
    does: "→ MADE (WRITING), for the startup packet",
    options: plain,
    events: [connected],
    follows: "MADE, write",
  },
  {
    status: "STARTED",
    does: "→ MADE (WRITING), for SSLRequest",
    events: [connected],
    follows: "MADE, write",
  },
  {
    status: "STARTED",
    does: "direct TLS → SSL_STARTUP (WRITING)",
    options: direct,
    events: [connected],
    follows: "SSL_STARTUP, startTls",
  },
  {
    status: "STARTED",
    does: "a cancel → MADE (WRITING)",
    cancel: true,
    events: [connected],
    follows: "MADE, write",
  },
  {
    status: "MADE",
    does: "TLS wanted: SSLRequest → SSL_STARTUP (READING)",
    events: [written],
    follows: "SSL_STARTUP, read",
  },
  {
    status: "MADE",
    does: "cancel: CancelRequest → AWAITING_RESPONSE (READING)",
    cancel: true,
    events: [written],
    follows: "AWAITING_RESPONSE, read",
  },
  {
    status: "MADE",
    does: "else startup packet → AWAITING_RESPONSE (READING)",
    options: plain,
    events: [written],
    follows: "AWAITING_RESPONSE, read",
  },
  {
    status: "MADE",
    does: "cannot send → the attempt fails",
    options: plain,
    events: [{ kind: "ended", error }],
    follows: "BAD, failed",
  },
  {
    status: "SSL_STARTUP",
    does: "`S`: handshake wants r/w → same",
    events: [byteS],
    follows: "SSL_STARTUP, startTls",
  },
  {
    status: "SSL_STARTUP",
    does: "`N`: next mode on same socket → MADE (WRITING)",
    events: [byteN],
    follows: "MADE, write",
  },
  {
    status: "SSL_STARTUP",
    does: "`N`, TLS required: FAILED",
    options: { sslmode: "require" },
    events: [byteN],
    follows: "BAD, failed",
  },
  {
    status: "SSL_STARTUP",
    does: "`E` falls back on a new socket",
    events: [byteE],
    follows: "disconnect, STARTED, connect to 10.0.0.1",
  },
  {
    status: "SSL_STARTUP",
    does: "`E`, TLS required: FAILED",
    options: { sslmode: "require" },
    events: [byteE],
    follows: "BAD, failed",
  },
  {
    status: "SSL_STARTUP",
    does: "anything else: FAILED",
    events: [Buffer.from("?")],
    follows: "BAD, failed",
  },
  {
    status: "SSL_STARTUP",
    does: "peer closes before it answers: FAILED",
    events: [{ kind: "ended", error: undefined }],
    follows: "BAD, failed",
  },
  {
    status: "SSL_STARTUP",
    does: "handshake done → MADE (WRITING)",
    options: direct,
    events: [tlsStarted],
    follows: "MADE, write",
  },
  {
    status: "SSL_STARTUP",
    does: "handshake failed, nothing else allowed: FAILED",
    options: direct,
    events: [{ kind: "tlsFailed", error }],
    follows: "BAD, failed",
  },
  {
    status: "SSL_STARTUP",
    does: "handshake failed → next mode on a new socket → NEEDED",
    events: [byteS, { kind: "tlsFailed", error }],
    follows: "disconnect, STARTED, connect to 10.0.0.1",
  },
  {
    status: "SSL_STARTUP",
    does: "peer closes in the handshake → next mode on a new socket → NEEDED",
    events: [byteS, { kind: "ended", error: undefined }],
    follows: "STARTED, connect to 10.0.0.1",
  },
  {
    status: "SSL_STARTUP",
    does: "bytes in the clear after `S`: FAILED (CVE-2021-23222)",
    events: [byteS, Buffer.of(0)],
    follows: "BAD, failed",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "incomplete message → same (READING)",
    options: plain,
    events: [authenticationOk.subarray(0, 5)],
    follows: "AWAITING_RESPONSE, read",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "R: answer and stay",
    options: plain,
    events: [md5],
    follows: "AWAITING_RESPONSE, write",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "R: Ok → AUTH_OK",
    options: plain,
    events: [authenticationOk],
    follows: "AUTH_OK, read",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "v: adjust and stay",
    options: { ...plain, maxProtocolVersion: protocolVersion32 },
    events: [message({ kind: "NegotiateProtocolVersion", version: 196608, unsupported: [] })],
    follows: "AWAITING_RESPONSE, read",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "E 57P03 → next host",
    options: plain,
    events: [fatal("57P03", "starting up")],
    follows: "disconnect, STARTED, connect to 10.0.0.9",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "other E, a mode left → new socket to the same address",
    options: { sslmode: "allow" },
    events: [fatal("28000", "no")],
    follows: "disconnect, STARTED, connect to 10.0.0.1",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "other E, no mode left: the whole attempt fails",
    options: plain,
    events: [fatal("28P01", "no")],
    follows: "BAD, failed",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "only R, E, v accepted",
    options: plain,
    events: [encodeParameterStatus("a", "b")],
    follows: "BAD, failed",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "peer closes: the whole attempt fails",
    options: plain,
    events: [{ kind: "ended", error: undefined }],
    follows: "BAD, failed",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "a cancel, until EOF → OK",
    cancel: true,
    events: [{ kind: "ended", error: undefined }],
    follows: "OK, cancelled",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "a cancel: any byte is an error",
    cancel: true,
    events: [Buffer.of(0)],
    follows: "BAD, failed",
  },
  {
    status: "AWAITING_RESPONSE",
    does: "a cancel: ECONNRESET is an error",
    cancel: true,
    events: [{ kind: "ended", error }],
    follows: "BAD, failed",
  },
  {
    status: "AUTH_OK",
    does: "reads S, K, N until Z",
    options: plain,
    events: [old, message({ kind: "BackendKeyData", pid: 1, key: Buffer.alloc(4) })],
    follows: "AUTH_OK, read",
  },
  {
    status: "AUTH_OK",
    does: "E → BAD",
    options: plain,
    events: [fatal("3D000", "no")],
    follows: "BAD, failed",
  },
  {
    status: "AUTH_OK",
    does: "E 57P03 → BAD, too late for the next host",
    options: plain,
    events: [fatal("57P03", "no")],
    follows: "BAD, failed",
  },
  {
    status: "AUTH_OK",
    does: "E 42704 → once without application_name",
    options: { ...plain, fallbackApplicationName: "app" },
    events: [fatal("42704", "no")],
    follows: "disconnect, STARTED, connect to 10.0.0.1",
  },
  {
    status: "AUTH_OK",
    does: "Z → CHECK_TARGET, any is met → OK",
    options: plain,
    events: [ready],
    follows: "OK, done",
  },
  {
    status: "AUTH_OK",
    does: "Z → CHECK_TARGET, known and met → OK",
    options: tsa("standby"),
    events: [recent("on"), ready],
    follows: "OK, done",
  },
  {
    status: "AUTH_OK",
    does: "Z → CHECK_TARGET, not met → Terminate, next host",
    options: tsa("standby"),
    events: [recent("off"), ready],
    follows: "CHECK_TARGET, goodbye, disconnect, STARTED, connect to 10.0.0.9",
  },
  {
    status: "AUTH_OK",
    does: "Z → CHECK_TARGET, unknown → probe query",
    options: tsa("standby"),
    events: [old, ready],
    follows: "CHECK_TARGET, write",
  },
  {
    status: "CHECK_TARGET",
    does: "probe sent → CHECK_WRITABLE (READING)",
    options: tsa("read-write"),
    events: [written],
    follows: "CHECK_WRITABLE, read",
  },
  {
    status: "CHECK_TARGET",
    does: "probe sent → CHECK_STANDBY (READING)",
    options: tsa("standby"),
    events: [written],
    follows: "CHECK_STANDBY, read",
  },
  {
    status: "CHECK_WRITABLE",
    does: "result → CONSUME",
    options: tsa("read-write"),
    events: [rowOf("on"), complete],
    follows: "CONSUME, read",
  },
  {
    status: "CHECK_STANDBY",
    does: "result → CONSUME",
    options: tsa("standby"),
    events: [rowOf("t"), complete],
    follows: "CONSUME, read",
  },
  {
    status: "CHECK_WRITABLE",
    does: "busy → same (READING)",
    options: tsa("read-write"),
    events: [rowOf("on")],
    follows: "CHECK_WRITABLE, read",
  },
  {
    status: "CHECK_WRITABLE",
    does: "error → next host",
    options: tsa("read-write"),
    events: [fatal("57P01", "no")],
    follows: "CHECK_WRITABLE, goodbye, disconnect, STARTED, connect to 10.0.0.9",
  },
  {
    status: "CHECK_STANDBY",
    does: "error → next host",
    options: tsa("standby"),
    events: [fatal("57P01", "no")],
    follows: "CHECK_STANDBY, goodbye, disconnect, STARTED, connect to 10.0.0.9",
  },
  {
    status: "CHECK_STANDBY",
    does: "peer closes: the whole attempt fails",
    options: tsa("standby"),
    events: [{ kind: "ended", error: undefined }],
    follows: "BAD, failed",
  },
  {
    status: "CONSUME",
    does: "drain to idle → CHECK_TARGET, met → OK",
    options: tsa("read-write"),
    events: [ready],
    follows: "OK, done",
  },
  {
    status: "CONSUME",
    does: "drain to idle → CHECK_TARGET, not met → Terminate, next host",
    options: tsa("standby"),
    events: [ready],
    follows: "CHECK_TARGET, goodbye, disconnect, STARTED, connect to 10.0.0.9",
  },
];
