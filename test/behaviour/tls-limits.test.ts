/** Versions of TLS, ciphers and key exchange, on both sides, as the other side of the handshake sees them; and at a reload. */
import type { ConnectionOptions } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab, type LabCertificates, makeCertificates } from "../../src/lab/index.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

let folder: TempFolder;
let files: LabCertificates;
let lab: Lab;

beforeAll(async () => {
  folder = await tempFolder();
  files = await makeCertificates(folder.path, { keyType: "rsa" });
  lab = await Lab.start({
    tls: { server: files.server, clientAuthority: files.authority.certificate },
    auth: ["local all all trust", "host all all 127.0.0.1/32 trust"],
  });
});
afterAll(async () => {
  await lab?.stop();
  await folder[Symbol.asyncDispose]();
});

function config(settings: TestConfig["settings"], node: TestConfig["settings"] = {}): TestConfig {
  return {
    node: { host: "127.0.0.1", port: lab.primary.port, server_tls_sslmode: "require", ...node },
    settings: {
      pool_mode: "transaction",
      client_tls_sslmode: "require",
      client_tls_cert_file: files.server.certificateFile,
      client_tls_key_file: files.server.keyFile,
      ...settings,
    },
  };
}

/** Everything that OpenSSL can, however weak. */
const anything: ConnectionOptions = { minVersion: "TLSv1", ciphers: "ALL:@SECLEVEL=0" };

/** What a handshake with these options comes to: version, cipher and the exchange of keys; "refused" if to nothing. */
async function handshake(pooler: TestPooler, options: ConnectionOptions = {}): Promise<string> {
  const client = await pooler.open();
  try {
    const socket = await client.startTls(options);
    const exchange = socket.getEphemeralKeyInfo() as { readonly type?: string; readonly name?: string };
    return [socket.getProtocol(), socket.getCipher().name, exchange.name ?? exchange.type].join(" ");
  } catch {
    return "refused";
  } finally {
    client.destroy();
  }
}

