/**
 * Where parameters come from that nobody gave: service file, environment, defaults, password file and the
 * files in ~/.postgresql. The facts are the manual's ("The Connection Service File", "The Password File",
 * "Environment Variables", "SSL Support"); conninfo-sources-libpq.test.ts asks libpq itself.
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import {
  type ConninfoInput,
  type ConninfoSources,
  connectOptionsFromConninfo,
  conninfoDefaults,
  conninfoOptions,
  conninfoValues,
  parseConninfo,
  resolveConninfo,
} from "../../../src/client/conninfo/conninfo.ts";
import { defaultHost } from "../../../src/client/conninfo/default-files.ts";
import type { ConnectOptions } from "../../../src/client/conninfo/options.ts";
import { type TempFolder, tempFolder } from "../../kit/temp-folder.ts";

const onWindows = process.platform === "win32";
let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
  return () => folder[Symbol.asyncDispose]();
});

/** A home of its own with these files in it. */
async function home(files: Readonly<Record<string, string>>): Promise<string> {
  const made = path.join(folder.path, String(homes++));
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(made, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text, { mode: 0o600 });
  }
  return made;
}
let homes = 0;

/** Options, and what was warned of. */
function resolve(
  input: ConninfoInput,
  sources: ConninfoSources,
): { readonly options: ConnectOptions; readonly warnings: string[] } {
  const warnings: string[] = [];
  const warn = (text: string): void => void warnings.push(text);
  const options = resolveConninfo(input, { environment: {}, home: "/nonexistent", warn, ...sources });
  return { options, warnings };
}

describe("order of sources", () => {
  test("explicit, service file, environment, default", async () => {
    const own = await home({ ".pg_service.conf": "[s]\nuser=service\nport=2\ndbname=service\n" });
    const environment = { PGSERVICE: "s", PGUSER: "env", PGDATABASE: "env", PGAPPNAME: "env", PGHOST: "env" };
    const { options } = resolve("dbname=explicit", { home: own, environment });
    expect(options).toMatchObject({
      database: "explicit",
      user: "service",
      hosts: [{ host: "env", port: 2 }],
      parameters: [["application_name", "env"]],
      sslmode: "prefer",
    });
  });

  test("an empty value in a string counts, in an object it does not", () => {
    const environment = { PGHOST: "env", PGUSER: "env" };
    expect(resolve("host='' user=''", { environment }).options).toMatchObject({
      hosts: [{ host: "/tmp" }],
      user: userInfo().username,
    });
    expect(resolve({ host: "", user: "" }, { environment }).options).toMatchObject({
      hosts: [{ host: "env" }],
      user: "env",
    });
  });

  test("variables that become settings", () => {
    const environment = { PGDATESTYLE: "ISO, DMY", PGTZ: "Default", PGGEQO: "off", PGCLIENTENCODING: "auto" };
    expect(
      resolve("options=o application_name=a replication=database", { environment }).options.parameters,
    ).toEqual([
      ["replication", "database"],
      ["options", "o"],
      ["application_name", "a"],
      ["client_encoding", "UTF8"],
      ["datestyle", "ISO, DMY"],
      ["geqo", "off"],
    ]);
  });

  test("neither environment nor files, where that is asked for", async () => {
    const file = path.join(await home({ passwords: "*:*:*:*:secret" }), "passwords");
    const variables = {
      PGHOST: "env",
      PGSERVICE: "nobody",
      PGPASSFILE: file,
      PGTZ: "UTC",
      PGSSLMODE: "nonsense",
    };
    const before = { ...process.env };
    Object.assign(process.env, variables);
    try {
      expect(connectOptionsFromConninfo("user=u")).toMatchObject({
        hosts: [{ host: "/tmp", port: 5432 }],
        sslmode: "prefer",
        parameters: [],
      });
      expect(connectOptionsFromConninfo("user=u").hosts[0]?.password).toBeUndefined();
      expect(() => resolveConninfo("user=u")).toThrow(/definition of service "nobody" not found/);
    } finally {
      for (const name of Object.keys(variables)) delete process.env[name];
      Object.assign(process.env, before);
    }
  });

  test("the environment without files", () => {
    const { options } = resolve("", { files: false, environment: { PGHOST: "h", PGUSER: "u" } });
    expect(options).toMatchObject({ hosts: [{ host: "h" }], user: "u" });
    expect(() => resolve("", { files: false, environment: { PGSERVICE: "s" } })).toThrow(
      /"service" is not supp/,
    );
  });

  test("the host that nobody names", async () => {
    const sockets = await home({ ".s.PGSQL.5433": "" });
    expect(defaultHost(5433, { files: true }, sockets)).toBe(onWindows ? "localhost" : sockets);
    expect(defaultHost(5432, { files: true }, sockets)).toBe(onWindows ? "localhost" : "/tmp");
    expect(defaultHost(5433, { files: false }, sockets)).toBe(onWindows ? "localhost" : "/tmp");
  });
});

