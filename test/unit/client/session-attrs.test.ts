/** target_session_attrs and load_balance_hosts in the handshake machine: which session is taken, and in what order. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type ConnectOptions,
  connectOptions,
  type TargetSessionAttrs,
} from "../../../src/client/conninfo/options.ts";
import { Handshake } from "../../../src/client/handshake/handshake.ts";
import { encodeBackend, encodeParameterStatus } from "../../../src/wire/encode-backend.ts";
import { authenticationOk, fatal, paces, ready, Script } from "./script.ts";

type Reported = Readonly<Record<string, string>>;

const primary: Reported = {
  server_version: "18.4",
  default_transaction_read_only: "off",
  in_hot_standby: "off",
};
const readOnlyPrimary: Reported = { ...primary, default_transaction_read_only: "on" };
const standby: Reported = { ...primary, in_hot_standby: "on" };
/** Before 14 neither is reported. */
const silent: Reported = { server_version: "13.22" };
/** Before 9.0 there were no standbys to query. */
const ancient: Reported = { server_version: "8.4.22" };

const hosts = [
  { host: "10.0.0.1", port: 5432 },
  { host: "10.0.0.2", port: 5432 },
];

const parameters = (reported: Reported): Buffer =>
  Buffer.concat(Object.entries(reported).map(([name, value]) => encodeParameterStatus(name, value)));

const logIn = (script: Script, reported: Reported): void => {
  script.connect();
  script.startup();
  script.says(authenticationOk, parameters(reported), ready);
};

/** What a server says to a query that brings one value. */
const answer = (...values: string[]): Buffer =>
  Buffer.concat([
    encodeBackend({
      kind: "RowDescription",
      columns: [
        {
          name: "x",
          tableOid: 0,
          attributeNumber: 0,
          typeOid: 25,
          typeSize: -1,
          typeModifier: -1,
          format: 0,
        },
      ],
    }),
    ...values.map((value) => encodeBackend({ kind: "DataRow", values: [Buffer.from(value)] })),
    encodeBackend({ kind: "CommandComplete", tag: "SHOW" }),
  ]);

/** The machine turns its back on this host: says goodbye, then goes on. */
const leaves = (script: Script): void => {
  expect(script.machine.status).toMatch(/^CHECK_|CONSUME/);
  expect(script.message()).toEqual({ kind: "Terminate" });
  script.disconnect();
};

const begin = (targetSessionAttrs: TargetSessionAttrs, given: Partial<ConnectOptions> = {}): Script =>
  new Script({ hosts, targetSessionAttrs, ...given });

const readOnly = "session is read-only";
const notReadOnly = "session is not read-only";
const inStandby = "server is in hot standby mode";
const notInStandby = "server is not in hot standby mode";

describe("a server that reports what it is", () => {
  const cases: [TargetSessionAttrs, server: string, Reported, unmet: string | undefined][] = [
    ["any", "a primary", primary, undefined],
    ["any", "a standby", standby, undefined],
    ["read-write", "a primary", primary, undefined],
    ["read-write", "a read-only primary", readOnlyPrimary, readOnly],
    ["read-write", "a standby", standby, readOnly],
    ["read-only", "a primary", primary, notReadOnly],
    ["read-only", "a read-only primary", readOnlyPrimary, undefined],
    ["read-only", "a standby", standby, undefined],
    ["primary", "a primary", primary, undefined],
    ["primary", "a read-only primary", readOnlyPrimary, undefined],
    ["primary", "a standby", standby, inStandby],
    ["standby", "a primary", primary, notInStandby],
    ["standby", "a standby", standby, undefined],
    ["prefer-standby", "a standby", standby, undefined],
    ["primary", "one before 9.0", ancient, undefined],
    ["standby", "one before 9.0", ancient, notInStandby],
    ["primary", "one that reports no version", { in_hot_standby: "on" }, undefined],
    ["standby", "one that reports no version", {}, notInStandby],
  ];
  test.each(cases)("%s at %s is judged without a question", (wanted, _, reported, unmet) => {
    const script = begin(wanted, { hosts: [{ host: "10.0.0.1", port: 5432 }] });
    logIn(script, reported);
    if (unmet === undefined) {
      expect(script.done().parameters).toEqual(new Map(Object.entries(reported)));
      return;
    }
    expect(script.machine.status).toBe("CHECK_TARGET");
    leaves(script);
    const error = script.failed();
    expect(error).toMatchObject({
      code: "client.session_unsuitable",
      sqlstate: "08001",
      message: `connection to server at "10.0.0.1", port 5432 failed: ${unmet}`,
      attempts: [{ phase: "CHECK_TARGET" }],
    });
  });
});

