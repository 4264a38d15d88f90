/** Host-based authentication around the matrix: who is told what, where clients come from, and what a reload changes. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { CertificateAuthority, makeCertificates } from "../../src/lab/index.ts";
import type { BackendMessage, ErrorFields } from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { fatal, startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();

const password = "the secret of alice";

/** Writes the rules and says what configuration reads them. */
async function config(
  folder: TempFolder,
  rules: string,
  settings: TestConfig["settings"] = {},
): Promise<TestConfig> {
  const file = path.join(folder.path, "pg_hba.conf");
  await writeFile(file, rules);
  return {
    node: place.lab.primary,
    settings: { pool_mode: "transaction", auth_type: "hba", auth_hba_file: file, ...settings },
    databases: { "*": { dbname: "postgres", user: "postgres" } },
    users: { alice: { password }, bob: { password } },
  };
}

/** What the log says of the rules that were chosen, and of refusals. */
function logged(pooler: TestPooler, text: string): Record<string, unknown>[] {
  const lines = pooler.log.split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => msg === text);
}

async function accepts(pooler: TestPooler, user: string, database = "app"): Promise<boolean> {
  const client = await pooler.open();
  const session = await client.startup({ user, database, password }).catch(() => undefined);
  client.destroy();
  return session !== undefined;
}

describe("what clients are told", () => {
  test("acceptance 42: no rule, and a rule that rejects", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(
      await config(folder, "# comment\nhost app alice all scram-sha-256\nhost app bob all reject"),
    );
    const client = await pooler.open();
    client.sendStartup({ user: "carol", database: "app" });
    expect(await fatal(client)).toEqual({
      severity: "FATAL",
      code: "28000",
      message: "no authentication method is found",
      detail: 'no rule of auth_hba_file for host "127.0.0.1", user "carol", database "app", no encryption',
    });
    expect(await pooler.refusal({ user: "bob", database: "app", password })).toEqual({
      severity: "FATAL",
      code: "28000",
      message: "login rejected",
    });
    expect(await accepts(pooler, "alice")).toBe(true);
    const rule = (line: number): unknown => path.join(folder.path, `pg_hba.conf:${line}`);
    expect(logged(pooler, "authentication rule")).toMatchObject([
      { level: 30, user: "bob", database: "app", rule: rule(3), method: "reject" },
      { level: 20, user: "alice", database: "app", rule: rule(2), method: "scram-sha-256" },
    ]);
    await pooler.untilNobodyIsLeft();
  });

  test("with PgBouncer's SQLSTATE, if that is wanted", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(
      await config(folder, "local all all trust", { sqlstate_compat: "pgbouncer" }),
    );
    expect(await pooler.refusal({ user: "alice" })).toMatchObject({
      code: "08P01",
      message: "no authentication method is found",
    });
  });

  test.each(["password", "md5", "scram-sha-256", "reject", "cert"])(
    "acceptance 42: a stranger cannot tell which users and databases exist, by %s",
    async (method) => {
      await using folder = await tempFolder();
      const { server, authorityFile } = await makeCertificates(folder.path);
      const type = method === "cert" ? "hostssl" : "host";
      const base = await config(folder, `${type} all /^(alice|nobody)$ all ${method}`, {
        client_tls_sslmode: "allow",
        client_tls_cert_file: server.certificateFile,
        client_tls_key_file: server.keyFile,
        client_tls_ca_file: authorityFile,
      });
      await using pooler = await startPooler({ ...base, databases: { app: { dbname: "postgres" } } });
      const told = async (user: string, database: string): Promise<unknown[]> => {
        const client = await pooler.open();
        if (method === "cert") await client.startTls();
        const transcript = await messagesOf(client, user, database);
        client.destroy();
        // Names that the client has sent itself.
        return JSON.parse(
          JSON.stringify(transcript).replaceAll(user, "USER").replaceAll(database, "DATABASE"),
        );
      };
      const known = await told("alice", "app");
      expect(known.at(-1)).toMatchObject({ kind: "ErrorResponse" });
      expect(await told("nobody", "app")).toEqual(known);
      expect(await told("alice", "void")).toEqual(known);
      expect(await told("nobody", "void")).toEqual(known);
      const unmatched = await told("bob", "app");
      expect(await told("carol", "app")).toEqual(unmatched);
      expect(await told("carol", "void")).toEqual(unmatched);
    },
  );

  test("a name too long for any rule is refused, whatever the rules say", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(await config(folder, "host all all all trust"));
    expect(await accepts(pooler, "a".repeat(256))).toBe(true);
    expect((await pooler.refusal({ user: "a".repeat(257), database: "app" })).code).toBe("28000");
  });
});

