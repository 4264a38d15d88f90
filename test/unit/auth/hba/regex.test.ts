/** Regular expressions of both files: what they match, what is refused, and that no name makes them slow. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NameRegex } from "../../../../src/auth/hba/regex.ts";
import { RegexError } from "../../../../src/auth/hba/regex-program.ts";

const matches = (pattern: string, name: string): boolean => new NameRegex(pattern).match(name) !== undefined;
const group = (pattern: string, name: string): string | undefined =>
  new NameRegex(pattern).match(name)?.group;

describe("matching", () => {
  test.each<[string, string[], string[]]>([
    ["^db\\d{2,4}$", ["db12", "db1234"], ["db1", "db12345", "xdb12", "db12x", "db1a"]],
    ["^(.*)@example\\.com$", ["a@example.com", "@example.com"], ["a@exampleXcom", "a@example.com.org"]],
    ["a|bc", ["a", "xbcx"], ["b", "c", ""]],
    ["^(?:a|bc)+$", ["a", "abca"], ["", "ab", "cb"]],
    ["^[a-c_]x*$", ["a", "_xx"], ["d", "-x"]],
    ["^[]a-]+$", ["]", "a-]"], ["b"]],
    ["^[^]a]$", ["b", "["], ["]", "a"]],
    ["^[[:alpha:]][[:digit:]]$", ["a1", "Z9"], ["11", "é1"]],
    ["^[\\d.]+$", ["1.2"], ["a"]],
    ["^[a\\]b]$", ["]", "a"], ["\\"]],
    ["^\\w\\W\\s\\S\\D$", ["a- b-"], ["a- b1", "-a bc"]],
    ["^a{0,1}b{2}c{1,}$", ["bbc", "abbccc"], ["aabbc", "abc", "abb"]],
    ["^a{,2}$", ["a{,2}"], ["", "aa"]],
    ["^x{$", ["x{"], ["x"]],
    ["^a??b*?$", ["", "a", "abb"], ["ba"]],
    ["\\Aab\\Z", ["ab"], ["cab", "abc"]],
    ["^a\\.b\\\\c\\-d\\/$", ["a.b\\c-d/"], ["aXb\\c-d/"]],
    ["^(a*)*$", ["", "aaa"], ["b"]],
    ["^(|x)+y$", ["y", "xxy"], ["x"]],
    ["", ["", "anything"], []],
    ["^.$", ["é", "🐘", "\n"], ["", "ab"]],
    ["^🐘+$", ["🐘🐘"], ["x"]],
    ["]}", ["]}"], ["]"]],
    ["^()$", [""], ["a"]],
  ])("%j", (pattern, good, bad) => {
    for (const name of good) expect(matches(pattern, name), name).toBe(true);
    for (const name of bad) expect(matches(pattern, name), name).toBe(false);
  });

  test("case matters", () => {
    expect(matches("^alice$", "Alice")).toBe(false);
  });

  test("the first group is what \\1 stands for", () => {
    expect(group("^(.*)@example\\.com$", "alice@example.com")).toBe("alice");
    expect(group("^cn=([^,]+),(.*)$", "cn=bob,ou=x")).toBe("bob");
    expect(group("(?:a)(b)", "xab")).toBe("b");
    expect(group("^(a)?b$", "b")).toBeUndefined();
    // The leftmost match counts, and of those that begin there the first that the pattern prefers.
    expect(group("(a|b)", "ab")).toBe("a");
    expect(group("(a|ab)", "ab")).toBe("a");
    expect(group("(ab|a)", "ab")).toBe("ab");
    expect(group("(a*?)", "aa")).toBe("");
    expect(group("(a*)", "baa")).toBe("");
    expect(group("^()b$", "b")).toBe("");
    expect(group("^(a+?)(a*)$", "aaa")).toBe("a");
    expect(group("((a)b)", "ab")).toBe("ab");
    expect(group("^(?:(a)|b)*$", "ab")).toBe("a");
    expect(group("abc", "abc")).toBeUndefined();
    expect(group("^(🐘)x$", "🐘x")).toBe("🐘");
  });

  test("JavaScript's own expressions say the same, where both mean the same", () => {
    const atom = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "\\d", "^", "$", "1");
    const { expression } = fc.letrec<{ expression: string }>((tie) => {
      const inner = tie("expression");
      return {
        expression: fc.oneof(
          { maxDepth: 4, withCrossShrink: true },
          atom,
          fc.tuple(inner, inner).map(([a, b]) => a + b),
          fc.tuple(inner, inner).map(([a, b]) => `(?:${a}|${b})`),
          fc
            .tuple(inner, fc.constantFrom("*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?"))
            .map(([a, quantifier]) => `(?:${a})${quantifier}`),
        ),
      };
    });
    const name = fc.string({ unit: fc.constantFrom("a", "b", "1"), maxLength: 8 });
    fc.assert(
      fc.property(expression, name, (pattern, text) => {
        expect(matches(pattern, text)).toBe(new RegExp(pattern, "su").test(text));
        // What a group in front of anything captures does not depend on how alternatives are ranked.
        const captured = new RegExp(`^([ab]*)(?:${pattern})`, "su").exec(text);
        expect(matches(`^([ab]*)(?:${pattern})`, text)).toBe(captured !== null);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("refused when it is read", () => {
  test.each([
    "(",
    ")",
    "a)",
    "[a",
    "[",
    "*a",
    "a|*",
    "^*",
    "a**",
    "a{2}{3}",
    "a{2",
    "a{3,2}",
    "a{256}",
    "\\",
    "(?=a)",
    "(?i)a",
    "(?<name>a)",
    "***=a",
    "(a)\\1",
    "\\bword",
    "\\mword\\M",
    "\\y",
    "\\x41",
    "[[.a.]]",
    "[[=a=]]",
    "[[:nothing:]]",
    "[[:word:]]",
    "[\\D]",
    "[b-a]",
    "[a-\\d]",
    "((a{200}){200}){200}",
    "a".repeat(1001),
  ])("%j", (pattern) => {
    expect(() => new NameRegex(pattern)).toThrow(RegexError);
  });

  test("no text makes it fail in another way", () => {
    const noise = fc.string({
      unit: fc.constantFrom(...Array.from("ab1()[]{}|*+?^$\\.,-:=")),
      maxLength: 20,
    });
    fc.assert(
      fc.property(noise, fc.string({ maxLength: 10 }), (pattern, name) => {
        try {
          matches(pattern, name);
        } catch (error) {
          expect(error).toBeInstanceOf(RegexError);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

test("patterns that make other engines try without end are done in steps that can be counted", () => {
  const hostile = `${"a".repeat(250)}!`;
  for (const pattern of ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*)*x$", "(x+x+)+y", "^(?:a?){200}a{200}$"]) {
    expect(matches(pattern, hostile)).toBe(false);
  }
});

test("names that are longer than any name of PostgreSQL's match nothing", () => {
  expect(matches("a", "a".repeat(256))).toBe(true);
  expect(matches("a", "a".repeat(257))).toBe(false);
});
