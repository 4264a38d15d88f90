/** What a reload of `pgsluice start` does with secrets that stand elsewhere, with mistakes, and with databases that are gone. */
import { chmod, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { CliProgram } from "./cli-program.ts";
import { table } from "./console-client.ts";
import { Client } from "./pooled.ts";

const place = useLab();

class Folder {
  readonly folder: TempFolder;
  readonly file: string;

  constructor(folder: TempFolder) {
    this.folder = folder;
    this.file = path.join(folder.path, "pgsluice.toml");
  }

  async write(settings: string, tables: string): Promise<void> {
    const { host, port } = place.lab.primary;
    const node = `[nodes.main]\nhost = "${host}"\nport = ${port}`;
    await writeFile(this.file, `[pgsluice]\nlisten_port = 0\n${settings}\n${node}\n${tables}\n`);
  }

  async secret(name: string, content: string): Promise<void> {
    await writeFile(path.join(this.folder.path, name), content, { mode: 0o600 });
  }
}

async function portOf(program: CliProgram): Promise<number> {
  const [, port] = await program.printed("stderr", /"port":(\d+)/);
  return Number(port);
}

const reloaded = /"changed":(\[[^\]]*\]),"msg":"configuration reloaded"/g;

/** Waits for the log line of one more reload that worked; returns what changed. */
async function untilReloaded(program: CliProgram, count: number): Promise<unknown> {
  await program.printed("stderr", new RegExp(`(?:"configuration reloaded"[^]*){${count}}`));
  return JSON.parse([...program.stderr.matchAll(reloaded)][count - 1]?.[1] ?? "null");
}

test("secrets from a file and from the environment are taken anew by a reload, and are never shown", async () => {
  await using temporary = await tempFolder();
  const folder = new Folder(temporary);
  await folder.secret("app.secret", "first-secret\n");
  process.env["PGSLUICE_TEST_ADMIN"] = "admin-secret";
  await folder.write(
    'admin_users = ["boss"]',
    '[users.postgres]\npassword = { file = "app.secret" }\n[users.boss]\npassword = { env = "PGSLUICE_TEST_ADMIN" }',
  );
  await using program = new CliProgram("start", "--config", folder.file);
  delete process.env["PGSLUICE_TEST_ADMIN"];
  const at = { host: "127.0.0.1", port: await portOf(program) };
  using console = await Client.connect(at, { user: "boss", password: "admin-secret", database: "pgbouncer" });
  const asUser = (password: string): Promise<Client> => Client.connect(at, { user: "postgres", password });
  using first = await asUser("first-secret");
  expect(await first.value("select 1")).toBe("1");

  await folder.secret("app.secret", "second-secret");
  expect((await console.run("reload")).tags).toEqual(["RELOAD"]);
  expect(await untilReloaded(program, 1)).toEqual(["users.postgres"]);
  await expect(asUser("first-secret")).rejects.toThrow("28P01");
  using second = await asUser("second-secret");
  expect(await second.value("select 2")).toBe("2");

  await folder.secret("app.secret", "");
  expect((await console.run("reload")).error?.code).toBe("F0000");
  await program.printed("stderr", /users\.postgres\.password: \S+app\.secret is empty/);
  using third = await asUser("second-secret");
  expect(await third.value("select 3")).toBe("3");

  await folder.secret("app.secret", "third-secret");
  await chmod(path.join(temporary.path, "app.secret"), 0o644);
  await console.run("reload");
  await program.printed("stderr", /every user of this machine can read \S+app\.secret; chmod 600/);
  expect(JSON.stringify(await table(console, "show config"))).not.toMatch(/-secret/);
  program.signal("SIGINT");
  expect(await program.exit).toBe(0);
  expect(program.stdout + program.stderr).not.toMatch(/(?:first|second|third|admin)-secret/);
});

