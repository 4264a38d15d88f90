/** pgpool.conf, pool_hba.conf and pool_passwd as pgsluice.toml, pg_hba.conf and userlist.txt. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkFile } from "../../../src/check/check.ts";
import { ConfigError } from "../../../src/config/errors.ts";
import { loadConfigFile } from "../../../src/config/file.ts";
import { type ConvertedFile, convertPgpool } from "../../../src/config/pgpool/convert.ts";
import { meansSame, parsePgpoolConf, readTime } from "../../../src/config/pgpool/grammar.ts";
import { formerNames, pgpoolParameters, verdictOf } from "../../../src/config/pgpool/parameters.ts";
import { convertPasswords } from "../../../src/config/pgpool/passwords.ts";
import { convertRules } from "../../../src/config/pgpool/rules.ts";
import type { Config } from "../../../src/config/schema.ts";
import { settings } from "../../../src/config/settings.ts";
import { nodeSettings } from "../../../src/config/tables.ts";
import { type TempFolder, tempFolder } from "../../kit/temp-folder.ts";

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

/** pgpool-II 4.8's parameters, by the groups of its manual, with `N` for numbers. */
const manual: Readonly<Record<string, string>> = {
  clustering: "backend_clustering_mode",
  listening:
    "listen_addresses port unix_socket_directories unix_socket_group unix_socket_permissions reserved_connections listen_backlog_multiplier serialize_accept pcp_listen_addresses pcp_port pcp_socket_dir",
  backends:
    "backend_hostnameN backend_portN backend_weightN backend_data_directoryN backend_flagN backend_application_nameN",
  authentication: "enable_pool_hba pool_passwd authentication_timeout allow_clear_text_frontend_auth",
  ssl: "ssl ssl_key ssl_cert ssl_ca_cert ssl_ca_cert_dir ssl_crl_file ssl_ciphers ssl_prefer_server_ciphers ssl_ecdh_curve ssl_dh_params_file ssl_passphrase_command",
  pools:
    "num_init_children max_pool child_life_time child_max_connections connection_life_time client_idle_limit process_management_mode process_management_strategy min_spare_children max_spare_children",
  cache: "connection_cache reset_query_list",
  logs: "log_destination log_line_prefix log_connections log_disconnections log_hostname log_statement log_per_node_statement notice_per_node_statement log_client_messages log_backend_messages log_standby_delay log_pcp_processes syslog_facility syslog_ident log_error_verbosity client_min_messages log_min_messages logging_collector log_directory log_filename log_file_mode log_rotation_age log_rotation_size log_truncate_on_rotation",
  files: "pid_file_name work_dir",
  replication:
    "replicate_select insert_lock lobj_lock_table replication_stop_on_mismatch failover_if_affected_tuples_mismatch",
  balancing:
    "load_balance_mode ignore_leading_white_space read_only_function_list write_function_list primary_routing_query_pattern_list user_redirect_preference_list database_redirect_preference_list app_name_redirect_preference_list allow_sql_comments disable_load_balance_on_write dml_adaptive_object_relationship_list statement_level_load_balance track_table_mutation_ttl_factor track_table_mutation_max_staleness track_table_mutation_cold_start_duration",
  streaming:
    "sr_check_period sr_check_user sr_check_password sr_check_database delay_threshold delay_threshold_by_time prefer_lower_delay_standby replication_delay_source_cmd follow_primary_command",
  health:
    "health_check_period health_check_timeout health_check_user health_check_password health_check_database health_check_max_retries health_check_retry_delay connect_timeout",
  failover:
    "failover_command failback_command failover_on_backend_error failover_on_backend_shutdown detach_false_primary search_primary_node_timeout",
  recovery:
    "recovery_user recovery_password recovery_1st_stage_command recovery_2nd_stage_command recovery_timeout client_idle_limit_in_recovery auto_failback auto_failback_interval",
  watchdog:
    "use_watchdog trusted_servers trusted_server_command ping_path hostnameN wd_portN pgpool_portN wd_priority wd_authkey wd_ipc_socket_dir delegate_ip if_cmd_path if_up_cmd if_down_cmd arping_path arping_cmd clear_memqcache_on_escalation wd_escalation_command wd_de_escalation_command failover_when_quorum_exists failover_require_consensus allow_multiple_failover_requests_from_node enable_consensus_with_half_votes wd_remove_shutdown_nodes wd_lost_node_removal_timeout wd_no_show_node_removal_timeout wd_monitoring_interfaces_list wd_lifecheck_method wd_interval heartbeat_hostnameN heartbeat_portN heartbeat_deviceN wd_heartbeat_keepalive wd_heartbeat_deadtime wd_life_point wd_lifecheck_query wd_lifecheck_dbname wd_lifecheck_user wd_lifecheck_password",
  relcache:
    "relcache_size relcache_expire check_temp_table check_unlogged_table enable_shared_relcache relcache_query_target",
  query_cache:
    "memory_cache_enabled memqcache_method memqcache_memcached_host memqcache_memcached_port memqcache_total_size memqcache_max_num_cache memqcache_expire memqcache_auto_cache_invalidation memqcache_maxcache memqcache_cache_block_size memqcache_oiddir cache_safe_memqcache_table_list cache_unsafe_memqcache_table_list",
  undocumented: "health_check_test replication_mode",
};

