/** PgBouncer's configuration file: its grammar, what each setting becomes, and what is said about mistakes. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { migratingDocs } from "../../../scripts/migrating-docs.ts";
import type { DeclarationTable } from "../../../src/config/declare.ts";
import { loadConfigFile } from "../../../src/config/file.ts";
import { parseConnectString } from "../../../src/config/ini/connect-string.ts";
import { convertIni } from "../../../src/config/ini/convert.ts";
import { globalVerdicts } from "../../../src/config/ini/globals.ts";
import { parseIni } from "../../../src/config/ini/grammar.ts";
import { loadIni } from "../../../src/config/ini/load.ts";
import { databaseVerdicts, peerVerdicts, userVerdicts } from "../../../src/config/ini/names.ts";
import { readInteger, readSeconds, valueOf } from "../../../src/config/ini/values.ts";
import type { VerdictTable } from "../../../src/config/ini/verdicts.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { settings } from "../../../src/config/settings.ts";
import { databaseSettings, nodeSettings, userSettings } from "../../../src/config/tables.ts";
import { useIniFolder } from "./ini-folder.ts";

const { write, problemsOf, inFolder } = useIniFolder();

/** The configuration of a file with these lines in [pgbouncer]. */
async function globals(lines: string): ReturnType<typeof loadIni> {
  return loadIni(write(`[pgbouncer]\n${lines}\n`));
}

describe("grammar", () => {
  const linesOf = (text: string): unknown[] =>
    parseIni(text, "f").lines.map((line) => {
      if (line.kind === "section") return `[${line.name}]`;
      return line.kind === "include" ? `include ${line.file}` : [line.key, line.value, line.place.line];
    });

  test("sections, values, comments, includes", () => {
    const text = [
      "; one comment",
      "  # another",
      "",
      "[a] x=1",
      "key = value ; no comment # either  ",
      "empty =",
      "  spaced\t=\tyes\r",
      "* = host=h",
      "a.b-c_9 = k=v",
      "%include  other file.ini ",
      '"my ""db""" = x=1',
    ].join("\n");
    expect(linesOf(text)).toEqual([
      "[a]",
      ["x", "1", 4],
      ["key", "value ; no comment # either", 5],
      ["empty", "", 6],
      ["spaced", "yes", 7],
      ["*", "host=h", 8],
      ["a.b-c_9", "k=v", 9],
      "include other file.ini",
      ['my "db"', "x=1", 11],
    ]);
  });

  test.each([
    ["just words", /neither key = value/],
    ["[open", /closing bracket/],
    ["= x", /nothing before the equals sign/],
    ["%includefile", /neither key = value/],
    ["a\0b = c", /NUL/],
  ])("%j is an error with its line", (line: string, problem: RegExp) => {
    const { mistake } = parseIni(`[a]\n${line}\n`, "f");
    expect(mistake?.place).toEqual({ file: "f", line: 2 });
    expect(mistake?.problem).toMatch(problem);
  });
});

describe("connection strings", () => {
  test("plain and quoted values, equals signs, blanks around the equals sign", () => {
    expect(parseConnectString("  host=h password='it''s a=b' x = y=z ")).toEqual([
      ["host", "h"],
      ["password", "it's a=b"],
      ["x", "y=z"],
    ]);
    expect(parseConnectString("")).toEqual([]);
    expect(parseConnectString("a='1'b=2")).toEqual([
      ["a", "1"],
      ["b", "2"],
    ]);
  });

  test.each([
    ["password=my secret word", "syntax error: a word without = after password"],
    ["secret", "syntax error: a word without = at the beginning"],
    ["password='secret", "syntax error: the quotes of password are not closed"],
    ["password='secret'' host=h", "syntax error: the quotes of password are not closed"],
    ["password=", "syntax error: password is empty"],
    ["password='' host=h", "syntax error: password is empty"],
  ])("%s: wrong, and nothing of a value is told", (text: string, problem: string) => {
    expect(parseConnectString(text)).toBe(problem);
    expect(problem).not.toContain("secret");
  });
});

describe("values", () => {
  test.each([
    ["12", 12],
    ["0x1f", 31],
    ["010", 8],
    ["0", 0],
    ["-3", -3],
    ["+4", 4],
    ["", undefined],
    ["1.5", undefined],
    ["12abc", undefined],
    ["08", undefined],
  ])("the integer %j", (text: string, value: number | undefined) => {
    expect(readInteger(text)).toBe(value);
  });

  test.each([
    ["1.5", 1.5],
    [".5", 0.5],
    ["1e2", 100],
    ["60", 60],
    ["-1", undefined],
    ["", undefined],
    ["1s", undefined],
  ])("the seconds %j", (text: string, value: number | undefined) => {
    expect(readSeconds(text)).toBe(value);
  });

  test("booleans are integers; choices may be in capitals", () => {
    expect(
      ["0", "1", "2", "true", "false", "on"].map((text) => valueOf(text, settings.tcp_keepalive)),
    ).toEqual([false, true, true, true, false, "on"]);
    expect(valueOf("Transaction", settings.pool_mode)).toBe("transaction");
  });
});

