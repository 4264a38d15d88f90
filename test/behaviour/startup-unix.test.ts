/** Unix sockets on both sides. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { chmod, rename, stat, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { makeCertificates } from "../../src/lab/index.ts";
import { sslRequest } from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { rawCancel, rawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { errorOf, startPooler, type TestConfig, value } from "./login-pooler.ts";

const place = useLab();

function onUnix(folder: string, settings: TestConfig["settings"] = {}): TestConfig {
  return {
    node: place.lab.primary,
    settings: { pool_mode: "transaction", unix_socket_dir: folder, ...settings },
  };
}

describe("clients", () => {
  test("acceptance 17, 26: Unix socket and TCP at once, under one port", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(onUnix(folder.path));
    const local = await rawClient({ host: folder.path, port: pooler.port });
    await local.startup();
    const { client: remote } = await pooler.login();
    for (const client of [local, remote]) expect(await value(client, "select 1")).toBe("1");
    // The address is what there is of one.
    expect(pooler.log).toContain('"peer":"unix"');
    local.destroy();
    remote.destroy();
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 17: unix_socket_dir without listen_addr: a Unix socket alone", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(onUnix(folder.path, { listen_addr: "", listen_port: 7654 }));
    const client = await rawClient({ host: folder.path, port: 7654 });
    await client.startup();
    expect(await value(client, "select 1")).toBe("1");
    expect(pooler.pooler.address).toEqual({ host: folder.path, port: 7654 });
    client.destroy();
  });

  test("acceptance 40: TLS is not for them, not even where it is demanded", async () => {
    await using folder = await tempFolder();
    const { server } = await makeCertificates(folder.path);
    const tls = {
      client_tls_sslmode: "require",
      client_tls_cert_file: server.certificateFile,
      client_tls_key_file: server.keyFile,
    };
    await using pooler = await startPooler(onUnix(folder.path, tls));
    const client = await rawClient({ host: folder.path, port: pooler.port });
    client.send(sslRequest);
    expect((await client.stream.read(1, "the answer")).toString()).toBe("N");
    await client.startup();
    expect(await value(client, "select 1")).toBe("1");
    client.destroy();
    const direct = await rawClient({ host: folder.path, port: pooler.port });
    await expect(direct.startDirectTls()).rejects.toThrow();
    expect((await pooler.refusal()).message).toBe("SSL required");
  });

  test("acceptance 39: a cancel request may come by another way than its session", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(onUnix(folder.path));
    const client = await rawClient({ host: folder.path, port: pooler.port });
    const session = await client.startup();
    const { client: watcher } = await pooler.login();
    for (const way of [pooler.port, { host: folder.path, port: pooler.port }]) {
      const sleeping = client.query("select pg_sleep(64)");
      const running =
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(64)' and state = 'active'";
      await waitUntil(async () => (await value(watcher, running)) === "1", "the statement runs");
      await rawCancel(way, session);
      expect(errorOf((await sleeping).find(({ kind }) => kind === "ErrorResponse"))).toMatchObject({
        code: "57014",
      });
    }
    client.destroy();
    watcher.destroy();
  });

  test("unix_socket_mode: the file has the mode that is asked for, and is gone afterwards", async () => {
    await using folder = await tempFolder();
    const pooler = await startPooler(onUnix(folder.path, { unix_socket_mode: "0700" }));
    const file = path.join(folder.path, `.s.PGSQL.${pooler.port}`);
    expect((await stat(file)).mode & 0o777).toBe(0o700);
    await pooler[Symbol.asyncDispose]();
    expect(existsSync(file)).toBe(false);
  });

  test("unix_socket_group, by name and by number: the file is the group's", async () => {
    await using folder = await tempFolder();
    // Root may give it to any group, others to one that they are in.
    const [id, name] =
      process.getuid?.() === 0
        ? [1, "daemon"]
        : [Number(execFileSync("id", ["-g"])), String(execFileSync("id", ["-gn"])).trim()];
    for (const group of [name, String(id)]) {
      const settings = { unix_socket_group: group, unix_socket_mode: "0770" };
      await using pooler = await startPooler(onUnix(folder.path, settings));
      const { gid, mode } = await stat(path.join(folder.path, `.s.PGSQL.${pooler.port}`));
      expect({ gid, mode: mode & 0o777 }).toEqual({ gid: id, mode: 0o770 });
    }
  });

  test("unix_socket_group that does not exist ends the start, and leaves no file", async () => {
    await using folder = await tempFolder();
    await expect(startPooler(onUnix(folder.path, { unix_socket_group: "no such group" }))).rejects.toThrow(
      'cannot give the Unix socket to unix_socket_group "no such group": there is no such group',
    );
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("a file that a killed process has left is replaced; one in use is not", async () => {
    await using folder = await tempFolder();
    const settings = { listen_addr: "", listen_port: 7655 };
    const file = path.join(folder.path, ".s.PGSQL.7655");
    await using first = await startPooler(onUnix(folder.path, settings));
    expect(first.port).toBe(7655);
    await expect(startPooler(onUnix(folder.path, settings))).rejects.toThrow(
      `another process listens on ${file}`,
    );
    const client = await rawClient({ host: folder.path, port: 7655 });
    await client.startup();
    client.destroy();
    const stale = path.join(folder.path, ".s.PGSQL.7656");
    await leaveStaleSocket(stale);
    await using second = await startPooler(onUnix(folder.path, { ...settings, listen_port: 7656 }));
    const other = await rawClient({ host: folder.path, port: 7656 });
    await other.startup();
    other.destroy();
    expect(second.port).toBe(7656);
  });

  test.runIf(process.platform === "linux")("an abstract name needs no file", async () => {
    const name = `@pgsluice-test-${process.pid}-${Date.now()}`;
    await using pooler = await startPooler(onUnix(name));
    const socket = net.connect({ path: `\0${name.slice(1)}/.s.PGSQL.${pooler.port}` });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.destroy();
  });
});

describe("servers", () => {
  test("acceptance 68: a server is reached and cancelled by its Unix socket", async () => {
    const { socketFolder, port } = place.lab.primary;
    await chmod(socketFolder, 0o755);
    await using pooler = await startPooler({
      node: { host: socketFolder, port, server_tls_sslmode: "require" },
      settings: { pool_mode: "transaction" },
    });
    const { client, session } = await pooler.login();
    const address = "select coalesce(inet_server_addr()::text, 'local')";
    expect(await value(client, address)).toBe("local");
    const sleeping = client.query("select pg_sleep(65)");
    const { client: watcher } = await pooler.login();
    const running =
      "select count(*) from pg_stat_activity where query = 'select pg_sleep(65)' and state = 'active'";
    await waitUntil(async () => (await value(watcher, running)) === "1", "the statement runs");
    await rawCancel(pooler.port, session);
    expect(errorOf((await sleeping).find(({ kind }) => kind === "ErrorResponse"))).toMatchObject({
      code: "57014",
    });
    client.destroy();
    watcher.destroy();
  });

  test("acceptance 74: a socket that is not there is told at once", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler({ node: { host: folder.path, port: 5432 } });
    expect(await pooler.refusal()).toMatchObject({ severity: "FATAL", message: "connect failed" });
    expect(pooler.log).toContain("ENOENT");
  });
});

/** A socket file that nobody listens on: bound, then moved out of the way of its owner's tidying up. */
async function leaveStaleSocket(file: string): Promise<void> {
  const server = net.createServer();
  const draft = `${file}.draft`;
  await new Promise<void>((resolve) => server.listen({ path: draft }, resolve));
  await rename(draft, file);
  await writeFile(draft, "");
  await new Promise((resolve) => server.close(resolve));
}
