/**
 * What the TLS options come to in a real handshake: certificate lists, versions, the client's certificate, the log
 * of keys. Against Node's own TLS server, which can be any kind of server that there is.
 */
import { once } from "node:events";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import path from "node:path";
import tls from "node:tls";
import { describe, expect, test } from "vitest";
import { type ConnectOptions, connectOptions } from "../../src/client/conninfo/options.ts";
import { describeTls, loadTlsMaterial, logTlsSecrets, tlsOptions } from "../../src/client/handshake/tls.ts";
import { RevocableAuthority, type RevocableCertificate } from "../kit/revocable-authority.ts";
import { tempFolder } from "../kit/temp-folder.ts";

const authority = new RevocableAuthority("test authority");
const stranger = new RevocableAuthority("somebody else");
const good = authority.issue("localhost");
const bad = authority.issue("localhost");
const client = authority.issue("ada");
const list = authority.revoke(bad);
const foreignList = stranger.revoke();

interface Outcome {
  readonly protocol: string | null;
  readonly certificateRequested: boolean;
  /** Common name of the client's certificate, as the server has seen it. */
  readonly client: string | undefined;
}

/** One handshake; rejects with what the client's side fails with. */
async function shakeHands(
  given: Partial<ConnectOptions>,
  server: tls.TlsOptions & { readonly identity?: RevocableCertificate } = {},
): Promise<Outcome> {
  const { identity = good, ...rest } = server;
  const options = connectOptions({ user: "ada", sslmode: "require", ...given });
  const material = await loadTlsMaterial(options);
  const listener = tls.createServer({
    cert: identity.certificate,
    key: identity.key,
    ALPNProtocols: ["postgresql"],
    ...rest,
  });
  let seen: string | undefined;
  listener.on("secureConnection", (socket) => {
    const name = socket.getPeerCertificate().subject?.CN;
    seen = typeof name === "string" ? name : undefined;
    socket.on("error", () => {});
    socket.end("hello");
  });
  listener.on("tlsClientError", () => {});
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const socket = tls.connect({ ...tlsOptions(options, material, "localhost"), host: "127.0.0.1", port });
  logTlsSecrets(options, socket);
  try {
    await once(socket, "secureConnect");
    const { certificateRequested } = describeTls(options, socket);
    const protocol = socket.getProtocol();
    await once(socket, "data");
    return { protocol, certificateRequested, client: seen };
  } finally {
    socket.destroy();
    listener.close();
  }
}

describe("certificates that have been revoked", () => {
  const trusting = { sslmode: "verify-ca", sslrootcert: authority.certificate } as const;

  test("are refused, others are not", async () => {
    const options = { ...trusting, sslcrl: list };
    await expect(shakeHands(options, { identity: bad })).rejects.toThrow(/revoked/);
    expect((await shakeHands(options)).protocol).toBe("TLSv1.3");
    expect((await shakeHands(trusting, { identity: bad })).protocol, "without a list").toBe("TLSv1.3");
  });

  test("are refused if a list in a file, behind another one, or in a folder says so", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "root.crl");
    await writeFile(file, `${foreignList}\nsome text\n${list}`);
    await expect(shakeHands({ ...trusting, sslcrl: file }, { identity: bad })).rejects.toThrow(/revoked/);
    const lists = path.join(folder.path, "lists");
    await mkdir(lists);
    await writeFile(path.join(lists, "0123abcd.r0"), list);
    await writeFile(path.join(lists, "README"), "not a list");
    await expect(shakeHands({ ...trusting, sslcrldir: lists }, { identity: bad })).rejects.toThrow(/revoked/);
    expect((await shakeHands({ ...trusting, sslcrldir: lists })).protocol).toBe("TLSv1.3");
  });

  test("cannot be told apart by a list of somebody else's", async () => {
    await expect(shakeHands({ ...trusting, sslcrl: foreignList })).rejects.toThrow(/CRL/);
  });

  test("do not matter where no certificate is verified", async () => {
    expect((await shakeHands({ sslcrl: list }, { identity: bad })).protocol).toBe("TLSv1.3");
  });

  test("a file or folder that is missing is no list; one that holds none is an error", async () => {
    await using folder = await tempFolder();
    const missing = path.join(folder.path, "missing");
    const options = { ...trusting, sslcrl: missing, sslcrldir: missing };
    expect((await shakeHands(options, { identity: bad })).protocol).toBe("TLSv1.3");
    const empty = path.join(folder.path, "empty");
    await writeFile(empty, "");
    const loading = (given: Partial<ConnectOptions>): Promise<unknown> =>
      loadTlsMaterial(connectOptions({ user: "ada", ...trusting, ...given }));
    await expect(loading({ sslcrl: empty })).rejects.toMatchObject({ code: "client.bad_option" });
    await expect(loading({ sslcrldir: folder.path })).rejects.toMatchObject({
      code: "client.bad_option",
      message: `no certificate revocation list in directory "${folder.path}"`,
    });
    await expect(loading({ sslcrldir: empty })).rejects.toThrow(/ENOTDIR/);
  });
});