describe("the table of parameters", () => {
  test.each(Object.entries(manual))("has a verdict on every parameter of %s", (_, names) => {
    const without = names.split(" ").filter((name) => !Object.hasOwn(pgpoolParameters, name));
    expect(without).toEqual([]);
  });

  test("has no others but those of older versions", () => {
    const known = new Set(Object.values(manual).flatMap((names) => names.split(" ")));
    const others = Object.keys(pgpoolParameters).filter((name) => !known.has(name));
    expect(others).toEqual(["master_slave_mode", "master_slave_sub_mode", "debug_level"]);
  });

  test.each(Object.entries(pgpoolParameters))("%s names what is there", (_, { verdict, doc }) => {
    const [, named = ""] = /^(?:Part of )?\x60([^\x60]+)\x60/.exec(doc) ?? [];
    if (verdict === "part") expect(Object.keys(pgpoolParameters)).toContain(named);
    if (verdict !== "converted" || named.includes("=") || named === "ALWAYS_PRIMARY") return;
    const [, ofNode] = /^nodes\.NAME\.(\w+)$/.exec(named) ?? [];
    if (ofNode !== undefined) expect(Object.keys(nodeSettings)).toContain(ofNode);
    else if (named !== "") expect(Object.keys(settings)).toContain(named);
  });

  test.each(Object.entries(formerNames))("%s is called %s now", (former, name) => {
    expect(verdictOf(former.replace(/N$/, "3"))?.name).toBe(name);
  });

  test("numbers are told from names", () => {
    expect(verdictOf("backend_port12")).toMatchObject({ name: "backend_portN", number: 12 });
    expect(verdictOf("health_check_period1")).toMatchObject({ name: "health_check_period", number: 1 });
    expect(verdictOf("no_such_parameter1")).toBeUndefined();
  });
});

