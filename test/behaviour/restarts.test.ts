/**
 * One process after another in the same place: sockets that are passed to it, a port that several share, and signals
 * as PgBouncer understands them.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkConfig } from "../../src/config/load.ts";
import { freePort } from "../../src/lab/ports.ts";
import { Pooler } from "../../src/server/app.ts";
import { untilRefused } from "../kit/byte-stream.ts";
import { useLab } from "../kit/lab.ts";
import { PassedSocket } from "../kit/passed-socket.ts";
import { rawCancel, rawClient } from "../kit/raw-client.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { CliProgram, type Launch } from "./cli-program.ts";
import { backends, Client, query, untilRunning } from "./pooled.ts";
import { StoringClients } from "./storing-clients.ts";

const place = useLab();
let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(async () => folder[Symbol.asyncDispose]());

const up = /"msg":"process up"/;
let files = 0;

/** A pgbouncer.ini for the lab with these lines, and log lines for machines. */
function iniFile(lines: string): string {
  const file = path.join(folder.path, `${++files}.ini`);
  const { host, port } = place.lab.primary;
  writeFileSync(
    file,
    `[databases]\n* = host=${host} port=${port}\n[pgbouncer]\nauth_type = trust\nunix_socket_dir =\nlog_format = json\nserver_tls_sslmode = disable\nadmin_users = postgres\n${lines}\n`,
  );
  return file;
}

async function started(launch: Launch, lines: string): Promise<CliProgram> {
  const program = new CliProgram(launch, iniFile(lines));
  await program.printed("stderr", up);
  return program;
}

describe("sockets that are passed", () => {
  test("a TCP and a Unix socket are listened on instead of the settings' own, and stay when it ends", async () => {
    const file = path.join(folder.path, ".s.PGSQL.7100");
    using tcp = PassedSocket.tcp();
    using unix = PassedSocket.unix(folder.path, 7100);
    const launch = { sockets: [tcp, unix], environment: { LISTEN_FDNAMES: "tcp:unix" } };
    // Here nobody could listen.
    await using program = await started(launch, "listen_addr = 192.0.2.1\nlisten_port = 1");
    expect(program.stderr).toContain(`"addresses":["127.0.0.1:${tcp.port}","unix:${file}"]`);
    using remote = await Client.connect(tcp.port);
    using local = await Client.connect({ host: folder.path, port: 7100 });
    for (const client of [remote, local]) expect(await client.value("select 'passed'")).toBe("passed");
    const outcome = remote.run("select pg_sleep(60), 'passed on'");
    await untilRunning(place.lab, "passed on");
    await rawCancel({ host: folder.path, port: 7100 }, remote.session);
    expect(await outcome).toMatchObject({ error: { code: "57014" } });
    using console = await Client.connect({ host: folder.path, port: 7100 }, { database: "pgbouncer" });
    expect((await console.run("show clients")).rows.map((row) => row[5])).toEqual(
      expect.arrayContaining(["127.0.0.1", "unix"]),
    );
    program.signal("SIGQUIT");
    expect(await program.exit).toBe(0);
    expect(existsSync(file)).toBe(true);
  });

  test("what is no socket is refused by its number and name", async () => {
    const sockets = [{ descriptor: 999, name: "bad" }];
    await expect(Pooler.start(checkConfig({ nodes: { main: {} } }, "."), { sockets })).rejects.toThrow(
      "the passed descriptor 999 (bad) is no socket to listen on",
    );
  });

  test.each([1, 2])(
    "acceptance 92: one pooler takes over from another, each of workers = %i, and none of many working clients loses a statement",
    async (workers) => {
      using tcp = PassedSocket.tcp();
      const { port } = tcp;
      const count = workers === 1 ? 100 : 30;
      const settingsOf = (id: number): string => {
        const own = path.join(folder.path, String(workers));
        const peers = [1, 2].map((peer) => `${peer} = host=${own}/${peer} port=${port}`).join("\n");
        mkdirSync(path.join(own, String(id)), { recursive: true });
        return `workers = ${workers}\npool_mode = transaction\nmax_client_conn = 200\nunix_socket_dir = ${own}/${id}\npeer_id = ${id}\n[peers]\n${peers}`;
      };
      await using before = await started({ sockets: [tcp] }, settingsOf(1));
      using stays = await Client.connect(port);
      const clients = await StoringClients.start(place.lab, `handed_over_${workers}`, count, port);
      await clients.untilAcknowledged(300);
      await using after = await started({ sockets: [tcp] }, settingsOf(2));
      before.signal("SIGTERM");
      // From here on it accepts nobody.
      await before.printed("stderr", /"msg":"got signal, shutting down"/);
      clients.comeAgain();
      const outcome = stays.run("select pg_sleep(60), 'stays'");
      await untilRunning(place.lab, "stays");
      await rawCancel(port, stays.session);
      expect(await outcome).toMatchObject({ error: { code: "57014" } });
      await stays.close();
      expect(await before.exit).toBe(0);
      await clients.untilAcknowledged(300);
      await clients.check(place.lab);
      after.signal("SIGTERM");
      expect(await after.exit).toBe(0);
    },
  );
});

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const canShare = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);

