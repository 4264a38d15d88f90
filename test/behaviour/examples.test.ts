/** What lies in examples/ does what it says: the files are used as they are, with other ports and certificates. */
import { execFile, spawn } from "node:child_process";
import { cp, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import { expect, test } from "vitest";
import { Lab, makeCertificates } from "../../src/lab/index.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { CliProgram } from "./cli-program.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const examples = path.join(root, "examples");

test("pgsluice.toml and userlist.txt: SCRAM and TLS on both sides, one database, no password of app", async () => {
  await using folder = await tempFolder();
  await cp(examples, folder.path, { recursive: true });
  const tls = path.join(folder.path, "tls");
  const made = await makeCertificates(tls);
  await rename(made.server.certificateFile, path.join(tls, "pooler.crt"));
  await rename(made.server.keyFile, path.join(tls, "pooler.key"));
  await using lab = await Lab.start({
    tls: { server: made.server },
    auth: [
      "local all all trust",
      "hostssl all all 127.0.0.1/32 scram-sha-256",
      "hostssl all all ::1/128 scram-sha-256",
    ],
  });
  const admin = new pg.Client({ host: lab.primary.socketFolder, port: lab.primary.port, user: "postgres" });
  await admin.connect();
  const [, secret] =
    /"app" "(SCRAM[^"]+)"/.exec(await readFile(path.join(examples, "userlist.txt"), "utf8")) ?? [];
  await admin.query(`create role app login password '${secret}'`);
  await admin.query("create role reports login password 'another example'");
  await admin.query("create database app");
  await admin.end();

  const file = path.join(folder.path, "pgsluice.toml");
  const toml = await readFile(file, "utf8");
  expect(toml).toContain("port = 5432");
  await writeFile(file, toml.replace("port = 5432", `port = ${lab.primary.port}`));
  await using program = new CliProgram("start", "--config", file, "--port", "0");
  const [, port] = await program.printed("stderr", /"port":(\d+)\},"msg":"listening"/);
  const connect = async (options: pg.ClientConfig): Promise<pg.Client> => {
    const ssl = { ca: made.authority.certificate, servername: "localhost" };
    const client = new pg.Client({ host: "127.0.0.1", port: Number(port), database: "app", ssl, ...options });
    await client.connect();
    return client;
  };

  for (const [user, password] of [
    ["app", "example"],
    ["reports", "another example"],
  ]) {
    const client = await connect({ user, password });
    expect(
      (await client.query("select current_user as name, ssl from pg_stat_ssl where pid = pg_backend_pid()"))
        .rows,
    ).toEqual([{ name: user, ssl: true }]);
    await client.end();
  }
  const app = { user: "app", password: "example" };
  await expect(connect({ ...app, password: "wrong" })).rejects.toMatchObject({ code: "28P01" });
  await expect(connect({ ...app, database: "postgres" })).rejects.toThrow("no such database: postgres");
  await expect(connect({ ...app, ssl: false })).rejects.toThrow("SSL required");

  program.signal("SIGINT");
  expect(await program.exit).toBe(0);
});

test("every program in examples compiles", async () => {
  const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
  await promisify(execFile)(process.execPath, [tsc, "-p", examples]);
});

test("embed.ts starts a pooler by the package's public exports, and ends with Ctrl-C", async () => {
  await using lab = await Lab.start();
  const program = spawn(
    process.execPath,
    ["--import", "tsx", path.join(examples, "embed.ts"), lab.primary.url("postgres", "postgres")],
    { cwd: root, stdio: ["ignore", "pipe", "inherit"] },
  );
  const ended = new Promise<number | null>((resolve) => {
    program.once("close", resolve);
  });
  try {
    const lines = createInterface(program.stdout)[Symbol.asyncIterator]();
    const client = new pg.Client(String((await lines.next()).value));
    await client.connect();
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    await client.end();
    program.kill("SIGINT");
    expect((await lines.next()).value).toMatch(/^at the end: \{ sessions: \d+,.* servers: [12],/);
    expect(await ended).toBe(0);
  } finally {
    program.kill("SIGKILL");
  }
});
