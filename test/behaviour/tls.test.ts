/** TLS towards clients: who gets it, who must have it, whose certificate counts, and what a reload changes. */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { ConnectionOptions } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VirtualClock } from "../../src/base/clock.ts";
import { connectOptions, SimpleClient } from "../../src/client/index.ts";
import {
  CertificateAuthority,
  type KeyType,
  type LabCertificates,
  makeCertificates,
} from "../../src/lab/index.ts";
import {
  encodeCancelRequest,
  encodeQuery,
  encodeSaslInitialResponse,
  encodeStartup,
  protocolVersion30,
  sslRequest,
} from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import type { RawClient } from "../kit/raw-client.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { errorOf, fatal, startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();

let folder: TempFolder;
/** The client's certificate is for the user `alice`. */
let files: LabCertificates;
/** Signed by nobody whom the pooler trusts. */
let strange: ConnectionOptions;
let alice: ConnectionOptions;

beforeAll(async () => {
  folder = await tempFolder();
  files = await makeCertificates(folder.path, { user: "alice" });
  alice = { cert: files.client.certificate, key: files.client.key };
  const other = new CertificateAuthority().issue({ commonName: "alice" });
  strange = { cert: other.certificate, key: other.key };
});
afterAll(() => folder[Symbol.asyncDispose]());

const startup = encodeStartup(protocolVersion30, [
  ["user", "alice"],
  ["database", "postgres"],
]);

function config(mode: string, settings: TestConfig["settings"] = {}): TestConfig {
  return {
    node: place.lab.primary,
    settings: {
      pool_mode: "transaction",
      client_tls_sslmode: mode,
      client_tls_cert_file: files.server.certificateFile,
      client_tls_key_file: files.server.keyFile,
      ...(mode.startsWith("verify-") ? { client_tls_ca_file: files.authorityFile } : {}),
      ...settings,
    },
    databases: { "*": { dbname: "postgres", user: "postgres" } },
    users: { alice: { password: "secret of alice" } },
  };
}

/** Logs in over TLS and runs a statement. */
async function secured(
  pooler: TestPooler,
  options: ConnectionOptions = {},
  user = "alice",
): Promise<RawClient> {
  const client = await pooler.open();
  await client.startTls(options);
  await client.startup({ user, database: "postgres", password: "secret of alice" });
  expect(await value(client, "select 'encrypted'")).toBe("encrypted");
  return client;
}

describe("levels", () => {
  test("acceptance 40: without TLS the answer is N, and a handshake out of the blue is closed", async () => {
    await using pooler = await startPooler(config("disable"));
    const client = await pooler.open();
    client.send(sslRequest);
    expect((await client.stream.read(1, "the answer")).toString()).toBe("N");
    await client.startup({ user: "alice", database: "postgres" });
    client.destroy();
    const direct = await pooler.open();
    await expect(direct.startDirectTls()).rejects.toThrow();
    await pooler.untilNobodyIsLeft();
  });

  test.each(["allow", "prefer"])(
    "acceptance 40: client_tls_sslmode %s leaves it to the client",
    async (mode) => {
      await using pooler = await startPooler(config(mode));
      const encrypted = await secured(pooler);
      const { client: plain } = await pooler.login({ user: "alice", database: "postgres" });
      expect(await value(plain, "select 1")).toBe("1");
      encrypted.destroy();
      plain.destroy();
    },
  );

  test.each(["require", "verify-ca", "verify-full"])("acceptance 40, 42: %s insists", async (mode) => {
    await using pooler = await startPooler(config(mode));
    expect(await pooler.refusal({ user: "alice", database: "postgres" })).toEqual({
      severity: "FATAL",
      code: "28000",
      message: "SSL required",
    });
    (await secured(pooler, alice)).destroy();
  });

  test.each(["verify-ca", "verify-full"])(
    "acceptance 42: client_tls_ca_file says whose certificates %s can trust",
    async (mode) => {
      await using pooler = await startPooler(config(mode));
      for (const certificate of [{}, strange]) {
        const client = await pooler.open();
        await client.startTls(certificate);
        client.send(startup, encodeQuery("select 1"));
        expect(await client.stream.readToEnd()).toEqual(Buffer.alloc(0));
      }
      expect(pooler.log).toContain("client certificate is missing or not trusted");
      await pooler.untilNobodyIsLeft();
      expect(pooler.pooler.counts.servers).toBe(0);
    },
  );

  test.each(["TLSv1.2", "TLSv1.3"] as const)(
    "acceptance 42: a resumed session shows no certificate, %s",
    async (version) => {
      await using pooler = await startPooler(config("verify-full"));
      const versions = { minVersion: version, maxVersion: version };
      const first = await pooler.open();
      const sessions: Buffer[] = [];
      // TLS 1.2 does not even finish its handshake without a certificate.
      const socket = await first.startTls(versions).catch(() => undefined);
      socket?.on("session", (session: Buffer) => sessions.push(session));
      await first.closed;
      const known = socket?.getSession();
      if (known !== undefined) sessions.push(known);
      for (const session of sessions) {
        const again = await pooler.open();
        await again.startTls({ ...versions, session }).catch(() => undefined);
        again.send(startup);
        expect(await again.stream.readToEnd()).toEqual(Buffer.alloc(0));
      }
      // Who has a certificate and offers an old session gets a new one.
      const good = await secured(pooler, { ...versions, ...alice });
      const session = good.stream.tlsSocket?.getSession();
      const next = await secured(pooler, {
        ...versions,
        ...alice,
        ...(session === undefined ? {} : { session }),
      });
      expect(next.stream.tlsSocket?.isSessionReused()).toBe(false);
      good.destroy();
      next.destroy();
    },
  );

  test("acceptance 40: nothing older than TLS 1.2", async () => {
    await using pooler = await startPooler(config("require"));
    const client = await pooler.open();
    const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
    await expect(client.startTls(old)).rejects.toThrow();
    (await secured(pooler, { maxVersion: "TLSv1.2" })).destroy();
    (await secured(pooler, { minVersion: "TLSv1.3" })).destroy();
  });
});