describe("so_reuseport", () => {
  test.skipIf(canShare)("is refused by a Node.js that cannot share a port, with what to do", async () => {
    const config = checkConfig({ pgsluice: { so_reuseport: true }, nodes: { main: {} } }, ".");
    await expect(Pooler.start(config)).rejects.toMatchObject({
      message: `so_reuseport needs Node.js 22.12 or later, and this is ${process.versions.node}`,
      hint: expect.stringContaining("let systemd hold the socket"),
    });
  });

  test.runIf(canShare)("two processes on one port; the old one leaves when its clients have", async () => {
    const port = await freePort();
    const settings = `listen_addr = 127.0.0.1\nlisten_port = ${port}\nso_reuseport = 1`;
    await using before = await started({}, settings);
    using client = await Client.connect(port);
    await client.run("begin");
    await using after = await started({}, settings);
    before.signal("SIGTERM");
    await waitUntil(async () => {
      using raw = await rawClient(port).catch(() => undefined);
      raw?.destroy();
      return after.stderr.includes("connection received");
    }, "the new process has the port");
    expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
    await client.close();
    expect(await before.exit).toBe(0);
    using next = await Client.connect(port);
    expect(await next.value("select 1")).toBe("1");
  });
});

describe("signals by PgBouncer's map, with its command line", () => {
  const local = (): string =>
    `listen_addr = 127.0.0.1\nlisten_port = 0\nunix_socket_dir = ${folder.path}\npool_mode = transaction\ndefault_pool_size = 2`;

  async function startedHere(): Promise<{ program: CliProgram; port: number }> {
    const program = await started({}, local());
    const [, port] = await program.printed("stderr", /"port":(\d+)\},"msg":"listening"/);
    return { program, port: Number(port) };
  }

  test("TERM is SHUTDOWN WAIT_FOR_CLIENTS: the Unix socket stays for the console and for cancel requests", async () => {
    const { program, port } = await startedHere();
    await using _ = program;
    using client = await Client.connect(port);
    const outcome = client.run("select pg_sleep(60), 'goes on'");
    await untilRunning(place.lab, "goes on");
    program.signal("SIGTERM");
    await untilRefused(port);
    const here = { host: folder.path, port };
    using console = await Client.connect(here, { database: "pgbouncer" });
    expect((await console.run("show version")).tags).toEqual(["SHOW"]);
    expect((await console.run("resume")).error?.message).toBe("pooler is shutting down");
    using late = await rawClient(here);
    late.sendStartup({ database: "postgres" });
    expect(await late.rest()).toMatchObject([{ fields: { message: "pooler is shutting down" } }]);
    await rawCancel(here, client.session);
    expect(await outcome).toMatchObject({ error: { code: "57014" } });
    expect(await client.value("select 'still'")).toBe("still");
    await client.close();
    expect(await program.exit).toBe(0);
    expect(existsSync(path.join(folder.path, `.s.PGSQL.${port}`))).toBe(false);
  });

  test("INT is SHUTDOWN WAIT_FOR_SERVERS: transactions finish, whoever wants another server is sent away", async () => {
    const { program, port } = await startedHere();
    await using _ = program;
    using block = await Client.connect(port);
    using idle = await Client.connect(port);
    await block.run("begin");
    program.signal("SIGINT");
    await untilRefused(port);
    idle.send(query("select 1"));
    expect(await idle.raw.rest()).toMatchObject([{ fields: { message: "server shutting down" } }]);
    expect((await block.run("commit")).tags).toEqual(["COMMIT"]);
    expect(await program.exit).toBe(0);
    await waitUntil(async () => (await backends(place.lab)) === 0, "PostgreSQL has no client left");
  });
});
