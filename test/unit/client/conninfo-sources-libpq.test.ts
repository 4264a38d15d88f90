/**
 * Service file, password file, environment and the check of values, ours against libpq 18 itself. The hosts
 * cannot be reached: what libpq says before it tries to connect is about the options.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import { conninfoValues, resolveConninfo } from "../../../src/client/conninfo/conninfo.ts";
import {
  type ConnectionKeyword,
  connectionKeywords,
  connectionParameters,
  describeParameter,
} from "../../../src/client/conninfo/parameters.ts";
import { type LibpqAnswer, libpqProgram } from "../../kit/libpq.ts";

const libpq = libpqProgram();
const home = mkdtempSync(path.join(os.tmpdir(), "pgsluice-conninfo-"));
afterAll(() => {
  libpq?.[Symbol.dispose]();
  rmSync(home, { recursive: true, force: true });
});

const connect = (texts: readonly string[], environment: Record<string, string> = {}): LibpqAnswer[] =>
  libpq?.connect(texts, { HOME: home, ...environment }) ?? [];

/** libpq's complaint about the options; undefined if it went on to connect. */
function complaint({ error }: LibpqAnswer): string | undefined {
  return /^(connection to server|invalid port number)/.test(error) ? undefined : error.trim();
}

function refusal(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== "client.bad_option") throw error;
    return error.message;
  }
}

/** What libpq adds after the defaults, on its way to a connection. */
const addedLater: ReadonlySet<string> = new Set(["dbname", "passfile", "sslcertmode", "PQpass"]);

/** Requires the same complaint, or the same values. */
function expectSame(texts: readonly string[], environment: Record<string, string> = {}): void {
  const sources = { environment: { HOME: home, ...environment }, warn: () => undefined };
  for (const [index, answer] of connect(texts, environment).entries()) {
    const text = texts[index] as string;
    expect([text, refusal(() => resolveConninfo(text, sources))]).toEqual([text, complaint(answer)]);
    if (complaint(answer) !== undefined) continue;
    const ours = new Map(conninfoValues(text, sources));
    // Empty names are filled in later, too.
    if (ours.get("user") === "") ours.set("user", os.userInfo().username);
    if (ours.get("dbname") === "") ours.set("dbname", ours.get("user") ?? "");
    const theirs = [...answer.values].filter(
      ([keyword]) => ours.has(keyword as ConnectionKeyword) || !addedLater.has(keyword),
    );
    const kept = [...ours].filter(([keyword]) => answer.values.has(keyword));
    expect([text, Object.fromEntries(kept)]).toEqual([
      text,
      Object.fromEntries(theirs.map(([keyword, value]) => [keyword, value.toString()])),
    ]);
  }
}