/** Every name in sections 1.2 and 1.3 of the description of PgBouncer 1.25 and 1.26, with its default. */
const known =
  `listen_addr= listen_port=6432 listen_backlog=128 unix_socket_dir=/tmp unix_socket_mode=0777 unix_socket_group=
  so_reuseport=0 peer_id=0 user pidfile= conffile job_name=pgbouncer service_name pool_mode=session max_client_conn=100
  default_pool_size=20 min_pool_size=0 reserve_pool_size=0 reserve_pool_timeout=5 max_db_connections=0 max_user_connections=0
  max_db_client_connections=0 max_user_client_connections=0 server_round_robin=0 pool_idle_timeout=0 autodb_idle_timeout=3600
  track_extra_parameters=IntervalStyle ignore_startup_parameters= max_prepared_statements=200 server_reset_query
  server_reset_query_always=0 disable_pqexec=0 application_name_add_host=0 login_notify_message= auth_type=md5 auth_file
  auth_hba_file= auth_ident_file auth_query auth_user auth_dbname auth_ldap_options scram_iterations=4096 admin_users= stats_users=
  client_tls_sslmode=disable client_tls_ca_file= client_tls_cert_file= client_tls_key_file= client_tls_protocols=secure
  client_tls_ciphers=default client_tls13_ciphers= client_tls_ecdhcurve=auto client_tls_dheparams=auto server_tls_sslmode=prefer
  server_tls_ca_file= server_tls_cert_file= server_tls_key_file= server_tls_protocols=secure server_tls_ciphers=default
  server_tls13_ciphers= server_lifetime=3600 server_idle_timeout=600 server_connect_timeout=15 server_login_retry=15
  server_check_delay=30 server_check_query=<empty> server_fast_close=0 query_timeout=0 query_wait_timeout=120 query_wait_notify=5
  cancel_wait_timeout=10 client_idle_timeout=0 client_login_timeout=60 idle_transaction_timeout=0 transaction_timeout=0
  suspend_timeout=10 logfile= syslog=0 syslog_facility=daemon syslog_ident=pgbouncer log_connections=1 log_disconnections=1
  log_pooler_errors=1 log_stats=1 stats_period=60 verbose pkt_buf=4096 max_packet_size=2147483647 sbuf_loopcnt=5 tcp_defer_accept=1
  tcp_socket_buffer=0 tcp_keepalive=1 tcp_keepcnt=0 tcp_keepidle=0 tcp_keepintvl=0 tcp_user_timeout=0 dns_max_ttl=15
  dns_nxdomain_ttl=15 dns_zone_check_period=0 resolv_conf=`.split(/\s+/);
const ofDatabases =
  `dbname host port user password auth_user auth_query auth_dbname pool_size min_pool_size reserve_pool_size
  reserve_pool pool_mode connect_query max_db_connections max_db_client_connections server_lifetime query_wait_timeout
  load_balance_hosts client_encoding datestyle timezone application_name`.split(/\s+/);
const ofUsers =
  `pool_mode pool_size reserve_pool_size max_user_connections max_user_client_connections query_timeout
  query_wait_timeout idle_transaction_timeout transaction_timeout client_idle_timeout`.split(/\s+/);
const ofPeers = ["host", "port", "pool_size"];

describe("the tables of verdicts", () => {
  test("have every setting of PgBouncer, and no other", () => {
    const names = known.map((entry) => entry.split("=")[0] ?? "");
    expect(Object.keys(globalVerdicts).sort()).toEqual(names.sort());
    expect(Object.keys(databaseVerdicts).sort()).toEqual([...ofDatabases].sort());
    expect(Object.keys(userVerdicts).sort()).toEqual([...ofUsers].sort());
    expect(Object.keys(peerVerdicts).sort()).toEqual([...ofPeers].sort());
  });

  test("have PgBouncer's defaults", () => {
    const withText = known.filter((entry) => entry.includes("="));
    const ours = withText.map((entry) => {
      const [name = ""] = entry.split("=");
      return `${name}=${globalVerdicts[name]?.default}`;
    });
    expect(ours).toEqual(withText);
  });

  const tables: readonly (readonly [string, VerdictTable, DeclarationTable])[] = [
    ["pgbouncer", globalVerdicts, settings],
    [
      "databases",
      databaseVerdicts,
      { ...databaseSettings, host: nodeSettings.host, port: nodeSettings.port },
    ],
    ["users", userVerdicts, userSettings],
  ];
  test.each(tables)(
    "[%s]: same is what is ours too, and nothing else is",
    (_name, verdicts, declarations) => {
      const same = Object.keys(verdicts).filter((name) => verdicts[name]?.verdict === "same");
      expect(same.filter((name) => declarations[name] === undefined)).toEqual([]);
      const others = Object.keys(verdicts).filter(
        (name) => !["same", "renamed"].includes(verdicts[name]?.verdict ?? ""),
      );
      expect(others.filter((name) => declarations[name] !== undefined)).toEqual([]);
    },
  );

  test("are in docs/migrating.md as `npm run docs` writes them", () => {
    const page = readFileSync(new URL("../../../docs/migrating.md", import.meta.url), "utf8");
    expect(migratingDocs(page)).toBe(page);
    expect(() => migratingDocs("# Migrating\n")).toThrow(/markers/);
  });
});

