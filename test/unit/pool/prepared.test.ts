import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import {
  parseMessage,
  type SharedStatement,
  StatementRegistry,
  withName,
} from "../../../src/pool/prepared.ts";
import { int16, int32, text, typed } from "../wire/bytes.ts";

const body = (sql: string): Buffer => Buffer.concat([text(sql), int16(0)]);

describe("the registry", () => {
  test("one statement for one text and its types, whoever prepares it", () => {
    const registry = new StatementRegistry();
    const first = registry.acquire(body("select 1"));
    expect(registry.acquire(body("select 1"))).toBe(first);
    expect(first.references).toBe(2);
    const withType = registry.acquire(Buffer.concat([text("select 1"), int16(1), int32(23)]));
    expect(withType).not.toBe(first);
    expect(withType.name).not.toBe(first.name);
    expect(registry.size).toBe(2);
  });

  test("keeps a copy of the text, not the chunk it came in", () => {
    const registry = new StatementRegistry();
    const chunk = body("select 1");
    const statement = registry.acquire(chunk);
    chunk.fill(0x78);
    expect(statement.body).toEqual(body("select 1"));
    expect(registry.acquire(body("select 1"))).toBe(statement);
  });

  test("a text that is no valid UTF-8 is still its own", () => {
    const registry = new StatementRegistry();
    const one = registry.acquire(Buffer.from([0x80, 0, 0, 0]));
    const other = registry.acquire(Buffer.from([0x81, 0, 0, 0]));
    expect(one).not.toBe(other);
    expect(one.body).toEqual(Buffer.from([0x80, 0, 0, 0]));
  });

  test("a statement that nobody names is remembered for the next one", () => {
    const registry = new StatementRegistry();
    const statement = registry.acquire(body("select 1"));
    expect(registry.find(body("select 1"))).toBe(statement);
    registry.release(statement);
    expect(registry.size).toBe(0);
    expect(registry.find(body("select 1"))).toBe(statement);
    expect(registry.find(body("select 2"))).toBeUndefined();
    expect(registry.acquire(body("select 1"))).toBe(statement);
    expect(statement.references).toBe(1);
  });

  test("of those, 500 are remembered, the longest unnamed go first", () => {
    const registry = new StatementRegistry();
    const statements = Array.from({ length: 501 }, (_, i) => registry.acquire(body(`select ${i}`)));
    for (const statement of statements) registry.release(statement);
    expect(registry.acquire(body("select 1"))).toBe(statements[1]);
    const again = registry.acquire(body("select 0"));
    expect(again).not.toBe(statements[0]);
    expect(statements.map(({ name }) => name)).not.toContain(again.name);
  });

  test("but not the long ones", () => {
    const registry = new StatementRegistry();
    const long = body(`select '${"x".repeat(16 * 1024)}'`);
    const statement = registry.acquire(long);
    registry.release(statement);
    expect(registry.acquire(long)).not.toBe(statement);
  });

  test("a statement is released no more often than it was acquired", () => {
    const registry = new StatementRegistry();
    const statement = registry.acquire(body("select 1"));
    registry.release(statement);
    expect(() => registry.release(statement)).toThrow(AssertionError);
  });

  test("references are counted, and names are never given twice", () => {
    const step = fc.tuple(fc.boolean(), fc.nat(5));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const registry = new StatementRegistry();
        const held: SharedStatement[] = [];
        const bodies = new Map<string, string>();
        for (const [acquires, which] of steps) {
          if (acquires) {
            const statement = registry.acquire(body(`select ${which}`));
            held.push(statement);
            const known = bodies.get(statement.name);
            expect(known ?? statement.key).toBe(statement.key);
            bodies.set(statement.name, statement.key);
          } else if (held.length > 0) {
            registry.release(held.splice(which % held.length, 1)[0] as SharedStatement);
          }
          for (const statement of held) {
            expect(statement.references).toBe(held.filter((other) => other === statement).length);
          }
          expect(registry.size).toBe(new Set(held).size);
        }
      }),
    );
  });
});

test("the Parse message of a statement", () => {
  expect(parseMessage("pgsluice_7", body("select $1"))).toEqual(
    typed("P", text("pgsluice_7"), body("select $1")),
  );
  expect(parseMessage("", body(""))).toEqual(typed("P", text(""), body("")));
  const statement = new StatementRegistry().acquire(body("select 1"));
  expect(statement.parseMessage).toEqual(typed("P", text(statement.name), body("select 1")));
});

describe("withName replaces a name and leaves every other byte", () => {
  test("in Bind, Describe and Close", () => {
    const rest = Buffer.concat([int16(1), int16(1), int16(1), int32(3), Buffer.from([0, 1, 0]), int16(0)]);
    const bind = typed("B", text("portal"), text("mine"), rest);
    expect(withName(bind, 0, bind.length, 5 + 7, "pgsluice_12")).toEqual(
      typed("B", text("portal"), text("pgsluice_12"), rest),
    );
    const describe = typed("D", "S", text("mine"));
    expect(withName(describe, 0, describe.length, 6, "x")).toEqual(typed("D", "S", text("x")));
    const close = typed("C", "S", text(""));
    expect(withName(close, 0, close.length, 6, "name")).toEqual(typed("C", "S", text("name")));
  });

  test("anywhere in a chunk, which stays as it was", () => {
    const bytes = fc.uint8Array({ maxLength: 20 });
    const name = fc.stringMatching(/^[!-~]{0,70}$/);
    fc.assert(
      fc.property(bytes, bytes, bytes, name, name, (before, after, rest, old, replacement) => {
        const portal = Buffer.from("p\0");
        const message = typed("B", portal, text(old), Buffer.from(rest));
        const chunk = Buffer.concat([before, message, after]);
        const copy = Buffer.from(chunk);
        const start = before.length;
        const result = withName(chunk, start, start + message.length, start + 7, replacement);
        expect(result).toEqual(typed("B", portal, text(replacement), Buffer.from(rest)));
        expect(chunk).toEqual(copy);
      }),
    );
  });

  test("in the first part of a message that is longer than its chunk", () => {
    const whole = typed("B", text(""), text("mine"), Buffer.alloc(100));
    const renamed = typed("B", text(""), text("pgsluice_3"), Buffer.alloc(100));
    expect(withName(whole, 0, 50, 6, "pgsluice_3")).toEqual(renamed.subarray(0, 56));
  });

  test("a name without an end in its message is a mistake of ours", () => {
    const message = typed("D", "S", "mine");
    const chunk = Buffer.concat([message, Buffer.from("x\0")]);
    expect(() => withName(chunk, 0, message.length, 6, "x")).toThrow(AssertionError);
  });
});
