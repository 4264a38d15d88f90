/** The lab's certificates, in the hands of those who check them: PostgreSQL's OpenSSL, Node's, and libpq. */
import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import pg from "pg";
import { expect, test } from "vitest";
import { CertificateAuthority, Lab, makeCertificates } from "../../src/lab/index.ts";
import { rawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";

for (const keyType of ["ec", "rsa", "ed25519"] as const) {
  test(`PostgreSQL takes ${keyType} certificates, and clients verify them both ways`, async () => {
    await using folder = await tempFolder();
    const made = await makeCertificates(folder.path, { user: "cert_user", keyType });
    await using lab = await Lab.start({
      tls: { server: made.server, clientAuthority: made.authority.certificate },
      auth: ["hostssl all cert_user 127.0.0.1/32 cert", "hostssl all postgres 127.0.0.1/32 trust"],
    });
    const { port } = lab.primary;
    await lab.primary.query("CREATE ROLE cert_user LOGIN");
    const client = new pg.Client({
      host: "localhost",
      port,
      user: "cert_user",
      database: "postgres",
      ssl: { ca: made.authority.certificate, cert: made.client.certificate, key: made.client.key },
    });
    await client.connect();
    expect((await client.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).rows).toEqual([
      { ssl: true },
    ]);
    await client.end();

    using raw = await rawClient(port);
    const socket = await raw.startTls({ ca: made.authority.certificate, servername: "localhost" });
    expect(socket.authorized).toBe(true);
    await raw.startup();
    using direct = await rawClient(port);
    await direct.startDirectTls();
    await direct.startup();
  });
}

test.skipIf(!existsSync("/usr/bin/psql"))("libpq verifies them", async () => {
  await using folder = await tempFolder();
  const made = await makeCertificates(folder.path);
  await using lab = await Lab.start({ tls: { server: made.server } });
  const run = (host: string): Promise<{ stdout: string }> =>
    promisify(execFile)("/usr/bin/psql", [
      `host=${host} port=${lab.primary.port} user=postgres sslmode=verify-full sslrootcert=${made.authorityFile}`,
      "-Atc",
      "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    ]);
  expect((await run("127.0.0.1")).stdout).toMatch(/^TLSv1\.3/);
});

test("names, addresses and times are as asked for", () => {
  const authority = new CertificateAuthority({ commonName: "our authority" });
  const { certificate } = authority.issue({
    commonName: "ä b",
    hosts: ["db.example", "10.1.2.3", "2001:db8::17"],
    validFrom: new Date("2020-01-02T03:04:05Z"),
    validTo: new Date("2051-06-07T08:09:10Z"),
  });
  const read = new X509Certificate(certificate);
  const signer = new X509Certificate(authority.certificate);
  expect(read.subject).toBe("CN=ä b");
  expect(read.checkHost("db.example")).toBe("db.example");
  expect(read.checkHost("other.example")).toBeUndefined();
  expect(read.checkIP("10.1.2.3")).toBe("10.1.2.3");
  expect(read.checkIP("2001:db8::17")).toBe("2001:db8::17");
  expect(new Date(read.validFrom).toISOString()).toBe("2020-01-02T03:04:05.000Z");
  expect(new Date(read.validTo).toISOString()).toBe("2051-06-07T08:09:10.000Z");
  expect(read.ca).toBe(false);
  expect(signer.ca).toBe(true);
  expect(read.checkIssued(signer)).toBe(true);
  expect(read.verify(signer.publicKey)).toBe(true);
});