describe.each(paces)("a server that has to be asked, with answers that come %s", (pace) => {
  const show = "SHOW transaction_read_only";
  const recovery = "SELECT pg_catalog.pg_is_in_recovery()";
  const cases: [TargetSessionAttrs, sql: string, status: string, value: string, unmet: string | undefined][] =
    [
      ["read-write", show, "CHECK_WRITABLE", "off", undefined],
      ["read-write", show, "CHECK_WRITABLE", "on", readOnly],
      ["read-only", show, "CHECK_WRITABLE", "on", undefined],
      ["read-only", show, "CHECK_WRITABLE", "off", notReadOnly],
      ["primary", recovery, "CHECK_STANDBY", "f", undefined],
      ["primary", recovery, "CHECK_STANDBY", "t", inStandby],
      ["standby", recovery, "CHECK_STANDBY", "t", undefined],
      ["standby", recovery, "CHECK_STANDBY", "f", notInStandby],
      ["prefer-standby", recovery, "CHECK_STANDBY", "t", undefined],
    ];
  test.each(cases)("%s: %s in status %s brings %s", (wanted, sql, status, value, unmet) => {
    const script = new Script({ targetSessionAttrs: wanted }, pace);
    logIn(script, silent);
    expect(script.machine.status).toBe("CHECK_TARGET");
    expect(script.message()).toEqual({ kind: "Query", sql });
    expect(script.machine.status).toBe(status);
    script.says(encodeParameterStatus("TimeZone", "UTC"), answer(value));
    expect(script.machine.status).toBe("CONSUME");
    script.demand("read");
    script.says(ready);
    if (unmet === undefined) {
      expect(script.done().parameters.get("TimeZone")).toBe("UTC");
      expect(script.statuses.slice(-4)).toEqual(["CHECK_TARGET", status, "CONSUME", "OK"]);
      return;
    }
    expect(script.machine.status).toBe("CHECK_TARGET");
    leaves(script);
    expect(script.failed().message).toContain(unmet);
  });

  const failures: [what: string, said: Buffer, text: string][] = [
    ["no row", answer(), `"${show}" failed`],
    ["two rows", answer("off", "off"), `"${show}" failed`],
    ["no statement", encodeBackend({ kind: "EmptyQueryResponse" }), `"${show}" failed`],
    ["nothing but ReadyForQuery", ready, `"${show}" failed`],
    ["an error", fatal("57P01", "going down"), `FATAL:  going down\n"${show}" failed`],
  ];
  test.each(failures)("one that answers with %s is left for the next host", (_, said, text) => {
    const script = new Script({ hosts, targetSessionAttrs: "read-write" }, pace);
    logIn(script, silent);
    script.written();
    script.says(said);
    leaves(script);
    expect(script.refuseConnection().endpoint.host).toBe("10.0.0.2");
    const { attempts, serverError } = script.failed();
    expect(attempts[0]?.message).toBe(`connection to server at "10.0.0.1", port 5432 failed: ${text}`);
    expect(attempts[0]?.phase).toBe("CHECK_WRITABLE");
    expect(serverError?.code).toBe(said.includes("57P01") ? "57P01" : undefined);
  });
});

test("what comes behind the answer, and behind ReadyForQuery before the question, reaches the session", () => {
  const early = encodeParameterStatus("TimeZone", "UTC");
  const script = begin("read-write");
  script.connect();
  script.startup();
  script.says(authenticationOk, parameters(silent), ready, early);
  script.written();
  script.says(answer("off"), ready, Buffer.from("later"));
  const { parameters: reported, rest } = script.done();
  expect(reported.get("TimeZone")).toBe("UTC");
  expect(rest.toString()).toBe("later");
});

test("what comes behind ReadyForQuery of a session that reports what it is reaches the session", () => {
  const script = begin("primary");
  script.connect();
  script.startup();
  script.says(authenticationOk, parameters(primary), ready, Buffer.from("later"));
  expect(script.done().rest.toString()).toBe("later");
});

test("a message that answers no query is a protocol error", () => {
  const script = begin("read-write");
  logIn(script, silent);
  script.written();
  script.says(encodeBackend({ kind: "CopyDone" }));
  expect(script.failed()).toMatchObject({ code: "client.protocol_violation", sqlstate: "08P01" });
});

test("a server that closes in the middle of the check ends the attempt", () => {
  const script = begin("read-write");
  logIn(script, silent);
  script.written();
  script.event({ kind: "ended", error: undefined });
  expect(script.failed()).toMatchObject({
    code: "client.connection_lost",
    attempts: [{ phase: "CHECK_WRITABLE" }],
  });
});

describe("a host whose session is not the right one", () => {
  test("gives way to the next host, not to its own next address", () => {
    const script = begin("read-write", {
      hosts: [
        { host: "db.example", port: 5432 },
        { host: "10.0.0.9", port: 5432 },
      ],
    });
    script.demand("resolve");
    script.event({ kind: "resolved", addresses: ["10.0.0.1", "10.0.0.2"] });
    logIn(script, standby);
    leaves(script);
    expect(script.demand("connect").endpoint.address).toBe("10.0.0.9");
    logIn(script, primary);
    expect(script.done().endpoint.address).toBe("10.0.0.9");
  });

  test("is left even if the peer closes first, and at a late time-out", () => {
    for (const event of [{ kind: "ended", error: new Error("reset") }, { kind: "timedOut" }] as const) {
      const script = begin("read-write");
      logIn(script, standby);
      script.demand("write");
      script.event(event);
      if (event.kind === "timedOut") leaves(script);
      logIn(script, primary);
      expect(script.done().endpoint.host).toBe("10.0.0.2");
    }
  });

  test("acceptance 105: may be the last thing before the attempt is given up", () => {
    const script = begin("read-write");
    logIn(script, standby);
    script.demand("write");
    const reason = new Error("enough");
    script.event({ kind: "aborted", reason });
    expect(script.failed()).toMatchObject({ code: "client.connect_aborted", cause: reason });
  });
});

