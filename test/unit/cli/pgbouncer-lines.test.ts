/** Log lines in PgBouncer's words, from the fields of our own. */
import { expect, test } from "vitest";
import { PgbouncerLines } from "../../../src/cli/pgbouncer-lines.ts";

const at = "2026-01-31T12:00:00.250Z";
const prefix = "2026-01-31 12:00:00.250 UTC [7]";

function lines(...events: object[]): string[] {
  const formatter = new PgbouncerLines();
  const text = events.flatMap((fields) =>
    formatter
      .format(JSON.stringify({ level: 30, time: at, pid: 7, ...fields }))
      .map((line) => line.prefix + line.text),
  );
  return text.join("").split("\n").slice(0, -1);
}

const client = { client: 26, user: "ada", database: "app", peer: "127.0.0.1:50000" };
const pool = { pool: "app/ada@db:5432", server: 5 };

test.each<[string, object, string[]]>([
  [
    "listening",
    { msg: "listening", addresses: ["127.0.0.1:6432", "unix:/tmp/.s.PGSQL.6432"], address: {} },
    ["LOG listening on 127.0.0.1:6432", "LOG listening on unix:/tmp/.s.PGSQL.6432"],
  ],
  ["process up", { msg: "process up", program: "pgsluice 1" }, ["LOG process up: pgsluice 1"]],
  ["connection received", { ...client, msg: "connection received" }, []],
  [
    "a login",
    { ...client, msg: "login attempt: authenticated" },
    ["LOG C-0x1a: app/ada@127.0.0.1:50000 login attempt: db=app user=ada tls=no"],
  ],
  [
    "a login with TLS",
    { ...client, tls: "TLSv1.3/TLS_AES_256_GCM_SHA384", msg: "login attempt: authenticated" },
    ["LOG C-0x1a: app/ada@127.0.0.1:50000 login attempt: db=app user=ada tls=TLSv1.3/TLS_AES_256_GCM_SHA384"],
  ],
  [
    "a client that leaves",
    { ...client, msg: "closing client", reason: "client close request", ageSeconds: 3 },
    ["LOG C-0x1a: app/ada@127.0.0.1:50000 closing because: client close request (age=3s)"],
  ],
  [
    "an error of the pooler",
    { ...client, level: 40, msg: "pooler error", sqlstate: "08P01", reason: "query_wait_timeout" },
    ["WARNING C-0x1a: app/ada@127.0.0.1:50000 pooler error: query_wait_timeout"],
  ],
  [
    "a login that fails before anybody is known",
    { level: 40, client: 1, peer: "[::1]:5", msg: "login failed", reason: "SSL required", ageSeconds: 0 },
    [
      "LOG C-0x1: (nodb)/(nouser)@[::1]:5 closing because: SSL required (age=0s)",
      "WARNING C-0x1: (nodb)/(nouser)@[::1]:5 pooler error: SSL required",
    ],
  ],
  [
    "a server that cannot be reached",
    {
      ...{ level: 40, pool: "app/ada@/run/postgresql:5432", msg: "server login failed" },
      ...{ outcome: "connect failed", reason: "refused" },
    },
    [
      "LOG S-0x0: app/ada@unix:5432 closing because: connect failed (age=0s)",
      "WARNING S-0x0: app/ada@unix:5432 server login failed: refused",
    ],
  ],
  [
    "a new server",
    { ...pool, msg: "new connection to server", from: "127.0.0.1:50001" },
    ["LOG S-0x5: app/ada@db:5432 new connection to server (from 127.0.0.1:50001)"],
  ],
  ["a command", { msg: "RELOAD command issued" }, ["LOG RELOAD command issued"]],
  ["for a database", { msg: "PAUSE command issued", database: "app" }, ["LOG PAUSE 'app' command issued"]],
  [
    "for a client",
    { msg: "KILL_CLIENT command issued", client: 12 },
    ["LOG KILL_CLIENT '12' command issued"],
  ],
  ["a shutdown", { msg: "SHUTDOWN command issued", wait: "none" }, ["LOG SHUTDOWN command issued"]],
  [
    "a gentle shutdown",
    { msg: "SHUTDOWN command issued", wait: "clients" },
    ["LOG SHUTDOWN WAIT_FOR_CLIENTS command issued"],
  ],
  [
    "what PgBouncer does not know",
    { ...client, level: 30, msg: "TLS handshake failed", reason: "no cipher" },
    ["LOG C-0x1a: app/ada@127.0.0.1:50000 TLS handshake failed (reason=no cipher)"],
  ],
  [
    "statistics",
    {
      msg: "stats",
      xactsPerSecond: 1,
      queriesPerSecond: 2,
      clientParsesPerSecond: 3,
      serverParsesPerSecond: 4,
      bindsPerSecond: 5,
      receivedBytesPerSecond: 6,
      sentBytesPerSecond: 7,
      xactMicros: 8,
      queryMicros: 9,
      waitMicros: 10,
    },
    [
      "LOG stats: 1 xacts/s, 2 queries/s, 3 client parses/s, 4 server parses/s, 5 binds/s, in 6 B/s, out 7 B/s, xact 8 us, query 9 us, wait 10 us",
    ],
  ],
  ["anything else", { level: 20, msg: "x", a: { b: 1 } }, ['DEBUG x (a={"b":1})']],
])("%s", (_name, event, expected) => {
  expect(lines(event)).toEqual(expected.map((line) => `${prefix} ${line}`));
});

test("a server's age is the time since it was connected", () => {
  const later = "2026-01-31T12:10:00.000Z";
  const closing = { ...pool, msg: "closing server", reason: "server idle timeout" };
  expect(lines({ ...pool, msg: "new connection to server" }, { ...closing, time: later }, closing)).toEqual([
    `${prefix} LOG S-0x5: app/ada@db:5432 new connection to server`,
    "2026-01-31 12:10:00.000 UTC [7] LOG S-0x5: app/ada@db:5432 closing because: server idle timeout (age=599s)",
    `${prefix} LOG S-0x5: app/ada@db:5432 closing because: server idle timeout (age=0s)`,
  ]);
});

test("a client on the Unix socket is called by our port", () => {
  const [, line] = lines(
    { msg: "listening", addresses: ["unix:/tmp/.s.PGSQL.6543"] },
    { ...client, peer: "unix", msg: "pooler error", reason: "x" },
  );
  expect(line).toContain("C-0x1a: app/ada@unix:6543 pooler error: x");
});

test("a text of several lines stays one entry", () => {
  const [first, second] = lines({ ...client, level: 40, msg: "pooler error", reason: "a\nb" });
  expect(first).toMatch(/pooler error: a$/);
  expect(second).toBe("\tb");
});
