/**
 * Connection strings. The cases are facts of libpq: its URI tests (src/interfaces/libpq/t/001_uri.pl) and the
 * manual's chapter on connection strings.
 */
import { userInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import { parseConninfo } from "../../../src/client/conninfo/conninfo.ts";
import { parseKeywords } from "../../../src/client/conninfo/grammar.ts";

/** What a text sets, as PQconninfoParse tells it. */
const keywords = (text: string): Record<string, string> =>
  Object.fromEntries(parseKeywords(text, () => true));

describe("URIs", () => {
  const cases: [uri: string, set: Record<string, string>][] = [
    [
      "postgresql://uri-user:secret@host:12345/db",
      { user: "uri-user", password: "secret", host: "host", port: "12345", dbname: "db" },
    ],
    ["postgresql://uri-user@host:12345/", { user: "uri-user", host: "host", port: "12345" }],
    ["postgresql://uri-user@", { user: "uri-user" }],
    ["postgresql://host:12345/db", { host: "host", port: "12345", dbname: "db" }],
    ["postgresql://host", { host: "host" }],
    ["postgresql://", {}],
    ["postgresql:///db", { dbname: "db" }],
    ["postgresql://?hostaddr=127.0.0.1", { hostaddr: "127.0.0.1" }],
    ["postgresql://example.com?hostaddr=63.1.2.4", { host: "example.com", hostaddr: "63.1.2.4" }],
    ["postgresql://%68ost/", { host: "host" }],
    ["postgresql://host/db?user=uri-user", { host: "host", dbname: "db", user: "uri-user" }],
    [
      "postgresql://host/db?user=uri-user&port=12345",
      { host: "host", dbname: "db", user: "uri-user", port: "12345" },
    ],
    [
      "postgresql://host/db?u%73er=someotheruser&port=12345",
      { host: "host", dbname: "db", user: "someotheruser", port: "12345" },
    ],
    ["postgresql://host:12345?user=uri-user", { host: "host", port: "12345", user: "uri-user" }],
    ["postgresql://host/?", { host: "host" }],
    ["postgresql://[::1]:12345/db", { host: "::1", port: "12345", dbname: "db" }],
    ["postgresql://[2001:db8::1234]/", { host: "2001:db8::1234" }],
    ["postgresql://[200z:db8::1234]/", { host: "200z:db8::1234" }],
    ["postgres://", {}],
    ["postgres://:12345/", { port: "12345" }],
    ["postgres://%2Fvar%2Flib%2Fpostgresql/dbname", { host: "/var/lib/postgresql", dbname: "dbname" }],
    ["postgres://a:1,b,[::1]:3/db", { host: "a,b,::1", port: "1,,3", dbname: "db" }],
    ["postgres://a%2Cb", { host: "a,b" }],
    ["postgres://h?user=a@b", { user: "h?user=a", host: "b" }],
    ["postgres://u:p:q@h", { user: "u", password: "p:q", host: "h" }],
    ["postgres://h/?ssl=true", { host: "h", sslmode: "require" }],
    ["postgres://h/db?dbname=other&dbname=last", { host: "h", dbname: "last" }],
    ["postgres://h/a+b?options=c+d", { host: "h", dbname: "a+b", options: "c+d" }],
    ["postgres://h/ db ", { host: "h", dbname: "db" }],
    ["postgres://h/%C3%A9%20t", { host: "h", dbname: "é t" }],
    ["postgres://h?user=u&", { host: "h", user: "u" }],
  ];
  test.each(cases)("%s", (uri, set) => {
    expect(keywords(uri)).toEqual(set);
  });

  test.each([
    ["postgresql://host?zzz", /missing key\/value separator "=" in URI query parameter: "zzz"/],
    ["postgresql://host?value1&value2", /missing key\/value separator/],
    ["postgresql://host?key=key=value", /extra key\/value separator "=" in URI query parameter: "key"/],
    ["postgresql://host?sslmode=dis%XXable", /invalid percent-encoded token/],
    ["postgresql://h%2/", /invalid percent-encoded token/],
    ["postgresql://a%00b", /forbidden value %00/],
    ["postgresql://[::1", /matching "\]"/],
    ["postgresql://[]", /may not be empty/],
    ["postgresql://[::1]z", /unexpected character "z"/],
    ["postgresql://a b/", /use percent-encoded spaces/],
    ["postgresql://host?uzer=", /invalid URI query parameter: "uzer"/],
    ["postgres://h?ssl=1", /invalid URI query parameter: "ssl"/],
  ])("%s is refused", (uri, text) => {
    expect(() => parseConninfo(uri)).toThrow(text);
  });

  test("another scheme is read as keyword and value", () => {
    expect(() => parseConninfo("postgre://host")).toThrow(/missing "=" after the word at position 0/);
  });
});

describe("keyword/value", () => {
  const cases: [text: string, set: Record<string, string>][] = [
    ["", {}],
    ["  host = a   port=1 ", { host: "a", port: "1" }],
    ["host= user=x", { host: "user=x" }],
    ["password='it\\'s \\\\ ' user=a\\ b", { password: "it's \\ ", user: "a b" }],
    ["user=a\\", { user: "a" }],
    ["user=a user=b", { user: "b" }],
    ["password=''", { password: "" }],
    ["a\n=\tb", { a: "b" }],
  ];
  test.each(cases)("%j", (text, set) => {
    expect(keywords(text)).toEqual(set);
  });

  test.each([
    ["host", /missing "=" after "host"/],
    ["host user=x", /missing "=" after "host"/],
    ["user=x password=hunter 2", /missing "=" after the word at position 23/],
    ["password='x", /unterminated quoted string/],
    ["hosst=x", /invalid connection option "hosst"/],
  ])("%j is refused", (text, error) => {
    expect(() => parseConninfo(text)).toThrow(error);
  });
});

describe("options", () => {
  test("acceptance 98: both notations mean the same", () => {
    const uri = parseConninfo(
      "postgresql://ada:pw@h1:1,h2:2/db?sslmode=require&application_name=x&connect_timeout=3",
    );
    const pairs = parseConninfo(
      "host=h1,h2 port=1,2 user=ada password=pw dbname=db sslmode=require application_name=x connect_timeout=3",
    );
    expect(uri).toEqual(pairs);
    expect(uri).toMatchObject({
      hosts: [
        { host: "h1", port: 1 },
        { host: "h2", port: 2 },
      ],
      user: "ada",
      password: "pw",
      database: "db",
      sslmode: "require",
      parameters: [["application_name", "x"]],
      connectTimeoutMs: 3000,
    });
  });

  test("defaults", () => {
    const user = userInfo().username;
    expect(parseConninfo("")).toMatchObject({
      hosts: [{ host: "/tmp", port: 5432 }],
      user,
      database: user,
      sslmode: "prefer",
      channelBinding: "prefer",
      minProtocolVersion: 196608,
      maxProtocolVersion: 196608,
      parameters: [],
    });
    expect(parseConninfo("sslrootcert=system").sslmode).toBe("verify-full");
    expect(parseConninfo("requiressl=1").sslmode).toBe("require");
    expect(parseConninfo("min_protocol_version=3.2").maxProtocolVersion).toBe(196610);
    expect(parseConninfo("max_protocol_version=latest")).toMatchObject({
      minProtocolVersion: 196608,
      maxProtocolVersion: 196610,
    });
  });

  test("startup keys come in libpq's order; fallback_application_name gives way", () => {
    const text =
      "client_encoding=auto fallback_application_name=f application_name=a options='-c x=y' replication=database";
    expect(parseConninfo(text).parameters).toEqual([
      ["replication", "database"],
      ["options", "-c x=y"],
      ["application_name", "a"],
      ["client_encoding", "UTF8"],
    ]);
    expect(parseConninfo("fallback_application_name=f").parameters).toEqual([["application_name", "f"]]);
  });

  test("hosts, addresses and ports go together", () => {
    expect(parseConninfo("host=a,b hostaddr=10.0.0.1, port=7").hosts).toEqual([
      { host: "a", port: 7, address: "10.0.0.1" },
      { host: "b", port: 7 },
    ]);
    expect(parseConninfo("hostaddr=10.0.0.1").hosts).toEqual([{ host: "10.0.0.1", port: 5432 }]);
    expect(parseConninfo("host=a,,b port=,70000,3").hosts).toEqual([
      { host: "a", port: 5432 },
      { host: "/tmp", port: 70_000 },
      { host: "b", port: 3 },
    ]);
    expect(() => parseConninfo("host=a,b hostaddr=10.0.0.1")).toThrow(
      /could not match 2 host names to 1 hostaddr/,
    );
    expect(() => parseConninfo("host=a,b,c port=1,2")).toThrow(/could not match 2 port numbers to 3 hosts/);
    expect(() => parseConninfo("port=x")).toThrow(/invalid integer value for connection option "port"/);
  });

  test("require_auth", () => {
    expect(parseConninfo("require_auth=md5,scram-sha-256").requireAuth).toEqual(["md5", "scram-sha-256"]);
    expect(parseConninfo("require_auth=!password,!md5").requireAuth).toEqual(["none", "scram-sha-256"]);
    expect(parseConninfo("require_auth=gss").requireAuth).toEqual([]);
    for (const bad of ["md5,!password", "md5,md5", "nonsense"]) {
      expect(() => parseConninfo(`require_auth=${bad}`)).toThrow(/require_auth/);
    }
  });

  test("SCRAM keys are 32 bytes in base64", () => {
    const key = Buffer.alloc(32, 1).toString("base64");
    const text = `scram_client_key=${key} scram_server_key=${key}`;
    expect(parseConninfo(text).scramKeys?.clientKey).toEqual(Buffer.alloc(32, 1));
    expect(() => parseConninfo(`scram_client_key=${key}`)).toThrow(/scram_server_key/);
    expect(() => parseConninfo("scram_client_key=c2hvcnQ= scram_server_key=x")).toThrow(/scram_client_key/);
  });

  test("what this client does not do is refused by name, unless nothing is asked of it", () => {
    parseConninfo("gssencmode=prefer target_session_attrs=any load_balance_hosts=disable service=''");
    for (const text of ["gssencmode=require", "target_session_attrs=read-write", "service=x", "sslcrl=x"]) {
      expect(() => parseConninfo(text)).toThrow(/is not supported/);
    }
  });

  test("errors are OperationErrors and hold no password", () => {
    for (const text of [
      "postgres://u:hunter2@[::1",
      "password=hunter2 port=x",
      "password='hunter2",
      "postgres://u:hun%0ter2@h",
    ]) {
      let caught: unknown;
      try {
        parseConninfo(text);
      } catch (error) {
        caught = error;
      }
      expect(caught).toBeInstanceOf(OperationError);
      expect(caught).toMatchObject({ code: "client.bad_option", sqlstate: "22023" });
      expect(String(caught)).not.toMatch(/hunter2|ter2/);
    }
  });
});
