/** No secret gets into any log: a whole run at the highest verbosity, with secrets in every place that has some. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { CliProgram } from "./cli-program.ts";

const secrets = {
  plain: "plain-secret-1f",
  scram: "scram-secret-2e",
  server: "server-secret-3d",
  wrong: "wrong-secret-4c",
  statement: "statement-secret-5b",
  set: "set-secret-6a",
  broken: "broken-secret-77",
} as const;

let lab: Lab;
let scramSecret = "";
const searched = process.env["PATH"];

beforeAll(async () => {
  lab = await Lab.start({ auth: ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256"] });
  const admin = new pg.Client({ host: lab.primary.socketFolder, port: lab.primary.port, user: "postgres" });
  await admin.connect();
  await admin.query(
    `create role plain login password '${secrets.plain}'; create role scrammed login password '${secrets.scram}'; create role server login password '${secrets.server}'`,
  );
  const { rows } = await admin.query("select rolpassword from pg_authid where rolname = 'scrammed'");
  scramSecret = (rows as { rolpassword: string }[])[0]?.rolpassword ?? "";
  await admin.end();
});
afterAll(async () => {
  process.env["PATH"] = searched;
  await lab.stop();
});

/** The pooler's files in one folder. */
class Files {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    // In the place of util-linux's: it writes down what it is sent.
    const stand = `case "$1" in --version) echo util-linux;; *) exec cat >>'${this.path("syslog.log")}';; esac`;
    writeFileSync(this.path("logger"), `#!/bin/sh\n${stand}\n`);
    chmodSync(this.path("logger"), 0o755);
    process.env["PATH"] = `${folder}:${searched}`;
    writeFileSync(
      this.path("userlist.txt"),
      `"plain" "${secrets.plain}"\n"scrammed" "${scramSecret}"\n"server" "${secrets.server}"\n`,
    );
    const rules = ["host all plain 127.0.0.1/32 password", "host all all 127.0.0.1/32 md5", ""];
    writeFileSync(this.path("hba.conf"), rules.join("\n"));
  }

  path(name: string): string {
    return path.join(this.#folder, name);
  }

  read(name: string): string {
    return readFileSync(this.path(name), "utf8");
  }

  /** pgbouncer.ini, with a further line among the databases. */
  configure(further = ""): void {
    const place = `host=127.0.0.1 port=${lab.primary.port}`;
    const settings = [
      ...["listen_addr = 127.0.0.1", "listen_port = 0", "unix_socket_dir =", "pool_mode = transaction"],
      ...["verbose = 3", "syslog = 1", `logfile = ${this.path("pooler.log")}`, "admin_users = scrammed"],
      ...["auth_type = hba", `auth_hba_file = ${this.path("hba.conf")}`],
      ...[`auth_file = ${this.path("userlist.txt")}`, ""],
    ];
    const forced = `forced = ${place} dbname=postgres user=server password='${secrets.server}'`;
    const databases = ["[databases]", `postgres = ${place}`, forced, further, "[pgbouncer]"];
    writeFileSync(this.path("pgbouncer.ini"), [...databases, ...settings].join("\n"));
  }
}

/** Runs statements; returns all that was answered, refusals included. */
async function answers(
  port: string,
  [user, password, database]: readonly [string, string, string],
  ...statements: string[]
): Promise<string[]> {
  const client = new pg.Client({ host: "127.0.0.1", port: Number(port), user, password, database });
  client.on("error", () => undefined);
  const said: string[] = [];
  try {
    await client.connect();
    for (const sql of statements) said.push(JSON.stringify((await client.query(sql)).rows));
  } catch (error) {
    said.push((error as Error).message);
  }
  await client.end().catch(() => undefined);
  return said;
}

test("on standard error, in logfile, in syslog, and in what the console says", async () => {
  await using folder = await tempFolder();
  const files = new Files(folder.path);
  files.configure();
  await using program = new CliProgram(files.path("pgbouncer.ini"));
  const [, port = ""] = await program.printed("stderr", /LOG listening on 127\.0\.0\.1:(\d+)/);

  for (const database of ["postgres", "forced"]) {
    await answers(port, ["plain", secrets.plain, database], "select 1");
    await answers(
      port,
      ["scrammed", secrets.scram, database],
      "select 1",
      `select '${secrets.statement}'::int`,
    );
    for (const user of ["plain", "scrammed", "nobody"]) await answers(port, [user, secrets.wrong, database]);
  }
  const admin = ["scrammed", secrets.scram, "pgbouncer"] as const;
  const said: string[] = [];
  for (const name of ["config", "users", "databases", "clients", "servers", "pools", "pool_pools"]) {
    said.push(...(await answers(port, admin, `show ${name}`)));
  }
  said.push(...(await answers(port, admin, `set nonsense = '${secrets.set}'`)));
  files.configure(`broken = host=127.0.0.1 password='${secrets.broken}`);
  said.push(...(await answers(port, admin, "reload")));
  files.configure();
  said.push(...(await answers(port, admin, "reload", "shutdown")));
  expect(await program.exit).toBe(0);
  await waitUntil(() => files.read("syslog.log").includes("SHUTDOWN command issued"), "syslog has all of it");

  const logs = {
    stderr: program.stderr,
    logfile: files.read("pooler.log"),
    syslog: files.read("syslog.log"),
  };
  for (const text of Object.values(logs)) {
    for (const part of [
      "login attempt",
      "closing because: password authentication failed",
      "reload failed",
    ]) {
      expect(text).toContain(part);
    }
  }
  const console = said.join("\n");
  for (const part of ["auth_hba_file", "SET failed", "RELOAD failed"]) expect(console).toContain(part);
  const [, , scramKeys = ""] = scramSecret.split("$");
  for (const [name, text] of Object.entries({ ...logs, stdout: program.stdout, console })) {
    for (const secret of [...Object.values(secrets), ...scramKeys.split(":"), "SCRAM-SHA-256$"]) {
      expect(text.includes(secret), `${name} holds ${secret}`).toBe(false);
    }
  }
});
