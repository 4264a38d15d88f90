/** `pgsluice demo`, and the parts of the command line that need no database. */
import { readdirSync, rmSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import pg from "pg";
import { describe, expect, test } from "vitest";
import { CliProgram, openTemporaryFolder } from "./cli-program.ts";

interface Ready {
  readonly url: string;
  readonly nodes: readonly { readonly name: string; readonly role: string; readonly url: string }[];
}

async function ready(program: CliProgram): Promise<Ready> {
  const [line] = await program.printed("stdout", /^\{.*\}\n/);
  return JSON.parse(line) as Ready;
}

async function valueOf(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    return Object.values(rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

describe("demo", () => {
  test("--json: a primary and a standby behind a pooler; Ctrl-C ends everything", async () => {
    await using program = new CliProgram("demo", "--json", "--port", "0");
    const { url, nodes } = await ready(program);
    expect(program.stdout.trimEnd().split("\n")).toHaveLength(1);
    expect(program.stderr).toMatch(/\[ +\d+\.\d s\] starting the pooler\n/);
    expect(nodes.map((node) => node.role)).toEqual(["primary", "standby"]);

    expect(await valueOf(url, "select 6 * 7")).toBe(42);
    expect(await valueOf(url.replace(/\/postgres$/, "/pgbouncer"), "show version")).toMatch(/^pgsluice/i);
    expect(await valueOf(nodes[0]?.url ?? "", "select pg_is_in_recovery()")).toBe(false);
    expect(await valueOf(nodes[1]?.url ?? "", "select pg_is_in_recovery()")).toBe(true);
    expect(program.leftovers()).not.toEqual([]);

    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(program.leftovers()).toEqual([]);
    expect(readdirSync(program.temporaryFolder).filter((name) => name.startsWith("pgsluice"))).toEqual([]);
    await expect(valueOf(url, "select 1")).rejects.toThrow("ECONNREFUSED");
  });

  test("for a person: an address to copy; a busy client does not keep it from ending", async () => {
    await using program = new CliProgram("demo", "--standbys", "0", "--port", "0", "--mode", "session");
    const [, url = ""] = await program.printed("stdout", /psql "(postgres:[^"]+)"/);
    const client = new pg.Client(url);
    const errors: string[] = [];
    client.on("error", (error) => errors.push(error.message));
    await client.connect();
    const sleep = client.query("select pg_sleep(60)").catch((error: unknown) => error);
    // As npm does it: the same Ctrl-C arrives twice.
    program.signal("SIGINT");
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(await sleep).toBeInstanceOf(Error);
    expect(program.leftovers()).toEqual([]);
  });

  test("Ctrl-C in the middle of the start", async () => {
    await using program = new CliProgram("demo", "--port", "0");
    await program.printed("stderr", /creating/);
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
    expect(program.stdout).toBe("");
    expect(program.leftovers()).toEqual([]);
    expect(readdirSync(program.temporaryFolder).filter((name) => name.startsWith("pgsluice"))).toEqual([]);
  });

  test("--data keeps the data for a second start", async () => {
    const folder = openTemporaryFolder();
    const data = path.join(folder, "data");
    const start = (): CliProgram =>
      new CliProgram("demo", "--json", "--standbys", "0", "--port", "0", "--data", data);
    try {
      {
        await using program = start();
        const { url } = await ready(program);
        await valueOf(url, "create table kept as select 7 as value");
        program.signal("SIGTERM");
        expect(await program.exit).toBe(0);
      }
      await using program = start();
      const { url } = await ready(program);
      expect(await valueOf(url, "select value from kept")).toBe(7);
      program.signal("SIGINT");
      expect(await program.exit).toBe(0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("a busy port is named, with the flag that helps, before anything is started", async () => {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as net.AddressInfo;
    try {
      const { code, stdout, stderr } = await CliProgram.run("demo", "--port", String(port));
      expect(code).toBe(1);
      expect(stdout).toBe("");
      expect(stderr).toContain(`port ${port} on 127.0.0.1 is in use`);
      expect(stderr).toContain("--port");
      expect(stderr).not.toContain("creating");
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

describe("the command line", () => {
  test("--version and --help", async () => {
    expect(await CliProgram.run("--version")).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string,
      stderr: "",
    });
    const { code, stdout } = await CliProgram.run("--help");
    expect(code).toBe(0);
    for (const command of ["start", "demo", "bench"]) expect(stdout).toContain(command);
  });

  test.each([
    [["demo", "--prot", "1"], "Did you mean --port?"],
    [["demo", "--port", "x"], "It must be an integer from 0 to 65535."],
    [["demo", "--mode", "both"], "session, transaction, statement"],
    [["demo", "--set", "x"], "It must have the form name=value."],
    [["strat"], "Did you mean start?"],
    [["start"], "--upstream postgres://"],
    [["start", "--config", "/nowhere/pgsluice.toml"], "there is no such file"],
    [["start", "--config", "a", "--upstream", "b"], "cannot be used with"],
    [
      ["start", "--upstream", "postgres://u:p@h/d", "--set", "pool_sise=1"],
      "pgsluice.pool_sise: unknown setting",
    ],
    [["start", "--upstream", "postgres://u@h/d", "--listen", "*"], '"trust" lets anybody in'],
    [["start", "--upstream", "postgres://u:p@h:x/d"], "port"],
  ])("acceptance 8: %j ends with 1 and says why", async (args, text) => {
    const { code, stdout, stderr } = await CliProgram.run(...args);
    expect(stderr).toContain(text);
    expect(stderr).not.toContain("    at ");
    expect(stdout).toBe("");
    expect(code).toBe(1);
  });
});
