import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ConfigError } from "../../../src/config/errors.ts";
import {
  checkConfig,
  configFromUpstream,
  listensOnLoopbackOnly,
  loadConfig,
  loadToml,
  parseConfig,
} from "../../../src/config/load.ts";
import { exposureOf } from "../../../src/config/permissions.ts";
import { defaultSettings, lagLimits } from "../../../src/config/schema.ts";
import { exposedFiles } from "../../../src/config/secrets.ts";

const patroni = 'discovery = "patroni"\nhealth_check_user = "m"';
const answered = `${patroni}\npatroni_urls = ["http://10.0.0.1:8008"]`;
const node = '[nodes.main]\nhost = "db"\n';

/** What is wrong with a config file called pgsluice.toml. */
function problemsOf(toml: string): string[] {
  try {
    parseConfig(toml, "/etc/pgsluice", "pgsluice.toml");
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
  return [];
}

describe("a config file", () => {
  test("of one node is complete: defaults, and every database on that node", () => {
    const config = parseConfig(node, "/etc/pgsluice");
    expect(config.pgsluice).toEqual(defaultSettings());
    expect(config.nodes["main"]).toEqual({ host: "db", port: 5432, role: "primary" });
    expect({ ...config.databases }).toEqual({ "*": { node: "main" } });
    expect(Object.keys(config.users)).toEqual([]);
  });

  test("sets every kind of value", () => {
    const { pgsluice, databases, users } = parseConfig(
      `${node}
      [pgsluice]
      listen_port = 7000
      query_wait_timeout = 0.5
      admin_users = ["ada", "grace"]
      ignore_startup_parameters = "extra_float_digits, search_path"
      tcp_keepalive = 0
      pool_mode = "transaction"
      auth_type = "plain"
      server_reset_query = ""
      [databases.shop]
      dbname = "shop_production"
      user = "shop"
      password = "s"
      pool_size = 5
      [users.ada]
      password = "md5d41d8cd98f00b204e9800998ecf8427e"
      pool_mode = "session"`,
      "/etc/pgsluice",
    );
    expect(pgsluice).toMatchObject({
      listen_port: 7000,
      query_wait_timeout: 0.5,
      admin_users: ["ada", "grace"],
      ignore_startup_parameters: ["extra_float_digits", "search_path"],
      tcp_keepalive: false,
      pool_mode: "transaction",
      auth_type: "password",
      server_reset_query: "",
    });
    expect(databases["shop"]).toEqual({
      node: "main",
      dbname: "shop_production",
      user: "shop",
      password: "s",
      pool_size: 5,
    });
    expect(users["ada"]?.pool_mode).toBe("session");
  });

  test("resolves paths against its own folder", () => {
    const toml = `${node}[pgsluice]\nauth_file = "users.txt"\nunix_socket_dir = "@pgsluice"\nserver_tls_ca_file = "/ca.pem"`;
    const { pgsluice } = parseConfig(toml, "/etc/pgsluice");
    expect(pgsluice.auth_file).toBe("/etc/pgsluice/users.txt");
    expect(pgsluice.unix_socket_dir).toBe("@pgsluice");
    expect(pgsluice.server_tls_ca_file).toBe("/ca.pem");
    expect(pgsluice.client_tls_cert_file).toBe("");
  });

  test("takes names that objects have of themselves", () => {
    const toml = `${node}[databases.constructor]\n[users."__proto__"]\npassword = "p"`;
    const config = parseConfig(toml, "/");
    expect(Object.keys(config.databases)).toEqual(["constructor"]);
    expect(Object.keys(config.users)).toEqual(["__proto__"]);
    expect(parseConfig(node, "/").databases["constructor"]).toBeUndefined();
  });

  test("gives a database without a node the only primary", () => {
    const toml = '[nodes.a]\nrole = "standby"\n[nodes.b]\n[databases.x]\n[databases.y]\nnode = "a"';
    const { databases } = parseConfig(toml, "/");
    expect(databases["x"]?.node).toBe("b");
    expect(databases["y"]?.node).toBe("a");
  });
});

describe("a mistake is named with file, key and a hint", () => {
  test.each([
    [
      "[pgsluice]\npool_mod = 'session'",
      "pgsluice.toml: pgsluice.pool_mod: unknown setting; did you mean pool_mode?",
    ],
    ["[pgsluice]\nzzzzzzzz = 1", "pgsluice.toml: pgsluice.zzzzzzzz: unknown setting"],
    ["[database.a]", "pgsluice.toml: database: unknown table; did you mean databases?"],
    [
      "[pgsluice]\nlisten_port = 70000",
      "pgsluice.toml: pgsluice.listen_port: must be an integer from 0 to 65535",
    ],
    [
      "[pgsluice]\nquery_timeout = '1s'",
      "pgsluice.toml: pgsluice.query_timeout: must be seconds from 0 to 2147483, decimals allowed",
    ],
    [
      "[pgsluice]\npool_mode = 'smart'",
      'pgsluice.toml: pgsluice.pool_mode: must be one of "auto", "session", "transaction", "statement"',
    ],
    [
      "[users.'a b']\npool_size = -1",
      'pgsluice.toml: users."a b".pool_size: must be an integer from 0 to 100000 (servers)',
    ],
    [
      "[databases.a]\nnode = 'mian'",
      'pgsluice.toml: databases."a".node: there is no node "mian"; did you mean main?',
    ],
    ["[databases.pgbouncer]", "pgsluice.toml: databases.pgbouncer: this name is reserved for the console"],
    ["[databases.pgsluice]", "pgsluice.toml: databases.pgsluice: this name is reserved for the console"],
    ["[databases.a]\npassword = 'x'", 'pgsluice.toml: databases."a".password: needs user beside it'],
    [
      "[pgsluice]\nmin_pool_size = 30",
      "pgsluice.toml: pgsluice.min_pool_size: 30 is more than default_pool_size, 20",
    ],
    [
      "[pgsluice]\nlisten_addr = ''",
      "pgsluice.toml: pgsluice.listen_addr: empty, and unix_socket_dir too: nobody could connect",
    ],
    [
      "[pgsluice]\nunix_socket_mode = '9'",
      'pgsluice.toml: pgsluice.unix_socket_mode: must be an octal file mode such as "0770"',
    ],
    [
      "[pgsluice]\nauth_type = 'cert'",
      'pgsluice.toml: pgsluice.auth_type: "cert" needs client_tls_sslmode = "verify-full"',
    ],
    [
      "[pgsluice]\nserver_tls_cert_file = 'a'",
      "pgsluice.toml: nodes.main.server_tls_key_file: certificate and key belong together, and this one is missing",
    ],
    [
      "[pgsluice]\nserver_tls_sslmode = 'verify-ca'",
      'pgsluice.toml: nodes.main.server_tls_ca_file: server_tls_sslmode "verify-ca" needs it: a file, or "system"',
    ],
    [
      "server_tls_ca_file = 'system'",
      'pgsluice.toml: nodes.main.server_tls_ca_file: "system" needs server_tls_sslmode = "verify-full"',
    ],
    [
      "[databases.app]\nrequired_nodes = ['main']",
      'pgsluice.toml: databases."app".required_nodes: needs nodes that are watched: several, and one with the role "auto"',
    ],
    [
      "[databases.app]\nrequired_nodes = ['*', 'other']",
      'pgsluice.toml: databases."app".required_nodes: there is no node "other"',
    ],
  ])("%j", (toml, problem) => {
    expect(problemsOf(`${node}${toml}`)).toContain(problem);
  });

  test.each([
    ["82", "system_db_hostname", "there is no system database"],
    ["83", "parallel_mode", "parallel query mode does not exist"],
    ["83", "replication_mode", "writes are not repeated on several nodes"],
    ["83", "replication", "writes are not repeated on several nodes"],
  ])("acceptance %s: %s is refused in words of its own", (_item, name, reason) => {
    const [problem] = problemsOf(`${node}[pgsluice]\n${name} = "statement"`);
    expect(problem).toContain(`pgsluice.${name}: ${reason}`);
  });

  test.each(["pam", "peer"])('auth_type "%s" is refused by name', (method) => {
    const [problem] = problemsOf(`${node}[pgsluice]\nauth_type = "${method}"`);
    expect(problem).toContain(`pgsluice.auth_type: "${method}" is not supported yet`);
  });

  test("host-based authentication needs its file", () => {
    expect(problemsOf(`${node}[pgsluice]\nauth_type = "hba"`)).toEqual([
      'pgsluice.toml: pgsluice.auth_hba_file: auth_type "hba" needs it',
    ]);
  });

  test("TLS towards clients needs its files", () => {
    expect(problemsOf(`${node}[pgsluice]\nclient_tls_sslmode = "verify-full"`)).toEqual([
      'pgsluice.toml: pgsluice.client_tls_cert_file: client_tls_sslmode "verify-full" needs it',
      'pgsluice.toml: pgsluice.client_tls_key_file: client_tls_sslmode "verify-full" needs it',
      'pgsluice.toml: pgsluice.client_tls_ca_file: client_tls_sslmode "verify-full" needs it',
    ]);
  });

  test("a node is needed, and a primary for databases that name none", () => {
    expect(problemsOf("")[0]).toContain("nodes: at least one is needed");
    expect(problemsOf('[nodes.a]\nrole = "standby"')[0]).toContain("no node has the role primary");
    expect(problemsOf("[nodes.a]\n[nodes.b]")[0]).toContain("several nodes have the role primary");
  });

  test.each([
    [
      'discovery = "dns"\ndiscovery_host = "db"',
      'pgsluice.health_check_user: must be given, because discovery is "dns": as whom are nodes asked?',
    ],
    [
      'discovery = "dns"\nhealth_check_user = "m"',
      "pgsluice.discovery_host: must be given: the name whose addresses are the nodes",
    ],
    [patroni, 'pgsluice.patroni_urls: must be given, for example ["http://10.0.0.1:8008"]'],
    [
      `${patroni}\npatroni_urls = ["x"]`,
      "pgsluice.patroni_urls: has something that is no URL; they look like http://10.0.0.1:8008",
    ],
    [
      `${patroni}\npatroni_urls = ["http://u:secret@h:1"]`,
      "pgsluice.patroni_urls: the URL of h:1 holds a user or a password: use patroni_user and patroni_password",
    ],
    [
      `${patroni}\npatroni_urls = ["ftp://h"]`,
      'pgsluice.patroni_urls: "ftp://h" is not the address of a REST API, like http://10.0.0.1:8008',
    ],
    [`${answered}\npatroni_password = "x"`, "pgsluice.patroni_password: needs patroni_user beside it"],
    [
      `${answered}\npatroni_tls_cert_file = "x"`,
      "pgsluice.patroni_tls_key_file: certificate and key belong together, and this one is missing",
    ],
    [
      `${answered}\n[databases.d]\nnode = "a"`,
      'databases."d".node: must not be given, because discovery is "patroni": every database follows the primary',
    ],
  ])("nodes that are found: %j", (toml, problem) => {
    expect(problemsOf(`[pgsluice]\n${toml}`)).toEqual([`pgsluice.toml: ${problem}`]);
  });

  test("nodes that are found need not be in the file, and every database follows the primary", () => {
    const config = parseConfig(`[pgsluice]\n${answered}\n[nodes.a]\nweight = 2`, "/");
    expect(config.databases["*"]?.node).toBe("");
  });

  test("limits of lag are a node's own, or those for all", () => {
    const { nodes, pgsluice } = parseConfig(
      `[pgsluice]
      delay_threshold = 1000
      delay_threshold_by_time = 2
      [nodes.a]
      [nodes.b]
      role = "standby"
      delay_threshold = 0
      [nodes.c]
      role = "standby"
      delay_threshold_by_time = 0.25`,
      "/",
    );
    expect(Object.values(nodes).map((node) => Object.values(lagLimits(node, pgsluice)))).toEqual([
      [1000, 2000],
      [0, 2000],
      [1000, 250],
    ]);
    expect(problemsOf('[nodes.a]\ndelay_threshold = "1 MB"\ndelay_threshold_by_time = -1')).toEqual([
      "pgsluice.toml: nodes.a.delay_threshold: must be an integer from 0 to 2147483647 (bytes)",
      "pgsluice.toml: nodes.a.delay_threshold_by_time: must be seconds from 0 to 2147483, decimals allowed",
    ]);
  });

  test("the example of several nodes is one", async () => {
    vi.stubEnv("MONITOR_PASSWORD", "secret");
    const file = fileURLToPath(new URL("../../../examples/cluster.toml", import.meta.url));
    const { nodes, pgsluice, databases } = await loadConfig(file);
    vi.unstubAllEnvs();
    expect(Object.values(nodes).map((node) => lagLimits(node, pgsluice).lagMsMax)).toEqual([
      5000, 5000, 600_000,
    ]);
    expect(databases["*"]?.node).toBe("");
  });

  test("nodes that are watched need a user who asks, and one host each", () => {
    expect(problemsOf('[nodes.a]\nrole = "auto"\n[nodes.b]\nhost = "x,y"')).toEqual([
      'pgsluice.toml: pgsluice.health_check_user: must be given, because nodes have the role "auto": as whom are they asked?',
      'pgsluice.toml: nodes."b".host: must be one host, because nodes are watched: give each host a node of its own',
    ]);
    // One node is the primary, or nobody is.
    expect(parseConfig('[nodes.a]\nrole = "auto"', "/").databases["*"]?.node).toBe("a");
  });

  test("tables in the wrong place", () => {
    expect(problemsOf("nodes = 1")).toEqual(["pgsluice.toml: nodes: must be tables, [nodes.NAME]"]);
    expect(problemsOf("nodes.a = 1")).toEqual([
      "pgsluice.toml: nodes.a: must be a table of its own, [nodes.a]",
    ]);
    expect(problemsOf("pgsluice = 1")).toEqual(["pgsluice.toml: pgsluice: must be the table [pgsluice]"]);
  });

  test("all of them at once", () => {
    expect(problemsOf(`${node}[pgsluice]\na = 1\nb = 2\nlisten_port = -1`)).toHaveLength(3);
  });

  test("TOML that is none, with its line, and never the text of the line", () => {
    const [problem, ...more] = problemsOf(`${node}[users.ada]\npassword = "top-secret`);
    expect(problem).toMatch(/^pgsluice\.toml: line 4, column \d+: Invalid TOML document: /);
    expect(more).toEqual([]);
    expect(problem).not.toContain("secret");
  });

  test("a secret of the wrong type is not shown", () => {
    expect(problemsOf(`${node}[users.ada]\npassword = 4711`).join()).not.toContain("4711");
  });

  test("carries a code and a SQLSTATE", () => {
    expect(() => parseConfig("", "/")).toThrow(
      expect.objectContaining({ code: "config.invalid", sqlstate: "F0000" }) as Error,
    );
  });
});

describe("loadConfig", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), "pgsluice-config-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test("reads a file; overrides win, and its relative paths start at its folder", async () => {
    writeFileSync(path.join(folder, "users.txt"), "");
    const file = path.join(folder, "a.toml");
    writeFileSync(file, `${node}[pgsluice]\nauth_file = "users.txt"\nlisten_port = 1`);
    const config = await loadConfig(file, { listen_port: 2 });
    expect(config.pgsluice.auth_file).toBe(path.join(folder, "users.txt"));
    expect(config.pgsluice.listen_port).toBe(2);
  });

  test("says which file is not there", async () => {
    await expect(loadConfig("/nowhere/a.toml")).rejects.toThrow(
      "/nowhere/a.toml: cannot be read: there is no such file",
    );
    const file = path.join(folder, "a.toml");
    writeFileSync(file, `${node}server_tls_ca_file = "ca.pem"\n[pgsluice]\nauth_file = "users.txt"`);
    await expect(loadConfig(file)).rejects.toThrow(
      [
        `${file}: pgsluice.auth_file: ${folder}/users.txt cannot be read: there is no such file`,
        `${file}: nodes.main.server_tls_ca_file: ${folder}/ca.pem cannot be read: there is no such file`,
      ].join("\n"),
    );
  });
});

