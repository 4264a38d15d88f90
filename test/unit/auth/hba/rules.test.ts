/** Records of pg_hba.conf: which one decides, and what is refused when the file is read. */
import { describe, expect, test } from "vitest";
import type { HbaConnection } from "../../../../src/auth/hba/rules.ts";
import { connection, type Files, problemsOf, rulesOf } from "./files.ts";

/** Line of the rule that decides, with its method; `none` if there is none. */
function decided(text: string, what: Partial<HbaConnection> = {}, files: Files = {}): string {
  const rule = rulesOf(text, undefined, files).find(connection(what));
  if (typeof rule === "string") return `asks for ${rule}`;
  return rule === undefined ? "none" : `${rule.line} ${rule.method}`;
}

describe("examples of PostgreSQL's documentation (20.1)", () => {
  const example = `
# Allow any user on the local system to connect to any database
local   all             all                                     trust
host    all             all             127.0.0.1/32            trust
host    all             all             127.0.0.2       255.255.255.255     trust
host    all             all             ::1/128                 trust
# The same over IPv6 and names by regular expression
host    postgres        all             192.168.93.0/24         md5
host    "/^db\\d{2,4}$"  all            192.168.93.0/24         md5
host    postgres        all             192.168.12.10/32        scram-sha-256
host    all             mike            .. include
`;

  test("the records, one after the other", () => {
    const text = example.split("\n").slice(0, -2).join("\n");
    const at = (what: Partial<HbaConnection>): string => decided(text, what);
    expect(at({ address: undefined })).toBe("3 trust");
    expect(at({ address: "127.0.0.1" })).toBe("4 trust");
    expect(at({ address: "127.0.0.2" })).toBe("5 trust");
    expect(at({ address: "127.0.0.3" })).toBe("none");
    expect(at({ address: "::1" })).toBe("6 trust");
    expect(at({ address: "192.168.93.9", database: "postgres" })).toBe("8 md5");
    expect(at({ address: "192.168.93.9", database: "db123" })).toBe("9 md5");
    expect(at({ address: "192.168.93.9", database: "db12345" })).toBe("none");
    expect(at({ address: "192.168.12.10", database: "postgres" })).toBe("10 scram-sha-256");
  });

  test("reject before accept, and the other way round", () => {
    const one = "host all all 192.0.2.7/32 reject\nhost all all 0.0.0.0/0 trust";
    expect(decided(one)).toBe("1 reject");
    expect(decided(one, { address: "192.0.2.8" })).toBe("2 trust");
    const other = "host all all 0.0.0.0/0 trust\nhost all all 192.0.2.7/32 reject";
    expect(decided(other)).toBe("1 trust");
  });

  test("lists of databases and users, a file of administrators", () => {
    const files = { "/etc/pg/admins": "root\ncarol" };
    const text =
      "local sameuser all md5\nlocal all /^.*helpdesk$ md5\nlocal all @admins md5\nlocal db1,db2,@more all md5";
    const more = { ...files, "/etc/pg/more": '"db 3"' };
    const at = (database: string, user: string): string =>
      decided(text, { address: undefined, database, user }, more);
    expect(at("alice", "alice")).toBe("1 md5");
    expect(at("bob", "alice")).toBe("none");
    expect(at("bob", "anhelpdesk")).toBe("2 md5");
    expect(at("bob", "carol")).toBe("3 md5");
    expect(at("db2", "alice")).toBe("4 md5");
    expect(at("db 3", "alice")).toBe("4 md5");
    expect(at("db 33", "alice")).toBe("none");
  });
});

describe("kinds of connections", () => {
  test.each<[string, string, string, string]>([
    ["local", "yes", "no", "no"],
    ["host", "no", "yes", "yes"],
    ["hostssl", "no", "no", "yes"],
    ["hostnossl", "no", "yes", "no"],
    ["hostgssenc", "no", "no", "no"],
    ["hostnogssenc", "no", "yes", "yes"],
  ])("%s: Unix socket %s, TCP %s, TLS %s", (type, unix, tcp, tls) => {
    const text = `${type} all all ${type === "local" ? "" : "all"} trust`;
    const fits = (what: Partial<HbaConnection>): string => (decided(text, what) === "none" ? "no" : "yes");
    expect(fits({ address: undefined })).toBe(unix);
    expect(fits({})).toBe(tcp);
    expect(fits({ encrypted: true })).toBe(tls);
  });
});