test("a secret that is not there ends the start with 1 and says which", async () => {
  await using temporary = await tempFolder();
  const folder = new Folder(temporary);
  await folder.write("", '[users.app]\npassword = { env = "PGSLUICE_TEST_NOT_SET" }');
  const { code, stderr } = await CliProgram.run("start", "--config", folder.file);
  expect(code).toBe(1);
  expect(stderr).toBe(
    `pgsluice: ${folder.file}: users.app.password: the environment variable PGSLUICE_TEST_NOT_SET is not set\n`,
  );
});

test("a reload applies all of a file or nothing: of several changes beside a mistake none takes effect", async () => {
  await using temporary = await tempFolder();
  const folder = new Folder(temporary);
  const users = '[users.postgres]\npassword = "p"';
  const base = 'auth_type = "trust"\nadmin_users = ["postgres"]';
  await folder.write(`${base}\ndefault_pool_size = 5`, users);
  await using program = new CliProgram("start", "--config", folder.file);
  const at = { host: "127.0.0.1", port: await portOf(program) };
  using console = await Client.connect(at, { database: "pgbouncer" });
  const inForce = async (): Promise<unknown[]> =>
    (await table(console, "show config"))
      .filter(({ key }) => ["default_pool_size", "listen_backlog", "query_timeout"].includes(key ?? ""))
      .map(({ key, value }) => `${key} ${value}`);
  const before = await inForce();

  for (const mistake of [
    `${base}\ndefault_pool_size = 7\nquery_timeout = 8\nmin_pool_size = 9`,
    `${base}\ndefault_pool_size = 7\nquery_timeout = -1`,
    `${base}\ndefault_pool_size = 7\nauth_file = "nowhere.txt"`,
    `${base}\ndefault_pool_size = 7\nquery_timout = 8`,
    `${base}\ndefault_pool_size = 7\n[`,
  ]) {
    await folder.write(mistake, users);
    expect((await console.run("reload")).error?.code, mistake).toBe("F0000");
    expect(await inForce(), mistake).toEqual(before);
  }

  await folder.write(`${base}\ndefault_pool_size = 7\nquery_timeout = 8\nlisten_backlog = 9`, users);
  await console.run("reload");
  expect(await untilReloaded(program, 1)).toEqual(
    expect.arrayContaining(["pgsluice.default_pool_size", "pgsluice.query_timeout"]),
  );
  await program.printed(
    "stderr",
    /"settings":\["pgsluice.listen_backlog"\],"msg":"these settings take effect after/,
  );
  expect(await inForce()).toEqual(["default_pool_size 7", before[1], "query_timeout 8"]);
});

test("a database that a reload removes drains: its transactions end, nobody new comes in, then its pool goes", async () => {
  await using temporary = await tempFolder();
  const folder = new Folder(temporary);
  const base =
    'auth_type = "trust"\nadmin_users = ["postgres"]\npool_mode = "transaction"\nserver_login_retry = 0.1';
  const others = "[databases.other]\ndbname = 'postgres'";
  await folder.write(base, `${others}\n[databases.leaving]\ndbname = 'postgres'`);
  await using program = new CliProgram("start", "--config", folder.file);
  const at = { host: "127.0.0.1", port: await portOf(program) };
  using console = await Client.connect(at, { database: "pgbouncer" });
  using client = await Client.connect(at, { database: "leaving" });
  await client.run("begin");
  const serverCount = async (): Promise<number> =>
    (await table(console, "show servers")).filter(({ database }) => database === "leaving").length;
  expect(await serverCount()).toBe(1);

  await folder.write(base, others);
  expect((await console.run("reload")).tags).toEqual(["RELOAD"]);
  await expect(Client.connect(at, { database: "leaving" })).rejects.toThrow("3D000");
  expect(await client.value("select 1")).toBe("1");
  expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
  expect(await serverCount()).toBe(0);
  await expect(client.run("select 2")).rejects.toThrow("3D000: database removed");
  const pools = async (): Promise<unknown[]> =>
    (await table(console, "show pools")).map(({ database }) => database);
  await expect.poll(pools, { timeout: 30_000 }).not.toContain("leaving");
  using other = await Client.connect(at, { database: "other" });
  expect(await other.value("select 3")).toBe("3");
});