describe("secrets that stand elsewhere", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), "pgsluice-config-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
    delete process.env["PGSLUICE_TEST_SECRET"];
  });

  function passwordOf(source: string): string | undefined {
    return parseConfig(`${node}[users.app]\npassword = ${source}`, folder).users["app"]?.password;
  }

  test.each([
    ["without a line end", "s3cret", "s3cret"],
    ["with one", "s3cret\n", "s3cret"],
    ["with Windows' line end", "s3cret\r\n", "s3cret"],
    ["with two, of which one is its own", "s3cret\n\n", "s3cret\n"],
    ["with blanks, which are its own", " s3cret ", " s3cret "],
  ])("a file %s", (_, content, secret) => {
    writeFileSync(path.join(folder, "app.secret"), content);
    expect(passwordOf('{ file = "app.secret" }')).toBe(secret);
    expect(passwordOf(`{ file = ${JSON.stringify(path.join(folder, "app.secret"))} }`)).toBe(secret);
  });

  test("an environment variable", () => {
    process.env["PGSLUICE_TEST_SECRET"] = "from outside ";
    expect(passwordOf('{ env = "PGSLUICE_TEST_SECRET" }')).toBe("from outside ");
  });

  test.each([
    ['{ env = "PGSLUICE_TEST_SECRET" }', "the environment variable PGSLUICE_TEST_SECRET is not set"],
    ['{ env = "PGSLUICE_TEST_EMPTY" }', "the environment variable PGSLUICE_TEST_EMPTY is empty"],
    ['{ file = "none" }', "FOLDER/none cannot be read: there is no such file"],
    ['{ file = "." }', "FOLDER cannot be read: it is no ordinary file"],
    ['{ file = "/dev/zero" }', "/dev/zero cannot be read: it is no ordinary file"],
    ['{ file = "empty" }', "FOLDER/empty is empty"],
    ['{ file = "large" }', "FOLDER/large holds more than 16384 bytes: that is no secret"],
    ['{ file = "nul" }', "FOLDER/nul holds a NUL character"],
    ['{ env = "A", file = "b" }', 'must be a string, { env = "NAME" } or { file = "path" }'],
    ["{}", 'must be a string, { env = "NAME" } or { file = "path" }'],
    ["{ env = 1 }", 'must be a string, { env = "NAME" } or { file = "path" }'],
  ])("%s is refused", (source, problem) => {
    writeFileSync(path.join(folder, "empty"), "\n");
    writeFileSync(path.join(folder, "large"), "x".repeat(16_385));
    writeFileSync(path.join(folder, "nul"), "se\0cret");
    process.env["PGSLUICE_TEST_EMPTY"] = "";
    expect(() => passwordOf(source)).toThrow(`users.app.password: ${problem.replace("FOLDER", folder)}`);
    delete process.env["PGSLUICE_TEST_EMPTY"];
  });

  test.each([
    [0o600, "nobody"],
    [0o400, "nobody"],
    [0o644, "everybody"],
    [0o602, "everybody"],
    [0o660, "group"],
  ])("a file of mode %o is open to %s besides its owner", async (mode, exposure) => {
    writeFileSync(path.join(folder, "app.secret"), "s3cret");
    chmodSync(path.join(folder, "app.secret"), mode);
    const file = path.join(folder, "a.toml");
    writeFileSync(file, `${node}[users.app]\npassword = { file = "app.secret" }`);
    const { secretFiles } = await loadToml(file);
    expect(secretFiles).toEqual([
      { key: "users.app.password", file: path.join(folder, "app.secret"), exposure },
    ]);
    expect(exposedFiles(secretFiles)).toEqual(
      exposure === "everybody"
        ? [`users.app.password: every user of this machine can read ${folder}/app.secret; chmod 600`]
        : [],
    );
  });

  test("a file of root may be read by its group, as PostgreSQL allows it for keys", () => {
    expect(exposureOf({ mode: 0o100640, uid: 0 })).toBe("nobody");
    expect(exposureOf({ mode: 0o100640, uid: 1000 })).toBe("group");
    expect(exposureOf({ mode: 0o100660, uid: 0 })).toBe("group");
  });
});

