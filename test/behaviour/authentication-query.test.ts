/** Users that are looked up in PostgreSQL: auth_query, auth_user, auth_dbname, and what of them is kept. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { VirtualClock } from "../../src/base/clock.ts";
import type { ErrorFields } from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const place = useLab({
  auth: [
    "local all all trust",
    "host all postgres,app_owner 127.0.0.1/32 trust",
    "host all by_md5 127.0.0.1/32 md5",
    "host all all 127.0.0.1/32 scram-sha-256",
  ],
});

const password = "the right sécret";
const wrong = "not the right one";
const poolerPassword = "of the pooler";

/** Counts how often it is asked, and takes a moment. The secret of `plain_one` is a password. */
const lookup = `
  create sequence asked;
  create function lookup(name text) returns table (usename text, passwd text) language plpgsql security definer as $$
  begin
    perform nextval('public.asked'), pg_sleep(0.02);
    return query select rolname::text, case rolname when 'plain_one' then '${password}' else rolpassword end
      from pg_authid where rolname = name and rolcanlogin and rolname <> 'postgres';
  end $$;
  revoke all on function lookup(text) from public;
  grant execute on function lookup(text) to pooler`;

beforeAll(async () => {
  const { primary } = place.lab;
  await primary.query(`create role pooler login password '${poolerPassword}'`);
  await primary.query(`create role by_scram login password '${password}'`);
  await primary.query(`create role plain_one login password '${password}'`);
  await primary.query(`create role expired login password '${password}' valid until '2001-01-01'`);
  await primary.query("create role secretless login");
  await primary.query(`create role group_only password '${password}'`);
  await primary.query("create role app_owner login");
  await primary.query(`set password_encryption = 'md5'; create role by_md5 login password '${password}'`);
  await primary.query("create database other");
  await primary.query("create database authority");
  await primary.query(lookup);
});

function config(settings: TestConfig["settings"] = {}, more: Partial<TestConfig> = {}): TestConfig {
  return {
    node: place.lab.primary,
    databases: { app: { dbname: "postgres" } },
    users: { pooler: { password: poolerPassword } },
    secrets: [password, wrong, poolerPassword],
    ...more,
    settings: {
      auth_type: "md5",
      pool_mode: "transaction",
      auth_user: "pooler",
      auth_query: "SELECT usename, passwd FROM lookup($1)",
      ...settings,
    },
  };
}

async function timesAsked(): Promise<number> {
  const { rows } = await place.lab.primary.query("select last_value, is_called from asked");
  const [last, called] = rows[0] ?? [];
  return called === "t" ? Number(last) : 0;
}

/** How often PostgreSQL is asked meanwhile. */
async function asksDuring(action: () => Promise<unknown>): Promise<number> {
  const before = await timesAsked();
  await action();
  return (await timesAsked()) - before;
}

async function whoAmI(
  pooler: TestPooler,
  user: string,
  database = "app",
): Promise<string | null | undefined> {
  const { client } = await pooler.login({ user, database, password });
  const name = await value(client, "select session_user");
  await client.close();
  return name;
}

/** What a client is told, without what it said itself. */
async function refusal(
  pooler: TestPooler,
  user: string,
  database = "app",
  tried = password,
): Promise<ErrorFields> {
  return await pooler.refusal({ user, database, password: tried });
}