describe("grammar", () => {
  test("values quoted and bare, comments, and no equals sign", () => {
    const text = "a = 'x''y\\'z' # one\nb=5min#two\n  c   on\n\n# d = 1\ne = ''\n";
    expect(parsePgpoolConf(text).lines.map(({ name, value, line }) => [name, value, line])).toEqual([
      ["a", "x'y'z", 1],
      ["b", "5min", 2],
      ["c", "on", 3],
      ["e", "", 6],
    ]);
  });

  test.each(["a = 'open", "= 1", "a", "a = b c"])("%j is no line", (line) => {
    expect(parsePgpoolConf(`x = 1\n${line}\n`)).toMatchObject({ wrong: 2 });
  });

  test("values in several spellings", () => {
    expect([readTime("5min", 1), readTime("250", 0.001), readTime("250ms", 1), readTime("x", 1)]).toEqual([
      300,
      0.25,
      0.25,
      undefined,
    ]);
    for (const [a, b] of [
      ["5min", "300"],
      ["on", "true"],
      ["64MB", "65536kB"],
      ["STREAMING_replication", "streaming_replication"],
      ["007", "7"],
    ] as const)
      expect(meansSame(a, b), `${a} ${b}`).toBe(true);
    expect(meansSame("1min", "61")).toBe(false);
  });
});

interface Converted {
  readonly files: readonly ConvertedFile[];
  readonly toml: string;
  readonly config: Config;
  readonly findings: readonly string[];
}

/** Converts a pgpool.conf with the files beside it, writes what comes of it, and loads that. */
async function convert(
  name: string,
  conf: string,
  beside: Readonly<Record<string, string>> = {},
): Promise<Converted> {
  const source = path.join(folder.path, name);
  const target = path.join(source, "new");
  await mkdir(target, { recursive: true });
  for (const [file, text] of Object.entries({ "pgpool.conf": conf, ...beside }))
    await writeFile(path.join(source, file), text);
  const files = await convertPgpool(path.join(source, "pgpool.conf"), "file:///schema.json");
  for (const { name: file, text, secret } of files)
    await writeFile(path.join(target, file), text, { mode: secret ? 0o600 : 0o644 });
  const main = path.join(target, "pgsluice.toml");
  const { config } = await loadConfigFile(main);
  const { findings } = await checkFile(main, { offline: true, nowMs: Date.now() });
  const errors = findings.filter(({ severity }) => severity === "error").map(({ problem }) => problem);
  return { files, toml: files[0]?.text ?? "", config, findings: errors };
}

