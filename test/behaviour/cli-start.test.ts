/** `pgsluice start` in front of a PostgreSQL of one's own: signals, reload, exit codes. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { untilRefused } from "../kit/byte-stream.ts";
import { waitUntil } from "../kit/wait.ts";
import { CliProgram } from "./cli-program.ts";

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.start({ auth: ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256"] });
  const admin = new pg.Client({ host: lab.primary.socketFolder, port: lab.primary.port, user: "postgres" });
  await admin.connect();
  await admin.query("create role app login password 'app-secret'");
  await admin.end();
});
afterAll(() => lab.stop());

const password = "app-secret";

/** Starts a pooler in front of the lab on any free port; returns where it listens. */
async function started(program: CliProgram): Promise<number> {
  const [, port] = await program.printed("stderr", /"port":(\d+)\},"msg":"listening"/);
  return Number(port);
}

/** A client that remembers the errors it gets between queries. */
async function connect(port: number): Promise<{ client: pg.Client; lost: Promise<string> }> {
  const client = new pg.Client({ host: "127.0.0.1", port, user: "app", password, database: "postgres" });
  const lost = new Promise<string>((resolve) => {
    client.on("error", (error: Error & { code?: string }) => resolve(error.code ?? error.message));
    client.on("end", () => resolve("end"));
  });
  await client.connect();
  return { client, lost };
}

function upstream(): string {
  return `postgres://app:${password}@127.0.0.1:${lab.primary.port}/postgres`;
}

describe("start --upstream", () => {
  test("passes clients on, and asks them for the password", async () => {
    await using program = new CliProgram(
      "start",
      "--upstream",
      upstream(),
      "--port",
      "0",
      "--mode",
      "transaction",
    );
    const port = await started(program);
    const { client } = await connect(port);
    expect((await client.query("select current_user as name")).rows).toEqual([{ name: "app" }]);
    await client.end();
    const stranger = new pg.Client({
      host: "127.0.0.1",
      port,
      user: "app",
      password: "wrong",
      database: "postgres",
    });
    await expect(stranger.connect()).rejects.toMatchObject({ code: "28P01" });
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(program.stderr).not.toContain(password);
  });

  test("acceptance 2, 8: TERM lets the clients finish, takes no new ones, and exits with 0", async () => {
    await using program = new CliProgram("start", "--upstream", upstream(), "--port", "0");
    const port = await started(program);
    const { client } = await connect(port);
    await client.query("select 1");
    program.signal("SIGTERM");
    await untilRefused(port);
    expect((await client.query("select 2 as two")).rows).toEqual([{ two: 2 }]);
    await client.end();
    expect(await program.exit).toBe(0);
  });

  test("acceptance 4, 8: INT tells clients 57P01 and exits with 0", async () => {
    await using program = new CliProgram("start", "--upstream", upstream(), "--port", "0");
    const { lost } = await connect(await started(program));
    program.signal("SIGINT");
    expect(await lost).toBe("57P01");
    expect(await program.exit).toBe(0);
  });

  test("acceptance 4, 8: QUIT just closes and exits with 0", async () => {
    await using program = new CliProgram("start", "--upstream", upstream(), "--port", "0");
    const { lost } = await connect(await started(program));
    program.signal("SIGQUIT");
    expect(await lost).not.toBe("57P01");
    expect(await program.exit).toBe(0);
  });

  test("a shutdown becomes more urgent, never less", async () => {
    await using program = new CliProgram("start", "--upstream", upstream(), "--port", "0");
    const port = await started(program);
    const { lost } = await connect(port);
    program.signal("SIGTERM");
    await untilRefused(port);
    program.signal("SIGINT");
    expect(await lost).toBe("57P01");
    expect(await program.exit).toBe(0);
  });

  test("acceptance 6: USR1 closes idle servers and leaves the clients, who go on with USR2", async () => {
    await using program = new CliProgram(
      "start",
      "--upstream",
      upstream(),
      "--port",
      "0",
      "--mode",
      "transaction",
    );
    const { client } = await connect(await started(program));
    const serverPid = async (): Promise<string> =>
      String((await client.query("select pg_backend_pid() as pid")).rows[0]?.pid);
    const before = await serverPid();
    expect(await serverPid()).toEqual(before);
    program.signal("SIGUSR1");
    await waitUntil(async () => {
      const { rows } = await lab.primary.query(`select from pg_stat_activity where pid = ${before}`);
      return rows.length === 0;
    }, "its server is closed");
    program.signal("SIGUSR2");
    expect(await serverPid()).not.toEqual(before);
    await client.end();
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
  });

  test("acceptance 15: the process title says what goes on", async () => {
    // Auto mode may have opened a second server by then, if it was reading the catalogs on the first.
    const mode = ["--mode", "transaction"];
    await using program = new CliProgram("start", "--upstream", upstream(), "--port", "0", ...mode);
    const port = await started(program);
    const title = (): string =>
      execFileSync("ps", ["-o", "args=", "-p", String(program.pid)], { encoding: "utf8" }).trim();
    await waitUntil(() => title() === `pgsluice: ${port}, 0 clients, 0 servers`, "nobody is there");
    const { client } = await connect(port);
    await client.query("select 1");
    await waitUntil(() => title() === `pgsluice: ${port}, 1 clients, 1 servers`, "a client has a server");
    await client.end();
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
  });

  test("acceptance 8: a port that is taken ends it with 1", async () => {
    await using program = new CliProgram("start", "--upstream", upstream(), "--port", "0");
    const port = String(await started(program));
    const second = await CliProgram.run("start", "--upstream", upstream(), "--port", port);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`port ${port} on 127.0.0.1 is in use`);
    expect(second.stderr).toContain("--port");
  });
});

