/** Maps of pg_ident.conf: as whom a certificate may log in. */
import { describe, expect, test } from "vitest";
import type { HostBasedRules } from "../../../../src/auth/hba/hba.ts";
import type { HbaRule } from "../../../../src/auth/hba/rules.ts";
import { connection, identFile, problemsOf, rulesOf } from "./files.ts";

function onlyRule(rules: HostBasedRules): HbaRule {
  const rule = rules.find(connection({ encrypted: true }));
  return typeof rule === "object" ? rule : expect.fail("the rule fits");
}

/** Whether the map `m` lets a certificate of this name act as a user. */
function allows(ident: string, name: string, user: string): boolean {
  const rules = rulesOf("hostssl all all all cert map=m", `${ident}\nm "of nobody" "nobody at all"`);
  return rules.certifies(onlyRule(rules), name, user);
}

test("without a map the name must be the user's", () => {
  const rules = rulesOf("hostssl all all all cert");
  const rule = onlyRule(rules);
  expect(rules.certifies(rule, "alice", "alice")).toBe(true);
  expect(rules.certifies(rule, "Alice", "alice")).toBe(false);
});

test("the example of PostgreSQL's documentation (20.2)", () => {
  const ident = `
# MAPNAME       SYSTEM-USERNAME         PG-USERNAME
m       bryanh                  bryanh
m       ann                     ann
# bob has user name robert on these machines
m       robert                  bob
# bryanh can also connect as guest1
m       bryanh                  guest1
`;
  expect(allows(ident, "bryanh", "bryanh")).toBe(true);
  expect(allows(ident, "bryanh", "guest1")).toBe(true);
  expect(allows(ident, "robert", "bob")).toBe(true);
  expect(allows(ident, "robert", "robert")).toBe(false);
  expect(allows(ident, "ann", "bryanh")).toBe(false);
});

describe("entries", () => {
  test.each<[string, string, string, boolean]>([
    ["m /^(.*)@mydomain\\.com$ \\1", "alice@mydomain.com", "alice", true],
    ["m /^(.*)@mydomain\\.com$ \\1", "alice@mydomain.com", "alice@mydomain.com", false],
    ["m /^(.*)@mydomain\\.com$ \\1", "alice@mydomain.comx", "alice", false],
    ["m /^(.*)@otherdomain\\.com$ guest", "bob@otherdomain.com", "guest", true],
    ["m /^(.*)@otherdomain\\.com$ guest", "bob@otherdomain.com", "bob", false],
    ['m /^(.*)@x$ "a\\1b"', "y@x", "ayb", true],
    // Only the first one is replaced, as PostgreSQL does it.
    ["m /^(.*)@x$ \\1\\1", "y@x", "y\\1", true],
    // What comes out of a certificate is a name, never a keyword or a pattern.
    ["m /^(.*)$ \\1", "all", "alice", false],
    ["m /^(.*)$ \\1", "/.*", "alice", false],
    ["m /^(.*)$ \\1", "$&", "$&", true],
    ["m /^(a)?b$ x\\1", "b", "x", false],
    ["m alice all", "alice", "anybody", true],
    ['m alice "all"', "alice", "anybody", false],
    ['m alice "all"', "alice", "all", true],
    ["m alice /^a", "alice", "admin", true],
    ["m alice /^a", "alice", "bob", false],
    ["m /^al /^a", "alfred", "anna", true],
    ["m all alice", "bob", "alice", false],
    ["m all alice", "all", "alice", true],
    ["m \\1 \\1", "\\1", "\\1", true],
    ["other alice bob", "alice", "bob", false],
    ['"m" "alice" "bob"', "alice", "bob", true],
    ["m CN=alice bob", "CN=alice", "bob", true],
    ['m "CN=alice,O=Example" bob', "CN=alice,O=Example", "bob", true],
    ["M alice bob", "alice", "bob", false],
    ["m alice bob", "Alice", "bob", false],
  ])("%s lets %j act as %j: %j", (ident, name, user, allowed) => {
    expect(allows(ident, name, user)).toBe(allowed);
  });

  test("an entry that fits the name only in part does not hide those behind it", () => {
    expect(allows("m /^(.*)$ nobody\nm alice bob", "alice", "bob")).toBe(true);
  });
});

describe("mistakes", () => {
  const rule = "hostssl all all all cert map=m";

  test.each<[string, string]>([
    ["m", "a line has three fields: map, system user, database user"],
    ["m alice", "a line has three fields: map, system user, database user"],
    ["m alice bob carol", '"carol" is one field too many'],
    ["m a,b c", "a field has more than one value"],
    ["m /( c", 'invalid regular expression "(": unbalanced parentheses'],
    ["m a /(", 'invalid regular expression "(": unbalanced parentheses'],
    ["m /a \\1", '"\\1" in "\\1" has nothing to refer to: there are no parentheses in "a"'],
    ["m /(?:a) x\\1", '"\\1" in "x\\1" has nothing to refer to: there are no parentheses in "(?:a)"'],
  ])("%s", (ident, problem) => {
    expect(problemsOf(rule, ident)).toEqual([`${identFile}:1: ${problem}`]);
  });

  test("groups are refused by name", () => {
    expect(problemsOf(rule, "m alice +admins")[0]).toContain('"+admins" is not supported');
  });

  test("a map that a rule names must be there", () => {
    expect(problemsOf(rule)).toEqual(['1: there is no map "m": auth_ident_file is not set']);
    expect(problemsOf(rule, "other a b")).toEqual([`1: there is no map "m": it is not in ${identFile}`]);
  });

  test("mistakes of both files are told at once", () => {
    const problems = problemsOf(`${rule}\nlocal all all peer`, "m a\nm b c");
    expect(problems).toEqual([
      expect.stringMatching(/^2: the authentication method "peer"/),
      `${identFile}:1: a line has three fields: map, system user, database user`,
    ]);
  });

  test("a file that cannot be read is one", () => {
    expect(problemsOf(rule, "no permission")).toEqual([`${identFile}: cannot be read: EACCES`]);
    expect(problemsOf("no permission")).toEqual([" cannot be read: EACCES"]);
    expect(problemsOf("include nothing")).toEqual(['1: "nothing" cannot be read: ENOENT']);
  });
});
