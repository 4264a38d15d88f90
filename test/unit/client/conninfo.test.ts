/**
 * Connection strings and objects, and the options they become. The cases are facts of libpq: its URI tests
 * (src/interfaces/libpq/t/001_uri.pl) and the manual's chapter on connection strings. Neither files nor
 * environment are looked at here.
 */
import { userInfo } from "node:os";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import {
  type ConnectionParameters,
  connectOptionsFromConninfo,
  conninfoFromPairs,
  parseConninfo,
} from "../../../src/client/conninfo/conninfo.ts";
import type { ConnectOptions } from "../../../src/client/conninfo/options.ts";

/** What a text sets, as PQconninfoParse tells it. */
const keywords = (text: string): Record<string, string> => Object.fromEntries(parseConninfo(text));

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
    ["postgresql://[::1]z", /unexpected character behind the IPv6/],
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
    ["user\n=\tb", { user: "b" }],
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
    const uri = connectOptionsFromConninfo(
      "postgresql://ada:pw@h1:1,h2:2/db?sslmode=require&application_name=x&connect_timeout=3",
    );
    const pairs = connectOptionsFromConninfo(
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
    expect(connectOptionsFromConninfo("")).toMatchObject({
      hosts: [{ host: "/tmp", port: 5432 }],
      user,
      database: user,
      sslmode: "prefer",
      channelBinding: "prefer",
      minProtocolVersion: 196608,
      maxProtocolVersion: 196608,
      parameters: [],
    });
    expect(connectOptionsFromConninfo("sslrootcert=system").sslmode).toBe("verify-full");
    expect(connectOptionsFromConninfo("requiressl=1").sslmode).toBe("require");
    expect(connectOptionsFromConninfo("min_protocol_version=3.2").maxProtocolVersion).toBe(196610);
    expect(connectOptionsFromConninfo("max_protocol_version=latest")).toMatchObject({
      minProtocolVersion: 196608,
      maxProtocolVersion: 196610,
    });
  });

  test("startup keys come in libpq's order; fallback_application_name gives way", () => {
    const text =
      "client_encoding=auto fallback_application_name=f application_name=a options='-c x=y' replication=database";
    expect(connectOptionsFromConninfo(text).parameters).toEqual([
      ["replication", "database"],
      ["options", "-c x=y"],
      ["application_name", "a"],
      ["client_encoding", "UTF8"],
    ]);
    expect(connectOptionsFromConninfo(text).fallbackApplicationName).toBeUndefined();
    expect(connectOptionsFromConninfo("fallback_application_name=f")).toMatchObject({
      parameters: [],
      fallbackApplicationName: "f",
    });
    // Given as empty, the name is not to be sent at all.
    const empty = connectOptionsFromConninfo("application_name='' fallback_application_name=f");
    expect(empty.fallbackApplicationName).toBeUndefined();
  });

  test("hosts, addresses and ports go together", () => {
    expect(connectOptionsFromConninfo("host=a,b hostaddr=10.0.0.1, port=7").hosts).toEqual([
      { host: "a", port: 7, address: "10.0.0.1" },
      { host: "b", port: 7 },
    ]);
    expect(connectOptionsFromConninfo("hostaddr=10.0.0.1").hosts).toEqual([{ host: "10.0.0.1", port: 5432 }]);
    expect(connectOptionsFromConninfo("host=a,,b port=,70000,3").hosts).toEqual([
      { host: "a", port: 5432 },
      { host: "/tmp", port: 70_000 },
      { host: "b", port: 3 },
    ]);
    expect(() => connectOptionsFromConninfo("host=a,b hostaddr=10.0.0.1")).toThrow(
      /could not match 2 host names to 1 hostaddr/,
    );
    expect(() => connectOptionsFromConninfo("host=a,b,c port=1,2")).toThrow(
      /could not match 2 port numbers to 3 hosts/,
    );
    expect(() => connectOptionsFromConninfo("port=x")).toThrow(
      /invalid integer value for connection option "port"/,
    );
  });

  test("require_auth", () => {
    expect(connectOptionsFromConninfo("require_auth=md5,scram-sha-256").requireAuth).toEqual([
      "md5",
      "scram-sha-256",
    ]);
    expect(connectOptionsFromConninfo("require_auth=!password,!md5").requireAuth).toEqual([
      "none",
      "scram-sha-256",
    ]);
    expect(connectOptionsFromConninfo("require_auth=gss").requireAuth).toEqual([]);
    for (const bad of ["md5,!password", "md5,md5", "nonsense"]) {
      expect(() => connectOptionsFromConninfo(`require_auth=${bad}`)).toThrow(/require_auth/);
    }
  });

  test("SCRAM keys are 32 bytes in base64", () => {
    const key = Buffer.alloc(32, 1).toString("base64");
    const text = `scram_client_key=${key} scram_server_key=${key}`;
    expect(connectOptionsFromConninfo(text).scramKeys?.clientKey).toEqual(Buffer.alloc(32, 1));
    expect(() => connectOptionsFromConninfo(`scram_client_key=${key}`)).toThrow(/scram_server_key/);
    expect(() => connectOptionsFromConninfo("scram_client_key=c2hvcnQ= scram_server_key=x")).toThrow(
      /scram_client_key/,
    );
  });

  test("what this client does not do is refused by name, unless nothing is asked of it", () => {
    connectOptionsFromConninfo(
      "gssencmode=prefer krbsrvname=x gsslib=x gssdelegation=1 sslcompression=1 service='' tcp_user_timeout=0",
    );
    connectOptionsFromConninfo("host=h requirepeer=postgres");
    connectOptionsFromConninfo("host=/tmp tcp_user_timeout=5 keepalives_count=5 keepalives_interval=5");
    connectOptionsFromConninfo("host=h keepalives=0 keepalives_count=5 keepalives_interval=5");
    for (const text of [
      "gssencmode=require",
      "host=/tmp requirepeer=postgres",
      "host=h,/tmp requirepeer=postgres",
      "host=h tcp_user_timeout=1000",
      "host=h,/tmp keepalives_count=5",
      "host=h keepalives_interval=5",
      "oauth_issuer=x",
      "oauth_client_id=x",
      "oauth_client_secret=x",
      "oauth_scope=x",
      "service=x",
      "passfile=x",
    ]) {
      const keyword = /(\w+)=\w+$/.exec(text)?.[1];
      expect(() => connectOptionsFromConninfo(text)).toThrow(
        new RegExp(`connection option "${keyword}" is not supported`),
      );
    }
    expect(() => connectOptionsFromConninfo("sslkey=pkcs11:token sslcert=x")).toThrow(
      /engines are not supported/,
    );
  });

  test("encodings other than UTF-8 are refused", () => {
    const sent = (encoding: string): unknown =>
      connectOptionsFromConninfo(`client_encoding='${encoding}'`).parameters[0]?.[1];
    expect(["auto", "UTF8", "utf-8", "Unicode", ""].map(sent)).toEqual([
      "UTF8",
      "UTF8",
      "utf-8",
      "Unicode",
      undefined,
    ]);
    for (const encoding of ["LATIN1", "SQL_ASCII", "utf16"]) {
      expect(() => sent(encoding)).toThrow(`client_encoding "${encoding}" is not supported`);
    }
  });

  test("what the handshake has to know", () => {
    const text =
      "host=h target_session_attrs=prefer-standby load_balance_hosts=random sslcertmode=require sslcrl=a sslcrldir=b " +
      "ssl_min_protocol_version=tlsv1.1 ssl_max_protocol_version=TLSv1.3 sslkeylogfile=k sslsni=0 " +
      "sslnegotiation=direct sslmode=require channel_binding=require keepalives_idle=7 connect_timeout=2147483647";
    expect(connectOptionsFromConninfo(text)).toMatchObject({
      targetSessionAttrs: "prefer-standby",
      loadBalanceHosts: "random",
      sslcertmode: "require",
      sslcrl: "a",
      sslcrldir: "b",
      sslMinProtocolVersion: "TLSv1.1",
      sslMaxProtocolVersion: "TLSv1.3",
      sslkeylogfile: "k",
      sslsni: false,
      sslnegotiation: "direct",
      sslmode: "require",
      channelBinding: "require",
      keepAlive: { enabled: true, idleSeconds: 7 },
      // No timer waits longer.
      connectTimeoutMs: 2 ** 31 - 1,
    });
    expect(connectOptionsFromConninfo("keepalives=0").keepAlive?.enabled).toBe(false);
  });

  test("an address is a number, or a socket's folder", () => {
    expect(() => connectOptionsFromConninfo("host=h hostaddr=db.example")).toThrow(
      /could not parse network address "db.example"/,
    );
    expect(connectOptionsFromConninfo("host=h hostaddr=fe80::1%eth0").hosts[0]?.address).toBe("fe80::1%eth0");
  });

  test("errors are OperationErrors and hold no password", () => {
    for (const text of [
      "postgres://u:hunter2@[::1",
      "password=hunter2 port=x",
      "password='hunter2",
      "postgres://u:hun%0ter2@h",
      "postgres://u:hunter2%FF@h",
      "postgres://u:x@hunter2@h",
      "postgre://u:hunter2@h?sslmode=require",
      "postgre://u:hunter2@h",
      "password=x hunter2=y",
      "password=x hunter2",
      "postgres://u:p@x?hunter2@h",
      "postgres://u:p@x?hunter2=a@h",
      "postgres://u:p@x?a=hunter2=a@h",
      "postgres://h?password=x&hunter2=y",
      "postgres://h?password=x&hunter2",
      "postgres://h?password=x&y=hunter2=z",
      "scram_client_key=hunter2 scram_server_key=hunter2",
      "postgres://u:x/hunter2:y@h",
      "postgres://u:/hunter2?x",
      "password=hunter2\0",
    ]) {
      let caught: unknown;
      try {
        connectOptionsFromConninfo(text);
      } catch (error) {
        caught = error;
      }
      expect(caught).toBeInstanceOf(OperationError);
      expect(caught).toMatchObject({ code: "client.bad_option", sqlstate: "22023" });
      expect(String(caught)).not.toMatch(/hunter2|ter2/);
    }
  });
});

