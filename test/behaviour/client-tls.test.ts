/** The client's TLS against real PostgreSQL: sslmode by sslmode, certificates both ways, channel binding, cancel. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { connectOptionsFromConninfo } from "../../src/client/conninfo/conninfo.ts";
import { type ConnectOptions, openConnection, SimpleClient, type SslMode } from "../../src/client/index.ts";
import { CertificateAuthority, Lab } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";

const authority = new CertificateAuthority({ commonName: "test authority" });
const stranger = new CertificateAuthority({ commonName: "somebody else" });
const server = authority.issue({ commonName: "server", hosts: ["db.example"] });

const shared = useLab({
  tls: { server, clientAuthority: authority.certificate },
  auth: [
    "hostssl all only_tls 127.0.0.1/32 trust",
    "hostnossl all only_plain 127.0.0.1/32 trust",
    "host all only_tls,only_plain 127.0.0.1/32 reject",
    "hostssl all with_cert 127.0.0.1/32 cert",
    "host all with_scram 127.0.0.1/32 scram-sha-256",
    "host all with_md5 127.0.0.1/32 md5",
    "hostssl all with_password 127.0.0.1/32 password",
    "local all all trust",
    "host all all 127.0.0.1/32 trust",
  ],
});

/** The server by a name of its certificate, or by one that is not in it. */
function options(given: Partial<ConnectOptions>, host = "db.example"): ConnectOptions {
  const { port } = shared.lab.primary;
  return {
    ...connectOptionsFromConninfo("user=postgres dbname=postgres"),
    hosts: [{ host, address: "127.0.0.1", port }],
    ...given,
  };
}

async function isEncrypted(connect: ConnectOptions): Promise<boolean> {
  await using client = await SimpleClient.connect(connect);
  const { rows } = await client.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
  expect(rows).toEqual([[client.connection.tls ? "t" : "f"]]);
  return client.connection.tls;
}

beforeAll(async () => {
  await using client = await SimpleClient.connect(options({ sslmode: "disable" }));
  await client.query(`
    CREATE ROLE only_tls LOGIN; CREATE ROLE only_plain LOGIN; CREATE ROLE with_cert LOGIN;
    CREATE ROLE with_scram LOGIN PASSWORD 'secret';
    CREATE ROLE with_password LOGIN PASSWORD 'secret';
    SET password_encryption = 'md5';
    CREATE ROLE with_md5 LOGIN PASSWORD 'secret';
  `);
});

const modes: [user: string, sslmode: SslMode, outcome: boolean | string][] = [
  ["postgres", "disable", false],
  ["postgres", "allow", false],
  ["postgres", "prefer", true],
  ["postgres", "require", true],
  ["only_tls", "disable", "28000"],
  ["only_tls", "allow", true],
  ["only_tls", "prefer", true],
  ["only_plain", "prefer", false],
  ["only_plain", "allow", false],
  ["only_plain", "require", "28000"],
];
test.each(modes)(
  "acceptance 74: TLS is tried as sslmode says: %s with sslmode=%s: %s",
  async (user, sslmode, outcome) => {
    const attempt = isEncrypted(options({ user, sslmode }));
    if (typeof outcome === "boolean") expect(await attempt).toBe(outcome);
    else await expect(attempt).rejects.toMatchObject({ sqlstate: outcome });
  },
);

describe("the server's certificate", () => {
  const roots = { none: undefined, own: authority.certificate, other: stranger.certificate } as const;
  const unknown = /SSL error: .*(unable to|self-signed)/;
  const misnamed = /SSL error: .*does not match certificate's altnames/;
  const cases: [sslmode: SslMode, root: keyof typeof roots, host: string, outcome: boolean | RegExp][] = [
    ["require", "none", "wrong.example", true],
    ["require", "own", "wrong.example", true],
    ["require", "other", "db.example", unknown],
    ["verify-ca", "own", "wrong.example", true],
    ["verify-ca", "other", "db.example", unknown],
    ["verify-full", "own", "db.example", true],
    ["verify-full", "own", "wrong.example", misnamed],
    ["verify-full", "own", "127.0.0.1", misnamed],
    ["prefer", "other", "db.example", false],
  ];
  test.each(cases)("sslmode=%s, root: %s, host %s", async (sslmode, root, host, outcome) => {
    const attempt = isEncrypted(options({ sslmode, sslrootcert: roots[root] }, host));
    if (typeof outcome === "boolean") expect(await attempt).toBe(outcome);
    else {
      await expect(attempt).rejects.toMatchObject({ code: "client.tls_failed", sqlstate: "08001" });
      await expect(attempt).rejects.toThrow(outcome);
    }
  });

  test("acceptance 79: one that is refused leaves no socket and no timer", async () => {
    const count = (): number =>
      process.getActiveResourcesInfo().filter((name) => /^(TCP|TLS|Timeout)/.test(name)).length;
    await waitUntil(
      () => !process.getActiveResourcesInfo().includes("TCPSocketWrap"),
      "earlier sockets are gone",
    );
    const before = count();
    for (let i = 0; i < 5; i++) {
      const refused = options({
        sslmode: "verify-full",
        sslrootcert: stranger.certificate,
        connectTimeoutMs: 60_000,
      });
      await expect(openConnection(refused)).rejects.toMatchObject({ code: "client.tls_failed" });
    }
    await waitUntil(() => count() <= before, "nothing is left");
  });

  test("roots and keys may lie in files; one that is missing is named", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "root.crt");
    await writeFile(file, authority.certificate);
    expect(await isEncrypted(options({ sslmode: "verify-full", sslrootcert: file }))).toBe(true);
    await expect(
      openConnection(options({ sslmode: "verify-full", sslrootcert: `${file}.none` })),
    ).rejects.toMatchObject({
      code: "client.bad_option",
      message: `could not read root certificate file "${file}.none": ENOENT`,
    });
    const nonsense = "-----BEGIN nonsense";
    const noRoot = openConnection(options({ sslmode: "require", sslrootcert: nonsense }));
    await expect(noRoot, "nobody is trusted then").rejects.toMatchObject({ code: "client.tls_failed" });
    const noKey = options({ sslmode: "require", sslcert: server.certificate, sslkey: nonsense });
    await expect(openConnection(noKey)).rejects.toMatchObject({ code: "client.bad_option" });
  });
});

