/** Accepting in Node's place, and when everything is left to Node. */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, stat } from "node:fs/promises";
import Module from "node:module";
import net from "node:net";
import { constants, tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  type AcceptedDescriptor,
  currentDescriptors,
  isAcceptedDescriptor,
  useDescriptors,
} from "../../src/base/descriptors.ts";
import type { AcceptedSocket } from "../../src/base/transport.ts";
import { checkConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/schema.ts";
import { Accepting } from "../../src/epoll/accepting.ts";
import { useEpoll } from "../../src/epoll/descriptors.ts";
import { loadSystemCalls } from "../../src/epoll/system-calls.ts";
import { Pooler } from "../../src/server/app.ts";
import { Sockets } from "../../src/server/sockets.ts";
import { EpollKit } from "../kit/epoll-streams.ts";
import { waitUntil } from "../kit/wait.ts";

const onLinux = process.platform === "linux";

describe.runIf(onLinux)("accepting", () => {
  let kit: EpollKit;
  const clients: net.Socket[] = [];
  beforeAll(() => {
    kit = new EpollKit();
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy();
  });

  /** A server whose connections are accepted by a loop of their own. */
  class Door implements AsyncDisposable {
    readonly accepted: AcceptedDescriptor[] = [];
    readonly failures: Error[] = [];
    readonly server: net.Server;
    readonly accepting: Accepting;
    onAccept: () => void = () => undefined;
    #stopped = false;

    private constructor(server: net.Server) {
      this.server = server;
      const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
      this.accepting = new Accepting(
        kit.loop,
        kit.addresses,
        fd,
        (accepted) => {
          this.accepted.push(accepted);
          this.onAccept();
        },
        (error) => this.failures.push(error),
      );
    }

    static async listen(target: net.ListenOptions): Promise<Door> {
      const server = net.createServer();
      server.listen(target);
      await once(server, "listening");
      // libuv has to watch it before it can be made to stop.
      await stat(".");
      await stat(".");
      return new Door(server);
    }

    get port(): number {
      return (this.server.address() as net.AddressInfo).port;
    }

    connect(target: net.NetConnectOpts): net.Socket {
      const client = net.connect(target);
      client.on("error", () => undefined);
      client.resume();
      clients.push(client);
      return client;
    }

    /** The connection that comes next. */
    async next(target: net.NetConnectOpts): Promise<{ client: net.Socket; accepted: AcceptedDescriptor }> {
      const count = this.accepted.length;
      const client = this.connect(target);
      await waitUntil(() => this.accepted.length > count, "it is accepted");
      return { client, accepted: this.accepted[count] as AcceptedDescriptor };
    }

    stop(): void {
      if (!this.#stopped) this.accepting.stop();
      this.#stopped = true;
    }

    [Symbol.asyncDispose](): Promise<void> {
      this.stop();
      for (const accepted of this.accepted) accepted.close();
      return new Promise((resolve) => this.server.close(() => resolve()));
    }
  }

  test("peers have their addresses: IPv4, IPv6, IPv4 at an IPv6 socket", async () => {
    await using door = await Door.listen({ host: "::", port: 0 });
    expect(door.accepting.begin()).toBe(true);
    const { port } = door;
    const six = await door.next({ host: "::1", port });
    expect(six.accepted.peer).toEqual({ address: "::1", port: six.client.localPort });
    const mapped = await door.next({ host: "127.0.0.1", port });
    expect(mapped.accepted.peer).toEqual({ address: "::ffff:127.0.0.1", port: mapped.client.localPort });
    await using four = await Door.listen({ host: "127.0.0.1", port: 0 });
    expect(four.accepting.begin()).toBe(true);
    const { client, accepted } = await four.next({ host: "127.0.0.1", port: four.port });
    expect(accepted.peer).toEqual({ address: "127.0.0.1", port: client.localPort });
  });

  test("who came to a Unix socket before it began is accepted, without an address", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "accepting-"));
    try {
      await using door = await Door.listen({ path: path.join(folder, "socket") });
      // Connects at once, in this turn.
      door.connect({ path: path.join(folder, "socket") });
      expect(door.accepting.begin()).toBe(true);
      await waitUntil(() => door.accepted.length > 0, "it is accepted");
      expect(door.accepted[0]?.peer).toEqual({});
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("more connections than one turn takes are all accepted", async () => {
    await using door = await Door.listen({ host: "127.0.0.1", port: 0 });
    expect(door.accepting.begin()).toBe(true);
    for (let i = 0; i < 40; i++) door.connect({ host: "127.0.0.1", port: door.port });
    await waitUntil(() => door.accepted.length === 40, "all are accepted");
  });

  test("stopped, it accepts nobody, and the port is free once the server is closed", async () => {
    const door = await Door.listen({ host: "127.0.0.1", port: 0 });
    expect(door.accepting.begin()).toBe(true);
    const { port } = door;
    await door.next({ host: "127.0.0.1", port });
    await door[Symbol.asyncDispose]();
    await using next = await Door.listen({ host: "127.0.0.1", port });
    expect(next.port).toBe(port);
    expect(next.accepting.begin()).toBe(true);
    await next.next({ host: "127.0.0.1", port });
    expect(door.accepted).toHaveLength(1);
  });

  /** The next `accept4` fails with this. */
  function failOnce(code: number): () => number {
    const { calls } = kit;
    const real = { ...calls };
    let failures = 0;
    let failing = false;
    calls.accept4 = (...given) => {
      failing = failures === 0;
      if (!failing) return real.accept4(...given);
      failures++;
      return -1;
    };
    calls.errno = () => (failing ? code : real.errno());
    return () => {
      Object.assign(calls, real);
      return failures;
    };
  }

  test("without descriptors, who waits is refused and the failure told; the next one is accepted", async () => {
    await using door = await Door.listen({ host: "127.0.0.1", port: 0 });
    expect(door.accepting.begin()).toBe(true);
    const restore = failOnce(constants.errno.EMFILE);
    try {
      const refused = door.connect({ host: "127.0.0.1", port: door.port });
      await waitUntil(() => refused.destroyed, "it is refused");
    } finally {
      expect(restore()).toBe(1);
    }
    expect(door.failures).toMatchObject([{ code: "EMFILE", syscall: "accept" }]);
    expect(door.accepted).toEqual([]);
    await door.next({ host: "127.0.0.1", port: door.port });
  });

  test("where who waits cannot even be refused, nothing is accepted for a while, and everybody after that", async () => {
    await using door = await Door.listen({ host: "127.0.0.1", port: 0 });
    expect(door.accepting.begin()).toBe(true);
    const { calls } = kit;
    const real = { ...calls };
    let failures = 0;
    Object.assign(calls, {
      accept4: () => {
        failures++;
        return -1;
      },
      errno: () => constants.errno.ENFILE,
    });
    try {
      const next = door.next({ host: "127.0.0.1", port: door.port });
      await waitUntil(() => failures > 0, "it fails");
      const waits = kit.waits;
      await sleep(30);
      expect(kit.waits - waits).toBeLessThan(50);
      Object.assign(calls, real);
      await next;
    } finally {
      Object.assign(calls, real);
    }
    expect(door.failures[0]).toMatchObject({ code: "ENFILE", syscall: "accept" });
  });

  test("who has gone before it was accepted is no failure", async () => {
    await using door = await Door.listen({ host: "127.0.0.1", port: 0 });
    expect(door.accepting.begin()).toBe(true);
    const restore = failOnce(constants.errno.ECONNABORTED);
    try {
      await door.next({ host: "127.0.0.1", port: door.port });
    } finally {
      expect(restore()).toBe(1);
    }
    expect(door.failures).toEqual([]);
  });

  test("stopped by who is told of a connection, it goes no further in this turn", async () => {
    await using door = await Door.listen({ host: "127.0.0.1", port: 0 });
    expect(door.accepting.begin()).toBe(true);
    door.onAccept = () => door.stop();
    // Both wait when it is looked for the first time.
    const both = [1, 2].map(() => door.connect({ host: "127.0.0.1", port: door.port }));
    await waitUntil(() => both.every(({ connecting }) => !connecting), "both are connected");
    await waitUntil(() => door.accepted.length > 0, "one is accepted");
    expect(door.accepted).toHaveLength(1);
  });
});

function config(settings: Readonly<Record<string, unknown>>): Config {
  const pgsluice = {
    listen_addr: "127.0.0.1",
    listen_port: 0,
    unix_socket_dir: "",
    auth_type: "trust",
    ...settings,
  };
  return checkConfig(
    { pgsluice, nodes: { main: { host: "127.0.0.1", port: 1 } }, databases: { "*": {} } },
    ".",
  );
}

describe.runIf(onLinux)("the sockets of a pooler", () => {
  beforeAll(() => {
    expect(useEpoll()).toBe(true);
  });
  afterAll(() => useDescriptors(undefined));

  test("hand on descriptors, whenever in a turn they were opened", async () => {
    const { pgsluice } = config({});
    // Comes from another thread, when libuv has waited and not yet looked at what is new.
    await stat(".");
    const sockets = new Sockets(() => pgsluice, [], currentDescriptors());
    const came: AcceptedSocket[] = [];
    await sockets.open({ onSocket: (socket) => came.push(socket), onAcceptFailed: () => undefined });
    const clients: net.Socket[] = [];
    try {
      await waitUntil(() => {
        clients.push(net.connect(sockets.address.port, "127.0.0.1"));
        return came.some(isAcceptedDescriptor);
      }, "a descriptor comes");
    } finally {
      await sockets.close();
      for (const client of clients) client.destroy();
      for (const socket of came) if (!(socket instanceof net.Socket)) socket.close();
    }
  });
});

describe("everything is left to Node", () => {
  afterEach(() => useDescriptors(undefined));

  test.runIf(onLinux)("with epoll off, and not with it on", async () => {
    for (const epoll of [false, true, false]) {
      await using _pooler = await Pooler.start(config({ epoll }));
      expect(currentDescriptors() !== undefined).toBe(epoll);
    }
  });

  test("where the binary of koffi is missing", () => {
    const loader = Module as unknown as { _load: (name: string, ...others: unknown[]) => unknown };
    const { _load: load } = loader;
    loader._load = (name, ...others) => {
      if (name === "koffi") throw new Error("Cannot find module 'koffi'");
      return load(name, ...others);
    };
    try {
      expect(loadSystemCalls()).toBeUndefined();
    } finally {
      loader._load = load;
    }
    expect(loadSystemCalls() !== undefined).toBe(onLinux);
  });

  test("on systems without epoll", () => {
    const platform = Object.getOwnPropertyDescriptor(process, "platform");
    Object.defineProperty(process, "platform", { ...platform, value: "darwin" });
    try {
      expect(loadSystemCalls()).toBeUndefined();
    } finally {
      Object.defineProperty(process, "platform", platform as PropertyDescriptor);
    }
  });
});
