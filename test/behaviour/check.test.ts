/**
 * `pgsluice check` as a program, against a primary and a standby: one test for each kind of finding. A run can have
 * many findings, so the runs are few: one for each configuration below.
 */
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CheckReport } from "../../src/check/check.ts";
import type { Finding } from "../../src/check/finding.ts";
import { CertificateAuthority, Lab } from "../../src/lab/index.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { CliProgram } from "./cli-program.ts";

const dayMs = 86_400_000;
let lab: Lab;
let folder: TempFolder;

beforeAll(async () => {
  folder = await tempFolder();
  lab = await Lab.start({
    standbys: 1,
    auth: [
      "local all all trust",
      "local replication all trust",
      "host replication all 127.0.0.1/32 trust",
      "host all banned 127.0.0.1/32 reject",
      "host all all 127.0.0.1/32 scram-sha-256",
    ],
  });
  await lab.primary.query("create role app login password 'app-secret'");
  await lab.primary.query("create role banned login password 'app-secret'");
  await lab.untilReplayed();
});
afterAll(async () => {
  await lab.stop();
  await folder[Symbol.asyncDispose]();
});

async function write(name: string, content: string, mode = 0o600): Promise<string> {
  const file = path.join(folder.path, name);
  await writeFile(file, content);
  await chmod(file, mode);
  return file;
}

interface Run extends CheckReport {
  readonly file: string;
  readonly code: number | null;
  readonly output: string;
}

async function check(...args: string[]): Promise<Run> {
  const { code, stdout, stderr } = await CliProgram.run("check", ...args, "--json");
  if (stdout === "") throw new Error(stderr);
  return { ...(JSON.parse(stdout) as Run), code, output: stdout + stderr };
}

/** Reads as `severity code place`, with what the tests want to see of the rest. */
function only(run: Run, code: string): Finding[] {
  return run.findings.filter((finding) => finding.code === code);
}

const node = (name: string, port: number, more = ""): string =>
  `[nodes.${name}]\nhost = "127.0.0.1"\nport = ${port}\n${more}\n`;

test("a configuration that is in order: exit code 0, and a line that says so", async () => {
  const file = await write(
    "good.toml",
    `[pgsluice]\ndefault_pool_size = 10\n${node("main", lab.primary.port)}[users.app]\npassword = "app-secret"`,
  );
  const { code, stdout, stderr } = await CliProgram.run("check", file);
  expect(stdout + stderr).toBe(`${file}: 0 errors, 0 warnings\n`);
  expect(code).toBe(0);
});

test("what `pgsluice init` writes for a server is in order, and readable for its owner alone", async () => {
  const file = path.join(folder.path, "init.toml");
  const url = `postgres://app:app-secret@127.0.0.1:${lab.primary.port}/postgres`;
  const made = await CliProgram.run("init", file, "--upstream", url, "--mode", "transaction");
  expect(made).toMatchObject({ code: 0, stderr: "" });
  expect(made.stdout).toContain("readable for you alone");
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await check(file)).toMatchObject({ code: 0, findings: [] });

  const again = await CliProgram.run("init", file);
  expect(again.code).toBe(1);
  expect(again.stderr).toBe(
    `pgsluice: ${file} is there already\nhint: Choose another name, or overwrite it with --force.\n`,
  );
  expect(await readFile(file, "utf8")).toContain("app-secret");
});

test("a human reads each finding with its cure", async () => {
  const file = await write("human.toml", "[pgsluice]\npool_mod = 1\n[nodes.a]\n");
  const { code, stdout } = await CliProgram.run("check", "--offline", file);
  expect(code).toBe(1);
  expect(stdout).toBe(
    `error: ${file}: pgsluice.pool_mod: unknown setting; did you mean pool_mode?\n  cure: Write pool_mode.\n${file}: 1 error, 0 warnings\n`,
  );
});

