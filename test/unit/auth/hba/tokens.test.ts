/** What pg_hba.conf and pg_ident.conf have in common: fields, quotes, comments, continuation, other files. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hbaFile, linesOf } from "./files.ts";

/** Fields as lists of texts; a quoted one begins with `=`. */
function fieldsOf(text: string): string[][][] {
  const { lines, problems } = linesOf(text);
  expect(problems).toEqual([]);
  return lines.map(({ fields }) =>
    fields.map((field) => field.map((token) => `${token.quoted ? "=" : ""}${token.text}`)),
  );
}

describe("fields", () => {
  test.each<[string, string[][]]>([
    ["local all all trust", [["local"], ["all"], ["all"], ["trust"]]],
    ["\thost\t all  x \t", [["host"], ["all"], ["x"]]],
    ["a,b, c ,d e", [["a", "b", "c"], ["d"], ["e"]]],
    [",,a,,b", [["a", "b"]]],
    ["a # b c", [["a"]]],
    ["a#b", [["a"]]],
    ['"a#b, c"', [["=a#b, c"]]],
    ['"say ""hi"""', [['=say "hi"']]],
    ['"" x', [["="], ["x"]]],
    ['al"l" x', [["all"], ["x"]]],
    ['"al"l', [["=all"]]],
    ['"@file" "+group"', [["=@file"], ["=+group"]]],
    ["@ +", [["@"], ["+"]]],
    ["a\\b c", [["a\\b"], ["c"]]],
    ['"/^db\\d{2,4}$"', [["=/^db\\d{2,4}$"]]],
  ])("%j", (text, fields) => {
    expect(fieldsOf(text)).toEqual([fields]);
  });

  test("blank lines and comments are no records", () => {
    expect(linesOf("\n  \t\r\n# a\n   # b\n\n").lines).toEqual([]);
    expect(linesOf("").lines).toEqual([]);
  });

  test("lines end in LF or CRLF, the last may end in nothing; a byte order mark is passed over", () => {
    expect(fieldsOf("\ufeffa b\r\nc\nd")).toEqual([[["a"], ["b"]], [["c"]], [["d"]]]);
  });

  test("a quote that is not closed is a mistake, and the lines behind it are read", () => {
    const { lines, problems } = linesOf('a "b c\nd e\nf "" " x');
    expect(problems).toEqual([
      { file: hbaFile, line: 1, problem: "a quote is not closed" },
      { file: hbaFile, line: 3, problem: "a quote is not closed" },
    ]);
    expect(lines.map(({ line }) => line)).toEqual([2]);
  });

  test("whatever is quoted comes back as it was", () => {
    const value = fc.string().filter((text) => !/[\n\r\0]/.test(text) && !text.endsWith("\\"));
    fc.assert(
      fc.property(fc.array(value, { minLength: 1 }), (values) => {
        const text = values.map((each) => `"${each.replaceAll('"', '""')}"`).join(" ");
        expect(fieldsOf(text)).toEqual([values.map((each) => [`=${each}`])]);
      }),
    );
  });

  test("no text makes it fail otherwise than by noting a problem", () => {
    const noise = fc.string({ unit: fc.constantFrom(...Array.from('ab \t"\\,#@/+=\n\r')), maxLength: 60 });
    fc.assert(
      fc.property(noise, (text) => {
        for (const { fields } of linesOf(text).lines) {
          expect(fields.length).toBeGreaterThan(0);
          for (const field of fields) expect(field.length).toBeGreaterThan(0);
        }
      }),
    );
  });
});

describe("lines that go on", () => {
  test("a backslash at the end joins lines, also in quotes and comments, and only there", () => {
    expect(fieldsOf("host \\\n all \\\r\n x\ny")).toEqual([[["host"], ["all"], ["x"]], [["y"]]]);
    expect(fieldsOf('"a\\\nb"')).toEqual([[["=ab"]]]);
    expect(fieldsOf("a # comment \\\n b c\nd")).toEqual([[["a"]], [["d"]]]);
    expect(fieldsOf("a \\ b")).toEqual([[["a"], ["\\"], ["b"]]]);
  });

  test("of two backslashes only the last is taken, once a line", () => {
    expect(fieldsOf("a\\\\\nb")).toEqual([[["a\\b"]]]);
    // What is left of the first line ends in a backslash too, and must not join the empty line behind it.
    expect(fieldsOf("a\\\\\n\nb")).toEqual([[["a\\"]], [["b"]]]);
  });

  test("the file may end in one", () => {
    expect(fieldsOf("a b\\")).toEqual([[["a"], ["b"]]]);
  });

  test("a record has the number of its first line", () => {
    const { lines } = linesOf("a \\\n b \\\n c\n\n# x \\\n y\nd\n");
    expect(lines.map(({ line }) => line)).toEqual([1, 7]);
  });
});

