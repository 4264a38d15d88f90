import { describe, expect, test } from "vitest";
import {
  boundName,
  type LdapNaming,
  LdapOptionError,
  ldapOptions,
  parseLdapOptions,
  searchFilter,
} from "../../../src/auth/ldap.ts";

function problemOf(text: string): string {
  try {
    parseLdapOptions(text);
    return "";
  } catch (error) {
    if (!(error instanceof LdapOptionError)) throw error;
    return error.message;
  }
}

describe("options", () => {
  test("simple bind, with blanks, commas and quotes as PgBouncer takes them", () => {
    expect(
      parseLdapOptions(` ldapserver=one,ldapprefix="cn=""x"" , " "ldapsuffix"=",dc=test",  ldaptls=1 `),
    ).toEqual({
      servers: ["ldap://one:389"],
      startTls: true,
      naming: { kind: "bind", prefix: 'cn="x" , ', suffix: ",dc=test" },
    });
  });

  test("search+bind; of options that come twice the later counts", () => {
    expect(
      parseLdapOptions(
        "ldapserver=x ldapscheme=ldaps ldapbasedn=dc=test ldapbinddn=cn=a ldapbindpasswd=p ldapsearchattribute=mail ldapserver=y",
      ),
    ).toEqual({
      servers: ["ldaps://y:636"],
      startTls: false,
      naming: {
        kind: "search",
        baseDn: "dc=test",
        bindDn: "cn=a",
        bindPassword: "p",
        filter: "(mail=$username)",
        scope: "sub",
      },
    });
  });

  test.each([
    ["a", "ldap://a:389"],
    ["a:1", "ldap://a:1"],
    ["::1", "ldap://[::1]:389"],
    ["[::1]", "ldap://[::1]:389"],
    ["[::1]:7", "ldap://[::1]:7"],
    ["192.0.2.1", "ldap://192.0.2.1:389"],
  ])("the server %s is %s", (host, url) => {
    const { servers } = ldapOptions([
      ["ldapserver", host],
      ["ldapprefix", "uid="],
    ]);
    expect(servers).toEqual([url]);
  });

  test.each([
    ["ldap://h/dc=a", ["ldap://h:389"], "(uid=$username)", "base"],
    ["LDAPS://h:7/dc%3Da?cn,mail?sub", ["ldaps://h:7"], "(cn=$username)", "sub"],
    ["ldap://[::1]/dc=a??one?(mail=$username)", ["ldap://[::1]:389"], "(mail=$username)", "one"],
  ])("ldapurl %s", (url, servers, filter, scope) => {
    expect(parseLdapOptions(`ldapurl=${JSON.stringify(url)}`)).toMatchObject({
      servers,
      naming: { baseDn: "dc=a", filter, scope },
    });
  });

  test.each([
    [
      "ldapserver=x",
      'authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set',
    ],
    ["ldapbasedn=x", "ldapserver is needed"],
    ["ldapserver=x ldapprefix=a ldapbasedn=b", "cannot use ldapbasedn"],
    ["ldapserver=x ldapprefix=a ldapbindpasswd=b", "cannot use ldapbasedn"],
    [
      "ldapserver=x ldapbasedn=b ldapsearchattribute=c ldapsearchfilter=d",
      "cannot use ldapsearchattribute together",
    ],
    ["ldapserver=x ldapbasedn=b ldapsearchattribute=(c", "ldapsearchattribute is no name"],
    ["ldapserver=x ldapbasedn=b ldapport=0", 'invalid LDAP port number: "0"'],
    ["ldapserver=x ldapbasedn=b ldapport=99999", "invalid LDAP port number"],
    ["ldapserver=x ldapbasedn=b ldapscheme=ldapi", 'invalid ldapscheme "ldapi"'],
    ["ldapserver=x ldapbasedn=b ldapscheme=ldaps ldaptls=1", "ldaptls=1 does not go with ldaps"],
    ["ldapserver=x ldapbasedn=b ldapscope=sub", 'unknown LDAP option "ldapscope"'],
    ["ldapserver=x bind=b", 'unknown LDAP option "bind"'],
    ["ldapserver x", 'name=value is expected at "ldapserver"'],
    ["ldapbindpasswd=a'b\"c", 'name=value is expected at "ldapbindpasswd"'],
    ["ldapserver= x", "name=value is expected"],
    ["ldapurl=http://x/", "could not parse LDAP URL"],
    ["ldapurl=ldap://x/dc=a?u?wide", 'invalid scope in LDAP URL: "wide"'],
    ["ldapurl=ldap://x/%zz", "could not parse LDAP URL"],
  ])("%s is refused", (text, problem) => {
    expect(problemOf(text)).toContain(problem);
  });
});

describe("what is asked", () => {
  const bind = (prefix: string, suffix: string) => ({ kind: "bind", prefix, suffix }) as const;
  const search: Extract<LdapNaming, { kind: "search" }> = {
    kind: "search",
    baseDn: "",
    bindDn: "",
    bindPassword: "",
    filter: "(|(uid=$username)(mail=$username))",
    scope: "sub",
  };

  test.each([
    ["alice", "uid=alice,dc=x"],
    ["müller", "uid=müller,dc=x"],
    ["a,b=c+d", "uid=a\\,b\\=c\\+d,dc=x"],
    ['<">;\\', 'uid=\\<\\"\\>\\;\\\\,dc=x'],
    [" #a ", "uid=\\ #a\\ ,dc=x"],
    ["#a", "uid=\\#a,dc=x"],
    ["a\nb", "uid=a\\0ab,dc=x"],
  ])("inside a distinguished name %j is escaped", (user, name) => {
    expect(boundName(bind("uid=", ",dc=x"), user)).toBe(name);
  });

  test.each(["DOMAIN\\", ""])(
    "behind %j, where nothing can be escaped, names that would need it are none",
    (prefix) => {
      const suffix = prefix === "" ? "@example.org" : "";
      expect(boundName(bind(prefix, suffix), "alice.smith-2")).toBe(`${prefix}alice.smith-2${suffix}`);
      for (const user of ["a@b", "a\\b", "a/b", "a,b", "a\u0001"]) {
        expect(boundName(bind(prefix, suffix), user)).toBeUndefined();
      }
    },
  );

  test("inside a filter the user is escaped, and nothing in it is a pattern", () => {
    expect(searchFilter(search, "*)(x=\\")).toBe("(|(uid=\\2a\\29\\28x=\\5c)(mail=\\2a\\29\\28x=\\5c))");
    expect(searchFilter(search, "$&")).toBe("(|(uid=$&)(mail=$&))");
    expect(searchFilter(search, "\u0085")).toBe("(|(uid=\\c2\\85)(mail=\\c2\\85))");
  });
});