describe.skipIf(libpq === undefined)("as libpq", () => {
  test("service files", () => {
    const long = (length: number): string => `options=${"x".repeat(length - 8)}`;
    const groups = [
      "# comment\n\n  [plain]  trailing\nhost=/nonexistent\n port=5433 \t\n#port=1\nport=5434\nuser=file\n",
      "[blank]\nhost=/nonexistent\nuser = u\n[blank2]\nhost=/nonexistent\nuser= u v \n",
      "[twice]\nhost=/nonexistent\nuser=first\n[twice]\nuser=second\n",
      "[unknown]\nhost=/nonexistent\nhosst=x\n[noequals]\nhost\n[nested]\nservice=plain\n[nothing]\n",
      "[empty]\nhost=/nonexistent\nuser=\n[requiressl]\nrequiressl=1\n[sub]key\nhost=/nonexistent\n",
      `[long]\nhost=/nonexistent\n${long(1021)}\n`,
      "[a b]\nhost=/nonexistent\r\nuser=crlf\r\n[é]\nhost=/nonexistent\nuser=ä\n[]\nhost=/nonexistent\n",
      "[equals]\nhost=/nonexistent\noptions=-c a=b\npassword=p=q\n[default]\nhost=/nonexistent",
    ];
    const file = path.join(home, "services.conf");
    writeFileSync(file, groups.join(""));
    const names = [
      ..."plain|blank|blank2|twice|unknown|noequals|nested|nothing|empty|requiressl|sub".split("|"),
    ];
    names.push("long", "a b", "é", "", "equals", "default", "missing", "plai", "plainn", "PLAIN");
    const texts = names.flatMap((name) => [
      `host=/nonexistent service='${name}'`,
      `host=/nonexistent service='${name}' user=me port=7 options=''`,
    ]);
    expectSame(texts, { PGSERVICEFILE: file, PGPORT: "9", PGOPTIONS: "env", PGSYSCONFDIR: home });
    for (const name of names) expectSame(["host=/nonexistent"], { PGSERVICEFILE: file, PGSERVICE: name });

    for (const [index, length] of [1021, 1022, 1023, 3000].entries()) {
      const one = path.join(home, `long${index}.conf`);
      writeFileSync(one, `[x]\n${long(length)}\nuser=u\n[y]\nuser=y\n${long(length)}`);
      const strings = ["service=x host=/nonexistent", "service=y host=/nonexistent"];
      expectSame(strings, { PGSERVICEFILE: one });
    }
    expectSame(["service=x host=/nonexistent"], { PGSERVICEFILE: path.join(home, "none.conf") });
    expectSame(["service=x host=/nonexistent"], { PGSERVICEFILE: "" });
  });

  test("the user's service file, then the system's", () => {
    const own = path.join(home, "own");
    const system = path.join(home, "system");
    mkdirSync(own);
    mkdirSync(system);
    const texts = ["service=a host=/nonexistent", "service=b host=/nonexistent"];
    const environment = { HOME: own, PGSYSCONFDIR: system };
    expectSame(texts, environment);
    writeFileSync(path.join(system, "pg_service.conf"), "[a]\nuser=system\n[b]\nuser=system\n");
    expectSame(texts, environment);
    writeFileSync(path.join(own, ".pg_service.conf"), "[a]\nuser=own\n");
    expectSame(texts, environment);
    writeFileSync(path.join(own, ".pg_service.conf"), "[a]\nuser=own\nnonsense\n");
    expectSame(texts, environment);
  });

  test("every variable of the environment", () => {
    for (const keyword of connectionKeywords) {
      const { envvar, value } = describeParameter(keyword);
      if (envvar === null || keyword === "service" || keyword === "requirepeer") continue;
      const good = Array.isArray(value) ? value.filter((choice) => choice !== "require")[1] : "1";
      const exceptions: Record<string, string> = { client_encoding: "utf-8", hostaddr: "::1" };
      const variable = { [envvar]: exceptions[keyword] ?? (good as string) };
      const text =
        "port=70000 sslrootcert=roots host=/nonexistent hostaddr='' sslnegotiation=postgres sslmode=require";
      expectSame([text.replace(new RegExp(`${keyword}=\\S*`), "")], variable);
    }
    expectSame(["host=/nonexistent"], { PGREQUIRESSL: "1" });
    expectSame(["host=/nonexistent sslmode=allow"], { PGREQUIRESSL: "1" });
    expectSame(["host=/nonexistent"], { PGREQUIRESSL: "1", PGSSLMODE: "disable" });
    expectSame(["host=/nonexistent sslrootcert=system"], { PGREQUIRESSL: "1" });
    expectSame(["host=/nonexistent", "host=/nonexistent sslmode=verify-full"], { PGSSLROOTCERT: "system" });
    expectSame(["host=/nonexistent"], { PGSSLMODE: "", PGUSER: "", PGDATABASE: "", PGHOST: "x" });
    expectSame(["host=/nonexistent"], { PGUSER: "", PGDATABASE: "", PGPORT: "", PGOPTIONS: "" });
  });

  /** Values that we refuse though libpq goes on, and the other way round, each with the reason. */
  const intended: { readonly why: string; readonly applies: (keyword: string, value: string) => boolean }[] =
    [
      {
        why: "text is read and written as UTF-8",
        applies: (keyword, value) => keyword === "client_encoding" && !["", "auto", "UTF-8"].includes(value),
      },
      {
        why: "nothing of OAuth is here",
        applies: (keyword, value) => keyword.startsWith("oauth_") && value !== "",
      },
      {
        why: "Node cannot tell the peer",
        applies: (keyword, value) => keyword === "requirepeer" && value !== "",
      },
      {
        why: "libpq looks at the timeout only in PQconnectdb, and at these only when it has a TCP socket",
        applies: (keyword) => /^(connect_timeout|keepalives.*|tcp_user_timeout)$/.test(keyword),
      },
      {
        why: "verification without roots is refused at once, not only where TLS comes to pass",
        applies: (keyword, value) => keyword === "sslmode" && value.startsWith("verify"),
      },
      {
        why: "Node has other spellings than four decimals for no address, and 1 for 0.0.0.1 is a mistake",
        applies: (keyword, value) => keyword === "hostaddr" && /^[\d.]+$/.test(value),
      },
      {
        why: "an empty lowest version means TLSv1.2, not whatever OpenSSL is configured for",
        applies: (keyword, value) => keyword === "ssl_min_protocol_version" && value.startsWith("'"),
      },
      {
        why: "one SCRAM key without the other proves only half",
        applies: (keyword) => keyword.startsWith("scram_"),
      },
      {
        why: "channel binding that is required cannot be had without TLS, which is refused at once",
        applies: (keyword, value) => keyword === "channel_binding" && value === "require",
      },
    ];

  test("the values of every parameter", () => {
    const general = [
      "",
      "x",
      "0",
      "1",
      "-1",
      " 5 ",
      "5x",
      "1.5",
      "2147483647",
      "2147483648",
      "00000000000005",
    ];
    const special = [
      ..."require_auth=md5|require_auth=md5,md5|require_auth=!md5,!none|require_auth=!none,!none".split("|"),
      ..."require_auth=none,none|require_auth=none,!none|require_auth=!none,md5|require_auth=,".split("|"),
      ..."require_auth=md5,|require_auth=!|require_auth=!!md5|require_auth='md5, none'|require_auth=MD5".split(
        "|",
      ),
      ..."require_auth=gss,sspi,oauth,scram-sha-256,password|require_auth=!scram-sha-256,!oauth".split("|"),
      ..."port=1,2|port=,|hostaddr=1.2.3.4,::1|hostaddr=,|client_encoding=auto|client_encoding=UTF-8".split(
        "|",
      ),
      ..."ssl_min_protocol_version=tlsv1.2|ssl_max_protocol_version=TLSV1.3|client_encoding=LATIN1".split(
        "|",
      ),
      "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
      "ssl_max_protocol_version=TLSv1.1",
      "ssl_min_protocol_version='' ssl_max_protocol_version=TLSv1",
      "min_protocol_version=3.2 max_protocol_version=3.2",
      "min_protocol_version=latest max_protocol_version=3.0",
      ..."sslmode=require sslnegotiation=direct|sslnegotiation=direct|sslrootcert=system sslmode=require".split(
        "|",
      ),
    ];
    const texts = connectionKeywords.flatMap((keyword) => {
      const { value } = connectionParameters[keyword];
      const choices = typeof value === "string" ? [] : value;
      return [...general, ...choices].map((text) => `${keyword}='${text}'`);
    });
    const all = [...texts, ...special]
      .filter((text) => !/^(host|service|sslcert|sslkey)=/.test(text))
      .map((text) => `host=/nonexistent ${text}`);
    const wrong = connect(all).flatMap((answer, index) => {
      const text = all[index] as string;
      const [, keyword = "", value = ""] = /^host=\S+ (\w+)='?(.*?)'?$/.exec(text) ?? [];
      const ours = refusal(() =>
        resolveConninfo(text, { environment: { HOME: home }, warn: () => undefined }),
      );
      const theirs = complaint(answer);
      const same = (ours === undefined) === (theirs === undefined);
      return same || intended.some(({ applies }) => applies(keyword, value)) ? [] : [{ text, ours, theirs }];
    });
    expect(wrong).toEqual([]);
  });

  test("password files", () => {
    const odd = fc.constantFrom("\\*", "*x", "", "a\\", "\\:", "x", "h", "*", "**");
    const field = (...fitting: string[]): fc.Arbitrary<string> =>
      fc.oneof(
        { weight: 3, arbitrary: fc.constant("*") },
        { weight: 4, arbitrary: fc.constantFrom(...fitting) },
        { weight: 1, arbitrary: odd },
      );
    const hostField = field("localhost", "/nonexistent", "h1", "10.0.0.1", "::1", "\\:\\:1", "é", "\\h1");
    const portField = field("70000", "5432", "07", "7\\0000", "7");
    const databaseField = field("db", "d\\b", "me", "d\\:b", "d:b", "\\\\", "\\");
    const userField = field("me", "\\m\\e", "\\*", "é");
    const password = fc.constantFrom(
      "secret",
      "",
      "a\\:b",
      "a:b",
      "a\\\\b",
      "a\\",
      "é",
      " x ",
      "#",
      "\\\\\\:",
      "*",
    );
    const line = fc
      .tuple(
        fc.constantFrom(...Array.from({ length: 10 }, () => ""), "#", " "),
        fc.tuple(hostField, portField, databaseField, userField, password).map((parts) => parts.join(":")),
        fc.constantFrom("\n", "\n", "\n", "\r\n", "\n\n", "\r\r\n", ":x\n", ""),
      )
      .map((parts) => parts.join(""));
    const file = path.join(home, "passwords");
    const hosts = [
      "host=/nonexistent",
      "host=h1",
      "hostaddr=10.0.0.1",
      "host=h1 hostaddr=10.0.0.1",
      "host=::1",
    ];
    hosts.push("", "host=/tmp", "host=é");
    const logins = ["user=me dbname=db", "user=me", "user='\\\\*' dbname=d:b", "user=é dbname='\\\\'"];
    const ports = ["port=70000", "port='07'", "port=''"];
    // A port that is in range is asked for at a socket that is not there.
    const queries = hosts.flatMap((host) =>
      logins.flatMap((login) =>
        (host === "host=/nonexistent" ? ports : ["port=70000"]).map(
          (port) => `${host} ${login} ${port} passfile=${file}`,
        ),
      ),
    );
    let found = 0;
    for (const lines of fc.sample(fc.array(line, { maxLength: 12 }), { numRuns: 150, seed: 5432 })) {
      writeFileSync(file, lines.join(""), { mode: 0o600 });
      for (const [index, answer] of connect(queries).entries()) {
        const query = queries[index] as string;
        const theirs = answer.values.get("PQpass")?.toString() ?? "";
        const ours = resolveConninfo(query, { environment: { HOME: home } }).hosts[0]?.password ?? "";
        if (theirs !== "") found++;
        expect({ lines, query, password: ours }).toEqual({ lines, query, password: theirs });
      }
    }
    expect(found).toBeGreaterThan(100);
  });

  test("which password file, and whether it may be used", () => {
    const folder = path.join(home, "passfiles");
    mkdirSync(folder);
    const own = path.join(folder, ".pgpass");
    const other = path.join(folder, "other");
    writeFileSync(own, "*:*:*:*:own\n", { mode: 0o600 });
    writeFileSync(other, "*:*:*:*:other\n", { mode: 0o600 });
    const check = (text: string, environment: Record<string, string>): string => {
      const all = { HOME: folder, ...environment };
      const [answer] = connect([text], all);
      const { hosts, password } = resolveConninfo(text, { environment: all, warn: () => undefined });
      const ours = password ?? hosts[0]?.password ?? "";
      expect([text, ours]).toEqual([text, answer?.values.get("PQpass")?.toString()]);
      return ours;
    };
    expect(check("host=/nonexistent", {})).toBe("own");
    expect(check("host=/nonexistent", { PGPASSFILE: other })).toBe("other");
    expect(check(`host=/nonexistent passfile=${own}`, { PGPASSFILE: other })).toBe("own");
    expect(check("host=/nonexistent passfile=''", { PGPASSFILE: other })).toBe("own");
    expect(check("host=/nonexistent password=''", { PGPASSWORD: "variable" })).toBe("own");
    expect(check("host=/nonexistent", { PGPASSWORD: "variable" })).toBe("variable");
    expect(check("host=/nonexistent passfile=/nonexistent", {})).toBe("");
    expect(check(`host=/nonexistent passfile=${folder}`, {})).toBe("");
    for (const mode of [0o400, 0o700, 0o640, 0o604, 0o620, 0o601]) {
      chmodSync(own, mode);
      check("host=/nonexistent", {});
    }
  });
});