describe("where clients come from", () => {
  test("acceptance 17: a Unix socket is local, TCP is not", async () => {
    await using folder = await tempFolder();
    const rules = "local all all trust\nhost all all all reject";
    await using pooler = await startPooler(await config(folder, rules, { unix_socket_dir: folder.path }));
    const local = await rawClient({ host: folder.path, port: pooler.port });
    await local.startup({ user: "anybody", database: "app" });
    expect(await value(local, "select 1")).toBe("1");
    expect((await pooler.refusal({ user: "anybody", database: "app" })).message).toBe("login rejected");
    local.destroy();
    await writeFile(path.join(folder.path, "pg_hba.conf"), "host all all all trust");
    await pooler.reload(await config(folder, "host all all all trust", { unix_socket_dir: folder.path }));
    const again = await rawClient({ host: folder.path, port: pooler.port });
    again.sendStartup({ user: "anybody", database: "app" });
    expect((await fatal(again)).detail).toContain('host "[local]"');
    again.destroy();
  });

  const hasIPv6 = Object.values(os.networkInterfaces()).some((all) =>
    all?.some(({ address }) => address === "::1"),
  );
  test.runIf(hasIPv6)("an IPv4 client of a socket that takes both families is an IPv4 client", async () => {
    await using folder = await tempFolder();
    const rules = "host all all ::/0 reject\nhost all all 127.0.0.1/32 trust";
    await using pooler = await startPooler(await config(folder, rules, { listen_addr: "::" }));
    expect(await accepts(pooler, "anybody")).toBe(true);
    const client = await rawClient({ host: "::1", port: pooler.port });
    client.sendStartup({ user: "anybody", database: "app" });
    expect((await fatal(client)).message).toBe("login rejected");
    client.destroy();
  });

  test("samehost and samenet are this machine's", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(
      await config(folder, "host one all samehost trust\nhost two all samenet trust"),
    );
    expect(await accepts(pooler, "anybody", "one")).toBe(true);
    expect(await accepts(pooler, "anybody", "two")).toBe(true);
  });

  test("replication has rules of its own", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(
      await config(folder, "host all alice all trust\nhost replication bob all trust"),
    );
    const asked = async (user: string, replication: string): Promise<string> => {
      const client = await pooler.open();
      const parameters = [["replication", replication]] as const;
      const end = await client.startup({ user, database: "app", parameters }).then(
        () => "session",
        (error: unknown) => String(error),
      );
      client.destroy();
      return end;
    };
    expect(await asked("alice", "true")).toContain("no authentication method is found");
    expect(await asked("bob", "true")).toBe("session");
    expect(await asked("alice", "database")).toBe("session");
    expect(await asked("bob", "database")).toContain("no authentication method is found");
    expect(await accepts(pooler, "bob")).toBe(false);
  });
});

describe("certificates", () => {
  test("acceptance 42: who shows none, or another's, is told so", async () => {
    await using folder = await tempFolder();
    const { server, client, authorityFile } = await makeCertificates(folder.path, { user: "alice" });
    await using pooler = await startPooler(
      await config(folder, "hostssl all all all cert", {
        client_tls_sslmode: "require",
        client_tls_cert_file: server.certificateFile,
        client_tls_key_file: server.keyFile,
        client_tls_ca_file: authorityFile,
      }),
    );
    const told = async (user: string, certificate: object): Promise<ErrorFields> => {
      const open = await pooler.open();
      await open.startTls(certificate);
      open.sendStartup({ user, database: "app" });
      const fields = await fatal(open);
      open.destroy();
      return fields;
    };
    const required = { code: "28000", message: "connection requires a valid client certificate" };
    expect(await told("alice", {})).toMatchObject(required);
    const { certificate, key } = new CertificateAuthority().issue({ commonName: "alice" });
    expect(await told("alice", { cert: certificate, key })).toMatchObject(required);
    const own = { cert: client.certificate, key: client.key };
    expect(await told("bob", own)).toMatchObject({
      code: "28000",
      message: "certificate authentication failed",
    });
    expect(logged(pooler, "client certificate is for another user")).toMatchObject([
      { user: "bob", certificate: "alice" },
    ]);
  });
});