describe("versions of TLS", () => {
  test.each([
    [{}, {}, "TLSv1.3"],
    [{ sslMaxProtocolVersion: "TLSv1.2" }, {}, "TLSv1.2"],
    [{}, { maxVersion: "TLSv1.2" }, "TLSv1.2"],
    [{ sslMinProtocolVersion: "TLSv1.3" }, {}, "TLSv1.3"],
  ] as const)("%o at a server with %o: %s", async (given, server, version) => {
    expect((await shakeHands(given, server)).protocol).toBe(version);
  });

  test("that do not meet are no TLS", async () => {
    const attempt = shakeHands({ sslMinProtocolVersion: "TLSv1.3" }, { maxVersion: "TLSv1.2" });
    await expect(attempt).rejects.toThrow(/version/);
  });
});

describe("the client's certificate", () => {
  const identity = { sslcert: client.certificate, sslkey: client.key } as const;
  const asking = { requestCert: true, rejectUnauthorized: false, ca: authority.certificate } as const;
  test.each([
    ["allow", asking, { certificateRequested: true, client: "ada" }],
    ["disable", asking, { certificateRequested: true, client: undefined }],
    ["require", asking, { certificateRequested: true, client: "ada" }],
    ["allow", {}, { certificateRequested: false, client: undefined }],
    ["allow", { ...asking, maxVersion: "TLSv1.2" }, { certificateRequested: true, client: "ada" }],
    ["allow", { maxVersion: "TLSv1.2" }, { certificateRequested: false, client: undefined }],
  ] as const)("sslcertmode %s at a server with %o", async (sslcertmode, server, outcome) => {
    expect(await shakeHands({ ...identity, sslcertmode }, server)).toMatchObject(outcome);
  });

  test("that is not to be sent is not even read", async () => {
    const options = { sslcert: "/nowhere", sslkey: "/nowhere", sslcertmode: "disable" } as const;
    expect((await shakeHands(options)).client).toBeUndefined();
  });
});

describe("sslkeylogfile", () => {
  test("gets the secrets of each session, and is nobody else's to read", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "keys.log");
    await shakeHands({ sslkeylogfile: file });
    const first = await readFile(file, "latin1");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    for (const line of first.trimEnd().split("\n"))
      expect(line).toMatch(/^[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]+$/);
    expect(first).toMatch(/^CLIENT_TRAFFIC_SECRET_0 /m);
    await shakeHands({ sslkeylogfile: file, sslMaxProtocolVersion: "TLSv1.2" });
    const both = await readFile(file, "latin1");
    expect(both.startsWith(first)).toBe(true);
    expect(both.slice(first.length)).toMatch(/^CLIENT_RANDOM /m);
  });

  test("that cannot be written is an error before anything is opened", async () => {
    await using folder = await tempFolder();
    await expect(shakeHands({ sslkeylogfile: folder.path })).rejects.toMatchObject({
      code: "client.bad_option",
      message: `could not open TLS key logging file "${folder.path}": EISDIR`,
    });
  });
});