describe("other files", () => {
  test("@file is a list of values, whatever their lines; relative names start at the file that names them", () => {
    const files = {
      "/etc/pg/lists/dbs": 'one, "two two"\nthree\n# four\n@more',
      "/etc/pg/lists/more": "five",
    };
    const { lines, problems } = linesOf('host zero,@lists/dbs,six @"/etc/pg/lists/more"', files);
    expect(problems).toEqual([]);
    expect(lines[0]?.fields.map((field) => field.map(({ text }) => text))).toEqual([
      ["host"],
      ["zero", "one", "two two", "three", "five", "six"],
      ["five"],
    ]);
  });

  test("include puts records in its place, which know where they stand", () => {
    const files = { "/etc/pg/a.conf": "x\ninclude b.conf", "/etc/pg/b.conf": "y" };
    const { lines, problems } = linesOf("one\ninclude a.conf\ntwo", files);
    expect(problems).toEqual([]);
    expect(lines.map(({ file, line, fields }) => [file, line, fields[0]?.[0]?.text])).toEqual([
      [hbaFile, 1, "one"],
      ["/etc/pg/a.conf", 1, "x"],
      ["/etc/pg/b.conf", 1, "y"],
      [hbaFile, 3, "two"],
    ]);
  });

  test("include_dir takes what ends in .conf and is not hidden, in the order of bytes", () => {
    const files = {
      "/etc/pg/d": ["b.conf", "B.conf", "a.conf", ".hidden.conf", "a.txt", ".conf"],
      "/etc/pg/d/a.conf": "a",
      "/etc/pg/d/b.conf": "b",
      "/etc/pg/d/B.conf": "B",
    };
    const { lines, problems } = linesOf("include_dir d", files);
    expect(problems).toEqual([]);
    expect(lines.map(({ fields }) => fields[0]?.[0]?.text)).toEqual(["B", "a", "b"]);
  });

  test("include_if_exists passes over a file that is not there, and only that", () => {
    expect(linesOf("include_if_exists x.conf\na")).toMatchObject({ problems: [], lines: [{ line: 2 }] });
    const { problems } = linesOf("include_if_exists x.conf", { "/etc/pg/x.conf": "no permission" });
    expect(problems).toMatchObject([{ line: 1, problem: '"x.conf" cannot be read: EACCES' }]);
  });

  test("what cannot be read is a mistake of the line that names it", () => {
    const { problems } = linesOf("include x\n\nlocal @y all\ninclude_dir z\ninclude a,b", {});
    expect(problems).toEqual([
      { file: hbaFile, line: 1, problem: '"x" cannot be read: ENOENT' },
      { file: hbaFile, line: 3, problem: '"y" cannot be read: ENOENT' },
      { file: hbaFile, line: 4, problem: '"z" cannot be read: ENOENT' },
      { file: hbaFile, line: 5, problem: '"include" takes one name' },
    ]);
  });

  test("a mistake in an included file is reported there", () => {
    const { problems } = linesOf("include x", { "/etc/pg/x": 'a\n"b' });
    expect(problems).toEqual([{ file: "/etc/pg/x", line: 2, problem: "a quote is not closed" }]);
  });

  test("files that include themselves come to an end", () => {
    for (const text of ["include pg_hba.conf", "local @pg_hba.conf all"]) {
      const { lines, problems } = linesOf(text);
      expect(lines).toEqual([]);
      expect(problems).toEqual([
        {
          file: hbaFile,
          line: 1,
          problem: '"pg_hba.conf": files include each other more than 10 deep',
        },
      ]);
    }
  });

  test("a file that is not there at all", () => {
    expect(linesOf("", { [hbaFile]: "" }).problems).toEqual([]);
  });
});
