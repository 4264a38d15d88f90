/** TLS towards PostgreSQL: libpq's levels, as a server with certificates sees and enforces them. */

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectOptions } from "../../src/client/conninfo/options.ts";
import { SimpleClient } from "../../src/client/index.ts";
import { CertificateAuthority, Lab, type LabCertificates, makeCertificates } from "../../src/lab/index.ts";
import { ScriptedServer } from "../kit/scripted-server.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { fatal, startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

let folder: TempFolder;
let files: LabCertificates;
/** PostgreSQL with TLS. Its certificate is for the name localhost, not for the address. */
let lab: Lab;
/** PostgreSQL without. */
let plainLab: Lab;
let strangeAuthorityFile: string;

beforeAll(async () => {
  folder = await tempFolder();
  files = await makeCertificates(folder.path, { hosts: ["localhost"], user: "certified" });
  strangeAuthorityFile = path.join(folder.path, "strange.crt");
  await writeFile(strangeAuthorityFile, new CertificateAuthority().certificate);
  [lab, plainLab] = await Promise.all([
    Lab.start({
      tls: { server: files.server, clientAuthority: files.authority.certificate },
      auth: [
        "local all all trust",
        "host all postgres 127.0.0.1/32 trust",
        "hostnossl all in_clear 127.0.0.1/32 trust",
        "hostssl all encrypted 127.0.0.1/32 trust",
        "hostssl all by_scram 127.0.0.1/32 scram-sha-256",
        "hostssl all certified 127.0.0.1/32 cert",
      ],
    }),
    Lab.start(),
  ]);
  const { host, port } = lab.primary;
  const administrator = await SimpleClient.connect(
    connectOptions({ hosts: [{ host, port }], user: "postgres", database: "postgres" }),
  );
  await administrator.query(
    "create role in_clear login; create role encrypted login; create role certified login",
  );
  await administrator.query("create role by_scram login password 'secret of by_scram'");
  await administrator.close();
});
afterAll(async () => {
  await Promise.all([lab?.stop(), plainLab?.stop()]);
  await folder[Symbol.asyncDispose]();
});

function config(sslmode: string, node: Readonly<Record<string, unknown>> = {}): TestConfig {
  return {
    node: { host: "127.0.0.1", port: lab.primary.port, server_tls_sslmode: sslmode, ...node },
    settings: { pool_mode: "transaction" },
    databases: { app: { dbname: "postgres" } },
  };
}

/** Whether the server's side says that the connection is encrypted, and by which version. */
async function encryption(pooler: TestPooler, user = "postgres", password?: string): Promise<string> {
  const { client } = await pooler.login({
    user,
    database: "app",
    ...(password === undefined ? {} : { password }),
  });
  const found = await value(
    client,
    "select concat(ssl, ' ', version) from pg_stat_ssl where pid = pg_backend_pid()",
  );
  client.destroy();
  return found ?? "";
}

const encrypted = /^t TLSv1\.[23]$/;
const inClear = /^f/;

describe("levels", () => {
  test.each([
    ["disable", inClear],
    ["allow", inClear],
    ["prefer", encrypted],
    ["require", encrypted],
  ])("acceptance 50: server_tls_sslmode %s", async (mode, expected) => {
    await using pooler = await startPooler(config(mode));
    expect(await encryption(pooler)).toMatch(expected);
  });

  test.each([
    ["allow", "encrypted", encrypted],
    ["prefer", "in_clear", inClear],
  ])(
    "acceptance 50: %s tries the other way where the server wants it, user %s",
    async (mode, user, expected) => {
      await using pooler = await startPooler(config(mode));
      expect(await encryption(pooler, user)).toMatch(expected);
    },
  );

  test.each([
    ["prefer", inClear],
    ["allow", inClear],
  ])("acceptance 50: %s does without TLS where the server has none", async (mode, expected) => {
    await using pooler = await startPooler(config(mode, { port: plainLab.primary.port }));
    expect(await encryption(pooler)).toMatch(expected);
  });

  test("acceptance 50: require refuses a server without TLS, and says so in the log alone", async () => {
    await using pooler = await startPooler(config("require", { port: plainLab.primary.port }));
    expect(await pooler.refusal({ database: "app" })).toEqual({
      severity: "FATAL",
      code: "08001",
      message: "connect failed",
    });
    expect(pooler.log).toContain("server does not support SSL, but SSL was required");
  });
});