describe("the request", () => {
  test("acceptance 40: what comes unencrypted behind it is refused, never taken for encrypted", async () => {
    await using pooler = await startPooler(config("allow"));
    const client = await pooler.open();
    client.send(sslRequest, startup, encodeQuery("create table injected ()"));
    expect(await fatal(client)).toMatchObject({
      severity: "FATAL",
      code: "08P01",
      message: "received unencrypted data after SSL request",
    });
    await pooler.untilNobodyIsLeft();
    expect(pooler.pooler.counts.servers).toBe(0);
  });

  test("acceptance 40: it is refused inside TLS", async () => {
    await using pooler = await startPooler(config("allow"));
    for (const begin of ["startTls", "startDirectTls"] as const) {
      const client = await pooler.open();
      await client[begin]();
      client.send(sslRequest);
      expect(await fatal(client)).toMatchObject({ code: "0A000" });
    }
  });

  test("acceptance 39, 40: a cancel request counts before TLS, and inside it", async () => {
    await using pooler = await startPooler(config("require"));
    const client = await pooler.open();
    await client.startTls();
    const session = await client.startup({ user: "alice", database: "postgres" });
    for (const encrypted of [true, false]) {
      const sleeping = client.query("select pg_sleep(63)");
      const { client: watcher } = { client: await secured(pooler) };
      const running =
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(63)' and state = 'active'";
      await waitUntil(async () => (await value(watcher, running)) === "1", "the statement runs");
      const canceller = await pooler.open();
      if (encrypted) await canceller.startTls();
      canceller.send(encodeCancelRequest(session.pid, session.key));
      expect(await canceller.stream.readToEnd()).toEqual(Buffer.alloc(0));
      expect(errorOf((await sleeping).find(({ kind }) => kind === "ErrorResponse"))).toMatchObject({
        code: "57014",
      });
      watcher.destroy();
    }
    client.destroy();
  });

  test("acceptance 41: what is no handshake ends that connection alone", async () => {
    await using pooler = await startPooler(config("require"));
    const good = await secured(pooler);
    for (const bytes of [startup, Buffer.alloc(300, 0x16), Buffer.from("\x16\x03\x01\x02\0\x01", "latin1")]) {
      const client = await pooler.open();
      client.send(sslRequest);
      expect((await client.stream.read(1, "the answer")).toString()).toBe("S");
      client.send(bytes);
      client.stream.end();
      await client.stream.readToEnd();
    }
    await waitUntil(() => pooler.log.includes("TLS handshake failed"), "it is logged");
    expect(await value(good, "select 1")).toBe("1");
    good.destroy();
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 29: a handshake that never ends, ends with the time for the login", async () => {
    const clock = new VirtualClock();
    await using pooler = await startPooler(config("require", { client_login_timeout: 5 }), clock);
    const asked = await pooler.open();
    asked.send(sslRequest);
    await asked.stream.read(1, "the answer");
    const direct = await pooler.open();
    direct.send(Buffer.from("\x16\x03\x01", "latin1"));
    const idle = await pooler.open();
    await idle.startTls();
    await waitUntil(() => pooler.pooler.counts.logins === 3, "three are there");
    clock.advance(5000);
    for (const client of [asked, direct, idle])
      expect(await client.stream.readToEnd()).toEqual(Buffer.alloc(0));
    await pooler.untilNobodyIsLeft();
  });
});

