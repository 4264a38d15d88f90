/**
 * Every method of a rule, with every kind of stored secret, over every kind of connection, for every kind of
 * client: who gets in, and who is told what. The rules are PostgreSQL's own format, so the embedded PostgreSQL
 * reads the same lines and is asked the same, wherever the answer is its own to give.
 */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { md5Hash } from "../../src/auth/md5.ts";
import { saltedPassword } from "../../src/auth/pbkdf2.ts";
import { buildScramSecret, formatScramSecret } from "../../src/auth/secret.ts";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { certificatesOf, outcome, password, type Row, rowsOf, wrong } from "./authentication-matrix.ts";
import { startPooler, type TestPooler } from "./login-pooler.ts";

/** The database chooses the rule. */
const rules = [
  "host       trusted    all       127.0.0.1/32          trust",
  "host       rejected   all       127.0.0.1/32          reject",
  "host       clear      all       samehost              password",
  "host       digest     all       all                   md5",
  "host       modern     all       127.0.0.0  255.0.0.0  scram-sha-256",
  "hostgssenc secure     all       all                   trust",
  "hostnossl  secure     all       all                   reject",
  "hostssl    secure     all       all                   scram-sha-256",
  'hostssl    "certain"  all       all                   cert',
  "hostssl    mapped     all       all                   cert map=people",
  "hostssl    whole      all       all                   cert map=names clientname=DN",
  "hostssl    vouched    all       all                   md5 clientcert=verify-ca",
  "hostssl    own        all       all                   scram-sha-256 clientcert=verify-full",
  "hostssl    badge      all       all                   trust clientcert=verify-full",
  "host       picky      hashed    all                   md5",
  "host       picky      /^veri    all                   scram-sha-256",
  "host       sameuser   plain     all                   trust",
  "host       elsewhere  all       192.0.2.0/24          trust",
];
const maps = [
  "people     verified       hashed",
  "people     /^(.*)@there$  \\1",
  "names      CN=verified    verified",
];

/**
 * One line for each rule, user and kinds of connection; behind the bar what comes of it for each kind of
 * client. `ok`: a session; a SQLSTATE: the refusal; of the client `none`, which answers nothing, what it is
 * asked for. `wrong` answers whatever is asked, with another password.
 */
const table = `
rule      user      over               | driver scram  md5    password none     wrong
trusted   plain     plain,tls,verified | ok     ok     ok     ok       ok       ok
trusted   hashed    plain,tls,verified | ok     ok     ok     ok       ok       ok
trusted   absent    plain              | ok     ok     ok     ok       ok       ok
trusted   nobody    plain,tls          | ok     ok     ok     ok       ok       ok
rejected  verified  plain,tls,verified | 28000  28000  28000  28000    28000    28000
rejected  nobody    plain,tls,verified | 28000  28000  28000  28000    28000    28000
clear     plain     plain,tls,verified | ok     08P01  28P01  ok       password 28P01
clear     hashed    plain,tls,verified | ok     08P01  28P01  ok       password 28P01
clear     verified  plain,tls,verified | ok     08P01  28P01  ok       password 28P01
clear     absent    plain,tls          | 28P01  08P01  28P01  28P01    password 28P01
clear     nobody    plain,tls          | 28P01  08P01  28P01  28P01    password 28P01
digest    plain     plain,tls,verified | ok     08P01  ok     28P01    md5      28P01
digest    hashed    plain,tls,verified | ok     08P01  ok     28P01    md5      28P01
digest    verified  plain,tls,verified | ok     ok     08P01  08P01    SASL     28P01
digest    absent    plain,tls          | 28P01  28P01  08P01  08P01    SASL     28P01
digest    nobody    plain,tls          | 28P01  28P01  08P01  08P01    SASL     28P01
modern    plain     plain,tls,verified | ok     ok     08P01  08P01    SASL     28P01
modern    hashed    plain,tls,verified | 28P01  28P01  08P01  08P01    SASL     28P01
modern    verified  plain,tls,verified | ok     ok     08P01  08P01    SASL     28P01
modern    absent    plain,tls          | 28P01  28P01  08P01  08P01    SASL     28P01
modern    nobody    plain,tls          | 28P01  28P01  08P01  08P01    SASL     28P01
secure    verified  plain              | 28000  28000  28000  28000    28000    28000
secure    nobody    plain              | 28000  28000  28000  28000    28000    28000
secure    verified  tls,verified       | ok     ok     08P01  08P01    SASL     28P01
secure    nobody    tls                | 28P01  28P01  08P01  08P01    SASL     28P01
certain   verified  plain,tls,stranger | 28000  28000  28000  28000    28000    28000
certain   verified  verified           | ok     ok     ok     ok       ok       ok
certain   hashed    verified           | 28000  28000  28000  28000    28000    28000
certain   nobody    plain,tls,verified | 28000  28000  28000  28000    28000    28000
certain   plain     mailed             | 28000  28000  28000  28000    28000    28000
mapped    hashed    verified           | ok     ok     ok     ok       ok       ok
mapped    verified  verified           | 28000  28000  28000  28000    28000    28000
mapped    plain     mailed             | ok     ok     ok     ok       ok       ok
mapped    nobody    mailed,tls         | 28000  28000  28000  28000    28000    28000
whole     verified  verified           | ok     ok     ok     ok       ok       ok
whole     hashed    verified,mailed    | 28000  28000  28000  28000    28000    28000
vouched   hashed    plain,tls,stranger | 28000  28000  28000  28000    28000    28000
vouched   hashed    verified,mailed    | ok     08P01  ok     28P01    md5      28P01
vouched   nobody    verified           | 28P01  28P01  08P01  08P01    SASL     28P01
own       verified  plain,tls,mailed   | 28000  28000  28000  28000    28000    28000
own       verified  verified           | ok     ok     08P01  08P01    SASL     28P01
own       nobody    verified,tls       | 28000  28000  28000  28000    28000    28000
badge     verified  plain,tls,mailed   | 28000  28000  28000  28000    28000    28000
badge     verified  verified           | ok     ok     ok     ok       ok       ok
badge     nobody    verified           | 28000  28000  28000  28000    28000    28000
picky     hashed    plain              | ok     08P01  ok     28P01    md5      28P01
picky     verified  plain              | ok     ok     08P01  08P01    SASL     28P01
picky     plain     plain,tls          | 28000  28000  28000  28000    28000    28000
picky     nobody    plain,tls          | 28000  28000  28000  28000    28000    28000
plain     plain     plain,tls          | ok     ok     ok     ok       ok       ok
plain     nobody    plain,tls          | 28000  28000  28000  28000    28000    28000
elsewhere verified  plain,tls,verified | 28000  28000  28000  28000    28000    28000
nowhere   verified  plain,tls,verified | 28000  28000  28000  28000    28000    28000
nowhere   nobody    plain,tls,verified | 28000  28000  28000  28000    28000    28000
`;