describe("certificates", () => {
  test("server_tls_ca_file: verify-full wants the name, verify-ca only who signed it", async () => {
    const trusted = { server_tls_ca_file: files.authorityFile };
    await using byName = await startPooler(config("verify-full", { ...trusted, host: "localhost" }));
    expect(await encryption(byName)).toMatch(encrypted);
    await using byAddress = await startPooler(config("verify-full", trusted));
    expect(await byAddress.refusal({ database: "app" })).toMatchObject({ message: "connect failed" });
    expect(byAddress.log).toMatch(/server login failed/);
    await using byAuthority = await startPooler(config("verify-ca", trusted));
    expect(await encryption(byAuthority)).toMatch(encrypted);
  });

  test.each(["require", "verify-ca", "verify-full"])(
    "%s refuses a server whose certificate somebody else has signed",
    async (mode) => {
      const stranger = { server_tls_ca_file: strangeAuthorityFile, host: "localhost" };
      await using pooler = await startPooler(config(mode, stranger));
      expect(await pooler.refusal({ database: "app" })).toMatchObject({
        severity: "FATAL",
        message: "connect failed",
      });
      expect(pooler.log).toContain("certificate");
      expect(pooler.pooler.counts.servers).toBe(0);
    },
  );

  test("acceptance 44: server_tls_cert_file and server_tls_key_file log the pooler in", async () => {
    const own = {
      server_tls_cert_file: files.client.certificateFile,
      server_tls_key_file: files.client.keyFile,
    };
    await using pooler = await startPooler(config("require", own));
    expect(await encryption(pooler, "certified")).toMatch(encrypted);
    await using without = await startPooler(config("require"));
    expect(await without.refusal({ user: "certified", database: "app" })).toMatchObject({ code: "28000" });
  });

  test("acceptance 44: SCRAM upstream over TLS, with a verifier alone and keys learned from the client", async () => {
    const { host, port } = lab.primary;
    const administrator = await SimpleClient.connect(
      connectOptions({ hosts: [{ host, port }], user: "postgres", database: "postgres" }),
    );
    const { rows } = await administrator.query(
      "select rolpassword from pg_authid where rolname = 'by_scram'",
    );
    await administrator.close();
    await using pooler = await startPooler({
      ...config("verify-full", { server_tls_ca_file: files.authorityFile, host: "localhost" }),
      settings: { auth_type: "scram-sha-256", pool_mode: "transaction" },
      users: { by_scram: { password: rows[0]?.[0] ?? "" } },
      secrets: ["secret of by_scram"],
    });
    expect(await encryption(pooler, "by_scram", "secret of by_scram")).toMatch(encrypted);
  });
});

describe("reload", () => {
  test("acceptance 48: a change of TLS settings replaces idle servers, and those in use when they come free", async () => {
    await using pooler = await startPooler(config("disable"));
    const { client: busy } = await pooler.login({ database: "app" });
    const ssl = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    await busy.rows("begin");
    expect(await value(busy, ssl)).toBe("f");
    await pooler.reload(config("require"));
    expect(await value(busy, ssl)).toBe("f");
    await busy.rows("commit");
    expect(await value(busy, ssl)).toBe("t");
    busy.destroy();
  });

  test("a certificate file that is gone fails the next connection, with no path told to clients", async () => {
    const gone = path.join(folder.path, "gone.crt");
    await using pooler = await startPooler(config("verify-ca", { server_tls_ca_file: gone }));
    const client = await pooler.open();
    client.sendStartup({ database: "app" });
    const refusal = await fatal(client);
    expect(refusal.message).toBe("connect failed");
    expect(JSON.stringify(refusal)).not.toContain("gone.crt");
    expect(pooler.log).toContain("gone.crt");
  });
});

test.each(["TLSv1.2", "TLSv1.3"] as const)(
  "sessions with servers that give out tickets are resumed, as long as they are verified alike, %s",
  async (version) => {
    const context = {
      cert: files.server.certificate,
      key: files.server.key,
      ticketKeys: Buffer.alloc(48, 7),
      minVersion: version,
      maxVersion: version,
    };
    const reused: boolean[] = [];
    await using upstream = await ScriptedServer.start(async (peer) => {
      const socket = await peer.acceptTls(context);
      reused.push(socket.isSessionReused());
      await peer.expectStartup("startup");
      peer.welcome();
      await peer.expect("Query");
      const values = [Buffer.from("1")];
      peer.send({ kind: "DataRow", values }, { kind: "CommandComplete", tag: "SELECT 1" });
      peer.send({ kind: "ReadyForQuery", status: 0x49 });
      await peer.closed;
    });
    const to = (node: Readonly<Record<string, unknown>>): TestConfig =>
      config("verify-full", { host: "localhost", port: upstream.port, ...node });
    const own = to({ server_tls_ca_file: files.authorityFile });
    await using pooler = await startPooler({
      ...own,
      settings: { ...own.settings, admin_users: ["postgres"] },
    });
    const { client: console } = await pooler.login({ user: "postgres", database: "pgbouncer" });
    for (let opened = 1; opened <= 2; opened++) {
      const { client } = await pooler.login({ user: "encrypted", database: "app" });
      expect(await value(client, "select 1")).toBe("1");
      client.destroy();
      await console.query("reconnect");
      await waitUntil(() => pooler.pooler.counts.servers === 0, "the server is closed");
    }
    expect(reused).toEqual([false, true]);
    // The same authority by another file: nothing is known of it yet.
    const copy = path.join(folder.path, "copy.crt");
    await writeFile(copy, files.authority.certificate);
    await pooler.reload(to({ server_tls_ca_file: copy }));
    const { client } = await pooler.login({ user: "encrypted", database: "app" });
    expect(await value(client, "select 1")).toBe("1");
    expect(reused).toEqual([false, true, false]);
    client.destroy();
    console.destroy();
  },
);