describe("direct TLS", () => {
  test("acceptance 40: with ALPN postgresql it needs no request", async () => {
    await using pooler = await startPooler(config("require", { auth_type: "scram-sha-256" }));
    const client = await pooler.open();
    const socket = await client.startDirectTls();
    expect(socket.alpnProtocol).toBe("postgresql");
    const session = await client.startup({
      user: "alice",
      database: "postgres",
      password: "secret of alice",
    });
    expect(session.messages.at(-1)?.kind).toBe("ReadyForQuery");
    expect(await value(client, "select 1")).toBe("1");
    client.destroy();
  });

  test.each([
    ["none", undefined],
    ["another", ["http/1.1"]],
  ])("acceptance 40: with ALPN %s it is closed", async (_what, protocols) => {
    await using pooler = await startPooler(config("require"));
    const client = await pooler.open();
    const options = protocols === undefined ? { ALPNProtocols: [] } : { ALPNProtocols: protocols };
    await client.stream.startTls(options).catch(() => undefined);
    client.send(startup);
    expect(await client.stream.readToEnd()).toEqual(Buffer.alloc(0));
    await pooler.untilNobodyIsLeft();
  });
});

describe("authentication", () => {
  test.each<[KeyType, boolean]>([
    ["ec", true],
    ["rsa", true],
    ["ed25519", false],
  ])("acceptance 44: channel binding with a certificate of type %s: %s", async (keyType, bound) => {
    await using own = await tempFolder();
    const certificates = await makeCertificates(own.path, { keyType });
    await using pooler = await startPooler(
      config("require", {
        auth_type: "scram-sha-256",
        client_tls_cert_file: certificates.server.certificateFile,
        client_tls_key_file: certificates.server.keyFile,
      }),
    );
    const client = await pooler.open();
    await client.startTls();
    const session = await client.startup({
      user: "alice",
      database: "postgres",
      password: "secret of alice",
    });
    expect(session.messages[0]).toEqual({
      kind: "AuthenticationSASL",
      mechanisms: bound ? ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] : ["SCRAM-SHA-256"],
    });
    client.destroy();
    const options = connectOptions({
      hosts: [{ host: "127.0.0.1", port: pooler.port }],
      user: "alice",
      database: "postgres",
      password: "secret of alice",
      sslmode: "verify-full",
      sslrootcert: certificates.authority.certificate,
      channelBinding: bound ? "require" : "prefer",
    });
    const strict = await SimpleClient.connect(options);
    expect((await strict.query("select 1")).rows).toEqual([["1"]]);
    await strict.close();
  });

  test("acceptance 44: a client that was made to believe in no channel binding is refused", async () => {
    await using pooler = await startPooler(config("require", { auth_type: "scram-sha-256" }));
    const client = await pooler.open();
    await client.startTls();
    client.send(startup);
    await client.expect("AuthenticationSASL");
    client.send(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("y,,n=,r=abcdefghijklmnop")));
    expect((await fatal(client)).severity).toBe("FATAL");
  });

  test("acceptance 42, 44: cert takes the user's name from the certificate", async () => {
    await using pooler = await startPooler(config("verify-full", { auth_type: "cert" }));
    (await secured(pooler, alice)).destroy();
    for (const user of ["postgres", "Alice", "alice "]) {
      const client = await pooler.open();
      await client.startTls(alice);
      client.sendStartup({ user, database: "postgres" });
      expect(await fatal(client)).toMatchObject({
        severity: "FATAL",
        code: "28000",
        message: "certificate authentication failed",
      });
    }
  });
});