describe("the file", () => {
  test("with every setting that has a counterpart", async () => {
    const conf = `
listen_addresses = '*'
port = 9998
unix_socket_directories = '/run/a, /run/b'
unix_socket_permissions = 0770
unix_socket_group = 'db'
reserved_connections = 2
listen_backlog_multiplier = 3
backend_hostname0 = ''
backend_hostname2 = 'two'
backend_port2 = 5434
backend_flag2 = 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'
backend_application_name2 = 'second'
backend_hostname1 = 'one'
backend_application_name1 = 'second'
authentication_timeout = 2min
num_init_children = 50
connection_life_time = 600
client_idle_limit = 1h
connection_cache = off
reset_query_list = 'ABORT; RESET ALL; SET SESSION AUTHORIZATION DEFAULT'
connect_timeout = 2500
log_destination = 'stderr,syslog'
syslog_facility = 'LOCAL3'
log_connections = on
log_disconnections = true
log_min_messages = debug1
pid_file_name = 'pgpool.pid'
`;
    const { config, findings, toml } = await convert("whole", conf);
    expect(findings).toEqual([]);
    expect(config.pgsluice).toMatchObject({
      ...{ listen_addr: "*", listen_port: 9998, listen_backlog: 150, max_client_conn: 48 },
      ...{ unix_socket_dir: "/run/a", unix_socket_mode: "0770", unix_socket_group: "db" },
      ...{ default_pool_size: 50, pool_mode: "session", superuser_reserved_connections: 0 },
      ...{
        client_login_timeout: 120,
        client_idle_timeout: 3600,
        server_idle_timeout: 600,
        server_lifetime: 0,
      },
      ...{ server_reset_query: "RESET ALL; SET SESSION AUTHORIZATION DEFAULT", server_connect_timeout: 2.5 },
      ...{ syslog: true, syslog_facility: "local3", syslog_ident: "pgpool", log_level: "debug" },
      ...{ log_connections: true, log_disconnections: true, auth_type: "scram-sha-256" },
      ...{ client_tls_sslmode: "disable", server_tls_sslmode: "disable" },
      pidfile: path.join(folder.path, "whole", "pgpool.pid"),
    });
    expect(config.nodes).toMatchObject({
      node0: { host: "/tmp", port: 5432, role: "standby" },
      second: { host: "one", port: 5432, role: "standby" },
      node2: { host: "two", port: 5434, role: "primary" },
    });
    expect(config.databases["*"]).toEqual({ node: "node2" });
    expect(toml).toMatch(/^#:schema file:\/\/\/schema.json\n/);
    expect(toml).toMatch(/written down: node2\. The standbys are named and get no statements yet/);
  });

  test("with defaults loads too, and means pgpool-II's defaults", async () => {
    const { config, files } = await convert("defaults", "# nothing\n");
    expect(files).toHaveLength(1);
    expect(config.pgsluice).toMatchObject({
      ...{ listen_addr: "localhost", listen_port: 9999, unix_socket_dir: "/tmp", max_client_conn: 32 },
      ...{ client_login_timeout: 60, server_idle_timeout: 0, server_connect_timeout: 10 },
      ...{ server_reset_query: "DISCARD ALL", log_connections: false, log_level: "info" },
    });
    expect(config.nodes).toMatchObject({ node0: { host: "localhost" } });
  });

  test("says of each setting without a counterpart where it is, why it is left out and what to do, once", async () => {
    const { toml } = await convert(
      "remarks",
      "load_balance_mode = on\nuse_watchdog = on\nwd_priority = 5\nhealth_check_period = 10\nhealth_check_password = 'hidden-secret'\nmax_pool = 8\nserialize_accept = off\nchild_life_time = 300\nfoo = 1\n",
    );
    const remarks = toml.match(/pgpool\.conf:\d+: \S+ (?:HAS NO|has no|is no)/g);
    expect(remarks).toEqual([
      "pgpool.conf:1: load_balance_mode HAS NO",
      "pgpool.conf:2: use_watchdog HAS NO",
      "pgpool.conf:4: health_check_period HAS NO",
      "pgpool.conf:6: max_pool has no",
      "pgpool.conf:9: foo is no",
    ]);
    expect(toml).not.toContain("hidden-secret");
  });

  test("native replication is warned of, raw mode is not", async () => {
    const of = async (mode: string): Promise<string> =>
      (await convert(`mode-${mode}`, `backend_clustering_mode = '${mode}'\n`)).toml;
    expect(await of("native_replication")).toContain("pgpool-II itself writes to every node");
    expect(await of("raw")).not.toContain("backend_clustering_mode");
  });

  test("the lists of functions are taken over, also under their former names", async () => {
    const lists = "white_function_list = 'get_.*, app\\\\.total'\nwrite_function_list = 'nextval,setval,'\n";
    const { config, findings } = await convert("functions", lists);
    expect(findings).toEqual([]);
    expect(config.pgsluice.read_only_function_list).toEqual(["get_.*", "app\\.total"]);
    expect(config.pgsluice.write_function_list).toEqual(["nextval", "setval"]);
  });

  test("what it includes counts", async () => {
    const { config } = await convert("include", "port = 1\ninclude = 'more.conf'\n", {
      "more.conf": "port = 2\n",
    });
    expect(config.pgsluice.listen_port).toBe(2);
    await expect(convert("circle", "include 'pgpool.conf'\n")).rejects.toThrow("included more than 10 deep");
  });

  test("mistakes are told with their line", async () => {
    await expect(convert("broken", "port = 1\nport = 'open\n")).rejects.toThrow(
      /pgpool\.conf:2: syntax error/,
    );
    await expect(convertPgpool("/nowhere/pgpool.conf", "")).rejects.toThrow(ConfigError);
  });
});

describe("users", () => {
  const md5 = `md5${"0".repeat(32)}`;

  test("passwords and md5 hashes are carried over; AES is named", () => {
    expect(convertPasswords(`app:TEXTa"b:c\nbob:${md5}\n\n# no\ncarol:AESxyz=\ndave:plain\n`)).toEqual({
      text: `"app" "a""b:c"\n"bob" "${md5}"\n; "carol": encrypted with AES. Set the password anew: "carol" "…"\n"dave" "plain"\n`,
      count: 3,
      md5Count: 1,
      lost: ["carol"],
    });
  });

  test("become auth_file, and the method fits them", async () => {
    const plain = await convert("plain", "", { pool_passwd: "app:TEXTa\n" });
    expect(plain.config.pgsluice.auth_type).toBe("scram-sha-256");
    expect(plain.files.map(({ name, secret }) => [name, secret])).toEqual([
      ["pgsluice.toml", false],
      ["userlist.txt", true],
    ]);
    const hashed = await convert("hashed", "pool_passwd = 'other'\n", { other: `app:${md5}\ncarol:AESx\n` });
    expect(hashed.config.pgsluice.auth_type).toBe("md5");
    expect(hashed.findings).toEqual([]);
    expect(hashed.toml).toContain('The password of "carol" in pool_passwd is encrypted with AES');
    const none = await convert("none", "pool_passwd = ''\n", { pool_passwd: "app:TEXTa\n" });
    expect(none.files).toHaveLength(1);
  });
});

describe("rules", () => {
  test("are carried over, with files by their whole path", () => {
    const text =
      '# c\nlocal all all trust\nhost app,@dbs @"my users" 10.0.0.0/8 md5\nhost all all 10.0.0.0 255.0.0.0 reject\nhost all all db.example.com md5\n';
    const { text: converted, remarks } = convertRules(text, "/etc/pgpool2", false);
    expect(remarks).toEqual([]);
    expect(converted).toBe(
      '# c\nlocal all all trust\nhost app,@"/etc/pgpool2/dbs" @"/etc/pgpool2/my users" 10.0.0.0/8 md5\nhost all all 10.0.0.0 255.0.0.0 reject\nhost all all db.example.com md5\n',
    );
  });

  test.each([
    ["local all all pam", "local all all reject", "method pam is not supported"],
    ["host all all ::1/128 pam pamservice=x", "host all all ::1/128 reject", "method pam is not supported"],
    [
      "host all all 10.0.0.0 255.0.0.0 pam",
      "host all all 10.0.0.0 255.0.0.0 reject",
      "method pam is not supported",
    ],
    ["hostssl all all all cert", "hostssl all all all reject", "method cert needs ssl_ca_cert"],
  ])("%j refuses instead of falling through to the next rule", (line, refused, reason) => {
    const { text, remarks } = convertRules(line, "/", false);
    expect(text).toBe(`${refused}\n# pool_hba.conf had: ${line}`);
    expect(remarks).toEqual([{ line: 1, text: `${reason}: whom the rule fits is refused` }]);
  });

  test("a certificate is asked for if its signers are known", () => {
    expect(convertRules("hostssl all all all cert", "/", true).remarks).toEqual([]);
  });

  test("become auth_hba_file, which loads", async () => {
    const { config, files, findings, toml } = await convert("rules", "enable_pool_hba = on\n", {
      "pool_hba.conf": "local all all trust\nhost all @list samenet scram-sha-256\nhost all all all pam\n",
      list: "app\n",
      pool_passwd: "app:TEXTa\n",
    });
    expect(files.map(({ name }) => name)).toEqual(["pgsluice.toml", "userlist.txt", "pg_hba.conf"]);
    expect(config.pgsluice).toMatchObject({
      auth_type: "hba",
      auth_hba_file: path.join(folder.path, "rules", "new", "pg_hba.conf"),
    });
    expect(findings).toEqual([]);
    expect(toml).toContain("pool_hba.conf:3: method pam is not supported: whom the rule fits is refused.");
  });
});
