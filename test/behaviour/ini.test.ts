/** `pgsluice FILE.ini`: started in PgBouncer's place, with its file and its command line. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { CliProgram, openTemporaryFolder } from "./cli-program.ts";

const password = "app-secret";
const debian = readFileSync(new URL("../fixtures/debian-pgbouncer.ini", import.meta.url), "utf8");

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.start({ auth: ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256"] });
  const admin = new pg.Client({ host: lab.primary.socketFolder, port: lab.primary.port, user: "postgres" });
  await admin.connect();
  await admin.query(`create role app login password '${password}'`);
  await admin.end();
});
afterAll(() => lab.stop());

/** The files of one pooler in a folder of their own. */
class Place implements Disposable {
  readonly #folder = openTemporaryFolder();
  readonly file: string = this.path("pgbouncer.ini");

  path(name: string): string {
    return path.join(this.#folder, name);
  }

  /** Debian's file with its paths in this folder, and with these lines behind it. */
  write(...lines: string[]): void {
    // An ordinary user has to write here too.
    chmodSync(path.dirname(this.file), 0o777);
    writeFileSync(this.path("userlist.txt"), `"app" "${password}"\n`);
    const text = debian
      .replace("/etc/pgbouncer/userlist.txt", this.path("userlist.txt"))
      .replace("/var/log/postgresql/pgbouncer.log", this.path("pgbouncer.log"))
      .replace("/var/run/postgresql/pgbouncer.pid", this.path("pgbouncer.pid"))
      .replace("unix_socket_dir = /var/run/postgresql", `unix_socket_dir = ${path.dirname(this.file)}`);
    const database = `[databases]\npostgres = host=127.0.0.1 port=${lab.primary.port}`;
    writeFileSync(this.file, `${text}\nlisten_port = 0\n${lines.join("\n")}\n${database}\n`);
  }

  log(name = "pgbouncer.log"): string {
    return existsSync(this.path(name)) ? readFileSync(this.path(name), "utf8") : "";
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

const listening = /LOG listening on (?:127\.0\.0\.1|\[::1\]):(\d+)/;

function client(port: number | string, host = "localhost"): pg.Client {
  return new pg.Client({ host, port: Number(port), user: "app", password, database: "postgres" });
}

async function askedBy(connection: pg.Client): Promise<unknown> {
  await connection.connect();
  const { rows } = await connection.query("select current_user as name");
  await connection.end();
  return rows;
}

describe("Debian's pgbouncer.ini", () => {
  test("starts, serves on TCP and the Unix socket, and writes PgBouncer's log lines", async () => {
    using place = new Place();
    place.write();
    await using program = new CliProgram(place.file);
    const [, port = ""] = await program.printed("stderr", listening);
    expect(await askedBy(client(port))).toEqual([{ name: "app" }]);
    expect(await askedBy(client(port, path.dirname(place.file)))).toEqual([{ name: "app" }]);
    const stranger = new pg.Client({ host: "localhost", port: Number(port), user: "app", password: "wrong" });
    await expect(stranger.connect()).rejects.toMatchObject({ code: "28P01" });
    await program.printed("stderr", /closing because: password authentication failed/);

    const log = place.log();
    const stamp = String.raw`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\]`;
    const who = String.raw`C-0x[0-9a-f]+: postgres/app@`;
    for (const line of [
      `LOG listening on unix:${path.dirname(place.file)}/.s.PGSQL.${port}$`,
      "LOG process up: pgsluice ",
      String.raw`LOG ${who}\S+:\d+ login attempt: db=postgres user=app tls=no$`,
      `LOG ${who}unix:${port} login attempt: db=postgres user=app tls=no$`,
      String.raw`LOG S-0x[0-9a-f]+: postgres/app@127\.0\.0\.1:${lab.primary.port} new connection to server \(from 127\.0\.0\.1:\d+\)$`,
      String.raw`LOG ${who}\S+ closing because: client close\S* .*\(age=\d+s\)$`,
      String.raw`WARNING C-0x[0-9a-f]+: \S+/app@\S+ pooler error: password authentication failed$`,
    ]) {
      expect(log).toMatch(new RegExp(`${stamp} ${line}`, "m"));
    }
    for (const line of log.split("\n").filter(Boolean))
      expect(line).toMatch(new RegExp(`${stamp} [A-Z]+ \\S`));
    expect(log).not.toContain(password);
    expect(program.stderr).toBe(log);
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
  });

  test("HUP reads it again, or keeps all of the old configuration", async () => {
    using place = new Place();
    place.write();
    await using program = new CliProgram(place.file);
    const [, port = ""] = await program.printed("stderr", listening);
    expect(await askedBy(client(port))).toEqual([{ name: "app" }]);

    place.write("max_client_conn = 1", "superuser_reserved_connections = 0", "server_lifetim = 5");
    program.signal("SIGHUP");
    await program.printed(
      "stderr",
      /ERROR reload failed; .*server_lifetim: unknown setting; did you mean server_lifetime\?/,
    );
    const first = client(port);
    const second = client(port);
    await first.connect();
    await second.connect();
    await second.end();

    place.write("max_client_conn = 1", "superuser_reserved_connections = 0", "pkt_buf = 8192");
    program.signal("SIGHUP");
    await program.printed("stderr", /LOG config reloaded, changed: .*pgsluice\.max_client_conn/);
    await program.printed("stderr", /WARNING these settings have no effect here .*pkt_buf/);
    await expect(client(port).connect()).rejects.toMatchObject({ code: "53300" });
    await first.end();
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
  });

  test("HUP opens the log file anew", async () => {
    using place = new Place();
    place.write();
    await using program = new CliProgram("--quiet", place.file);
    await waitUntil(() => listening.test(place.log()), "the pooler listens");
    renameSync(place.path("pgbouncer.log"), place.path("pgbouncer.log.1"));
    program.signal("SIGHUP");
    await waitUntil(
      () => place.log().includes("config reloaded, changed: nothing"),
      "a reload in the new log",
    );
    expect(place.log("pgbouncer.log.1")).not.toContain("config reloaded");
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(place.log()).toContain("shut down");
    expect(program.stderr).toBe("");
  });

  test("convert writes a pgsluice.toml that serves the same", async () => {
    using place = new Place();
    place.write("pkt_buf = 8192");
    const { stdout, code } = await CliProgram.run("convert", place.file);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^# .*pkt_buf has no effect here/m);
    const toml = place.path("pgsluice.toml");
    writeFileSync(toml, stdout);
    await using program = new CliProgram("start", "--config", toml);
    const [, port = ""] = await program.printed("stderr", listening);
    expect(await askedBy(client(port))).toEqual([{ name: "app" }]);
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
  });
});

describe("the command line", () => {
  test("an unknown setting refuses the start, with its line and the nearest name", async () => {
    using place = new Place();
    place.write("pool_mod = session");
    const { code, stderr } = await CliProgram.run(place.file);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /pgsluice: \S+pgbouncer\.ini:\d+: pool_mod: unknown setting; did you mean pool_mode\?/,
    );
  });

  test("log_level: --verbose logs more, --quiet nothing on standard error; start --config takes the file too", async () => {
    using place = new Place();
    place.write();
    await using program = new CliProgram("-v", place.file, "-q");
    await waitUntil(() => listening.test(place.log()), "the pooler listens");
    const [, port = ""] = listening.exec(place.log()) ?? [];
    expect(await askedBy(client(port))).toEqual([{ name: "app" }]);
    await waitUntil(() => / DEBUG /.test(place.log()), "a line for those who debug");
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(program.stderr).toBe("");
    await using other = new CliProgram("start", "--config", place.file, "--mode", "statement");
    const [, otherPort = ""] = await other.printed("stderr", listening);
    const connection = client(otherPort);
    connection.on("error", () => {});
    await connection.connect();
    await expect(connection.query("begin")).rejects.toThrow(
      "transaction blocks not allowed in statement pooling mode",
    );
    other.signal("SIGINT");
    expect(await other.exit).toBe(0);
  });

  test("a word that is neither file nor command", async () => {
    const { code, stderr } = await CliProgram.run("strat");
    expect(code).toBe(1);
    expect(stderr).toContain('there is no file and no command "strat"');
    expect(stderr).toContain("Did you mean start?");
    const missing = await CliProgram.run("./nowhere.ini");
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain("nowhere.ini: cannot be read: there is no such file");
    const pgpool = await CliProgram.run("convert", "pgpool.conf");
    expect(pgpool).toMatchObject({ code: 1, stdout: "" });
    expect(pgpool.stderr).toContain("pgpool.conf: cannot be read: there is no such file");
  });
});

describe("the pid file (pidfile)", () => {
  test("is there while the pooler is, and refuses a second one", async () => {
    using place = new Place();
    place.write();
    await using program = new CliProgram(place.file);
    await program.printed("stderr", listening);
    const pid = Number(readFileSync(place.path("pgbouncer.pid"), "utf8"));
    process.kill(pid, 0);
    const second = await CliProgram.run(place.file);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain("exists, another instance running?");
    expect(Number(readFileSync(place.path("pgbouncer.pid"), "utf8"))).toBe(pid);
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(existsSync(place.path("pgbouncer.pid"))).toBe(false);
  });

  test("of a process that is gone is replaced; one with something else in it is not", async () => {
    using place = new Place();
    place.write();
    writeFileSync(place.path("pgbouncer.pid"), `${await pidOfTheDead()}\n`);
    await using program = new CliProgram(place.file);
    await program.printed("stderr", listening);
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    writeFileSync(place.path("pgbouncer.pid"), "important\n");
    const { code } = await CliProgram.run(place.file);
    expect(code).toBe(1);
    expect(readFileSync(place.path("pgbouncer.pid"), "utf8")).toBe("important\n");
  });
});

describe("--daemon", () => {
  test("returns when clients can connect, and leaves a process of its own", async () => {
    using place = new Place();
    place.write();
    const { code, stderr } = await CliProgram.run("-d", place.file);
    expect([code, stderr]).toEqual([0, ""]);
    const pid = Number(readFileSync(place.path("pgbouncer.pid"), "utf8"));
    try {
      const [, port = ""] = listening.exec(place.log()) ?? [];
      expect(await askedBy(client(port))).toEqual([{ name: "app" }]);
    } finally {
      process.kill(pid, "SIGINT");
    }
    await waitUntil(() => !existsSync(place.path("pgbouncer.pid")), "the end of the pooler");
  });

  test("tells what is wrong, and needs a pid file and a log file", async () => {
    using place = new Place();
    place.write("logfile =");
    const noLog = await CliProgram.run("-d", place.file);
    expect(noLog).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("--daemon needs the setting logfile") as string,
    });
    place.write("pidfile =");
    const noPid = await CliProgram.run("--daemon", place.file);
    expect(noPid).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("--daemon needs the setting pidfile") as string,
    });
    place.write(`logfile = ${place.path("no/such/folder")}`);
    const failed = await CliProgram.run("-d", place.file);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/pgsluice: logfile \S+ cannot be opened/);
    expect(existsSync(place.path("pgbouncer.pid"))).toBe(false);
  });
});