describe("files, certificates and settings, offline", () => {
  let run: Run;
  let file: string;

  beforeAll(async () => {
    const authority = new CertificateAuthority();
    const stranger = new CertificateAuthority({ commonName: "stranger" });
    const soon = authority.issue({ commonName: "pooler", validTo: new Date(Date.now() + 10.5 * dayMs) });
    const expired = authority.issue({
      commonName: "old",
      validFrom: new Date(Date.now() - 9 * dayMs),
      validTo: new Date(Date.now() - 2 * dayMs),
    });
    const later = authority.issue({ commonName: "later", validFrom: new Date(Date.now() + 2 * dayMs) });
    await write("pooler.crt", soon.certificate + stranger.certificate);
    await write("pooler.key", expired.key, 0o644);
    await write("old.crt", expired.certificate);
    await write("old.key", expired.key);
    await write("later.crt", later.certificate);
    await write(
      "later.key",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    await write("no.crt", "nothing");
    await write("users.txt", '"app" "s3cret-of-app"\n"broken\n', 0o640);
    await chmod(path.join(folder.path, "users.txt"), 0o660);
    await write("app.secret", "s3cret-in-a-file", 0o644);
    await write("hba.conf", "host all all 127.0.0.1/32 magic\nhostssl all all all md5\nlocal all all\n");
    await write("ident.conf", "");
    file = await write(
      "offline.toml",
      `[pgsluice]
auth_file = "users.txt"
auth_hba_file = "hba.conf"
auth_type = "hba"
client_tls_sslmode = "require"
client_tls_cert_file = "pooler.crt"
client_tls_key_file = "pooler.key"
[nodes.main]
server_tls_cert_file = "old.crt"
server_tls_key_file = "old.key"
server_tls_ca_file = "no.crt"
[nodes.second]
role = "standby"
server_tls_cert_file = "later.crt"
server_tls_key_file = "later.key"
[databases.app]
user = "app"
password = "s3cret-in-the-file"
[users.other]
password = { file = "app.secret" }
`,
      0o644,
    );
    run = await check(file, "--offline");
  });

  const at = (name: string): string => path.join(folder.path, name);

  test("ends with 1, has nothing to say of servers, and shows no secret", () => {
    expect(run.code).toBe(1);
    expect(run.findings.filter(({ code }) => code.startsWith("servers."))).toEqual([]);
    expect(run.output).not.toContain("s3cret");
    expect(run.output).not.toContain("PRIVATE KEY-");
  });

  test("errors come first, and each finding has a place and a cure", () => {
    const severities = run.findings.map(({ severity }) => severity);
    expect(severities).toEqual([...severities].sort());
    expect(run.findings.filter(({ place, cure }) => place === "" || cure === "")).toEqual([]);
  });

  test("a broken user list", () => {
    const [finding] = only(run, "files.userlist");
    expect(finding?.problem).toContain(`${at("users.txt")}: broken auth file: line 2: `);
  });

  test("broken rules, each with its line", () => {
    expect(only(run, "files.rules").map(({ place }) => place)).toEqual([
      `${at("hba.conf")}:1`,
      `${at("hba.conf")}:3`,
    ]);
  });

  test("files with secrets that others can read: by every user, and by the group", () => {
    expect(
      only(run, "files.exposed").map(({ place, problem, cure }) => [place, problem.split(" can")[0], cure]),
    ).toEqual([
      [file, "every user of this machine", `chmod 600 ${file}`],
      [at("app.secret"), "every user of this machine", `chmod 600 ${at("app.secret")}`],
      [at("users.txt"), "its group", `chmod 600 ${at("users.txt")}`],
      [at("pooler.key"), "every user of this machine", `chmod 600 ${at("pooler.key")}`],
    ]);
  });

  test("a certificate that expires soon is a warning", () => {
    expect(only(run, "tls.expires_soon")).toEqual([
      expect.objectContaining({
        severity: "warning",
        place: "pgsluice.client_tls_cert_file",
        problem: expect.stringContaining(`CN=pooler in ${at("pooler.crt")} expires in 10 days`) as string,
      }),
    ]);
  });

  test("a certificate that has expired, and one that is not valid yet", () => {
    expect(only(run, "tls.expired").map(({ place }) => place)).toEqual(["nodes.main.server_tls_cert_file"]);
    expect(only(run, "tls.not_yet_valid").map(({ place }) => place)).toEqual([
      "nodes.second.server_tls_cert_file",
    ]);
  });

  test("a key that is another certificate's", () => {
    expect(only(run, "tls.key_mismatch")).toEqual([
      expect.objectContaining({
        place: "pgsluice.client_tls_key_file",
        problem: `${at("pooler.key")} is not the key of ${at("pooler.crt")}`,
      }),
    ]);
  });

  test("a chain that does not hold together", () => {
    expect(only(run, "tls.chain")).toEqual([
      expect.objectContaining({
        problem: `certificate 2 of ${at("pooler.crt")} has not signed the one before it`,
      }),
    ]);
  });

  test("an encrypted key, and an authority's file without a certificate", () => {
    expect(only(run, "tls.unreadable").map(({ place, problem }) => [place, problem])).toEqual([
      ["nodes.main.server_tls_ca_file", `${at("no.crt")} holds no certificate`],
      [
        "nodes.second.server_tls_key_file",
        `${at("later.key")} is encrypted, and there is nobody to give its passphrase`,
      ],
    ]);
  });

  test("a node that no database lives on", () => {
    expect(only(run, "settings.unused_node").map(({ place }) => place)).toEqual(["nodes.second"]);
  });
});

describe("servers", () => {
  let run: Run;

  beforeAll(async () => {
    const [standby] = lab.standbys;
    const database = (name: string, more: string): string => `[databases.${name}]\n${more}\n`;
    const app = 'user = "app"\npassword = "app-secret"';
    const file = await write(
      "online.toml",
      [
        "[pgsluice]\ndefault_pool_size = 2\nserver_connect_timeout = 5",
        node("main", lab.primary.port),
        node("swapped", standby?.port ?? 0),
        node("spare", lab.primary.port, 'role = "standby"'),
        node("gone", 1),
        node("secure", lab.primary.port, 'server_tls_sslmode = "require"'),
        node("small", lab.primary.port),
        node("crowded", lab.primary.port),
        database("postgres", `node = "main"\n${app}`),
        database("nowhere", `node = "main"\n${app}`),
        database("wrong", 'node = "main"\ndbname = "postgres"\nuser = "app"\npassword = "bad-secret"'),
        database("banned", 'node = "main"\ndbname = "postgres"\nuser = "banned"\npassword = "app-secret"'),
        database("copy", `node = "swapped"\ndbname = "postgres"\n${app}`),
        database("lost", `node = "gone"\n${app}`),
        database("closed", `node = "secure"\n${app}`),
        database("template1", `node = "small"\npool_size = 98\n${app}`),
        database("one", `node = "crowded"\ndbname = "postgres"\npool_size = 60\n${app}`),
        database("two", `node = "crowded"\ndbname = "template1"\npool_size = 60\n${app}`),
        '[users.app]\npassword = "app-secret"',
      ].join("\n"),
    );
    run = await check(file);
  }, 60_000);

  const placed = (code: string): string[] =>
    only(run, code).map(({ severity, place, problem }) => `${severity} ${place}: ${problem}`);

  test("end with 1, and no secret is shown", () => {
    expect(run.code).toBe(1);
    expect(run.output).not.toMatch(/(?:app|bad)-secret/);
  });

  test("a node that cannot be reached", () => {
    expect(placed("servers.unreachable")).toEqual([
      expect.stringMatching(
        /^error nodes\.gone: connection to server at "127\.0\.0\.1", port 1 failed: connect ECONNREFUSED/,
      ),
    ]);
  });

  test("a password that the server does not take", () => {
    expect(placed("servers.credentials")).toEqual([
      expect.stringMatching(
        /^error databases\."wrong"\.password: .*password authentication failed for user "app"/,
      ),
    ]);
  });

  test("a user whom the server's rules refuse", () => {
    expect(placed("servers.refused")).toEqual([
      expect.stringMatching(
        /^error nodes\.main: .*pg_hba\.conf rejects connection for host "127\.0\.0\.1", user "banned"/,
      ),
    ]);
  });

  test("a database that is not there", () => {
    expect(placed("servers.database")).toEqual([
      expect.stringMatching(/^error databases\."nowhere": .*database "nowhere" does not exist/),
    ]);
    expect(only(run, "servers.database")[0]?.cure).toBe('CREATE DATABASE "nowhere", or correct dbname.');
  });

  test("TLS that the server does not offer", () => {
    expect(placed("servers.tls")).toEqual([
      expect.stringMatching(/^error nodes\.secure: .*server does not support SSL, but SSL was required/),
    ]);
  });

  test("roles that are not what the file says", () => {
    expect(placed("servers.role")).toEqual([
      "error nodes.swapped: it is a standby, so that every write fails",
      'error nodes.spare: it is a primary, though its role is "standby"',
    ]);
  });

  test("pools that the server has no room for: one alone is an error, all together a warning", () => {
    const room = "97 connections (max_connections 100, of which 3 are reserved)";
    expect(placed("servers.room")).toEqual([
      `error nodes.small: the pool of app in database "template1" may grow to 98 servers, but there are only ${room}`,
      `warning nodes.crowded: 2 pools may grow to 120 servers together, but there are only ${room}`,
    ]);
  });

  test("a server that answers, and to which nothing stored can log in", async () => {
    const secret =
      "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const file = await write(
      "scram.toml",
      `${node("main", lab.primary.port)}[users.app]\npassword = "${secret}"`,
    );
    const { code, findings } = await check(file);
    expect(findings.map((finding) => `${finding.severity} ${finding.code} ${finding.place}`)).toEqual([
      "warning servers.no_login nodes.main",
    ]);
    expect(code).toBe(0);
  });
});