describe("looked up and let in", () => {
  test.each(["md5", "scram-sha-256", "password"])(
    "auth_type %s: a SCRAM secret passes the client through to the server, and one in clear serves too",
    async (method) => {
      await using pooler = await startPooler(config({ auth_type: method }));
      for (const user of ["by_scram", "plain_one"]) {
        expect(await whoAmI(pooler, user)).toBe(user);
        await place.lab.primary.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where usename in ('by_scram', 'plain_one')`,
        );
        await waitUntil(() => pooler.pooler.counts.servers === 0, "the server is gone");
        expect(await whoAmI(pooler, user)).toBe(user);
      }
      expect((await refusal(pooler, "by_scram", "app", wrong)).code).toBe("28P01");
    },
  );

  test("a secret that is an md5 hash", async () => {
    await using pooler = await startPooler(config());
    expect(await whoAmI(pooler, "by_md5")).toBe("by_md5");
    expect((await refusal(pooler, "by_md5", "app", wrong)).code).toBe("28P01");
  });

  test("the query that is the default, and a user whose own secret the server wants by SCRAM", async () => {
    await place.lab.primary.query("alter role pooler superuser");
    try {
      await using pooler = await startPooler({
        ...config(),
        settings: { auth_type: "scram-sha-256", auth_user: "pooler" },
      });
      expect(await whoAmI(pooler, "by_scram")).toBe("by_scram");
      for (const user of ["expired", "secretless", "group_only", "nobody"]) {
        expect(await refusal(pooler, user)).toMatchObject({ code: "28P01" });
      }
    } finally {
      await place.lab.primary.query("alter role pooler nosuperuser");
    }
  });

  test("auth_file has precedence; who is there is not looked up", async () => {
    await using pooler = await startPooler(
      config({}, { users: { pooler: { password: poolerPassword }, by_scram: { password: wrong } } }),
    );
    const asked = await asksDuring(async () => {
      expect((await refusal(pooler, "by_scram")).code).toBe("28P01");
    });
    expect(asked).toBe(0);
  });

  test("a database may have auth_user, auth_query and auth_dbname of its own; its forced user acts on the server", async () => {
    await using pooler = await startPooler(
      config(
        { auth_user: "", auth_query: "" },
        {
          databases: {
            app: {
              dbname: "postgres",
              user: "app_owner",
              auth_user: "pooler",
              auth_query: "SELECT usename, passwd FROM lookup($1)",
            },
            // The function is not in this database.
            elsewhere: {
              dbname: "other",
              auth_user: "pooler",
              auth_dbname: "app",
              auth_query: "SELECT usename, passwd FROM lookup($1)",
            },
            alone: { dbname: "other" },
          },
        },
      ),
    );
    expect(await whoAmI(pooler, "by_scram", "app")).toBe("app_owner");
    expect(await whoAmI(pooler, "by_scram", "elsewhere")).toBe("by_scram");
    expect((await refusal(pooler, "by_scram", "alone")).code).toBe("28P01");
  });

  test("auth_dbname for all; databases that only * stands for; the console", async () => {
    await using pooler = await startPooler(
      config(
        { auth_dbname: "secrets", admin_users: ["by_scram"] },
        { databases: { "*": {}, secrets: { dbname: "postgres" } } },
      ),
    );
    expect(await whoAmI(pooler, "by_scram", "other")).toBe("by_scram");
    const { client } = await pooler.login({ user: "by_scram", database: "pgbouncer", password });
    expect(await client.rows("show version")).toHaveLength(1);
    client.destroy();
  });

  test("the name in the row is who the client is from there on", async () => {
    await using pooler = await startPooler(
      config({ auth_query: "SELECT usename, passwd FROM lookup(replace($1, '@example.org', ''))" }),
    );
    expect(await whoAmI(pooler, "by_scram@example.org")).toBe("by_scram");
  });

  test("a reload changes how users are looked up", async () => {
    await using pooler = await startPooler(config({ auth_query: "SELECT 'x', 'y' WHERE $1 = ''" }));
    expect((await refusal(pooler, "by_scram")).code).toBe("28P01");
    await pooler.reload(config());
    expect(await whoAmI(pooler, "by_scram")).toBe("by_scram");
    await pooler.reload(config({ auth_user: "" }));
    expect((await refusal(pooler, "by_scram")).code).toBe("28P01");
  });
});

describe("what is kept", () => {
  test("logins in flight share one question; later ones its answer, until it is too old", async () => {
    const clock = new VirtualClock();
    await using pooler = await startPooler(config(), clock);
    const login = async (): Promise<void> => void (await whoAmI(pooler, "by_scram"));
    expect(await asksDuring(() => Promise.all(Array.from({ length: 8 }, login)))).toBe(1);
    expect(await asksDuring(login)).toBe(0);
    clock.advance(10_000);
    expect(await asksDuring(login)).toBe(1);
  });

  test("auth_query_cache_age = 0 asks at every login", async () => {
    await using pooler = await startPooler(config({ auth_query_cache_age: 0 }));
    const asked = await asksDuring(async () => {
      for (let time = 0; time < 3; time++) await whoAmI(pooler, "by_scram");
    });
    expect(asked).toBe(3);
  });

  test("auth_query_cache_size bounds how many answers are kept", async () => {
    await using pooler = await startPooler(config({ auth_query_cache_size: 1 }));
    const both = async (): Promise<void> => {
      await whoAmI(pooler, "by_scram");
      await whoAmI(pooler, "plain_one");
    };
    expect(await asksDuring(both)).toBe(2);
    expect(await asksDuring(both)).toBe(2);
  });

  test("a login that fails, and a reload, end it: a changed password counts at the second try", async () => {
    const { primary } = place.lab;
    await primary.query(`create role changing login password '${wrong}'`);
    await using pooler = await startPooler(config());
    const login = { user: "changing", database: "app" };
    const first = await pooler.login({ ...login, password: wrong });
    first.client.destroy();
    await primary.query(`alter role changing password '${password}'`);
    expect((await refusal(pooler, "changing")).code).toBe("28P01");
    expect(await whoAmI(pooler, "changing")).toBe("changing");
    expect((await refusal(pooler, "changing", "app", wrong)).code).toBe("28P01");

    await primary.query("alter role changing nologin");
    await pooler.reload(config());
    expect((await refusal(pooler, "changing")).code).toBe("28P01");
  });

  test("a connection for look-ups that PostgreSQL has closed is replaced unseen", async () => {
    await using pooler = await startPooler(config({ auth_query_cache_age: 0 }));
    expect(await whoAmI(pooler, "by_scram")).toBe("by_scram");
    const ended = await place.lab.primary.query(
      "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'pooler'",
    );
    expect(ended.rows).toEqual([["t"]]);
    expect(await whoAmI(pooler, "by_scram")).toBe("by_scram");
  });
});

describe("nobody learns who exists", () => {
  const methods = ["md5", "scram-sha-256", "password"];

  test.each(methods)(
    "auth_type %s: unknown user, NULL secret, unknown database, failing query and wrong password are told alike",
    async (method) => {
      await using pooler = await startPooler(
        config(
          { auth_type: method },
          {
            databases: {
              app: { dbname: "postgres" },
              broken: {
                dbname: "postgres",
                auth_query: "SELECT no_such_column FROM pg_authid WHERE rolname = $1",
              },
              narrow: { dbname: "postgres", auth_query: "SELECT $1" },
              missing: { dbname: "not_there" },
              stray: { dbname: "postgres", auth_dbname: "not_configured" },
              circular: { dbname: "postgres", auth_dbname: "pgbouncer" },
            },
          },
        ),
      );
      // So that it is known which kind of secret users have.
      await whoAmI(pooler, "by_scram");
      const told: ErrorFields[] = [];
      for (const [user, database] of [
        ["by_scram", "app"],
        ["secretless", "app"],
        ["nobody", "app"],
        ["by_scram", "unheard_of"],
        ["nobody", "unheard_of"],
        ["by_scram", "broken"],
        ["nobody", "broken"],
        ["by_scram", "narrow"],
        ["by_scram", "missing"],
        ["by_scram", "stray"],
        ["by_scram", "circular"],
      ] as const) {
        told.push(await refusal(pooler, user, database, wrong));
      }
      expect(new Set(told.map((fields) => JSON.stringify(fields)))).toHaveLength(1);
      expect(told[0]?.code).toBe("28P01");
      // Nor does the right password help where it cannot be known to be right.
      expect((await refusal(pooler, "by_scram", "broken")).code).toBe("28P01");
      for (const reason of [
        'column \\"no_such_column\\" does not exist',
        "expected 2 columns from auth_query, not 1",
        'database \\"not_there\\" does not exist',
        'authentication database \\"not_configured\\" is not configured.',
        'cannot use the reserved \\"pgbouncer\\" database as an auth_dbname',
        "no such user",
      ]) {
        expect(pooler.log).toContain(reason);
      }
    },
  );

  test("an unknown database is asked about in another one: it takes the same question", async () => {
    await using pooler = await startPooler(config({ auth_query_cache_age: 0 }));
    expect(await asksDuring(() => refusal(pooler, "nobody", "app"))).toBe(1);
    expect(await asksDuring(() => refusal(pooler, "nobody", "unheard_of"))).toBe(1);
    expect(await refusal(pooler, "by_scram", "unheard_of")).toMatchObject({
      message: "no such database: unheard_of",
    });
  });

  test("an auth database that is disabled finds nobody", async () => {
    await using pooler = await startPooler(
      config(
        { auth_dbname: "secrets", admin_users: ["pooler"] },
        { databases: { app: {}, secrets: { dbname: "postgres" } } },
      ),
    );
    const { client } = await pooler.login({
      user: "pooler",
      database: "pgbouncer",
      password: poolerPassword,
    });
    await client.rows("disable secrets");
    client.destroy();
    expect((await refusal(pooler, "by_scram")).code).toBe("28P01");
    expect(pooler.log).toContain('authentication database \\"secrets\\" is disabled');
  });

  test("trust lets in nobody who is not found", async () => {
    await using pooler = await startPooler(config({ auth_type: "trust" }));
    expect(await refusal(pooler, "nobody")).toMatchObject({
      code: "28000",
      message: '"trust" authentication failed',
    });
    expect(await whoAmI(pooler, "plain_one")).toBe("plain_one");
  });

  test("CVE-2025-12819: a client's search_path does not reach the look-up", async () => {
    const { primary } = place.lab;
    await primary.query(`create schema evil; grant usage on schema evil to public`);
    await primary.query(
      `create function evil.lookup(name text) returns table (usename text, passwd text) language sql
       as $$ select 'app_owner', 'mine' $$`,
    );
    await using pooler = await startPooler(config({ ignore_startup_parameters: ["options"] }));
    for (const parameters of [
      ["search_path", "evil"],
      ["options", "-c search_path=evil"],
    ] as const) {
      const refused = await pooler.refusal({
        user: "by_scram",
        database: "app",
        password: "mine",
        parameters: [parameters],
      });
      expect(refused.code).toBe("28P01");
    }
  });
});

describe("auth_type any", () => {
  test("takes every client for its database's user", async () => {
    await using pooler = await startPooler({
      node: place.lab.primary,
      settings: { auth_type: "any", admin_users: ["root"], stats_users: ["watcher"] },
      databases: { app: { dbname: "postgres", user: "app_owner" }, open: { dbname: "postgres" } },
    });
    const { client } = await pooler.login({ user: "whoever", database: "app" });
    expect(await value(client, "select session_user")).toBe("app_owner");
    expect(await pooler.refusal({ user: "whoever", database: "open" })).toMatchObject({
      message: "bouncer config error",
    });
    expect(pooler.log).toContain("auth_type=any requires forced user");
    expect(await pooler.refusal({ user: "whoever", database: "unheard_of" })).toMatchObject({
      message: "no such database: unheard_of",
    });
    const { client: watcher } = await pooler.login({ user: "watcher", database: "pgbouncer" });
    const clients = await watcher.rows("show clients");
    expect(clients.map(([, user, database]) => [user, database])).toContainEqual(["app_owner", "app"]);
    expect(await pooler.refusal({ user: "whoever", database: "pgbouncer" })).toMatchObject({
      message: "not allowed",
    });
    watcher.destroy();
    client.destroy();
  });
});

describe("rules that ask PostgreSQL and the resolver", () => {
  test("+role and samerole: memberships at any depth, superusers in none; localhost and .suffix", async () => {
    const { primary } = place.lab;
    await primary.query(
      "create role staff; create role clerks in role staff; grant clerks to by_scram; create role boss login superuser; create role other_role; grant other_role to by_scram",
    );
    await using folder = await tempFolder();
    const file = path.join(folder.path, "pg_hba.conf");
    await writeFile(
      file,
      [
        "host named all .no.such.domain trust",
        "host named all localhost reject",
        "host app +staff all scram-sha-256",
        "host samerole all all scram-sha-256",
        "host app all all reject",
      ].join("\n"),
    );
    const settings = { auth_type: "hba", auth_hba_file: file };
    const databases = { "*": { dbname: "postgres" } };
    await using pooler = await startPooler(config(settings, { databases }));
    expect(await whoAmI(pooler, "by_scram")).toBe("by_scram");
    expect(await whoAmI(pooler, "by_scram", "other_role")).toBe("by_scram");
    for (const user of ["by_md5", "boss", "nobody"]) {
      expect(await refusal(pooler, user)).toMatchObject({ code: "28000", message: "login rejected" });
    }
    expect(await refusal(pooler, "boss", "other_role")).toMatchObject({
      code: "28000",
      message: "no authentication method is found",
    });
    expect(await refusal(pooler, "by_scram", "named")).toMatchObject({ message: "login rejected" });

    // A membership that ends counts for as long as it is kept.
    await primary.query("revoke clerks from by_scram");
    expect(await whoAmI(pooler, "by_scram")).toBe("by_scram");
    await pooler.reload(config(settings, { databases }));
    expect(await refusal(pooler, "by_scram")).toMatchObject({ message: "login rejected" });

    // Who cannot be asked about is not passed over: the next rule might let in whom this one keeps out.
    const broken = { "*": { dbname: "not_there" } };
    await pooler.reload(config(settings, { databases: broken }));
    expect(await refusal(pooler, "by_scram")).toMatchObject({
      code: "28000",
      message: "no authentication method is found",
    });
    expect(pooler.log).toContain("the roles of a user could not be looked up");
    await expect(pooler.reload(config({ ...settings, auth_user: "" }))).rejects.toThrow(
      `${file}:3: +role and samerole need auth_user`,
    );
  });
});