describe("files", () => {
  test("a mistake in them refuses the start, and all of them are named", async () => {
    await using folder = await tempFolder();
    const base = await config(folder, "local all all peer\ninclude more.conf\nhost all all here/8 trust");
    await writeFile(path.join(folder.path, "more.conf"), "\nhost all /( all trust\n");
    const failure = await startPooler(base).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "auth.hba", sqlstate: "F0000" });
    expect((failure as Error).message.split("\n")).toEqual([
      expect.stringContaining('pg_hba.conf:1: the authentication method "peer" is not supported'),
      expect.stringContaining('more.conf:2: invalid regular expression "("'),
      expect.stringContaining('pg_hba.conf:3: "here/8" is neither an IP address nor a host name'),
    ]);
  });

  test("rules that ask for certificates need somebody who vouches for them", async () => {
    await using folder = await tempFolder();
    const { server } = await makeCertificates(folder.path);
    const rules = "local all all trust\nhostssl all all all md5 clientcert=verify-ca";
    await expect(startPooler(await config(folder, rules))).rejects.toThrow(
      /pg_hba\.conf:2: no client could show a certificate: client_tls_sslmode is "disable"/,
    );
    const tls = {
      client_tls_sslmode: "allow",
      client_tls_cert_file: server.certificateFile,
      client_tls_key_file: server.keyFile,
    };
    await expect(startPooler(await config(folder, rules, tls))).rejects.toThrow(
      /pg_hba\.conf:2: no client could show a certificate: client_tls_ca_file is not set/,
    );
  });

  test("rules for TLS are of no use without it, which is said", async () => {
    await using folder = await tempFolder();
    await using pooler = await startPooler(
      await config(folder, "hostssl all all all md5\nhost all all all trust"),
    );
    expect(await accepts(pooler, "anybody")).toBe(true);
    expect(logged(pooler, "hostssl rules fit nobody: client_tls_sslmode is disable")).toMatchObject([
      { rules: [path.join(folder.path, "pg_hba.conf:1")] },
    ]);
  });

  test("acceptance 42: a reload reads all of them again, though nothing else has changed", async () => {
    await using folder = await tempFolder();
    const lists = path.join(folder.path, "lists");
    await mkdir(lists);
    await writeFile(path.join(lists, "users"), "alice");
    const base = await config(folder, "include_dir lists\nhost app @lists/users all scram-sha-256");
    await using pooler = await startPooler(base);
    expect([await accepts(pooler, "alice"), await accepts(pooler, "bob")]).toEqual([true, false]);
    const { client: living } = await pooler.login({ user: "alice", database: "app", password });

    await writeFile(path.join(lists, "users"), "bob");
    expect(await accepts(pooler, "bob")).toBe(false);
    await pooler.reload(base);
    expect([await accepts(pooler, "alice"), await accepts(pooler, "bob")]).toEqual([false, true]);

    await writeFile(path.join(lists, "first.conf"), "host all bob all reject");
    await pooler.reload(base);
    expect(await accepts(pooler, "bob")).toBe(false);
    // Who is in stays in.
    expect(await value(living, "select 1")).toBe("1");
    living.destroy();
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 42: with a mistake in one of them the old rules stay, all of them", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "pg_hba.conf");
    const base = await config(folder, "host app alice all scram-sha-256");
    await using pooler = await startPooler(base);
    const mistakes: (() => Promise<void>)[] = [
      () => writeFile(file, "host app all all trust\nhost app all all pam"),
      () => writeFile(file, ""),
      () => writeFile(file, "host app all all trust\ninclude nothing"),
      () => rm(file),
    ];
    for (const mistake of mistakes) {
      await mistake();
      const also = { ...base, users: { bob: { password } } };
      await expect(pooler.reload(also)).rejects.toMatchObject({ code: "auth.hba", sqlstate: "F0000" });
      expect([await accepts(pooler, "alice"), await accepts(pooler, "bob")]).toEqual([true, false]);
    }
    await writeFile(file, "host app bob all scram-sha-256");
    await pooler.reload(base);
    expect([await accepts(pooler, "alice"), await accepts(pooler, "bob")]).toEqual([false, true]);
  });

  test("a reload may bring rules, and take them away", async () => {
    await using folder = await tempFolder();
    const base = await config(folder, "host app alice all trust");
    const trusting = { ...base, settings: { ...base.settings, auth_type: "trust" } };
    await using pooler = await startPooler(trusting);
    expect(await accepts(pooler, "carol")).toBe(true);
    await pooler.reload(base);
    expect([await accepts(pooler, "carol"), await accepts(pooler, "alice")]).toEqual([false, true]);
    await pooler.reload(trusting);
    expect(await accepts(pooler, "carol")).toBe(true);
  });
});

/** Everything a client is told, with what is random in it masked; it answers with a wrong password. */
async function messagesOf(client: RawClient, user: string, database: string): Promise<unknown[]> {
  const seen: BackendMessage[] = [];
  const next = client.next.bind(client);
  client.next = async (...options) => {
    const message = await next(...options);
    seen.push(message);
    return message;
  };
  await client.startup({ user, database, password: "wrong" }).catch(() => undefined);
  return seen.map((message) => {
    if (message.kind === "AuthenticationMD5Password") return message.kind;
    return message.kind === "AuthenticationSASLContinue" ? message.data.length : message;
  });
}