describe("towards clients", () => {
  test.each<[string, Record<string, string>, ConnectionOptions, RegExp]>([
    [
      "client_tls_protocols: a version that is allowed",
      { client_tls_protocols: "tlsv1.2" },
      {},
      /^TLSv1\.2 /,
    ],
    [
      "client_tls_protocols: one that is not",
      { client_tls_protocols: "tlsv1.3" },
      { maxVersion: "TLSv1.2" },
      /^refused$/,
    ],
    [
      "client_tls_protocols: a gap",
      { client_tls_protocols: "tlsv1.1,tlsv1.3", client_tls_ciphers: "ALL:@SECLEVEL=0" },
      { ...anything, maxVersion: "TLSv1.2" },
      /^TLSv1\.1 /,
    ],
    [
      "client_tls_protocols: old ones",
      { client_tls_protocols: "legacy", client_tls_ciphers: "ALL:@SECLEVEL=0" },
      { ...anything, maxVersion: "TLSv1" },
      /^TLSv1 /,
    ],
    [
      "client_tls_ciphers: the only one",
      { client_tls_ciphers: "ECDHE-RSA-AES256-SHA384" },
      { ...anything, maxVersion: "TLSv1.2" },
      /^TLSv1\.2 ECDHE-RSA-AES256-SHA384 /,
    ],
    [
      "client_tls_ciphers: another one",
      { client_tls_ciphers: "ECDHE-RSA-AES256-SHA384" },
      { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" },
      /^refused$/,
    ],
    [
      "client_tls_ciphers: not for TLS 1.3",
      { client_tls_ciphers: "ECDHE-RSA-AES256-SHA384" },
      {},
      /^TLSv1\.3 TLS_AES_/,
    ],
    [
      "client_tls_ciphers: our order counts",
      { client_tls_ciphers: "AES128-SHA:AES256-SHA" },
      { maxVersion: "TLSv1.2", ciphers: "AES256-SHA:AES128-SHA" },
      /^TLSv1\.2 AES128-SHA/,
    ],
    [
      "client_tls13_ciphers",
      { client_tls13_ciphers: "TLS_CHACHA20_POLY1305_SHA256" },
      {},
      /^TLSv1\.3 TLS_CHACHA20_POLY1305_SHA256 /,
    ],
    [
      "client_tls13_ciphers: not for TLS 1.2",
      { client_tls13_ciphers: "TLS_CHACHA20_POLY1305_SHA256" },
      { maxVersion: "TLSv1.2" },
      /^TLSv1\.2 ECDHE-/,
    ],
    ["client_tls_ecdhcurve", { client_tls_ecdhcurve: "secp384r1" }, {}, / secp384r1$/],
    [
      "client_tls_ecdhcurve: another one",
      { client_tls_ecdhcurve: "secp384r1" },
      { ecdhCurve: "X25519" },
      /^refused$/,
    ],
    [
      "client_tls_dheparams auto",
      { client_tls_dheparams: "auto" },
      { maxVersion: "TLSv1.2", ciphers: "DHE-RSA-AES128-GCM-SHA256" },
      /^TLSv1\.2 DHE-RSA-AES128-GCM-SHA256 DH$/,
    ],
    [
      "client_tls_dheparams none",
      { client_tls_dheparams: "none" },
      { maxVersion: "TLSv1.2", ciphers: "DHE-RSA-AES128-GCM-SHA256" },
      /^refused$/,
    ],
  ])("%s", async (_what, settings, options, expected) => {
    await using pooler = await startPooler(config(settings));
    expect(await handshake(pooler, options)).toMatch(expected);
    await pooler.untilNobodyIsLeft();
  });

  test("a reload counts for new clients; what cannot be is refused, and the old goes on", async () => {
    await using pooler = await startPooler(config({ client_tls_protocols: "tlsv1.2" }));
    const client = await pooler.open();
    const socket = await client.startTls();
    await client.startup();
    await pooler.reload(config({ client_tls_protocols: "tlsv1.3" }));
    expect(await handshake(pooler)).toMatch(/^TLSv1\.3 /);
    expect(socket.getProtocol()).toBe("TLSv1.2");
    expect(await value(client, "select 1")).toBe("1");
    expect(() => pooler.reload(config({ client_tls_ciphers: "nonsense" }))).toThrow(
      /OpenSSL finds no cipher/,
    );
    expect(await handshake(pooler)).toMatch(/^TLSv1\.3 /);
    client.destroy();
  });
});

describe("towards servers", () => {
  const shown = "select concat_ws(' ', version, cipher, pid) from pg_stat_ssl where pid = pg_backend_pid()";

  test.each<[string, Record<string, string>, RegExp]>([
    ["server_tls_protocols", { server_tls_protocols: "tlsv1.2" }, /^TLSv1\.2 /],
    ["server_tls_protocols", { server_tls_protocols: "secure,!tlsv1.2" }, /^TLSv1\.3 /],
    [
      "server_tls_ciphers",
      { server_tls_protocols: "tlsv1.2", server_tls_ciphers: "ECDHE-RSA-AES256-SHA384" },
      /^TLSv1\.2 ECDHE-RSA-AES256-SHA384 /,
    ],
    [
      "server_tls13_ciphers",
      { server_tls13_ciphers: "TLS_AES_128_GCM_SHA256" },
      /^TLSv1\.3 TLS_AES_128_GCM_SHA256 /,
    ],
  ])("%s %o", async (_name, settings, expected) => {
    await using pooler = await startPooler(config({ client_tls_sslmode: "disable", ...settings }));
    const { client } = await pooler.login();
    expect(await value(client, shown)).toMatch(expected);
    client.destroy();
  });

  test("those of a node win over those of [pgsluice]", async () => {
    const node = { server_tls_protocols: "tlsv1.2", server_tls_ciphers: "ECDHE-RSA-AES256-SHA384" };
    const settings = { client_tls_sslmode: "disable", server_tls_protocols: "tlsv1.3" };
    await using pooler = await startPooler(config(settings, node));
    const { client } = await pooler.login();
    expect(await value(client, shown)).toMatch(/^TLSv1\.2 ECDHE-RSA-AES256-SHA384 /);
    client.destroy();
  });

  test("a server that shares no version is refused", async () => {
    const settings = { client_tls_sslmode: "disable", server_tls_protocols: "tlsv1.1" };
    await using pooler = await startPooler(config(settings));
    expect(await pooler.refusal()).toMatchObject({ severity: "FATAL", message: "connect failed" });
  });

  test.each([
    ["server_tls_protocols", "tlsv1.2"],
    ["server_tls_ciphers", "ECDHE-RSA-AES256-SHA384"],
    ["server_tls13_ciphers", "TLS_AES_128_GCM_SHA256"],
    ["server_tls_sslmode", "prefer"],
  ])(
    "a reload that changes %s replaces servers when they come free, as RECONNECT does",
    async (name, text) => {
      const plain = { client_tls_sslmode: "disable" };
      const before = { ...config(plain), node: { host: "127.0.0.1", port: lab.primary.port } };
      const required = { ...plain, server_tls_sslmode: "require" };
      await using pooler = await startPooler({ ...before, settings: { ...before.settings, ...required } });
      const { client } = await pooler.login();
      await client.rows("begin");
      const first = await value(client, shown);
      await pooler.reload({ ...before, settings: { ...before.settings, ...required, [name]: text } });
      expect(await value(client, shown)).toBe(first);
      await client.rows("commit");
      expect(await value(client, shown)).not.toBe(first);
      expect(pooler.log).toContain('"reason":"database configuration changed"');
      client.destroy();
    },
  );
});
