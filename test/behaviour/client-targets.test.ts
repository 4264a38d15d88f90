/**
 * Several hosts against real PostgreSQL: a primary and its standby, every value of target_session_attrs in both
 * orders; and a server process that is killed in the middle of a login.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { describe, expect, test } from "vitest";
import type { TargetSessionAttrs } from "../../src/client/conninfo/options.ts";
import {
  type ConnectOptions,
  connectOptions,
  type Host,
  openConnection,
  SimpleClient,
} from "../../src/client/index.ts";
import { Lab, type LabNode } from "../../src/lab/index.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import { useLab } from "../kit/lab.ts";
import { ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { failureOf } from "./client-traces.ts";

const shared = useLab({ standbys: 1 });

type Role = "primary" | "standby";
const roles = {
  ps: ["primary", "standby"],
  sp: ["standby", "primary"],
  pp: ["primary"],
  ss: ["standby"],
} as const;

const nodeOf = (role: Role): LabNode => {
  const node = role === "primary" ? shared.lab.primary : shared.lab.standbys[0];
  if (node === undefined) throw new Error("the lab has a standby");
  return node;
};
const hostOf = (role: Role): Host => ({ host: nodeOf(role).host, port: nodeOf(role).port });

const optionsFor = (order: readonly Role[], given: Partial<ConnectOptions> = {}): ConnectOptions =>
  connectOptions({
    user: "postgres",
    database: "postgres",
    sslmode: "disable",
    hosts: order.map(hostOf),
    ...given,
  });

/** Which of the two a session came to, and what it passed on the way. */
async function reached(options: ConnectOptions): Promise<{ role: Role; statuses: string[] }> {
  const statuses: string[] = [];
  await using client = await SimpleClient.connect(options, { onStatus: (status) => statuses.push(status) });
  const { rows } = await client.query("SELECT pg_is_in_recovery()");
  return { role: rows[0]?.[0] === "t" ? "standby" : "primary", statuses };
}

const cases: [TargetSessionAttrs, order: keyof typeof roles, outcome: Role | RegExp][] = [
  ["any", "ps", "primary"],
  ["any", "sp", "standby"],
  ["read-write", "ps", "primary"],
  ["read-write", "sp", "primary"],
  ["read-write", "ss", /session is read-only$/],
  ["read-only", "ps", "standby"],
  ["read-only", "sp", "standby"],
  ["read-only", "pp", /session is not read-only$/],
  ["primary", "ps", "primary"],
  ["primary", "sp", "primary"],
  ["primary", "ss", /server is in hot standby mode$/],
  ["standby", "ps", "standby"],
  ["standby", "sp", "standby"],
  ["standby", "pp", /server is not in hot standby mode$/],
  ["prefer-standby", "ps", "standby"],
  ["prefer-standby", "sp", "standby"],
  ["prefer-standby", "pp", "primary"],
];

test.each(cases)(
  "target_session_attrs=%s with hosts in order %s: %s",
  async (targetSessionAttrs, order, outcome) => {
    const attempt = reached(optionsFor(roles[order], { targetSessionAttrs }));
    if (typeof outcome === "string") expect((await attempt).role).toBe(outcome);
    else await expect(attempt).rejects.toMatchObject({ code: "client.session_unsuitable", message: outcome });
  },
);

test("a primary whose transactions are read-only by default is no place to write", async () => {
  const parameters = [["options", "-c default_transaction_read_only=on"]] as const;
  const to = (targetSessionAttrs: TargetSessionAttrs): Promise<unknown> =>
    reached(optionsFor(["primary"], { targetSessionAttrs, parameters }));
  await expect(to("read-write")).rejects.toThrow(/session is read-only/);
  await expect(to("read-only")).resolves.toMatchObject({ role: "primary" });
  await expect(to("primary")).resolves.toMatchObject({ role: "primary" });
});

test("a session that is not the right one is said goodbye to, also by the last host of a list", async () => {
  const parameters = { server_version: "18.0", default_transaction_read_only: "off", in_hot_standby: "off" };
  await using server = await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome({ parameters });
    await peer.expect("Terminate");
    await peer.closed;
  });
  const unwanted = { host: "127.0.0.1", port: server.port };
  const options = optionsFor(["standby"], { targetSessionAttrs: "standby" });
  expect((await reached({ ...options, hosts: [unwanted, ...options.hosts] })).role).toBe("standby");
  await expect(openConnection({ ...options, hosts: [unwanted] })).rejects.toThrow(/not in hot standby mode/);
  await server.finished;
  expect(server.accepted).toBe(2);
});

