/**
 * The authentication matrix for users that are not in the configuration: looked up by auth_query, in every kind of secret
 * that it may give, or known to an LDAP server only. The table is read as that of authentication-matrix.test.ts.
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
import { hasSlapd, type Slapd, startSlapd } from "../kit/slapd.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { certificatesOf, outcome, password, rowsOf, wrong } from "./authentication-matrix.ts";
import { startPooler, type TestPooler } from "./login-pooler.ts";

/** `broken` and `gone`: the query fails, the database of the query does not exist. */
const rules = [
  "host       trusted    all        all  trust",
  "host       rejected   all        all  reject",
  "host       clear      all        all  password",
  "host       digest     all        all  md5",
  "hostnossl  secure     all        all  reject",
  "hostssl    secure     all        all  scram-sha-256",
  "hostssl    certain    all        all  cert",
  "hostssl    vouched    all        all  md5 clientcert=verify-ca",
  "host       roles      +staff     all  scram-sha-256",
  "host       roles      all        all  reject",
  "host       named      all  localhost  md5",
  "host       named      all        all  reject",
  "host       directory  all        all  ldap",
  "host       broken,gone,unknown  all  all  scram-sha-256",
];

/** `verified` has a SCRAM secret, that of `absent` is NULL, `nobody` is not there; `listed` is in the directory alone. */
const lookups = `
rule      user      over               | driver scram  md5    password none     wrong
trusted   verified  plain              | ok     ok     ok     ok       ok       ok
trusted   absent    plain              | ok     ok     ok     ok       ok       ok
trusted   nobody    plain,tls          | 28000  28000  28000  28000    28000    28000
rejected  verified  plain              | 28000  28000  28000  28000    28000    28000
rejected  nobody    plain              | 28000  28000  28000  28000    28000    28000
clear     plain     plain,tls          | ok     08P01  28P01  ok       password 28P01
clear     hashed    plain              | ok     08P01  28P01  ok       password 28P01
clear     verified  plain              | ok     08P01  28P01  ok       password 28P01
clear     absent    plain              | 28P01  08P01  28P01  28P01    password 28P01
clear     nobody    plain,tls          | 28P01  08P01  28P01  28P01    password 28P01
digest    plain     plain              | ok     08P01  ok     28P01    md5      28P01
digest    hashed    plain,tls          | ok     08P01  ok     28P01    md5      28P01
digest    verified  plain              | ok     ok     08P01  08P01    SASL     28P01
digest    absent    plain              | 28P01  28P01  08P01  08P01    SASL     28P01
digest    nobody    plain              | 28P01  28P01  08P01  08P01    SASL     28P01
secure    verified  plain              | 28000  28000  28000  28000    28000    28000
secure    plain     tls                | ok     ok     08P01  08P01    SASL     28P01
secure    hashed    tls                | 28P01  28P01  08P01  08P01    SASL     28P01
secure    verified  tls,verified       | ok     ok     08P01  08P01    SASL     28P01
secure    absent    tls                | 28P01  28P01  08P01  08P01    SASL     28P01
secure    nobody    tls                | 28P01  28P01  08P01  08P01    SASL     28P01
certain   verified  plain,tls,stranger | 28000  28000  28000  28000    28000    28000
certain   verified  verified           | ok     ok     ok     ok       ok       ok
certain   nobody    verified           | 28000  28000  28000  28000    28000    28000
vouched   hashed    verified           | ok     08P01  ok     28P01    md5      28P01
vouched   nobody    verified           | 28P01  28P01  08P01  08P01    SASL     28P01
roles     verified  plain              | ok     ok     08P01  08P01    SASL     28P01
roles     plain     plain              | 28000  28000  28000  28000    28000    28000
roles     nobody    plain              | 28000  28000  28000  28000    28000    28000
named     hashed    plain              | ok     08P01  ok     28P01    md5      28P01
named     nobody    plain              | 28P01  28P01  08P01  08P01    SASL     28P01
broken    verified  plain              | 28P01  28P01  08P01  08P01    SASL     28P01
broken    nobody    plain              | 28P01  28P01  08P01  08P01    SASL     28P01
gone      verified  plain              | 28P01  28P01  08P01  08P01    SASL     28P01
unknown   nobody    plain              | 28P01  28P01  08P01  08P01    SASL     28P01
`;
const directories = `
rule      user      over               | driver scram  md5    password none     wrong
directory listed    plain,tls          | ok     08P01  28P01  ok       password 28P01
directory verified  plain,tls          | 28P01  08P01  28P01  28P01    password 28P01
directory nobody    plain,tls          | 28P01  08P01  28P01  28P01    password 28P01
`;