describe("start --config", () => {
  /** A config file that `write` changes. */
  function configFile(folder: string): { file: string; write: (settings: string) => void } {
    const file = path.join(folder, "pgsluice.toml");
    const write = (settings: string): void => {
      const node = `[nodes.main]\nport = ${lab.primary.port}`;
      const user = `[users.app]\npassword = "${password}"`;
      writeFileSync(file, `[pgsluice]\nlisten_port = 0\n${settings}\n${node}\n${user}\n`);
    };
    return { file, write };
  }

  test("acceptance 5: HUP applies the file at once, or nothing of it", async () => {
    await using folder = new CliProgram("--version");
    const { file, write } = configFile(folder.temporaryFolder);
    write('pool_mode = "transaction"');
    await using program = new CliProgram("start", "--config", file);
    const port = await started(program);
    const { client } = await connect(port);
    await client.query("select 1");

    write('pool_mode = "transaction"\nmax_client_conn = 0');
    program.signal("SIGHUP");
    await program.printed(
      "stderr",
      /max_client_conn.*"msg":"reload failed; the old configuration stays in force"/,
    );
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);

    write(
      'pool_mode = "transaction"\nmax_client_conn = 1\nsuperuser_reserved_connections = 0\nlisten_backlog = 7',
    );
    program.signal("SIGHUP");
    await program.printed(
      "stderr",
      /"changed":\[[^\]]*"pgsluice.max_client_conn"[^\]]*\],"msg":"configuration reloaded"/,
    );
    await program.printed(
      "stderr",
      /"settings":\["pgsluice.listen_backlog"\],"msg":"these settings take effect after/,
    );
    await expect(connect(port)).rejects.toMatchObject({ code: "53300" });
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    await client.end();

    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(program.stderr).not.toContain(password);
  });

  test("acceptance 8, 10: a mistake in the file ends the start with 1, before anything is opened", async () => {
    await using folder = new CliProgram("--version");
    const { file, write } = configFile(folder.temporaryFolder);
    write('pool_mod = "transaction"');
    const { code, stderr } = await CliProgram.run("start", "--config", file);
    expect(code).toBe(1);
    expect(stderr).toContain(`${file}: pgsluice.pool_mod: unknown setting; did you mean pool_mode?`);
  });

  test("flags win over the file, and log_format says how the log looks", async () => {
    await using folder = new CliProgram("--version");
    const { file, write } = configFile(folder.temporaryFolder);
    write('pool_mode = "statement"');
    await using program = new CliProgram(
      "start",
      "--config",
      file,
      "--mode",
      "session",
      "--set",
      "log_format=text",
    );
    await program.printed("stderr", /LOG listening/);
    const [, port] = await program.printed("stderr", /"port":(\d+)/);
    const { client } = await connect(Number(port));
    await client.query("begin");
    await client.query("rollback");
    await client.end();
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
  });
});