test("a server before 14 is asked", async () => {
  await using server = await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome({ parameters: { server_version: "13.22" } });
    expect((await peer.expect("Query")).sql).toBe("SHOW transaction_read_only");
    peer.send(
      { kind: "RowDescription", columns: [] },
      { kind: "DataRow", values: [Buffer.from("on")] },
      { kind: "CommandComplete", tag: "SHOW" },
      { kind: "ReadyForQuery", status: TransactionStatus.idle },
    );
    await peer.expect("Terminate");
    await peer.closed;
  });
  const options = optionsFor(["primary"], { targetSessionAttrs: "read-write" });
  const unwanted = { host: "127.0.0.1", port: server.port };
  const { role, statuses } = await reached({ ...options, hosts: [unwanted, ...options.hosts] });
  expect(role).toBe("primary");
  expect(statuses).toEqual(expect.arrayContaining(["CHECK_TARGET", "CHECK_WRITABLE", "OK"]));
  await server.finished;
});

test("load_balance_hosts=random comes to both of them", async () => {
  const seen = new Set<Role>();
  for (let attempts = 0; seen.size < 2; attempts++) {
    expect(attempts, "64 times the same of two").toBeLessThan(64);
    seen.add((await reached(optionsFor(["primary", "standby"], { loadBalanceHosts: "random" }))).role);
  }
});

/**
 * A gate in front of a server: of what that says only the first bytes come through, so that the client stands
 * still in a phase of the login. The end of the server's connection does come through.
 */
class Gate {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  held = false;

  private constructor(server: net.Server) {
    this.#server = server;
  }

  static async open(target: LabNode, letThrough: number): Promise<Gate> {
    const server = net.createServer();
    const gate = new Gate(server);
    server.on("connection", (socket) => {
      const upstream = net.connect({ host: target.host, port: target.port });
      let left = letThrough;
      for (const end of [socket, upstream]) {
        gate.#sockets.add(end);
        end.on("error", () => {});
      }
      socket.pipe(upstream);
      upstream.on("data", (chunk) => {
        const through = chunk.subarray(0, left);
        left -= through.length;
        if (through.length > 0) socket.write(through);
        if (left === 0) gate.held = true;
      });
      upstream.on("close", () => socket.destroy());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return gate;
  }

  get host(): Host {
    return { host: "127.0.0.1", port: (this.#server.address() as net.AddressInfo).port };
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

describe("a server whose processes are killed", () => {
  const password = randomBytes(9).toString("hex");

  /** A server of its own: it does not survive. */
  async function mortal(): Promise<{ lab: Lab; node: LabNode }> {
    const lab = await Lab.start({
      auth: ["host all ada 127.0.0.1/32 scram-sha-256", "host all all all trust"],
    });
    await lab.primary.query(`CREATE ROLE ada LOGIN PASSWORD '${password}'`);
    return { lab, node: lab.primary };
  }

  // Of what the server says, so many bytes come through: nothing, and the whole of AuthenticationSASL.
  test.each([
    ["before it answers", 0, "AWAITING_RESPONSE"],
    ["in the middle of SCRAM", 24, "AWAITING_RESPONSE"],
  ] as const)("%s: the attempt fails, the next one comes to the other host", async (_, bytes, phase) => {
    const { lab, node } = await mortal();
    await using _lab = lab;
    using gate = await Gate.open(node, bytes);
    const options = optionsFor(["standby"], { user: "ada", password });
    const first = openConnection({ ...options, hosts: [gate.host, ...options.hosts] });
    const failure = failureOf(first);
    await waitUntil(() => gate.held, "the login stands still");
    await node.kill();
    expect(await failure).toMatchObject({ code: "client.connection_lost", attempts: [{ phase }] });

    // Nobody listens there any more, which is no reason not to try the next.
    const again = optionsFor(["standby"], {});
    const { role } = await reached({
      ...again,
      hosts: [{ host: node.host, port: node.port }, ...again.hosts],
    });
    expect(role).toBe("standby");
  });

  test("after the login: the session ends, and the next one comes to the other host", async () => {
    const { lab, node } = await mortal();
    await using _lab = lab;
    const options = optionsFor(["standby"], {});
    const both = { ...options, hosts: [{ host: node.host, port: node.port }, ...options.hosts] };
    await using client = await SimpleClient.connect(both);
    const running = failureOf(client.query("SELECT pg_sleep(1000)"));
    await node.kill();
    expect((await running).sqlstate).toMatch(/^(08006|57P01|57P02)$/);
    expect((await reached(both)).role).toBe("standby");
  });

  test("acceptance 103: one that is stopped accepts and never answers, which leads to the next host", async () => {
    const { lab, node } = await mortal();
    await using _lab = lab;
    await node.pause();
    const options = optionsFor(["standby"], { connectTimeoutMs: 200 });
    const statuses: string[] = [];
    await using client = await SimpleClient.connect(
      { ...options, hosts: [{ host: node.host, port: node.port }, ...options.hosts] },
      { onStatus: (status) => statuses.push(status) },
    );
    await node.resume();
    expect(client.connection.endpoint.port).toBe(nodeOf("standby").port);
    expect(statuses.filter((status) => status === "STARTED")).toHaveLength(2);
  });
});