describe.each(["TLSv1.2", "TLSv1.3"] as const)("resumption of sessions, %s", (version) => {
  const versions = { minVersion: version, maxVersion: version };

  /** Logs in, by the session of an earlier one if it is good; the session of this one, and whether it was resumed. */
  async function resumed(
    pooler: TestPooler,
    session?: Buffer,
  ): Promise<{ readonly reused: boolean | undefined; readonly session: Buffer | undefined }> {
    const client = await secured(pooler, { ...versions, ...(session === undefined ? {} : { session }) });
    const socket = client.stream.tlsSocket;
    const result = { reused: socket?.isSessionReused(), session: socket?.getSession() };
    client.destroy();
    return result;
  }

  test("saves who comes again the certificate, also after a reload, until there is another one", async () => {
    await using own = await tempFolder();
    const old = await makeCertificates(own.path);
    const settings = {
      client_tls_cert_file: old.server.certificateFile,
      client_tls_key_file: old.server.keyFile,
    };
    await using pooler = await startPooler(config("require", settings));
    const first = await resumed(pooler);
    expect(first.reused).toBe(false);
    expect((await resumed(pooler, first.session)).reused).toBe(true);
    await pooler.reload(config("require", settings));
    expect((await resumed(pooler, first.session)).reused).toBe(true);
    await makeCertificates(own.path, { hosts: ["renewed"] });
    await pooler.reload(config("require", settings));
    const renewed = await resumed(pooler, first.session);
    expect(renewed.reused).toBe(false);
    expect((await resumed(pooler, renewed.session)).reused).toBe(true);
  });

  test("is for another process none, and ends with its day", async () => {
    const clock = new VirtualClock();
    await using pooler = await startPooler(config("require"), clock);
    const { session } = await resumed(pooler);
    expect((await resumed(pooler, session)).reused).toBe(true);
    clock.advance(24 * 3600 * 1000);
    expect((await resumed(pooler, session)).reused).toBe(false);
    await using other = await startPooler(config("require"));
    expect((await resumed(other, session)).reused).toBe(false);
  });
});

describe("reload", () => {
  /** Common name and serial number of the certificate that a new client is shown. */
  async function shown(pooler: TestPooler): Promise<string> {
    const client = await pooler.open();
    const socket = await client.startTls();
    const { subject, serialNumber } = socket.getPeerCertificate();
    client.destroy();
    return `${String(subject.CN)} ${serialNumber}`;
  }

  test("acceptance 40: client_tls_cert_file and client_tls_key_file: a new certificate is shown to new clients, and the old ones live on", async () => {
    await using own = await tempFolder();
    const old = await makeCertificates(own.path);
    const settings = {
      auth_type: "scram-sha-256",
      client_tls_cert_file: old.server.certificateFile,
      client_tls_key_file: old.server.keyFile,
    };
    await using pooler = await startPooler(config("require", settings));
    const before = await shown(pooler);
    const client = await secured(pooler);
    // This one has done its handshake with the old certificate and proves itself after the change.
    const between = await pooler.open();
    await between.startTls();
    await makeCertificates(own.path, { hosts: ["renewed"] });
    expect(await shown(pooler)).toBe(before);
    await pooler.reload(config("require", settings));
    expect(await shown(pooler)).toMatch(/^renewed /);
    expect(await value(client, "select 'lives on'")).toBe("lives on");
    const session = await between.startup({
      user: "alice",
      database: "postgres",
      password: "secret of alice",
    });
    expect(session.messages[0]).toMatchObject({ mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] });
    (await secured(pooler)).destroy();
    client.destroy();
    between.destroy();
  });

  test("acceptance 40: one that cannot be used changes nothing, and says which file", async () => {
    await using own = await tempFolder();
    const { server } = await makeCertificates(own.path);
    const settings = { client_tls_cert_file: server.certificateFile, client_tls_key_file: server.keyFile };
    await using pooler = await startPooler(config("require", settings));
    const before = await shown(pooler);
    const other = new CertificateAuthority().issue({ commonName: "does not fit the key" });
    for (const [file, text] of [
      [server.certificateFile, "no certificate"],
      [server.certificateFile, other.certificate],
      [server.keyFile, "no key"],
    ] as const) {
      await writeFile(file, text);
      await expect(pooler.reload(config("require", settings))).rejects.toThrow(path.dirname(file));
      expect(await shown(pooler)).toBe(before);
    }
  });

  test("acceptance 40: TLS may be demanded from one reload on, and given up", async () => {
    await using pooler = await startPooler(config("disable"));
    const { client: plain } = await pooler.login({ user: "alice", database: "postgres" });
    await pooler.reload(config("verify-full"));
    expect(await value(plain, "select 1")).toBe("1");
    expect((await pooler.refusal({ user: "alice", database: "postgres" })).message).toBe("SSL required");
    const client = await secured(pooler, alice);
    await pooler.reload(config("disable"));
    expect(await value(client, "select 1")).toBe("1");
    const { client: next } = await pooler.login({ user: "alice", database: "postgres" });
    for (const each of [plain, client, next]) each.destroy();
  });
});

test("acceptance 40: large results and statements pass encrypted, in both directions", async () => {
  await using pooler = await startPooler(config("require"));
  const client = await secured(pooler);
  const text = "x".repeat(3_000_000);
  expect(await value(client, `select length('${text}')`)).toBe("3000000");
  expect(await value(client, "select repeat('y', 3000000)")).toBe("y".repeat(3_000_000));
  const socket = client.stream.tlsSocket;
  client.send({ kind: "Terminate" });
  if (socket !== undefined && !socket.closed) await once(socket, "close");
});
