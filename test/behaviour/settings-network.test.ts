/** Settings of listening, of sockets and of what is logged about connections: what each one changes, by its name. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";
import net from "node:net";
import koffi from "koffi";
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../src/base/clock.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { fatal, startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();

function config(settings: TestConfig["settings"] = {}): TestConfig {
  return {
    node: place.lab.primary,
    settings: { pool_mode: "transaction", ...settings },
    databases: { "*": { dbname: "postgres", user: "postgres" } },
  };
}

describe("listening", () => {
  test("listen_addr: every address of the list, and no other; listen_port: the same for all", async () => {
    await using pooler = await startPooler(config({ listen_addr: "127.0.0.1, 127.0.0.3", listen_port: 0 }));
    const { port } = pooler;
    const reachable = (host: string): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = net.connect({ host, port });
        socket.once("error", () => resolve(false));
        socket.once("connect", () => {
          socket.destroy();
          resolve(true);
        });
      });
    expect(await Promise.all(["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(reachable))).toEqual([
      true,
      false,
      true,
    ]);
  });

  test.runIf(canListSockets())("listen_backlog is what the kernel keeps waiting", async () => {
    await using pooler = await startPooler(config({ listen_backlog: 7 }));
    const lines = execFileSync("ss", ["-ltnH", `sport = :${pooler.port}`], { encoding: "utf8" });
    // State, connections that wait, and how many may.
    expect(lines.trim().split(/\s+/).slice(0, 3)).toEqual(["LISTEN", "0", "7"]);
  });
});

describe.runIf(process.platform === "linux")("keep-alive probes", () => {
  const clientSide = (pooler: TestPooler): number => pooler.port;
  const serverSide = (): number => place.lab.primary.port;

  test.each([
    ["of clients", { tcp_keepidle: 100 }, 100],
    ["of clients, tcp_keepalive off", { tcp_keepidle: 100, tcp_keepalive: false }, undefined],
    ["of servers", { tcp_keepidle: 200 }, 200],
    ["of servers, tcp_keepalive off", { tcp_keepidle: 200, tcp_keepalive: false }, undefined],
  ])("tcp_keepidle: seconds to the first one, %s", async (which, settings, seconds) => {
    await using pooler = await startPooler(config(settings));
    const { client } = await pooler.login();
    expect(await value(client, "select 1")).toBe("1");
    const ofServers = which.startsWith("of servers");
    const ends = (): Promise<(number | undefined)[]> =>
      ofServers ? keepAliveSeconds("remote", serverSide()) : keepAliveSeconds("local", clientSide(pooler));
    // Other timers come first, while something is on its way.
    await waitUntil(
      async () => {
        const found = await ends();
        if (found.length === 0) return false;
        return seconds === undefined
          ? found.every((left) => left === undefined)
          : found.some((left) => left !== undefined && left > seconds - 30 && left <= seconds + 1);
      },
      `a socket has ${seconds === undefined ? "no timer" : `a timer of ${seconds} seconds`}`,
    );
    client.destroy();
  });

  const options = [
    ["tcp_keepintvl", 5, 33],
    ["tcp_keepcnt", 6, 4],
    ["tcp_user_timeout", 18, 44_000],
  ] as const;

  test("tcp_keepintvl, tcp_keepcnt, tcp_user_timeout: what new connections have", async () => {
    const settings = Object.fromEntries(options.map(([name, , value]) => [name, value]));
    await using pooler = await startPooler(config());
    const { client: earlier } = await pooler.login();
    const before = tcpOptions("local", pooler.port)[0];
    await pooler.reload(config(settings));
    expect(tcpOptions("local", pooler.port)).toEqual([before]);
    const { client } = await pooler.login();
    expect(await value(client, "select 1")).toBe("1");
    const wanted = options.map(([, , set]) => set);
    expect(tcpOptions("local", pooler.port)).toEqual(expect.arrayContaining([before, wanted]));
    expect(tcpOptions("remote", place.lab.primary.port)).toContainEqual(wanted);
    await pooler.reload(config({ ...settings, tcp_keepalive: false }));
    const { client: silent } = await pooler.login();
    expect(tcpOptions("local", pooler.port)).toContainEqual([...(before ?? []).slice(0, 2), 44_000]);
    expect(pooler.log).not.toContain("TCP settings have no effect");
    for (const each of [earlier, client, silent]) each.destroy();
  });

  test("tcp_keepintvl, tcp_keepcnt, tcp_user_timeout: a warning where Node cannot set them", async () => {
    await using pooler = await startPooler(config({ epoll: false, tcp_keepcnt: 4 }));
    const warning = "TCP settings have no effect: epoll is off, and Node cannot set them";
    expect(pooler.log).toContain(`"settings":["tcp_keepcnt"],"msg":"${warning}"`);
    const { client } = await pooler.login();
    expect(await value(client, "select 1")).toBe("1");
    client.destroy();
  });

  /** Options of each connection of this process from or to a port. */
  function tcpOptions(end: "local" | "remote", port: number): number[][] {
    const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
    const lines = readFileSync("/proc/self/net/tcp", "utf8").split("\n");
    const sockets = lines
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === "01" && fields[end === "local" ? 1 : 2]?.endsWith(suffix) === true);
    const inodes = new Set(sockets.map((fields) => fields[9]));
    const getsockopt = koffi
      .load(null)
      .func("int getsockopt(int socket, int level, int option, void* value, void* length)");
    return readdirSync("/proc/self/fd").flatMap((fd) => {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(linkOf(fd)) ?? [];
      if (inode === undefined || !inodes.has(inode)) return [];
      return [
        options.map(([, option]) => {
          const held = Buffer.alloc(4);
          const length = Buffer.from([4, 0, 0, 0]);
          expect(getsockopt(Number(fd), 6, option, held, length)).toBe(0);
          return held.readInt32LE();
        }),
      ];
    });
  }

  function linkOf(fd: string): string {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  }
});