const folder = await tempFolder();
const authority = new CertificateAuthority();
const server = authority.issue({ commonName: "localhost", hosts: ["localhost", "127.0.0.1"] });
const certificates = certificatesOf(authority);
const slapd = hasSlapd();
const place = useLab();
let directory: Slapd | undefined;
let pooler: TestPooler;

beforeAll(async () => {
  const salt = randomBytes(16);
  const scram = formatScramSecret(buildScramSecret(await saltedPassword(password, salt, 4096), salt, 4096));
  const secrets: readonly (readonly [string, string | null])[] = [
    // So that most users have a SCRAM secret.
    ...["further", "another", "verified"].map((user) => [user, scram] as const),
    ["plain", password],
    ["hashed", `md5${md5Hash("hashed", password)}`],
    ["absent", null],
  ];
  const { primary } = place.lab;
  await primary.query(
    "create table secrets (name text, secret text); create role staff; create role verified in role staff",
  );
  for (const [name, secret] of secrets) {
    await primary.query(
      `insert into secrets values ('${name}', ${secret === null ? "null" : `'${secret}'`})`,
    );
  }
  const file = (name: string): string => path.join(folder.path, name);
  await writeFile(file("pg_hba.conf"), rules.join("\n"));
  await writeFile(file("server.crt"), server.certificate);
  await writeFile(file("server.key"), server.key);
  await writeFile(file("ca.crt"), authority.certificate);
  if (slapd) directory = await startSlapd(listed, server, authority.certificate);
  const own = { dbname: "postgres", user: "postgres" };
  const names = new Set([...rowsOf(lookups), ...rowsOf(directories)].map(({ database }) => database));
  names.delete("unknown");
  pooler = await startPooler({
    node: primary,
    settings: {
      pool_mode: "transaction",
      auth_type: "hba",
      auth_hba_file: file("pg_hba.conf"),
      auth_user: "postgres",
      auth_query: "select name, secret from secrets where name = $1",
      auth_query_cache_age: 60,
      auth_ldap_options: `ldapserver=127.0.0.1 ldapport=${directory?.port ?? 1} ldapprefix="uid=" ldapsuffix=",dc=test"`,
      client_tls_sslmode: "allow",
      client_tls_cert_file: file("server.crt"),
      client_tls_key_file: file("server.key"),
      client_tls_ca_file: file("ca.crt"),
    },
    databases: {
      ...Object.fromEntries([...names].map((name) => [name, own])),
      broken: { ...own, auth_query: "select name, secret from not_there where name = $1" },
      gone: { ...own, auth_dbname: "vanished" },
      vanished: { dbname: "not_there" },
    },
    secrets: [password, wrong],
  });
  for (const user of ["further", "another"]) {
    const { client } = await pooler.login({ user, database: "digest", password });
    client.destroy();
  }
}, 120_000);

afterAll(async () => {
  await pooler[Symbol.asyncDispose]();
  await directory?.[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const listed = `
dn: dc=test
objectClass: domain
dc: test

dn: uid=listed,dc=test
objectClass: inetOrgPerson
cn: listed
sn: listed
uid: listed
userPassword: ${password}
`;

test("acceptance 42: the tables are as large as they are meant to be", () => {
  expect(rowsOf(lookups).length).toBeGreaterThan(200);
  expect(rowsOf(directories).length).toBeGreaterThan(30);
});

describe("acceptance 42: users that are looked up", () => {
  test.each(rowsOf(lookups))("$database: $user, $over, client $client: $expected", async (row) => {
    expect(await outcome(pooler.port, row, certificates)).toBe(row.expected);
  });
});

describe.runIf(slapd)("acceptance 42: users of a directory", () => {
  test.each(rowsOf(directories))("$database: $user, $over, client $client: $expected", async (row) => {
    expect(await outcome(pooler.port, row, certificates)).toBe(row.expected);
  });
});