test("no part of a password is in an error, however it is cut up", () => {
  const separators = [...Array.from(" /?&=@:#,[]%'\\+\n"), "%20", " = ", "?x=", "&x=", "://"];
  const secret = fc
    .array(fc.tuple(fc.constantFrom("zq1", "zq2", "zq3"), fc.constantFrom(...separators)), {
      minLength: 1,
      maxLength: 5,
    })
    .map((parts) => parts.flat().join(""));
  const around = [
    ["postgres://me:", "@host/db?connect_timeout=1"],
    ["postgres://me:", "@host:5432,other/db"],
    ["postgre://me:", "@host/db?sslmode=require"],
    ["postgres://host/db?user=me&password=", "&port=1"],
    ["postgres://host/db?password=", ""],
    ["password=", " host=h"],
    ["host=h password='", "' port=1"],
  ] as const;
  let refused = 0;
  fc.assert(
    fc.property(fc.constantFrom(...around), secret, ([before, behind], password) => {
      try {
        connectOptionsFromConninfo(before + password + behind);
      } catch (error) {
        refused++;
        expect(String(error)).toMatch(/^OperationError: (?![\s\S]*zq)/);
      }
    }),
    { numRuns: 3000, seed: 1618 },
  );
  expect(refused).toBeGreaterThan(500);
});