describe("descriptions", () => {
  test("values by keyword, as PQconninfo and PQconndefaults tell them", () => {
    const environment = { PGHOST: "h", PGSERVICE: "missing", HOME: "/nonexistent" };
    const defaults = conninfoDefaults({ environment });
    expect(defaults.find(({ keyword }) => keyword === "host")).toEqual({
      keyword: "host",
      envvar: "PGHOST",
      compiled: null,
      val: "h",
      label: "Database-Host",
      dispchar: "",
      dispsize: 40,
    });
    const only = conninfoOptions(parseConninfo("port=1")).filter(({ val }) => val !== null);
    expect(only.map(({ keyword, val }) => [keyword, val])).toEqual([["port", "1"]]);
    expect(conninfoValues("port=1", { environment: {}, files: false }).get("sslmode")).toBe("prefer");
    expect(
      conninfoOptions(new Map())
        .filter(({ dispchar }) => dispchar === "*")
        .map(({ keyword }) => keyword),
    ).toEqual(["password", "sslpassword", "oauth_client_secret"]);
  });
});

describe("service file", () => {
  test("errors name file and line, and show nothing of it", async () => {
    const text = "[a]\nhunter2\n[b]\npasswort=hunter2\n[c]\nservice=x\n[d]\nldap://h/dn?a?base?f\n";
    const file = path.join(await home({ services: text }), "services");
    const environment = { PGSERVICEFILE: file };
    const fault = (service: string): string => {
      try {
        resolve(`service=${service}`, { environment });
      } catch (error) {
        return (error as Error).message;
      }
      return "";
    };
    expect(fault("a")).toBe(`syntax error in service file "${file}", line 2`);
    expect(fault("b")).toBe(`syntax error in service file "${file}", line 4`);
    expect(fault("c")).toBe(`nested service specifications not supported in service file "${file}", line 6`);
    expect(fault("d")).toBe(`LDAP look-ups are not supported in service file "${file}", line 8`);
    expect(fault("e")).toBe('definition of service "e" not found');
  });

  test("its values are checked like any others, and it may name a password file", async () => {
    const own = await home({
      passwords: "h:*:*:*:secret\n",
      ".pg_service.conf": "[s]\nhost=h\nsslmode=x\n[t]\n",
    });
    expect(() => resolve("service=s", { home: own })).toThrow(/invalid sslmode value: "x"/);
    await writeFile(
      path.join(own, ".pg_service.conf"),
      `[s]\nhost=h\npassfile=${path.join(own, "passwords")}\n`,
    );
    expect(resolve("service=s", { home: own }).options.hosts[0]?.password).toBe("secret");
  });
});

describe("password file", () => {
  test("is asked for each host by the name as it was given", async () => {
    const own = await home({
      ".pgpass":
        "# h1:*:*:*:comment\nh1:1:db:me:one\n10.0.0.2:*:*:*:two\nlocalhost:*:*:*:socket\n*:3:*:*:three\n",
    });
    const file = path.join(own, ".pgpass");
    const text = "host=h1,h2,,h1,, hostaddr=10.0.0.1,10.0.0.2,10.0.0.2,,, port=1,1,1,3,4,3 user=me dbname=db";
    const { options, warnings } = resolve(text, { home: own });
    expect(options.password).toBeUndefined();
    expect(warnings).toEqual([]);
    expect(options.hosts.map(({ host, password, passwordFile }) => [host, password, passwordFile])).toEqual([
      ["h1", "one", file],
      ["h2", undefined, undefined],
      ["10.0.0.2", "two", file],
      ["h1", "three", file],
      ["/tmp", "socket", file],
      ["/tmp", "socket", file],
    ]);
    expect(resolve(`${text} password=given`, { home: own }).options).toMatchObject({ password: "given" });
    expect(resolve(`${text} password=given`, { home: own }).options.hosts[0]?.password).toBeUndefined();
  });

  test("knows the folders of default sockets as localhost and by their names", async () => {
    const find = async (host: string, line: string): Promise<unknown> => {
      const own = await home({ ".pgpass": `${line}:*:*:*:found\n` });
      return resolve(`host=${host}`, { home: own }).options.hosts[0]?.password;
    };
    for (const host of ["/tmp", "/var/run/postgresql"]) {
      expect(await find(host, "localhost")).toBe("found");
      expect(await find(host, host)).toBe("found");
    }
    expect(await find("/elsewhere", "localhost")).toBeUndefined();
    expect(await find("/elsewhere", "/elsewhere")).toBe("found");
    expect(await find("127.0.0.1", "localhost")).toBeUndefined();
  });

  test("with an empty password says that there is none", async () => {
    const own = await home({ ".pgpass": "h:*:*:*:\n*:*:*:*:other\n" });
    expect(resolve("host=h", { home: own }).options.hosts).toEqual([{ host: "h", port: 5432 }]);
  });

  test.skipIf(onWindows)("that others may read is ignored with one warning", async () => {
    const own = await home({ ".pgpass": "*:*:*:*:secret\n" });
    const file = path.join(own, ".pgpass");
    for (const [mode, used] of [
      [0o600, true],
      [0o400, true],
      [0o640, false],
      [0o604, false],
    ] as const) {
      await chmod(file, mode);
      const { options, warnings } = resolve("host=a,b", { home: own });
      expect(options.hosts[1]?.password).toBe(used ? "secret" : undefined);
      const text = `password file "${file}" has group or world access; permissions should be u=rw (0600) or less`;
      expect(warnings).toEqual(used ? [] : [text]);
    }
    expect(resolve(`host=h passfile=${own}`, {}).warnings).toEqual([
      `password file "${own}" is not a plain file`,
    ]);
    expect(resolve("host=h passfile=/nonexistent", {}).warnings).toEqual([]);
  });
});

