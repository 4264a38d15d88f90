/** `pgsluice init`: the questions, and the file that comes of them. As a program: test/behaviour/check.test.ts. */
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { PassThrough } from "node:stream";
import { Ajv } from "ajv";
import { Command } from "commander";
import { parse } from "smol-toml";
import { describe, expect, test } from "vitest";
import { askFor, registerInit } from "../../../src/cli/init.ts";
import { schemaUrl } from "../../../src/cli/package-files.ts";
import { parseConfig } from "../../../src/config/load.ts";
import type { Config } from "../../../src/config/schema.ts";
import { type StarterAnswers, starterConfig } from "../../../src/config/starter.ts";
import { tempFolder } from "../../kit/temp-folder.ts";

const base: StarterAnswers = {
  upstreams: [{ host: "db", port: 5432, user: "" }],
  settings: {},
  schemaUrl: "file:///schema.json",
  file: "pgsluice.toml",
};

describe("the file", () => {
  test("without answers is the smallest one, all of it commented", () => {
    const text = starterConfig(base);
    expect(parseConfig(text, "/")).toEqual(parseConfig('[nodes.primary]\nhost = "db"\nport = 5432', "/"));
    expect(text.split("\n")[0]).toBe("#:schema file:///schema.json");
  });

  test("loads too when everything behind a # is uncommented that is a setting", () => {
    const text = starterConfig(base)
      .replaceAll(/^# (\w+ = )/gm, "$1")
      .replaceAll(/^# (\[)/gm, "$1")
      .replace(/^password = .*$/m, 'password = "x"');
    const { pgsluice, users, databases } = parseConfig(text, "/etc");
    expect(pgsluice).toMatchObject({ client_tls_sslmode: "require", auth_file: "/etc/userlist.txt" });
    expect([Object.keys(users), Object.keys(databases)]).toEqual([["app"], ["app"]]);
  });

  test("carries what was asked for, whatever characters are in it", () => {
    const awkward = 'a."b\\c\u007f é';
    const text = starterConfig({
      ...base,
      upstreams: [
        { host: "one", port: 1, user: "", sslmode: "verify-full", sslrootcert: "system" },
        { host: "/run/postgresql", port: 2, user: "" },
      ],
      database: awkward,
      user: awkward,
      password: awkward,
      settings: { listen_addr: "*", listen_port: 1, pool_mode: "statement" },
    });
    const config: Config = parseConfig(text, "/");
    expect(config.nodes).toMatchObject({
      primary: { host: "one", port: 1, server_tls_sslmode: "verify-full", server_tls_ca_file: "system" },
      standby1: { host: "/run/postgresql", port: 2, role: "standby" },
    });
    expect(config.databases).toMatchObject({ [awkward]: { node: "primary" } });
    expect(config.users).toMatchObject({ [awkward]: { password: awkward } });
    expect(config.pgsluice).toMatchObject({ listen_addr: "*", listen_port: 1, pool_mode: "statement" });
  });

  test("keeps to the JSON Schema that it names", async () => {
    const schema = JSON.parse(await readFile(new URL(schemaUrl), "utf8")) as object;
    const validate = new Ajv({ allowUnionTypes: true }).compile(schema);
    for (const password of ["p", { env: "NAME" }]) {
      validate(parse(starterConfig({ ...base, user: "u", database: "d", password })));
      expect(validate.errors).toBeNull();
    }
  });
});

describe("the questions", () => {
  async function answer(given: Parameters<typeof askFor>[0], ...lines: string[]): Promise<unknown> {
    const input = new PassThrough();
    const output = new PassThrough();
    const answers = askFor(given, input, output);
    // Each line is an answer to a question that has been asked.
    output.on("data", (chunk: Buffer) => {
      if (chunk.toString().endsWith("]: ")) input.write(`${lines.shift() ?? ""}\n`);
    });
    return await answers;
  }

  test("have usual answers", async () => {
    expect(await answer({})).toMatchObject({ upstream: "postgres://127.0.0.1:5432", port: 6432 });
  });

  test("ask for a variable only if there is a user without a password", async () => {
    expect(await answer({}, "postgres://app@db/x", "APP_PASSWORD", "7000", "session")).toEqual({
      upstream: "postgres://app@db/x",
      passwordEnv: "APP_PASSWORD",
      port: 7000,
      mode: "session",
    });
    expect(await answer({}, "postgres://app:secret@db/x", "7000", "session")).toEqual({
      upstream: "postgres://app:secret@db/x",
      port: 7000,
      mode: "session",
    });
  });

  test("are not asked where a flag has answered", async () => {
    expect(await answer({ port: 1, mode: "statement", passwordEnv: "X" }, "postgres://app@db/x")).toEqual({
      upstream: "postgres://app@db/x",
      passwordEnv: "X",
      port: 1,
      mode: "statement",
    });
  });
});

describe("the command", () => {
  async function run(...args: string[]): Promise<void> {
    const program = new Command().exitOverride();
    registerInit(program);
    await program.parseAsync(["init", ...args], { from: "user" });
  }

  test("overwrites only by force, and closes a file that was open before a secret is in it", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "a.toml");
    await writeFile(file, "mine");
    await chmod(file, 0o644);
    const upstream = ["--upstream", "postgres://app:secret@db/app"];
    await expect(run(file, ...upstream)).rejects.toThrow(`${file} is there already`);
    expect(await readFile(file, "utf8")).toBe("mine");
    await run(file, ...upstream, "--force");
    expect(await readFile(file, "utf8")).toContain('password = "secret"');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test("writes a variable's name without having to know its value", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "a.toml");
    await run(file, "--upstream", "postgres://app@db/app", "--password-env", "PGSLUICE_TEST_NOT_SET");
    expect(await readFile(file, "utf8")).toContain('password = { env = "PGSLUICE_TEST_NOT_SET" }');
  });

  test.each([
    [["a.ini"], "init writes TOML"],
    [["a.toml", "--password-env", "X"], "--password-env needs a user"],
    [["/nowhere/a.toml"], "/nowhere/a.toml cannot be written: ENOENT"],
    [["a.toml", "--upstream", "postgres://a@b/c?sslcrl=x"], '--upstream cannot carry "sslcrl"'],
  ])("refuses %j", async (args, message) => {
    await expect(run(...args)).rejects.toThrow(message);
  });
});