test("direct TLS, with and without verification", async () => {
  const direct = { sslnegotiation: "direct", sslrootcert: authority.certificate } as const;
  expect(await isEncrypted(options({ ...direct, sslmode: "require" }))).toBe(true);
  expect(await isEncrypted(options({ ...direct, sslmode: "verify-full" }))).toBe(true);
});

test("a client certificate is shown, and is enough to log in with", async () => {
  const { certificate, key } = authority.issue({ commonName: "with_cert" });
  const user = "with_cert";
  expect(await isEncrypted(options({ user, sslmode: "require", sslcert: certificate, sslkey: key }))).toBe(
    true,
  );
  await expect(openConnection(options({ user, sslmode: "require" }))).rejects.toMatchObject({
    sqlstate: "28000",
  });
});

test("a password in clear text is sent through TLS to wherever", async () => {
  const connect = options({
    user: "with_password",
    password: "secret",
    sslmode: "require",
    allowCleartextPassword: false,
  });
  expect(await isEncrypted(connect)).toBe(true);
});

describe("channel binding", () => {
  const scram = { user: "with_scram", password: "secret", sslmode: "require" } as const;

  test.each(["disable", "prefer", "require"] as const)("%s, with SCRAM", async (channelBinding) => {
    expect(await isEncrypted(options({ ...scram, channelBinding }))).toBe(true);
  });

  test("required, it is refused where there is none", async () => {
    for (const refused of [
      { ...scram, user: "with_md5" },
      { ...scram, user: "only_tls" },
      { ...scram, sslmode: "allow" },
    ] as const) {
      await expect(openConnection(options({ ...refused, channelBinding: "require" }))).rejects.toMatchObject({
        code: "client.login_failed",
      });
    }
  });

  test("keys do for -PLUS as well", async () => {
    const first = await openConnection(options({ ...scram, channelBinding: "require" }));
    first.transport.destroy();
    const again = {
      ...scram,
      password: undefined,
      scramKeys: first.scramKeys,
      channelBinding: "require",
    } as const;
    expect(await isEncrypted(options(again))).toBe(true);
  });

  test("a certificate without a hash of its own (Ed25519) logs in unbound", async () => {
    const ed25519 = new CertificateAuthority({ commonName: "ed25519", keyType: "ed25519" });
    await using lab = await Lab.start({
      tls: { server: ed25519.issue({ commonName: "server", hosts: ["db.example"] }) },
      auth: [
        "local all all trust",
        "host all postgres 127.0.0.1/32 trust",
        "host all all 127.0.0.1/32 scram-sha-256",
      ],
    });
    const hosts = [{ host: "db.example", address: "127.0.0.1", port: lab.primary.port }];
    await using client = await SimpleClient.connect(options({ hosts }));
    await client.query("CREATE ROLE with_scram LOGIN PASSWORD 'secret'");
    expect(await isEncrypted(options({ ...scram, hosts }))).toBe(true);
    await expect(
      openConnection(options({ ...scram, hosts, channelBinding: "require" })),
    ).rejects.toMatchObject({
      code: "client.login_failed",
    });
  });
});

test.each(["postgres", "direct"] as const)(
  "a cancel request goes through TLS if the session did (%s)",
  async (sslnegotiation) => {
    const connect = options({ sslmode: "verify-full", sslnegotiation, sslrootcert: authority.certificate });
    await using client = await SimpleClient.connect(connect);
    let ended = false;
    const sleeping = client.query("SELECT pg_sleep(60)");
    sleeping.catch(() => {
      ended = true;
    });
    await waitUntil(async () => {
      await client.cancel();
      return ended;
    }, "the query ends");
    await expect(sleeping).rejects.toMatchObject({ sqlstate: "57014" });
    expect((await client.query("SELECT 1")).rows).toEqual([["1"]]);
  },
);