describe("addresses", () => {
  test("IPv4 rules fit mapped IPv6 peers; all fits both families", () => {
    expect(decided("host all all 192.0.2.0/24 trust", { address: "::ffff:192.0.2.9" })).toBe("1 trust");
    expect(decided("host all all 192.0.2.0/24 trust", { address: "::ffff:192.0.3.9" })).toBe("none");
    expect(decided("host all all all trust", { address: "2001:db8::1" })).toBe("1 trust");
    expect(decided("host all all 0.0.0.0/0 trust", { address: "2001:db8::1" })).toBe("none");
    expect(decided("host all all ::/0 trust", { address: "192.0.2.9" })).toBe("none");
  });

  test("samehost and samenet ask for the interfaces, other rules do not", () => {
    const interfaces = (): { address: string; netmask: string }[] => [
      { address: "192.0.2.2", netmask: "255.255.255.0" },
    ];
    const text = "host all all samehost trust\nhost all all samenet md5";
    expect(decided(text, { address: "192.0.2.2", interfaces })).toBe("1 trust");
    expect(decided(text, { address: "192.0.2.3", interfaces })).toBe("2 md5");
    expect(decided(text, { address: "192.0.3.3", interfaces })).toBe("none");
    const never = (): never => expect.fail("nobody needs to know");
    expect(decided("host all all 192.0.2.7/32 trust", { interfaces: never })).toBe("1 trust");
  });

  test("an address that cannot be read fits nothing", () => {
    expect(decided("local all all trust\nhost all all all trust", { address: "unknown" })).toBe("none");
  });
});

describe("databases and users", () => {
  test.each<[string, Partial<HbaConnection>, boolean]>([
    ["all all", {}, true],
    ['"all" all', {}, false],
    ['"all" all', { database: "all" }, true],
    ['all "all"', {}, false],
    ['all "all"', { user: "all" }, true],
    ["app alice", {}, true],
    ["App alice", {}, false],
    ["app Alice", {}, false],
    ["x,app bob,alice", {}, true],
    ["sameuser all", { database: "alice" }, true],
    ["sameuser all", {}, false],
    ['"sameuser" all', { database: "alice" }, false],
    ["/^a all", {}, true],
    ["/^b all", {}, false],
    ["all /ice$", {}, true],
    ['all "/^(alice|bob)$"', { user: "bob" }, true],
    ['all "+admins"', { user: "+admins" }, true],
    ["replication all", {}, false],
    ["replication all", { database: "replication" }, false],
    ['"replication" all', { database: "replication" }, true],
    ["replication all", { physicalReplication: true }, true],
    ["all all", { physicalReplication: true }, false],
    ["app all", { physicalReplication: true }, false],
    ["sameuser all", { physicalReplication: true, database: "alice" }, false],
    ["app,replication all", { physicalReplication: true }, true],
    ["replication bob", { physicalReplication: true }, false],
  ])("%s for %j: %j", (names, what, fits) => {
    expect(decided(`host ${names} all trust`, what)).toBe(fits ? "1 trust" : "none");
  });

  test("names that are properties of every object are names like any other", () => {
    for (const user of ["__proto__", "constructor"]) {
      expect(decided(`host all ${user} all trust`, { user })).toBe("1 trust");
      expect(decided(`host all ${user} all trust`)).toBe("none");
    }
  });

  test("a name too long for a regular expression is let in by no rule", () => {
    const text = "host all /^evil all reject\nhost all all all trust";
    expect(decided(text, { user: "evil" })).toBe("1 reject");
    expect(decided(text, { user: `evil${"x".repeat(300)}` })).toBe("none");
    expect(decided(text, { database: "x".repeat(257) })).toBe("none");
  });
});