describe("[pgbouncer]", () => {
  test("without a word, PgBouncer's defaults are in force, in PgBouncer's log format", async () => {
    const { config, notices } = await globals("");
    expect(config.pgsluice).toMatchObject({
      listen_addr: "",
      listen_backlog: 128,
      unix_socket_dir: "/tmp",
      pool_mode: "session",
      auth_type: "md5",
      log_format: "pgbouncer",
      log_level: "info",
      server_check_query: "<empty>",
      auth_user: "",
      auth_query_cache_age: 0,
    });
    expect([config.nodes, config.databases, config.users].map((table) => Object.keys(table))).toEqual([
      [],
      [],
      [],
    ]);
    expect(notices).toEqual([]);
  });

  test("values, renamed settings, settings of our own", async () => {
    const { config } = await globals(
      "listen_port = 0x1000\npool_mode = Transaction\nserver_lifetime = 1.5e2\nverbose = 1\nunix_socket_mode = 504\nadmin_users = a, b\nlog_format = json\ncancel_on_client_disconnect = 0",
    );
    expect(config.pgsluice).toMatchObject({
      listen_port: 4096,
      pool_mode: "transaction",
      server_lifetime: 150,
      log_level: "debug",
      unix_socket_mode: "0770",
      admin_users: ["a", "b"],
      log_format: "json",
      cancel_on_client_disconnect: false,
    });
  });

  test("the last of several lines counts; a further section begins anew, but for what is not set by default", async () => {
    const { config } = await globals(
      "listen_port = 1\nlisten_port = 2\nmax_client_conn = 7\nverbose = 2\n[databases]\n[pgbouncer]\nlisten_port = 3",
    );
    expect(config.pgsluice).toMatchObject({ listen_port: 3, max_client_conn: 100, log_level: "trace" });
  });

  test("relative paths start at the working directory", async () => {
    const { config } = await globals("logfile = log/x.log\npidfile = x.pid");
    expect(config.pgsluice.logfile).toBe(path.resolve("log/x.log"));
    expect(config.pgsluice.pidfile).toBe(path.resolve("x.pid"));
  });

  test("what has no effect here is accepted and named, unless it is at its default", async () => {
    const { notices } = await globals(
      "pkt_buf = 8192\ntcp_defer_accept = 0x1\nsbuf_loopcnt = 05\nconffile = /x",
    );
    expect(notices).toEqual([
      "conffile: A reload reads the file that the pooler was started with.",
      "pkt_buf: Buffers have the size that fits.",
    ]);
  });

  test("what is not supported is refused by name, unless it asks for nothing", async () => {
    expect(
      await problemsOf(
        "[pgbouncer]\nso_reuseport = 5\nso_reuseport = 0\nresolv_conf =\nauth_user =\nlogin_notify_message =\nresolv_conf = /etc/other.conf",
      ),
    ).toEqual([
      "7: resolv_conf: not supported yet. The system's resolver is asked, with its own configuration.",
    ]);
  });

  test.each(Object.entries(globalVerdicts))("%s at its default is accepted", async (name, verdict) => {
    // A TLS mode, a user or a file that is not set cannot be written down.
    if (verdict.default === undefined) return;
    const { notices } = await globals(`${name} = ${verdict.default}`);
    expect(notices).toEqual([]);
  });

  test("mistakes are told with line and nearest name, all at once", async () => {
    expect(
      await problemsOf(
        "[pgbouncer]\npool_mod = session\nmax_client_conn = many\npkt_buf = big\npool_mode = smart\nserver_tls_sslmode = verify-ca\n[database]\nx=1",
      ),
    ).toEqual([
      "2: pool_mod: unknown setting; did you mean pool_mode?",
      "7: [database]: unknown section; did you mean databases?",
      "4: pkt_buf: must be an integer",
      "3: max_client_conn: must be an integer from 1 to 1000000 (clients)",
      expect.stringMatching(/^5: pool_mode: must be one of "auto", "session"/) as string,
    ]);
    expect(await problemsOf("x = 1\n[databases]\n")).toEqual([
      "1: x: stands before the first section",
      "the section [pgbouncer] is missing",
    ]);
    expect(await problemsOf("[pgbouncer]\nwhat is this")).toEqual([
      "2: syntax error: neither key = value, nor a section, nor a comment",
    ]);
  });

  test("what several settings must agree on is told once, with its line", async () => {
    const text =
      "[databases]\na = host=a\nb = host=b\n[pgbouncer]\nserver_tls_cert_file = /c\nclient_tls_sslmode = require";
    expect(await problemsOf(text)).toEqual([
      'client_tls_cert_file: client_tls_sslmode "require" needs it',
      'client_tls_key_file: client_tls_sslmode "require" needs it',
      "server_tls_key_file: certificate and key belong together, and this one is missing",
    ]);
    expect(await problemsOf("[pgbouncer]\nauth_file = /nowhere")).toEqual([
      "2: auth_file: /nowhere cannot be read: there is no such file",
    ]);
  });
});

