/** What a client is told whose server is lost: whether its last statement may have been committed. */
import { describe, expect, test } from "vitest";
import { mayEndTransaction } from "../../../src/pool/fate.ts";
import { Handling, Request } from "../../../src/pool/replies.ts";
import { complete, fakeServer, ready } from "./fakes.ts";

function mayEnd(sql: string): boolean {
  const text = Buffer.from(`xx${sql}\0more; of the buffer`);
  return mayEndTransaction(text, 2, 2 + Buffer.byteLength(sql) + 1);
}

test.each([
  ...["commit", "COMMIT;", "  Commit and chain", "\n\tend", "END", "prepare transaction 'x'"],
  ...["/* then */ commit", "-- then\ncommit", "insert into t values (1); commit", "select 1;select 2"],
])("%j may end a transaction", (sql) => {
  expect(mayEnd(sql)).toBe(true);
});

test.each(["", "c", "rollback", "insert into t values (1)", "select 1;", "copy t from stdin", "execute x"])(
  "%j commits nothing",
  (sql) => {
    expect(mayEnd(sql)).toBe(false);
  },
);

describe("of a pool that follows the primary, a server that is lost while it", () => {
  const lost = (status: "I" | "T", prepare: (server: ReturnType<typeof fakeServer>["server"]) => void) => {
    const { server, owner } = fakeServer({ tellsFate: true });
    server.replies.push(Request.query, Handling.forward);
    server.onData(Buffer.concat([complete("SELECT 1"), ready(status)]));
    prepare(server);
    server.onClose(undefined);
    return owner.lost;
  };
  const runs = (server: ReturnType<typeof fakeServer>["server"]): void => {
    server.replies.push(Request.query, Handling.forward);
  };

  test("runs something outside a transaction: 08007", () => {
    expect(lost("I", runs)).toMatchObject({ sqlstate: "08007", code: "pool.fate_unknown" });
  });

  test("runs something in a transaction that does not end it: 08006", () => {
    expect(lost("T", runs)).toMatchObject({ sqlstate: "08006", code: "server.lost" });
  });

  test("runs the end of a transaction: 08007", () => {
    const commits = (server: ReturnType<typeof fakeServer>["server"]): void => {
      runs(server);
      server.endsTransaction = true;
    };
    expect(lost("T", commits)).toMatchObject({ sqlstate: "08007" });
  });

  test("runs nothing: 08006", () => {
    expect(lost("I", () => undefined)).toMatchObject({ sqlstate: "08006" });
  });
});