describe("prefer-standby", () => {
  test("goes through the list a second time as any", () => {
    const script = begin("prefer-standby");
    logIn(script, primary);
    leaves(script);
    script.refuseConnection();
    logIn(script, primary);
    expect(script.done().endpoint.host).toBe("10.0.0.1");
  });

  test("takes the standby behind the primary in the first pass", () => {
    const script = begin("prefer-standby");
    logIn(script, primary);
    leaves(script);
    logIn(script, standby);
    expect(script.done().endpoint.host).toBe("10.0.0.2");
  });

  test("ends after two passes if nobody answers", () => {
    const script = begin("prefer-standby");
    const tried = Array.from({ length: 4 }, () => script.refuseConnection().endpoint.host);
    expect(tried).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    expect(script.failed().attempts).toHaveLength(4);
  });

  test("means nothing to a cancel request, which goes to one place once", () => {
    const cancel = { pid: 1, key: Buffer.alloc(4), tls: false };
    const script = new Script({ targetSessionAttrs: "prefer-standby" }, "whole", cancel);
    script.refuseConnection();
    expect(script.failed().attempts).toHaveLength(1);
  });
});

describe("load_balance_hosts=random", () => {
  const many = Array.from({ length: 5 }, (_, index) => ({ host: `10.0.0.${index}`, port: 1 }));

  /** The addresses in the order in which they are tried. */
  const tried = (machine: Handshake, addresses: readonly string[] = []): string[] => {
    const order: string[] = [];
    for (;;) {
      const demand = machine.poll();
      if (demand.kind === "failed") return order;
      if (demand.kind === "resolve") machine.handle({ kind: "resolved", addresses });
      else if (demand.kind === "connect") {
        order.push(demand.endpoint.address);
        machine.handle({ kind: "connectFailed", error: new Error("no") });
      }
    }
  };
  const machineOf = (
    given: Partial<ConnectOptions>,
    random: (bytes: number) => Buffer,
    hostOrder?: readonly number[],
  ): Handshake =>
    new Handshake(connectOptions({ user: "ada", hosts: many, loadBalanceHosts: "random", ...given }), {
      random,
      hostOrder,
    });
  /** Chance that always says the same. */
  const always =
    (value: number) =>
    (bytes: number): Buffer => {
      const buffer = Buffer.alloc(bytes);
      buffer.writeUIntBE(value, 0, bytes);
      return buffer;
    };

  test("without it the order is the list's", () => {
    expect(tried(machineOf({ loadBalanceHosts: "disable" }, always(1)))).toEqual(
      many.map(({ host }) => host),
    );
  });

  test("hosts and addresses are each tried once, in an order that chance alone decides", () => {
    const chance = fc.infiniteStream(fc.nat({ max: 2 ** 31 - 1 }));
    fc.assert(
      fc.property(chance, (numbers) => {
        const drawn: number[] = [];
        const first = machineOf({}, (bytes) => {
          drawn.push(numbers.next().value);
          return always(drawn.at(-1) ?? 0)(bytes);
        });
        const order = tried(first);
        expect(order.toSorted()).toEqual(many.map(({ host }) => host));
        let again = 0;
        expect(tried(machineOf({}, (bytes) => always(drawn[again++] ?? 0)(bytes)))).toEqual(order);
      }),
    );
  });

  test("every order of three comes about equally often", () => {
    const counts = new Map<string, number>();
    for (let a = 0; a < 6; a++) {
      for (let b = 0; b < 6; b++) {
        const numbers = [a, b];
        const machine = machineOf({ hosts: many.slice(0, 3) }, (bytes) =>
          always(numbers.shift() ?? 0)(bytes),
        );
        const order = machine.hostOrder.join();
        counts.set(order, (counts.get(order) ?? 0) + 1);
      }
    }
    expect([...counts.values()]).toEqual([6, 6, 6, 6, 6, 6]);
  });

  test("the addresses of a host are shuffled as they are found, and anew when they are found again", () => {
    const numbers = [0, 0, 1];
    const random = (bytes: number): Buffer => always(numbers.shift() ?? 0)(bytes);
    const machine = machineOf(
      { hosts: [{ host: "db.example", port: 1 }], targetSessionAttrs: "prefer-standby" },
      random,
    );
    expect(tried(machine, ["a", "b", "c"])).toEqual(["c", "a", "b", "c", "b", "a"]);
  });

  test("a reset keeps the order of the hosts", () => {
    const first = machineOf({}, always(0));
    expect(first.hostOrder).not.toEqual([0, 1, 2, 3, 4]);
    const again = machineOf({}, always(3), first.hostOrder);
    expect(tried(again)).toEqual(tried(first));
  });
});