describe("files", () => {
  test("an included file counts where it is included, and leaves its section behind", async () => {
    const inner = write("listen_port = 2\nmax_client_conn = 5\n[databases]\n", "inner.ini");
    const file = write(`[pgbouncer]\nlisten_port = 1\n%include ${inner}\na = host=x\n`);
    const { config } = await loadIni(file);
    expect(config.pgsluice).toMatchObject({ listen_port: 2, max_client_conn: 5 });
    expect(Object.keys(config.databases)).toEqual(["a"]);
  });

  test("mistakes in an included file are told with its name; loops end", async () => {
    const inner = write("pool_mod = x\n", "inner.ini");
    const file = write(`[pgbouncer]\n%include ${inner}\n`);
    await expect(loadIni(file)).rejects.toThrow(`${inner}:1: pool_mod: unknown setting`);
    const loop = inFolder("loop.ini");
    write(`%include ${loop}\n`, "loop.ini");
    await expect(loadIni(loop)).rejects.toThrow("included more than 10 deep");
    const missing = write("[pgbouncer]\n%include /nowhere.ini\n");
    await expect(loadIni(missing)).rejects.toThrow("/nowhere.ini: cannot be read: there is no such file");
  });

  test("a file is told to be PgBouncer's by its ending, or by its section", async () => {
    const text = "; x\n[pgbouncer]\nlisten_port = 7\n";
    expect((await loadConfigFile(write(text, "any.conf"))).config.pgsluice.listen_port).toBe(7);
    expect(
      (await loadConfigFile(write(text, "any.ini"), { listen_port: 8 })).config.pgsluice.listen_port,
    ).toBe(8);
    const toml = "[nodes.main]\n[pgsluice]\nlisten_port = 9\n";
    expect((await loadConfigFile(write(toml, "any"))).config.pgsluice.listen_port).toBe(9);
    await expect(loadConfigFile("/nowhere.conf")).rejects.toThrow("/nowhere.conf: cannot be read");
  });

  test("Debian's file means what it says", async () => {
    const users = write("", "userlist.txt");
    const text = readFileSync(new URL("../../fixtures/debian-pgbouncer.ini", import.meta.url), "utf8");
    const { config, notices } = await loadIni(write(text.replace("/etc/pgbouncer/userlist.txt", users)));
    expect(config.pgsluice).toMatchObject({
      logfile: "/var/log/postgresql/pgbouncer.log",
      pidfile: "/var/run/postgresql/pgbouncer.pid",
      listen_addr: "localhost",
      unix_socket_dir: "/var/run/postgresql",
      auth_type: "md5",
    });
    expect(notices).toEqual([]);
  });
});

describe("convert", () => {
  test("gives the same configuration, and says what has no counterpart", async () => {
    const file = write(
      "[databases]\na = host=db user=u password='a\"b\\\\c' pool_size=2\n* =\n[users]\nbob = pool_mode=session\n[pgbouncer]\nlisten_addr = *\nverbose = 1\nserver_lifetime = 0.5\nadmin_users = x,y\npkt_buf = 1\n",
    );
    const { config } = await loadIni(file);
    const toml = await convertIni(file, "file:///schema.json");
    expect(parseConfig(toml, "/elsewhere")).toEqual(config);
    expect(toml).toContain(`# ${file}:11: pkt_buf has no effect here. Buffers have the size that fits.`);
  });

  test("leaves out what is not supported, and says so", async () => {
    const file = write("[databases]\na = host=db\n[pgbouncer]\nresolv_conf = /x\n");
    const toml = await convertIni(file, "file:///schema.json");
    expect(toml).toMatch(/^# .*:4: resolv_conf NOT SUPPORTED, and left out\./m);
    expect(Object.keys(parseConfig(toml, "/").databases)).toEqual(["a"]);
  });
});
