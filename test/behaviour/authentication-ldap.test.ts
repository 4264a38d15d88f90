/** Logins that an LDAP server decides over: Debian's slapd, where it is installed. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { freePort } from "../../src/lab/ports.ts";
import { encodePassword } from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { hasSlapd, type Slapd, startSlapd } from "../kit/slapd.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { errorOf, startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const password = "pass, word=1";
const wrong = "another one";
/** Each of its characters means something in a filter or in a name. */
const awkward = 'a*b(c)\\d,e=f+g"h#';

const ldif = `
dn: dc=test
objectClass: domain
dc: test

dn: ou=open,dc=test
objectClass: organizationalUnit
ou: open

dn: ou=twins,dc=test
objectClass: organizationalUnit
ou: twins

${person("alice", "ou=open")}
${person("bob", "ou=twins", "bob@example.org")}
${person("twin", "ou=twins", "twin@example.org")}
${person("twin2", "ou=twins", "twin@example.org")}
dn: uid=a*b(c)\\\\d\\,e\\=f\\+g\\"h#,ou=open,dc=test
objectClass: inetOrgPerson
cn: awkward
sn: awkward
uid: ${awkward}
userPassword: ${password}
`;

function person(uid: string, unit: string, mail = `${uid}@example.org`): string {
  return `dn: uid=${uid},${unit},dc=test
objectClass: inetOrgPerson
cn: ${uid}
sn: ${uid}
uid: ${uid}
mail: ${mail}
userPassword: ${password}
`;
}

const folder = await tempFolder();
const authority = new CertificateAuthority();
const authorityFile = path.join(folder.path, "ca.crt");
await writeFile(authorityFile, authority.certificate);
const strangers = path.join(folder.path, "strangers.crt");
await writeFile(strangers, new CertificateAuthority().certificate);

/** What proves bob to the directory proves him to PostgreSQL too. */
const place = useLab({
  auth: ["host all bob 127.0.0.1/32 scram-sha-256", "local all all trust", "host all all 127.0.0.1/32 trust"],
});
afterAll(() => folder[Symbol.asyncDispose]());
let directory: Slapd;
let closedPort: number;

