/**
 * The machine of PQconnectStart and PQconnectPoll, status by status. Each row of the table starts from a fresh
 * machine that is brought to its status, plays what happens, and names every status and demand that comes of it.
 */
import { describe, expect, test } from "vitest";
import type { ConnectOptions } from "../../../src/client/conninfo/options.ts";
import type { CancelRequest } from "../../../src/client/handshake/demands.ts";
import { type ConnectionStatus, connectionStatusNumber } from "../../../src/client/handshake/status.ts";
import { authenticationOk, fatal, paces, ready, Script } from "./script.ts";
import {
  connected,
  type Event,
  error,
  plain,
  type Row,
  reach,
  table,
  tsa,
  written,
} from "./transition-table.ts";

const hosts = [
  { host: "db.example", port: 5432 },
  { host: "10.0.0.9", port: 5432 },
];
const cancel: CancelRequest = { pid: 7, key: Buffer.of(1, 2, 3, 4), tls: false };

function start(row: Pick<Row, "options" | "cancel">, pace: (typeof paces)[number] = "whole"): Script {
  const given = { hosts, password: "secret", sslmode: "prefer" as const, ...row.options };
  return new Script(given, pace, row.cancel === true ? cancel : undefined);
}

/** Plays what happens, and then says goodbye and disconnects as the machine asks for it. */
function play(script: Script, events: readonly Event[]): string {
  for (const event of events) {
    if (event === "poll") script.machine.poll();
    else if (!Buffer.isBuffer(event)) script.event(event);
    else if (script.machine.poll().kind === "read") script.says(event);
    else script.machine.receive(event);
  }
  const seen: string[] = [];
  for (;;) {
    const demand = script.machine.poll();
    if (demand.kind === "disconnect") {
      seen.push("disconnect");
      script.disconnect();
      continue;
    }
    const to = demand.kind === "connect" ? ` to ${demand.endpoint.address}` : "";
    const goodbye = demand.kind === "write" && demand.data.toString("latin1") === "X\0\0\0\x04";
    seen.push(script.machine.status, goodbye ? "goodbye" : `${demand.kind}${to}`);
    if (!goodbye) return seen.join(", ");
    script.event(written);
  }
}

describe.each(paces)("acceptance 102: libpq's table of statuses, fed %s", (pace) => {
  test.each(table.map((row) => [`${row.status}: ${row.does}`, row] as const))("%s", (_, row) => {
    const script = start(row, pace);
    reach[row.status]?.(script);
    expect(script.machine.status).toBe(row.status);
    expect(play(script, row.events)).toBe(row.follows);
  });
});

test("every status has a row, but those that need GSSAPI or OAuth, the one of the past, and the ends", () => {
  const covered = new Set(table.map(({ status }) => status));
  const rest = Object.keys(connectionStatusNumber).filter((name) => !covered.has(name as ConnectionStatus));
  expect(rest).toEqual(["OK", "BAD", "SETENV", "GSS_STARTUP", "AUTHENTICATING"]);
});

test("libpq's numbers of the statuses", () => {
  expect(connectionStatusNumber).toEqual({
    OK: 0,
    BAD: 1,
    STARTED: 2,
    MADE: 3,
    AWAITING_RESPONSE: 4,
    AUTH_OK: 5,
    SETENV: 6,
    SSL_STARTUP: 7,
    NEEDED: 8,
    CHECK_WRITABLE: 9,
    CONSUME: 10,
    GSS_STARTUP: 11,
    CHECK_TARGET: 12,
    CHECK_STANDBY: 13,
    ALLOCATED: 14,
    AUTHENTICATING: 15,
  });
});

const inProgress = Object.keys(reach).filter((name) => name !== "ALLOCATED") as ConnectionStatus[];

/** Options by which a status is reached. */
function optionsFor(status: ConnectionStatus): Partial<ConnectOptions> {
  if (status === "SSL_STARTUP") return { sslmode: "require" };
  return tsa(status === "CHECK_STANDBY" ? "standby" : "read-write");
}

describe.each(inProgress)("in status %s", (status) => {
  const begin = (): Script => {
    const script = start({ options: optionsFor(status) });
    reach[status]?.(script);
    expect(script.machine.status).toBe(status);
    return script;
  };

  test("acceptance 103: time that runs out leads to the next address, then to the next host", () => {
    const script = begin();
    const left = status === "NEEDED" ? ["10.0.0.9"] : ["10.0.0.2", "10.0.0.9"];
    for (const address of left) {
      script.event({ kind: "timedOut" });
      if (script.machine.poll().kind === "disconnect") script.disconnect();
      expect(script.demand("connect")).toMatchObject({ endpoint: { address }, fresh: true });
    }
    script.event({ kind: "timedOut" });
    const { attempts, code } = script.failed();
    expect(code).toBe("client.connect_timeout");
    expect(attempts[0]).toMatchObject({ phase: status, code: "client.connect_timeout" });
    expect(attempts).toHaveLength(left.length + 1);
  });

  test("acceptance 105: an attempt that is given up stays given up, whatever comes later", () => {
    const script = begin();
    const reason = new Error("enough");
    script.event({ kind: "aborted", reason });
    const failure = script.failed();
    expect(failure).toMatchObject({ code: "client.connect_aborted", cause: reason });
    for (const late of [connected, written, { kind: "timedOut" }, { kind: "ended", error }] as const)
      script.event(late);
    script.machine.receive(Buffer.from(authenticationOk));
    expect(script.failed()).toBe(failure);
  });
});

test("acceptance 101: the ends stay, poll after poll", () => {
  const failed = start({ options: plain });
  reach.AWAITING_RESPONSE?.(failed);
  failed.says(fatal("28P01", "no"));
  const good = start({ options: plain });
  reach.AUTH_OK?.(good);
  good.says(ready);
  for (const script of [failed, good]) {
    const demand = script.machine.poll();
    const { status } = script.machine;
    for (const event of [connected, written, { kind: "timedOut" }, { kind: "ended", error }] as const)
      script.event(event);
    script.machine.receive(Buffer.from(authenticationOk));
    expect(script.machine.poll()).toBe(demand);
    expect(script.machine.status).toBe(status);
  }
});