const rows = rowsOf(table);
const folder = await tempFolder();
const identFile = path.join(folder.path, "pg_ident.conf");
await writeFile(identFile, maps.join("\n"));

const authority = new CertificateAuthority();
const server = authority.issue({ commonName: "localhost", hosts: ["127.0.0.1"] });
const certificates = certificatesOf(authority);

const place = useLab({
  auth: ["host postgres postgres 127.0.0.1/32 trust", ...rules],
  tls: { server, clientAuthority: authority.certificate },
  settings: { ident_file: identFile },
});
let pooler: TestPooler;

beforeAll(async () => {
  const salt = randomBytes(16);
  const secrets: Readonly<Record<string, string | undefined>> = {
    plain: password,
    hashed: `md5${md5Hash("hashed", password)}`,
    verified: formatScramSecret(buildScramSecret(await saltedPassword(password, salt, 4096), salt, 4096)),
    // So that most users have a SCRAM secret, as PostgreSQL takes it of those it does not know.
    further: formatScramSecret(buildScramSecret(await saltedPassword("x", salt, 4096), salt, 4096)),
    absent: undefined,
  };
  for (const [user, secret] of Object.entries(secrets)) {
    await place.lab.primary.query(
      `create role ${user} login ${secret === undefined ? "" : `password '${secret}'`}`,
    );
  }
  const databases = new Set(rows.map(({ database }) => database));
  for (const database of databases) await place.lab.primary.query(`create database ${database}`);
  const file = (name: string): string => path.join(folder.path, name);
  await writeFile(file("pg_hba.conf"), rules.join("\n"));
  await writeFile(file("server.crt"), server.certificate);
  await writeFile(file("server.key"), server.key);
  await writeFile(file("ca.crt"), authority.certificate);
  pooler = await startPooler({
    node: place.lab.primary,
    settings: {
      pool_mode: "transaction",
      auth_type: "hba",
      auth_hba_file: file("pg_hba.conf"),
      auth_ident_file: identFile,
      client_tls_sslmode: "allow",
      client_tls_cert_file: file("server.crt"),
      client_tls_key_file: file("server.key"),
      client_tls_ca_file: file("ca.crt"),
    },
    databases: { "*": { dbname: "postgres", user: "postgres" } },
    users: Object.fromEntries(
      Object.entries(secrets).map(([user, secret]) => [
        user,
        secret === undefined ? { pool_mode: "transaction" } : { password: secret },
      ]),
    ),
    secrets: [password, wrong],
  });
}, 120_000);

afterAll(async () => {
  await pooler[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

test("acceptance 42: the table is as large as it is meant to be", () => {
  expect(rows.length).toBeGreaterThan(400);
  expect(new Set(rows.map((row) => JSON.stringify(row))).size).toBe(rows.length);
});

describe.each([...new Set(rows.map(({ database }) => database))])("acceptance 42: rule %s", (database) => {
  const own = rows.filter((row) => row.database === database);

  test.each(own)("$user, $over, client $client: $expected", async (row) => {
    expect(await outcome(pooler.port, row, certificates)).toBe(row.expected);
  });

  const shared = own.filter(isPostgresToSay);
  test.runIf(shared.length > 0)(`PostgreSQL says the same in ${shared.length} cases`, async () => {
    const answers: Row[] = [];
    for (const row of shared)
      answers.push({ ...row, expected: await outcome(place.lab.primary.port, row, certificates) });
    expect(answers).toEqual(shared);
  });
});

/**
 * Where PostgreSQL's answer must be ours. Not: roles it does not have, once they need no proof; a password
 * kept in clear, which it does not keep; certificates of strangers, with whom it breaks off the handshake;
 * clientcert=verify-full beside a password, which it looks at after the password, and we before.
 */
function isPostgresToSay({ database, user, over, client, expected }: Row): boolean {
  if (over === "stranger" || (database === "own" && expected === "28000" && over !== "plain")) return false;
  if (expected === "ok" && user === "nobody") return false;
  if (user === "plain" && database === "digest") return client === "driver";
  return true;
}