describe("methods and options", () => {
  test.each(["trust", "reject", "password", "md5", "scram-sha-256"])("%s", (method) => {
    expect(decided(`host all all all ${method}`)).toBe(`1 ${method}`);
  });

  test("plain is PgBouncer's name for password", () => {
    expect(decided("host all all all plain")).toBe("1 password");
  });

  test.each<[string, object]>([
    ["cert", { method: "cert", clientCertificate: "verify-full", clientName: "CN", map: undefined }],
    ["cert clientcert=verify-full", { clientCertificate: "verify-full" }],
    ["cert map=people clientname=DN", { clientName: "DN", map: "people" }],
    ['cert "map=the people"', { map: "the people" }],
    ["cert map=", { map: undefined }],
    ["md5 clientcert=verify-ca", { method: "md5", clientCertificate: "verify-ca" }],
    ["trust clientcert=verify-full clientname=CN", { clientCertificate: "verify-full", clientName: "CN" }],
    ["trust", { clientCertificate: undefined }],
  ])("hostssl … %s", (rest, expected) => {
    const ident = 'people a b\n"the people" a b';
    const rules = rulesOf(`hostssl all all all ${rest}`, ident);
    expect(rules.find(connection({ encrypted: true }))).toMatchObject(expected);
  });

  test.each<[string, string]>([
    ["host all all all peer", "peer"],
    ["local all all peer", "peer"],
    ["local all all ident", "ident"],
    ["host all all all pam", "pam"],
    ["host all all all bsd", "bsd"],
    ["host all all all gss include_realm=0", "gss"],
    ["host all all all sspi", "sspi"],
    ["host all all all radius radiusservers=x", "radius"],
    ["host all all all oauth issuer=x", "oauth"],
  ])("%s is refused by name, with the reason", (text, method) => {
    const [problem = ""] = problemsOf(text);
    expect(problem).toContain(`1: the authentication method "${method}" is not supported: `);
    if (method === "peer") expect(problem).toContain("Node cannot tell which user");
    if (method === "pam") expect(problem).toContain("Node has no way to ask PAM");
  });

  test("ldap with options of its own, quoted as they need it, or without", () => {
    const { rules } = rulesOf(
      'host all all all ldap ldapserver="a b" ldapport=390 ldapbasedn="dc=x, dc=y" ldapbinddn=cn=z\nhost all all all ldap',
    );
    expect(rules.map(({ method, ldap }) => [method, ldap])).toEqual([
      [
        "ldap",
        {
          servers: ["ldap://a:390", "ldap://b:390"],
          startTls: false,
          naming: {
            kind: "search",
            baseDn: "dc=x, dc=y",
            bindDn: "cn=z",
            bindPassword: "",
            filter: "(uid=$username)",
            scope: "sub",
          },
        },
      ],
      ["ldap", undefined],
    ]);
    expect(problemsOf("host all all all ldap ldapserver=x")).toEqual([
      expect.stringMatching(/^1: authentication method "ldap" requires argument "ldapbasedn"/) as string,
    ]);
    expect(problemsOf("host all all all md5 ldapserver=x")).toEqual([
      '1: the option "ldapserver" is for the authentication method ldap only',
    ]);
  });
});

describe("what has to be found out first", () => {
  const roles = (...names: string[]): Partial<HbaConnection> => ({ roles: new Set(names) });

  test("+role: a member, directly or not; in quotes it is a name", () => {
    const text = "host all +staff all md5\nhost all all all trust";
    expect(decided(text)).toBe("asks for roles");
    expect(decided(text, roles("alice", "staff"))).toBe("1 md5");
    expect(decided(text, roles("alice"))).toBe("2 trust");
    expect(decided(text, roles())).toBe("2 trust");
    expect(decided('host all "+staff" all md5', {})).toBe("none");
    expect(decided("host all +alice all md5", roles("alice"))).toBe("1 md5");
  });

  test.each(["samerole", "samegroup"])(
    "%s: a member of the role that is called like the database",
    (word) => {
      const text = `host ${word} all all md5`;
      expect(decided(text)).toBe("asks for roles");
      expect(decided(text, roles("alice", "app"))).toBe("1 md5");
      expect(decided(text, roles("alice"))).toBe("none");
      expect(decided(text, { ...roles("alice", "app"), physicalReplication: true })).toBe("none");
      expect(decided(`host "${word}" all all md5`)).toBe("none");
    },
  );

  test("host names, in whatever letters, and ends of them", () => {
    const text = "host all all DB.example.com md5\nhost all all .Example.com trust";
    const named = (hostName: string): string => decided(text, { hostName });
    expect(decided(text)).toBe("asks for hostName");
    expect(named("db.Example.com")).toBe("1 md5");
    expect(named("a.b.example.com")).toBe("2 trust");
    for (const name of ["", "example.com", ".example.com", "xexample.com", "db.example.com.evil.org"]) {
      expect(named(name)).toBe("none");
    }
    expect(decided("host all all localhost md5", { address: undefined })).toBe("none");
  });

  test("nothing is asked that makes no difference", () => {
    const text = [
      "host other +staff all md5",
      "host all bob,+staff db.example.com md5",
      "host all alice,+staff 198.51.100.0/24 md5",
      "host all alice,+staff 192.0.2.0/24 trust",
      "host all +staff all reject",
    ].join("\n");
    expect(decided(text)).toBe("asks for roles");
    expect(decided(text, { hostName: "x" })).toBe("4 trust");
    expect(decided(text.split("\n").slice(2).join("\n"))).toBe("2 trust");
  });
});