describe("files for TLS", () => {
  const all = {
    ".postgresql/root.crt": "root",
    ".postgresql/root.crl": "crl",
    ".postgresql/postgresql.crt": "crt",
    ".postgresql/postgresql.key": "key",
  };
  const tlsOf = (text: string, own: string): Record<string, unknown> => {
    const { sslrootcert, sslcert, sslkey, sslcrl } = resolve(text, { home: own }).options;
    return JSON.parse(JSON.stringify({ sslrootcert, sslcert, sslkey, sslcrl }).replaceAll(own, "~"));
  };

  test.skipIf(onWindows)("in ~/.postgresql stand in for what is not given", async () => {
    const own = await home(all);
    const given = {
      sslrootcert: "~/.postgresql/root.crt",
      sslcert: "~/.postgresql/postgresql.crt",
      sslkey: "~/.postgresql/postgresql.key",
      sslcrl: "~/.postgresql/root.crl",
    };
    const { sslcert, sslkey, sslcrl, ...root } = given;
    expect(tlsOf("host=h", own)).toEqual(given);
    expect(tlsOf("host=h,/tmp", own)).toEqual(given);
    expect(tlsOf("host=/tmp", own)).toEqual({});
    expect(tlsOf("host=h sslmode=disable", own)).toEqual({});
    expect(tlsOf("host=h sslcertmode=disable", own)).toEqual({ ...root, sslcrl });
    expect(tlsOf("host=h sslcrldir=d", own)).toEqual({ ...root, sslcert, sslkey });
    expect(tlsOf("host=h sslrootcert=system", own)).toEqual({ sslrootcert: "system", sslcert, sslkey });
    expect(tlsOf("host=h sslrootcert=r sslcrl=c", own)).toMatchObject({ sslrootcert: "r", sslcrl: "c" });
    expect(tlsOf("host=h", await home({ empty: "" }))).toEqual({});
    expect(tlsOf("host=h", await home({ ".postgresql/root.crl": "no root" }))).toEqual({});
  });

  test.skipIf(onWindows)("a certificate needs a key that nobody else may read", async () => {
    const own = await home(all);
    const key = path.join(own, ".postgresql/postgresql.key");
    const isRoot = process.getuid?.() === 0;
    for (const [mode, allowed] of [
      [0o600, true],
      [0o400, true],
      [0o640, isRoot],
      [0o660, false],
      [0o604, false],
      [0o650, false],
    ] as const) {
      await chmod(key, mode);
      const run = (): unknown => tlsOf("host=h", own);
      if (allowed) expect(run()).toMatchObject({ sslkey: "~/.postgresql/postgresql.key" });
      else expect(run).toThrow(`private key file "${key}" has group or world access`);
    }
    // Where no TLS can be, nobody looks.
    expect(tlsOf("host=h sslmode=disable", own)).toEqual({});
    expect(tlsOf("host=/tmp sslcert=half", own)).toEqual({});
    const without = await home({ ".postgresql/postgresql.crt": "crt" });
    expect(() => tlsOf("host=h", without)).toThrow(/certificate present, but not private key file/);
    expect(() => tlsOf(`host=h sslkey=${own}`, without)).toThrow(/is not a regular file/);
    expect(() => connectOptionsFromConninfo("host=h sslcert=c")).toThrow(/given together/);
    const pem = "-----BEGIN PRIVATE KEY-----";
    expect(resolve({ host: "h", sslcert: "c", sslkey: pem }, { home: own }).options.sslkey).toBe(pem);
  });
});
