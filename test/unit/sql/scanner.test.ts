/** The scanner says what the parser says, or nothing. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { analyze } from "../../../src/sql/analyze.ts";
import { scan } from "../../../src/sql/scanner.ts";
import type { Syntax } from "../../../src/sql/syntax.ts";
import { parser } from "./classifier-kit.ts";

function parsed(text: string): Syntax | string {
  const outcome = parser.parse(Buffer.from(text));
  if (outcome.kind !== "parsed") return outcome.kind;
  return analyze(outcome.statements, text.length, [], () => ({ start: 0, end: 0 }));
}

const claimed = [
  "BEGIN",
  "begin work",
  " BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY DEFERRABLE ;;",
  "begin read write read only",
  "START TRANSACTION ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE",
  "START TRANSACTION",
  "COMMIT",
  "commit and chain",
  "COMMIT WORK AND NO CHAIN;",
  "END TRANSACTION",
  "ABORT",
  "ROLLBACK AND CHAIN",
  "ROLLBACK TO a",
  "ROLLBACK WORK TO SAVEPOINT a",
  "SAVEPOINT sp_1",
  'SAVEPOINT "Some Name"',
  "RELEASE sp_1",
  "RELEASE SAVEPOINT sp_1",
  "SET work_mem = '4MB'",
  "SET x.y TO 'it''s'",
  "SET LOCAL statement_timeout = 5000",
  "SET SESSION enable_seqscan TO off",
  "SET a = on",
  "SET a = TRUE",
  "SET a = -1.50",
  "SET a = +7",
  "SET a = Foo",
  "SET a TO DEFAULT",
  "SET LOCAL a TO DEFAULT",
  "SET DateStyle = ISO",
  "SHOW work_mem",
  "SHOW a.b;",
  "RESET a.b",
  "RESET ALL",
  "DISCARD ALL",
  "DISCARD temporary",
  "DEALLOCATE ALL",
  "DEALLOCATE PREPARE p",
  "DEALLOCATE p",
  "LISTEN channel",
  "UNLISTEN *",
  "UNLISTEN channel",
  "NOTIFY channel",
  "NOTIFY channel, 'payload'",
];

describe("claims, as the parser does,", () => {
  test.each(claimed)("%s", (text) => {
    const found = scan(text);
    expect(found).toBeDefined();
    expect(found).toEqual(parsed(text));
  });
});

const notClaimed = [
  "SELECT 1",
  "BEGIN; SELECT 1",
  "BEGIN,",
  "SET TIME ZONE 'UTC'",
  "SET ROLE x",
  "SET SESSION AUTHORIZATION x",
  "SET TRANSACTION READ ONLY",
  "SET a = 'b' 'c'",
  "SET a = 'b'\n'c'",
  "SET a = b, c",
  "SET a = 'c:\\x'",
  "SET a = 12345678901",
  "SET a = 007",
  "SAVEPOINT select",
  "SAVEPOINT a-b",
  "ROLLBACK TO savepoint",
  "COMMIT PREPARED 'x'",
  "LISTEN user",
  "NOTIFY a, b",
  `SAVEPOINT ${"x".repeat(64)}`,
  "-- comment\nBEGIN",
  "BEGIN\0",
  "toString",
  "__proto__ x",
];

test.each(notClaimed)("leaves to the parser: %s", (text) => {
  expect(scan(text)).toBeUndefined();
});

const words =
  `begin start transaction work commit end abort rollback savepoint release to and no chain set local
  session reset show all discard plans temp deallocate prepare listen unlisten notify isolation level read only
  write committed repeatable serializable uncommitted not deferrable default on off true false time zone role user
  select table names a b x_1 "Q" 'str' 'it''s' 1 -2 0.5 +3 007 1e5 = , . ; * ( ) $1 :: 5x`.split(/\s+/);

test("agrees on whatever it claims of words in any order", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 7 }),
      fc.constantFrom(" ", "  ", "\n"),
      (picked, blank) => {
        const text = picked.join(blank);
        const found = scan(text);
        if (found !== undefined) expect(found).toEqual(parsed(text));
      },
    ),
    { numRuns: 4000 },
  );
});

test("agrees on whatever it claims of texts that were changed a little", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...claimed),
      fc.nat(),
      fc.nat(3),
      fc.constantFrom("", " ", "'", '"', "\\", ";", "--", "/*", ".", "1", "é", "\0", "to", "$", "e'"),
      (text, place, removed, inserted) => {
        const at = place % (text.length + 1);
        const changed = text.slice(0, at) + inserted + text.slice(at + removed);
        const found = scan(changed);
        if (found !== undefined) expect(found).toEqual(parsed(changed));
      },
    ),
    { numRuns: 4000 },
  );
});
