import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseUserlist } from "../../../src/auth/userlist.ts";
import { OperationError } from "../../../src/base/errors.ts";

const plain = (password: string): unknown => ({ kind: "plain", password });

describe("auth_file", () => {
  test("users, comments, blank lines, and what follows the secret", () => {
    const users = parseUserlist(
      [
        '"alice" "pencil"',
        '; a comment with "quotes"',
        "",
        '  \t"bob"\t  "md585939a5ce845f1a1b620742e3c659e0a" ; trailing words',
        '"ca""rol""" "a ""b"" ; c" anything "else"',
        '"dave" ""',
      ].join("\r\n"),
    );
    expect([...users]).toEqual([
      ["alice", plain("pencil")],
      ["bob", { kind: "md5", hash: "85939a5ce845f1a1b620742e3c659e0a" }],
      ['ca"rol"', plain('a "b" ; c')],
      ["dave", plain("")],
    ]);
  });

  test("SCRAM secrets", () => {
    const key = Buffer.alloc(32).toString("base64");
    const users = parseUserlist(`"a" "SCRAM-SHA-256$4096:AAAA$${key}:${key}"`);
    expect(users.get("a")).toMatchObject({ kind: "scram", secret: { iterations: 4096 } });
  });

  test("of two lines for one user the later counts", () => {
    expect(parseUserlist('"a" "1"\n"a" "2"\n').get("a")).toEqual(plain("2"));
  });

  test("an empty file, and one of comments, has no users", () => {
    for (const text of ["", "\n\n", "; a", "\ufeff; a\n  ;b\n"]) expect(parseUserlist(text).size).toBe(0);
  });

  test("a secret without an md5 or SCRAM form may hold anything but a line break", () => {
    const texts = fc.string({ unit: "binary", maxLength: 30 }).filter((t) => !/[\n\0]/.test(t));
    fc.assert(
      fc.property(
        texts.filter((t) => t !== ""),
        texts,
        (user, password) => {
          const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
          const users = parseUserlist(`${quote(user)} ${quote(password)}`);
          expect([...users]).toEqual([[user, plain(password)]]);
        },
      ),
    );
  });

  test("limits", () => {
    expect(parseUserlist(`"${"u".repeat(127)}" "${"p".repeat(65_530)}"`).size).toBe(1);
    expect(() => parseUserlist(`"${"u".repeat(128)}" "p"`)).toThrow("longer than 127 bytes");
    expect(() => parseUserlist(`"${"ü".repeat(64)}" "p"`)).toThrow("longer than 127 bytes");
    expect(() => parseUserlist(`"u" "${"p".repeat(65_531)}"`)).toThrow("longer than 65530 bytes");
  });

  test.each([
    ['"ok" "1"\nbroken "2"', "line 2: a user name in double quotes was expected"],
    ['"a"', "line 1: a secret in double quotes was expected"],
    ['"a" secret', "line 1: a secret in double quotes was expected"],
    ['"a"\n"secret"', "line 1: a secret in double quotes was expected"],
    ['"a" "secret', "line 1: the secret has no closing quote"],
    ['"a', "line 1: the user name has no closing quote"],
    ['"a" "secret\n"b" "other"', "line 1: the secret holds a line break"],
    ['"" "secret"', "line 1: the user name is empty"],
    ['"a\0" "secret"', "line 1: the user name holds a line break or a zero byte"],
  ])("%j is refused", (text, problem) => {
    const error = thrown(text);
    expect(error).toBeInstanceOf(OperationError);
    expect(error).toMatchObject({ code: "auth.userlist", sqlstate: "F0000", source: "internal" });
    expect((error as OperationError).message).toContain(problem);
  });

  test("no secret shows in a message", () => {
    for (const text of ['"a" "hush', '"a" hush', '"a" "hush\n"', `"a" "${"hush".repeat(20_000)}"`]) {
      expect((thrown(text) as OperationError).message).not.toContain("hush");
    }
  });

  test("any text gives users or OperationError", () => {
    const pieces = fc.constantFrom('"', '""', " ", "\n", ";", "a", "\0", "\\", "\t");
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        const error = thrown(parts.join(""));
        if (error !== undefined) expect(error).toBeInstanceOf(OperationError);
      }),
      { numRuns: 1000 },
    );
  });
});

function thrown(text: string): unknown {
  try {
    parseUserlist(text);
    return undefined;
  } catch (error) {
    return error;
  }
}