test("max_packet_size: a longer message ends who sent it, client or server, and nobody else", async () => {
  await using pooler = await startPooler(config({ max_packet_size: 2048 }));
  const { client: bystander } = await pooler.login();
  const { client } = await pooler.login();
  expect(await value(client, `select length('${"x".repeat(1500)}')`)).toBe("1500");
  client.send({ kind: "Query", sql: `select '${"x".repeat(3000)}'` });
  const refusal = await fatal(client);
  expect(refusal.code).toBe("08P01");
  expect(refusal.message).toContain("invalid message length");
  const { client: reader } = await pooler.login();
  reader.send({ kind: "Query", sql: "select repeat('y', 3000)" });
  expect(await fatal(reader)).toMatchObject({ severity: "FATAL" });
  expect(pooler.log).toContain("invalid message length");
  expect(await value(bystander, "select 1")).toBe("1");
  await pooler.reload(config({ max_packet_size: 1_000_000 }));
  const { client: later } = await pooler.login();
  expect(await value(later, "select length(repeat('y', 3000))")).toBe("3000");
  for (const each of [bystander, later]) each.destroy();
});

test("ignore_startup_parameters: what it names is dropped, and the server never hears of it", async () => {
  const parameters: [string, string][] = [["no_such_parameter", "1"]];
  await using strict = await startPooler(config());
  expect(await strict.refusal({ parameters })).toMatchObject({ code: "42704" });
  await using lenient = await startPooler(config({ ignore_startup_parameters: ["no_such_parameter"] }));
  const { client } = await lenient.login({ parameters });
  expect(await value(client, "select 1")).toBe("1");
  client.destroy();
});

describe("what is logged", () => {
  /** A client comes, is refused something, and goes. */
  async function visit(pooler: TestPooler): Promise<void> {
    const { client } = await pooler.login();
    await client.close();
    const { client: sent } = await pooler.login();
    sent.send({ kind: "Query", sql: "select 1" }, Buffer.from("?\0\0\0\x04"));
    await fatal(sent);
    await pooler.untilNobodyIsLeft();
  }

  const lines = [
    ["log_connections", '"msg":"login attempt: authenticated"'],
    ["log_disconnections", '"msg":"closing client"'],
    ["log_pooler_errors", '"msg":"pooler error"'],
  ] as const;

  test.each(lines)("%s: its lines, and only they", async (name) => {
    await using all = await startPooler(config());
    await visit(all);
    await using without = await startPooler(config({ [name]: false }));
    await visit(without);
    for (const [setting, line] of lines) {
      expect(all.log).toContain(line);
      expect(without.log.includes(line), setting).toBe(setting !== name);
    }
  });

  test("log_stats, every stats_period", async () => {
    const clock = new VirtualClock();
    await using pooler = await startPooler(config({ stats_period: 30 }), clock);
    const count = (): number => pooler.log.split('"msg":"stats"').length - 1;
    clock.advance(29_000);
    await pooler.untilTicked();
    expect(count()).toBe(0);
    clock.advance(1000);
    await waitUntil(() => count() === 1, "a line of statistics");
    await pooler.reload(config({ stats_period: 30, log_stats: false }));
    clock.advance(60_000);
    await pooler.untilTicked();
    expect(count()).toBe(1);
  });
});

function canListSockets(): boolean {
  try {
    execFileSync("ss", ["-V"]);
    return true;
  } catch {
    console.warn("ss is not installed: listen_backlog is not looked at");
    return false;
  }
}

/** Of each connection from or to a port: seconds until its keep-alive timer; undefined: it has none (proc(5), net/tcp). */
async function keepAliveSeconds(end: "local" | "remote", port: number): Promise<(number | undefined)[]> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const established = "01";
  const keepAlive = "02";
  return (await readFile("/proc/net/tcp", "utf8"))
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(
      (fields) => fields[3] === established && fields[end === "local" ? 1 : 2]?.endsWith(suffix) === true,
    )
    .map(([, , , , , timer = ""]) => {
      const [kind, hundredths = "0"] = timer.split(":");
      return kind === keepAlive ? Number.parseInt(hundredths, 16) / 100 : undefined;
    });
}