describe.skipIf(process.getuid?.() !== 0)("as root", () => {
  test("--user becomes that user before anything is written", async () => {
    using place = new Place();
    place.write();
    await using program = new CliProgram("-u", "nobody", place.file);
    const [, port = ""] = await program.printed("stderr", listening);
    const { uid } = statSync(place.path("pgbouncer.log"));
    expect(uid).toBeGreaterThan(0);
    expect(statSync(place.path("pgbouncer.pid")).uid).toBe(uid);
    expect(statSync(place.path(`.s.PGSQL.${port}`)).uid).toBe(uid);
    expect(program.stderr).not.toContain("running as root");
    expect(await askedBy(client(port))).toEqual([{ name: "app" }]);
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(existsSync(place.path("pgbouncer.pid"))).toBe(false);
  });

  test("a user that does not exist refuses the start; without one there is a warning", async () => {
    using place = new Place();
    place.write();
    const { code, stderr } = await CliProgram.run("--user=no-such-user", place.file);
    expect(code).toBe(1);
    expect(stderr).toContain('cannot become user "no-such-user": there is no such user');
    await using program = new CliProgram(place.file);
    await program.printed("stderr", /LOG running as root/);
  });
});

/** A process id that belonged to a process which has ended. */
async function pidOfTheDead(): Promise<number> {
  const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
  await new Promise((resolve) => child.once("exit", resolve));
  return child.pid ?? 0;
}