describe("objects", () => {
  const set = (parameters: ConnectionParameters): Partial<ConnectOptions> => {
    const { hosts, user, database, password, sslmode } = connectOptionsFromConninfo(parameters);
    return { hosts, user, database, password, sslmode };
  };

  test("say the same as strings", () => {
    expect(
      connectOptionsFromConninfo({
        host: "h1,h2",
        port: 5433,
        user: "ada",
        password: "it's \\",
        dbname: "db",
        connect_timeout: 3,
        keepalives: false,
        sslsni: true,
        replication: true,
      }),
    ).toEqual(
      connectOptionsFromConninfo(
        "host=h1,h2 port=5433 user=ada password='it\\'s \\\\' dbname=db connect_timeout=3 keepalives=0 sslsni=1 replication=true",
      ),
    );
  });

  test("undefined and empty values are not given", () => {
    const parameters = { host: "h", user: "u", dbname: undefined, sslmode: "", password: "" } as const;
    expect(set(parameters)).toEqual(set({ host: "h", user: "u" }));
  });

  test("dbname may be a connection string, database may not", () => {
    const uri = "postgres://ada@h:1/db?sslmode=require";
    expect(set({ dbname: uri })).toEqual(
      set({ host: "h", port: 1, user: "ada", database: "db", sslmode: "require" }),
    );
    // What stands before it gives way, what stands behind it counts.
    expect(set({ user: "before", dbname: uri }).user).toBe("ada");
    expect(set({ dbname: uri, user: "behind" }).user).toBe("behind");
    expect(set({ user: "u", database: uri }).database).toBe(uri);
    expect(set({ user: "u", database: "a=b" }).database).toBe("a=b");
    expect(set({ database: "db", dbname: "host=h" })).toMatchObject({ database: "db" });
    expect(() => set({ database: "db", dbname: "db" })).toThrow(/give one of them/);
    expect(() => set({ dbname: "a=b" })).toThrow(/invalid connection option "a"/);
  });

  test("only the first dbname of a list is expanded, and only if asked for", () => {
    const pairs = [
      ["dbname", "host=a user=u"],
      ["dbname", "host=b"],
      ["port", undefined],
      ["user", ""],
    ] as const;
    expect([...conninfoFromPairs(pairs, true)]).toEqual([
      ["host", "a"],
      ["user", "u"],
      ["dbname", "host=b"],
    ]);
    expect([...conninfoFromPairs(pairs.slice(0, 1), false)]).toEqual([["dbname", "host=a user=u"]]);
    expect([
      ...conninfoFromPairs(
        [
          ["dbname", ""],
          ["dbname", "host=a"],
        ],
        true,
      ),
    ]).toEqual([["dbname", "host=a"]]);
  });

  test.each([
    [{ hostt: "x" }, /invalid connection option "hostt"/],
    [{ requiressl: "1" }, /invalid connection option "requiressl"/],
    [{ toString: "x" }, /invalid connection option "toString"/],
    [{ "postgres://u:hunter2@h": "x" }, /^(?!.*hunter2)/],
    [{ host: ["a", "b"] }, /"host" must be a string/],
    [{ password: "hunter2\0" }, /"password" contains a NUL$/],
  ])("%j is refused", (parameters, text) => {
    expect(() => connectOptionsFromConninfo(parameters as ConnectionParameters)).toThrow(text);
  });
});