describe("mistakes", () => {
  test.each<[string, string]>([
    ["hosts all all all trust", 'invalid connection type "hosts"'],
    ["host,local all all all trust", "more than one connection type"],
    ["include", 'invalid connection type "include"'],
    ["host", "the line ends before the database"],
    ["host all", "the line ends before the user"],
    ["host all all", "the line ends before the address"],
    ["host all all all", "the line ends before the authentication method"],
    ["local all all", "the line ends before the authentication method"],
    ["host all all 192.0.2.1 trust", 'invalid network mask "trust"'],
    ["host all all 192.0.2.1", "the line ends before the network mask (or write ADDRESS/BITS)"],
    ["host all all 192.0.2.1 ffff:: trust", "the address and the mask are not of the same kind"],
    ["host all all 192.0.2.1/33 trust", 'invalid CIDR mask in address "192.0.2.1/33"'],
    ["host all all 192.0.2.1/ trust", 'invalid CIDR mask in address "192.0.2.1/"'],
    ["host all all 192.0.2.1/8/8 trust", 'invalid CIDR mask in address "192.0.2.1/8/8"'],
    ["host all all all,samenet trust", "more than one address"],
    ["host all all all trust,md5", "more than one authentication method"],
    ["host all all all nothing", 'invalid authentication method "nothing"'],
    ["local all all 127.0.0.1/32 trust", 'invalid authentication method "127.0.0.1/32"'],
    ["host all all all trust nonsense", '"nonsense" is not an option, name=value'],
    ["host all all all trust color=red", 'unknown option "color"'],
    ["hostssl all all all md5 map=x", 'the option "map" is for the authentication method cert only'],
    ["host all all all md5 clientcert=verify-ca", 'the option "clientcert" is for hostssl only'],
    ["host all all all md5 clientname=CN", 'the option "clientname" is for hostssl only'],
    [
      "hostssl all all all md5 clientcert=1",
      'invalid value for clientcert: "1"; verify-ca and verify-full are known',
    ],
    ["hostssl all all all cert clientcert=verify-ca", '"cert" goes with clientcert=verify-full only'],
    ["hostssl all all all cert clientname=SAN", 'invalid value for clientname: "SAN"; CN and DN are known'],
    ["host all all all cert", 'the authentication method "cert" is for hostssl only'],
    ["local all all cert", 'the authentication method "cert" is for hostssl only'],
    ["local /( all trust", 'invalid regular expression "(": unbalanced parentheses'],
    ["local all /[a trust", 'invalid regular expression "[a": a bracket is not closed'],
  ])("%s", (text, problem) => {
    expect(problemsOf(text)).toEqual([`1: ${problem}`]);
  });

  test.each(["localhost/8", "10.1", "192.0.2.300", "a..b", "-.", "a b", "..x"])(
    "%s is neither an address nor a host name",
    (host) => {
      expect(problemsOf(`host all all "${host}" trust`)[0]).toMatch(
        /is neither an IP address nor a host name/,
      );
    },
  );

  test("all of them are told at once, each with its file and line", () => {
    const text = "local all all peer\n\nhost all all \\\n x/8 trust\ninclude more\nlocal all all trust";
    expect(problemsOf(text, undefined, { "/etc/pg/more": "# fine\nlocal all all what" })).toEqual([
      expect.stringMatching(/^1: the authentication method "peer"/),
      expect.stringMatching(/^3: "x\/8" is neither an IP address/),
      '/etc/pg/more:2: invalid authentication method "what"',
    ]);
  });

  test("a file without a rule lets nobody in, which is taken for a mistake", () => {
    expect(problemsOf("# nothing\n")).toEqual([" it has no entries, so nobody could log in"]);
  });

  test("the failure has a code and a SQLSTATE", () => {
    expect(() => rulesOf("local")).toThrow(expect.objectContaining({ code: "auth.hba", sqlstate: "F0000" }));
  });
});