describe.runIf(hasSlapd())("an LDAP server", () => {
  beforeAll(async () => {
    const certificate = authority.issue({ commonName: "localhost", hosts: ["localhost", "127.0.0.1"] });
    directory = await startSlapd(ldif, certificate, authority.certificate);
    closedPort = await freePort();
    for (const user of ["alice", "bob", awkward]) {
      await place.lab.primary.query(
        `create role "${user.replaceAll('"', '""')}" login password '${password}'`,
      );
    }
  });
  afterAll(() => directory[Symbol.asyncDispose]());

  function config(options: string, settings: TestConfig["settings"] = {}): TestConfig {
    return {
      node: place.lab.primary,
      settings: {
        auth_type: "ldap",
        auth_ldap_options: options,
        ldap_tls_ca_file: authorityFile,
        pool_mode: "transaction",
        ...settings,
      },
      databases: { app: { dbname: "postgres" } },
      secrets: [password, wrong, "adminpw"],
    };
  }

  async function outcome(pooler: TestPooler, user: string, tried = password): Promise<string> {
    const client = await pooler.open();
    try {
      await client.startup({ user, database: "app", password: tried });
      return (await value(client, "select session_user")) === user ? "ok" : "somebody else";
    } catch (error) {
      const [, code, message] = /ErrorResponse FATAL (\w+): (.*)$/.exec(String(error)) ?? [];
      return code === undefined ? String(error) : `${code} ${message}`;
    } finally {
      client.destroy();
    }
  }

  const refused = "28P01 LDAP authentication failed";
  const at = (): string => `ldapserver=127.0.0.1 ldapport=${directory.port}`;
  const asAdmin = 'ldapbinddn="cn=admin,dc=test" ldapbindpasswd=adminpw';

  /** Options, and of alice, bob, and the awkward one who gets in with the right password. */
  const ways: readonly (readonly [string, () => string, readonly [boolean, boolean, boolean]])[] = [
    ["simple bind", () => `${at()} ldapprefix="uid=" ldapsuffix=",ou=open,dc=test"`, [true, false, true]],
    ["search as nobody", () => `${at()} ldapbasedn="ou=open,dc=test"`, [true, false, true]],
    ["search+bind", () => `${at()} ldapbasedn="dc=test" ${asAdmin}`, [true, true, true]],
    [
      "search for an attribute",
      () => `${at()} ldapbasedn="dc=test" ${asAdmin} ldapsearchattribute=cn`,
      [true, true, false],
    ],
    [
      "search by a filter",
      () =>
        `${at()} ldapbasedn="dc=test" ${asAdmin} ldapsearchfilter="(&(objectClass=person)(|(uid=$username)(mail=$username)))"`,
      [true, true, true],
    ],
    [
      "a search that may not be made",
      () => `${at()} ldapbasedn="dc=test" ldapbinddn="cn=admin,dc=test" ldapbindpasswd=nonsense`,
      [false, false, false],
    ],
    [
      "ldapurl",
      () => `ldapurl="ldap://127.0.0.1:${directory.port}/ou=open,dc=test?uid?one"`,
      [true, false, true],
    ],
    [
      "ldapurl whose scope is the base",
      () => `ldapurl="ldap://127.0.0.1:${directory.port}/ou=open,dc=test?uid"`,
      [false, false, false],
    ],
    [
      "ldaps",
      () =>
        `ldapserver=localhost ldapscheme=ldaps ldapport=${directory.tlsPort} ldapbasedn="ou=open,dc=test"`,
      [true, false, true],
    ],
    ["StartTLS", () => `${at()} ldaptls=1 ldapbasedn="dc=test" ${asAdmin}`, [true, true, true]],
    [
      "a second server, when the first is not there",
      () => `ldapserver="127.0.0.1:${closedPort} 127.0.0.1:${directory.port}" ldapbasedn="ou=open,dc=test"`,
      [true, false, true],
    ],
    [
      "no server that is there",
      () => `ldapserver=127.0.0.1 ldapport=${closedPort} ldapbasedn="dc=test"`,
      [false, false, false],
    ],
  ];

  test.each(ways)("%s", async (_name, options, expected) => {
    await using pooler = await startPooler(config(options()));
    const users = ["alice", "bob", awkward];
    for (const [index, user] of users.entries()) {
      expect(await outcome(pooler, user), user).toBe(expected[index] ? "ok" : refused);
      expect(await outcome(pooler, user, wrong), user).toBe(refused);
    }
  });

  test.each([
    ["ldaps", () => `ldapserver=localhost ldapscheme=ldaps ldapport=${directory.tlsPort}`],
    ["StartTLS", () => `${at()} ldaptls=1`],
  ])(
    "%s: a server whose certificate nobody vouches for (ldap_tls_ca_file) is told no password",
    async (_name, options) => {
      await using pooler = await startPooler(
        config(`${options()} ldapbasedn="ou=open,dc=test"`, { ldap_tls_ca_file: strangers }),
      );
      expect(await outcome(pooler, "alice")).toBe(refused);
      expect(pooler.log).toMatch(/LDAP server could not be asked/);
    },
  );

  test("what a name or a filter could be made to say with, it does not say", async () => {
    await using search = await startPooler(config(`${at()} ldapbasedn="dc=test" ${asAdmin}`));
    await using bind = await startPooler(config(`${at()} ldapprefix="uid=" ldapsuffix=",ou=open,dc=test"`));
    for (const user of [
      "*",
      "al*",
      "alice)(uid=*",
      "alice,ou=open",
      "alice\\2a",
      "alice+cn=alice",
      "nobody",
    ]) {
      expect(await outcome(search, user), user).toBe(refused);
      expect(await outcome(bind, user), user).toBe(refused);
    }
  });

  test("who is there twice is nobody", async () => {
    await using pooler = await startPooler(
      config(`${at()} ldapbasedn="dc=test" ${asAdmin} ldapsearchattribute=mail`),
    );
    expect(await outcome(pooler, "twin@example.org")).toBe(refused);
    expect(pooler.log).toMatch(/is not unique|SizeLimitExceeded/);
  });

  test("an empty password, with which the server itself would be content, is none", async () => {
    await using pooler = await startPooler(config(`${at()} ldapbasedn="ou=open,dc=test"`));
    const client = await pooler.open();
    client.sendStartup({ user: "alice", database: "app" });
    expect(await client.next()).toMatchObject({ kind: "AuthenticationCleartextPassword" });
    client.send(encodePassword(""));
    expect(errorOf((await client.rest()).at(-1))).toMatchObject({
      code: "28P01",
      message: "empty password returned by client",
    });
    client.destroy();
  });

  test("rules of the method ldap, with options of their own and without", async () => {
    const rules = path.join(folder.path, "pg_hba.conf");
    await writeFile(
      rules,
      `host app alice all ldap ${at()} ldapprefix="uid=" ldapsuffix=",ou=open,dc=test"\nhost all all all ldap\n`,
    );
    const settings = { auth_type: "hba", auth_hba_file: rules };
    await using pooler = await startPooler(config(`${at()} ldapbasedn="dc=test" ${asAdmin}`, settings));
    expect(await outcome(pooler, "alice")).toBe("ok");
    expect(await outcome(pooler, "bob")).toBe("ok");
    expect(await outcome(pooler, "alice", wrong)).toBe(refused);
    await expect(startPooler(config("", settings))).rejects.toThrow(
      `${rules}:2: ldap needs options, or auth_ldap_options`,
    );
  });

  test("many at once all have their answers; one that leaves while it waits is no trouble", async () => {
    await using pooler = await startPooler(config(`${at()} ldapbasedn="dc=test" ${asAdmin}`));
    const gone = await pooler.open();
    gone.sendStartup({ user: "alice", database: "app" });
    await gone.next();
    gone.send(encodePassword(password));
    gone.destroy();
    const outcomes = Array.from({ length: 40 }, (_, index) =>
      outcome(pooler, "alice", index % 2 === 0 ? password : wrong),
    );
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(["ok", refused]));
    await pooler.untilNobodyIsLeft();
  });
});

test("options that make no sense end the start", async () => {
  const start = startPooler({
    node: place.lab.primary,
    settings: { auth_type: "ldap", auth_ldap_options: "ldapserver=x ldapbindpasswd=geheim" },
    secrets: ["geheim"],
  });
  await expect(start).rejects.toThrow(
    'auth_ldap_options: authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set',
  );
});