describe("configFromUpstream", () => {
  const upstream = { host: "db", port: 5432, user: "app", password: "secret" };

  test("the first is the primary; its user and password serve both sides", () => {
    const config = configFromUpstream([upstream, { ...upstream, host: "db2" }], { listen_port: 7000 });
    expect(config.pgsluice).toMatchObject({ auth_type: "scram-sha-256", listen_port: 7000 });
    expect(Object.entries(config.nodes).map(([name, { host, role }]) => [name, host, role])).toEqual([
      ["primary", "db", "primary"],
      ["standby1", "db2", "standby"],
    ]);
    expect(config.databases["*"]).toEqual({ node: "primary" });
    expect(config.users["app"]).toEqual({ password: "secret" });
  });

  test("without a password nobody is asked for one, but only on loopback addresses", () => {
    const open = { ...upstream, password: undefined };
    expect(configFromUpstream([open]).pgsluice.auth_type).toBe("trust");
    expect(() => configFromUpstream([open], { listen_addr: "*" })).toThrow('"trust" lets anybody in');
    expect(() => configFromUpstream([open], { listen_addr: "127.0.0.1, 10.0.0.1" })).toThrow("trust");
  });

  test("needs an upstream, and one user", () => {
    expect(() => configFromUpstream([])).toThrow("an upstream server is needed");
    expect(() => configFromUpstream([upstream, { ...upstream, user: "other" }])).toThrow("same user");
    expect(() => configFromUpstream([upstream, { ...upstream, password: "other" }])).toThrow("password");
  });

  test("nodes may have names of their own", () => {
    const config = configFromUpstream([
      { ...upstream, name: "a" },
      { ...upstream, name: "b" },
    ]);
    expect(Object.keys(config.nodes)).toEqual(["a", "b"]);
    expect(config.databases["*"]?.node).toBe("a");
  });

  test("a wrong override is an error like in a file", () => {
    expect(() => configFromUpstream([upstream], { pool_size: 1 })).toThrow(
      "the command line: pgsluice.pool_size: unknown setting",
    );
  });
});

test("loopback addresses", () => {
  const settings = defaultSettings();
  for (const listen_addr of ["127.0.0.1", "localhost, ::1", "127.9.9.9", ""]) {
    expect(listensOnLoopbackOnly({ ...settings, listen_addr })).toBe(true);
  }
  for (const listen_addr of ["*", "0.0.0.0", "::", "127.0.0.1,example.com"]) {
    expect(listensOnLoopbackOnly({ ...settings, listen_addr })).toBe(false);
  }
});

test("a checked configuration given back is the same", () => {
  const config = parseConfig(`${node}[databases.a]\n[users.b]\npassword = "c"`, "/x");
  expect(checkConfig({ ...config }, "/y")).toEqual(config);
});
