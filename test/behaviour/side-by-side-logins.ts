/** Logins that both poolers are asked for: whom they let in, and what they tell the others. */
import { encodeStartup } from "../../src/wire/startup.ts";
import type { Case } from "./side-by-side.ts";

const rejected =
  'pg_hba.conf rejects connection for host "127.0.0.1", user "locked", database "postgres", no encryption';
const failing = "server login has been failing, cached error:";

export const logins: readonly Case[] = [
  {
    name: "users, passwords and databases",
    ini: { settings: ["auth_type = md5"] },
    script: async (run) => {
      await run.login("right");
      await run.login("wrong password", { password: "wrong" });
      await run.login("unknown user", { user: "nobody" });
      await run.login("unknown database", { database: "nowhere" });
      await run.login("unknown database, wrong password", { database: "nowhere", password: "wrong" });
      await run.login("no database", { user: "postgres", database: null });
      await run.login("no database of that name", { database: null });
      await run.login("console, stranger", { database: "pgbouncer" });
      await run.login("console, watcher", { database: "pgbouncer", user: "watcher" });
    },
  },
  {
    name: "scram-sha-256",
    ini: { settings: ["auth_type = scram-sha-256"] },
    script: async (run) => {
      await run.login("right");
      await run.login("wrong password", { password: "wrong" });
      await run.login("unknown user", { user: "nobody" });
      await run.login("unknown database", { database: "nowhere" });
    },
  },
  {
    name: "plain",
    ini: { settings: ["auth_type = plain"] },
    script: async (run) => {
      await run.login("right");
      await run.login("wrong password", { password: "wrong" });
      await run.login("empty password", { password: "" });
      await run.login("unknown user", { user: "nobody" });
    },
  },
  {
    name: "trust",
    script: async (run) => {
      await run.login("right");
      await run.login("unknown user", { user: "nobody" });
      await run.login("unknown database", { database: "nowhere" });
      await run.login("console, stranger", { database: "pgbouncer" });
    },
    differences: [
      {
        theirs: ['unknown user: ErrorResponse FATAL 08P01: "trust" authentication failed'],
        ours: ['unknown user: ErrorResponse FATAL 28000: role "nobody" does not exist'],
        reason: "with trust the server decides who is there",
      },
    ],
  },
  {
    name: "all databases",
    ini: { databases: ["* = SERVER"] },
    script: async (run) => {
      await run.login("a database that is there", { database: "template1" });
      await run.login("one that is not", { database: "nowhere" });
    },
    differences: [
      {
        theirs: ['one that is not: ErrorResponse FATAL 08P01: database "nowhere" does not exist'],
        ours: ['one that is not: ErrorResponse FATAL 3D000: database "nowhere" does not exist'],
        reason: "newer ones pass on the server's SQLSTATE",
      },
    ],
  },
  {
    name: "a server that refuses, and is not asked again at once",
    ini: {
      databases: ["locked = SERVER user=locked dbname=postgres", "down = host=127.0.0.1 port=1"],
      settings: ["server_login_retry = 30", "query_wait_timeout = 1"],
    },
    script: async (run) => {
      await run.login("refused", { database: "locked" });
      await run.login("refused again", { database: "locked" });
      await run.login("down", { database: "down" });
      await run.login("down again", { database: "down" });
    },
    differences: [
      {
        theirs: [`refused: ErrorResponse FATAL 08P01: ${rejected}`],
        ours: [`refused: ErrorResponse FATAL 28000: ${rejected}`],
        reason: "newer ones pass on the server's SQLSTATE",
      },
      {
        theirs: ["refused again: ErrorResponse FATAL 08P01: query_wait_timeout"],
        ours: [
          `refused again: ErrorResponse FATAL 08P01: ${failing} ${rejected.slice(0, 100)} (server_login_retry)`,
        ],
        reason: "newer ones do not let clients wait for a server whose logins fail",
      },
      {
        theirs: [
          "down: ErrorResponse FATAL 08P01: query_wait_timeout",
          "down again: ErrorResponse FATAL 08P01: query_wait_timeout",
        ],
        ours: [
          "down: ErrorResponse FATAL 08P01: connect failed",
          `down again: ErrorResponse FATAL 08P01: ${failing} connect failed (server_login_retry)`,
        ],
        reason: "newer ones do not let clients wait for a server that cannot be reached",
      },
    ],
  },
  {
    name: "startup packets",
    ini: { settings: ["client_login_timeout = 1", "ignore_startup_parameters = work_mem"] },
    script: async (run) => {
      await run.startupBytes("no user", encodeStartup(196_608, [["database", "postgres"]]));
      await run.startupBytes("protocol 2", Buffer.from([0, 0, 0, 12, 0, 2, 0, 0, 0, 0, 0, 0]));
      await run.startupBytes("protocol 4", encodeStartup(262_144, [["user", "app"]]));
      await run.startupBytes("a length of 3", Buffer.from([0, 0, 0, 3, 0, 3, 0, 0]));
      await run.startupBytes("HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
      await run.startupBytes("silence in the middle", Buffer.from([0, 0, 0]));
      await run.login("unsupported", { parameters: [["statement_timeout", "1"]] });
      await run.login("ignored", { parameters: [["work_mem", "1"]] });
      await run.login("replication", { parameters: [["replication", "maybe"]] });
      await run.login("options", { parameters: [["options", "-c statement_timeout=1"]] });
      await run.login("options, ignored", { parameters: [["options", "-c work_mem=1MB"]] });
      await run.login("options, tracked", { parameters: [["options", "-c datestyle=German"]] });
      await run.login("options, others", { parameters: [["options", "-d 5"]] });
      await run.login("wrong value", { parameters: [["client_encoding", "nonsense"]] });
      await run.login("an extension", { parameters: [["_pq_.x", "1"]] });
      await run.login("3.2", { version: 196_610 });
    },
    differences: [
      {
        theirs: [
          "no user: FATAL 08P01 no username supplied, closed",
          "protocol 2: FATAL 08P01 old V2 protocol not supported, closed",
          "protocol 4: FATAL 08P01 bad packet header: '0000001200040000', closed",
        ],
        ours: [
          "no user: FATAL 08P01 no PostgreSQL user name specified in startup packet, closed",
          "protocol 2: EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.2\n, closed",
          "protocol 4: FATAL 08P01 unsupported frontend protocol 4.0: server supports 3.0 to 3.2, closed",
        ],
        reason: "PostgreSQL's words, in the form that the client's protocol has for them",
      },
      {
        theirs: [
          "a length of 3: FATAL 08P01 bad packet header: '0000000300030000', closed",
          "HTTP: FATAL 08P01 client sent partial pkt in startup phase, closed",
          "silence in the middle: FATAL 08P01 client_login_timeout, closed",
        ],
        ours: ["a length of 3: closed", "HTTP: closed", "silence in the middle: closed"],
        reason: "as PostgreSQL, no answer to what has not said that it speaks the protocol",
      },
      {
        theirs: ["unsupported: ErrorResponse FATAL 08P01: unsupported startup parameter: statement_timeout"],
        ours: ["unsupported: logged in, AuthenticationOk, ready I"],
        reason: "passed on to the server, in a pool of their own",
      },
      {
        theirs: ["replication: ErrorResponse FATAL 08P01: unsupported startup parameter: replication"],
        ours: ['replication: ErrorResponse FATAL 22023: invalid value for parameter "replication": "maybe"'],
        reason: "newer ones know replication",
      },
      {
        theirs: [
          "options: ErrorResponse FATAL 08P01: unsupported startup parameter: options",
          "options, ignored: ErrorResponse FATAL 08P01: unsupported startup parameter: options",
          "options, tracked: ErrorResponse FATAL 08P01: unsupported startup parameter: options",
          "options, others: ErrorResponse FATAL 08P01: unsupported startup parameter: options",
        ],
        ours: [
          "options: logged in, AuthenticationOk, ready I",
          "options, ignored: logged in, AuthenticationOk, ready I",
          "options, tracked: logged in, AuthenticationOk, ready I",
          'options, others: ErrorResponse FATAL 42501: permission denied to set parameter "log_min_messages"',
        ],
        reason: "newer ones know options; all that PostgreSQL takes is passed on",
      },
      {
        theirs: ["wrong value: logged in, AuthenticationOk, ready I"],
        ours: [
          'wrong value: ErrorResponse FATAL 22023: invalid value for parameter "client_encoding": "nonsense"',
        ],
        reason: "a wrong value is told at the login and not later",
      },
      {
        theirs: [
          "an extension: ErrorResponse FATAL 08P01: unsupported startup parameter: _pq_.x",
          "3.2: ErrorResponse FATAL 08P01: bad packet header: '0000002400030002'",
        ],
        ours: [
          "an extension: logged in, NegotiateProtocolVersion, AuthenticationOk, ready I",
          "3.2: logged in, AuthenticationOk, ready I",
        ],
        reason: "newer ones negotiate the protocol's version",
      },
    ],
  },
  {
    name: "client_login_timeout",
    ini: { settings: ["client_login_timeout = 1", "auth_type = md5"] },
    script: async (run) => {
      await run.startupBytes(
        "no password",
        encodeStartup(196_608, [
          ["user", "app"],
          ["database", "postgres"],
        ]),
      );
    },
  },
  {
    name: "max_client_conn",
    ini: { settings: ["max_client_conn = 1"] },
    script: async (run) => {
      await run.connect("a");
      await run.login("one too many");
    },
  },
];
