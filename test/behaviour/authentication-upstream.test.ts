/** How the pooler itself logs in to PostgreSQL, and what clients are told when it cannot. */
import { randomBytes } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { md5Hash } from "../../src/auth/md5.ts";
import { saltedPassword } from "../../src/auth/pbkdf2.ts";
import { buildScramSecret, formatScramSecret } from "../../src/auth/secret.ts";
import { VirtualClock } from "../../src/base/clock.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const place = useLab({
  auth: [
    "local all all trust",
    "host all postgres,ghost 127.0.0.1/32 trust",
    "host all by_password 127.0.0.1/32 password",
    "host all by_md5 127.0.0.1/32 md5",
    "host all by_scram 127.0.0.1/32 scram-sha-256",
    "host all all 127.0.0.1/32 reject",
  ],
});

const password = "the right sécret";
const wrong = "not the right one";
/** pg_authid.rolpassword of by_scram. */
let verifier = "";
let administrator: RawClient;

beforeAll(async () => {
  administrator = await rawClient(place.lab.primary.port);
  await administrator.startup();
  await administrator.rows(`create role by_password login password '${password}'`);
  await administrator.rows(
    `set password_encryption to 'md5'; create role by_md5 login password '${password}'`,
  );
  await administrator.rows(`reset password_encryption; create role by_scram login password '${password}'`);
  verifier =
    (await value(administrator, "select rolpassword from pg_authid where rolname = 'by_scram'")) ?? "";
  return () => administrator.destroy();
});

function config(user: string, secret: string, method = "scram-sha-256"): TestConfig {
  return {
    node: place.lab.primary,
    settings: { auth_type: method, pool_mode: "transaction" },
    databases: { app: { dbname: "postgres" } },
    users: { [user]: { password: secret } },
    secrets: [password, wrong],
  };
}

/** Logs in, works, and loses the server, twice: so that what is known of the user serves more than once. */
async function works(pooler: TestPooler, user: string): Promise<void> {
  for (const _time of [1, 2]) {
    const { client } = await pooler.login({ user, database: "app", password });
    const [row] = await client.rows("select session_user, pg_backend_pid()");
    const [name, pid] = row ?? [];
    expect(name).toBe(user);
    await client.close();
    await administrator.rows(`select pg_terminate_backend(${pid})`);
    await waitUntil(() => pooler.pooler.counts.servers === 0, "the server is gone");
  }
}

describe("with what is known", () => {
  test.each(["by_password", "by_md5", "by_scram"])("acceptance 44: with a password, %s", async (user) => {
    await using pooler = await startPooler(config(user, password));
    await works(pooler, user);
  });

  test("acceptance 44: with an md5 hash alone", async () => {
    await using pooler = await startPooler(config("by_md5", `md5${md5Hash("by_md5", password)}`, "md5"));
    await works(pooler, "by_md5");
  });

  test.each(["scram-sha-256", "md5", "password"])(
    "acceptance 44: with the SCRAM keys or the password that the client's login proves, by %s",
    async (method) => {
      await using pooler = await startPooler(config("by_scram", verifier, method));
      await works(pooler, "by_scram");
    },
  );

  test.each(["by_md5", "by_password"])(
    "acceptance 44: with the password that the client has sent, %s",
    async (user) => {
      const salt = randomBytes(16);
      const own = formatScramSecret(buildScramSecret(await saltedPassword(password, salt, 4096), salt, 4096));
      await using pooler = await startPooler(config(user, own, "password"));
      await works(pooler, user);
    },
  );

  test("acceptance 45: keys that one client has proved let nobody else in", async () => {
    await using pooler = await startPooler(config("by_scram", verifier));
    const { client } = await pooler.login({ user: "by_scram", database: "app", password });
    for (const tried of [wrong, "", verifier]) {
      const refusal = await pooler.refusal({ user: "by_scram", database: "app", password: tried });
      expect(refusal.code).toBe("28P01");
    }
    expect(await value(client, "select session_user")).toBe("by_scram");
    client.destroy();
  });

  test("a database may have a user and password of its own on the server", async () => {
    await using pooler = await startPooler({
      ...config("anybody", "something else"),
      databases: { app: { dbname: "postgres", user: "by_scram", password } },
    });
    const { client } = await pooler.login({ user: "anybody", database: "app", password: "something else" });
    expect(await value(client, "select session_user")).toBe("by_scram");
    client.destroy();
  });
});

describe("when the server refuses", () => {
  /** A refusal is remembered for `server_login_retry`; after that it is tried again. */
  async function refusedThenCached(
    pooler: TestPooler,
    clock: VirtualClock,
    login: { user: string; database: string; password?: string },
    refusal: { code: string; message: string },
  ): Promise<void> {
    expect(await pooler.refusal(login)).toEqual({ severity: "FATAL", ...refusal });
    const text = refusal.message.slice(0, 100);
    expect(await pooler.refusal(login)).toEqual({
      severity: "FATAL",
      code: refusal.code,
      message: `server login has been failing, cached error: ${text} (server_login_retry)`,
    });
    clock.advance(15_000);
    expect(await pooler.refusal(login)).toEqual({ severity: "FATAL", ...refusal });
  }

  test("acceptance 97: a wrong password upstream is told in the server's words", async () => {
    const clock = new VirtualClock();
    await using pooler = await startPooler(config("by_scram", wrong), clock);
    await refusedThenCached(
      pooler,
      clock,
      { user: "by_scram", database: "app", password: wrong },
      { code: "28P01", message: 'password authentication failed for user "by_scram"' },
    );
    await pooler.untilNobodyIsLeft();
    expect(pooler.pooler.counts.servers).toBe(0);
  });

  test("acceptance 97: nothing to log in with is told apart from a refusal", async () => {
    await using pooler = await startPooler(config("by_scram", "", "trust"));
    expect(await pooler.refusal({ user: "by_scram", database: "app" })).toMatchObject({
      severity: "FATAL",
      code: "08001",
      message: "server login failed",
    });
  });

  test("acceptance 97: a verifier with another salt than the server's is of no use there", async () => {
    const salt = randomBytes(16);
    const other = formatScramSecret(buildScramSecret(await saltedPassword(password, salt, 4096), salt, 4096));
    await using pooler = await startPooler(config("by_scram", other));
    expect(await pooler.refusal({ user: "by_scram", database: "app", password })).toMatchObject({
      severity: "FATAL",
      code: "28P01",
    });
  });

  test("acceptance 97: no such role, no such database, no place by pg_hba.conf: the server's words", async () => {
    const base = config("anybody", password, "trust");
    const asked = [
      { user: "ghost", database: "postgres", code: "28000", message: 'role "ghost" does not exist' },
      { user: "postgres", database: "nowhere", code: "3D000", message: 'database "nowhere" does not exist' },
    ];
    for (const { user, database, ...refusal } of asked) {
      const clock = new VirtualClock();
      await using pooler = await startPooler({ ...base, databases: { "*": {} } }, clock);
      await refusedThenCached(pooler, clock, { user, database }, refusal);
    }
    await using pooler = await startPooler({ ...base, databases: { "*": {} } });
    const rejected = await pooler.refusal({ user: "stranger", database: "postgres" });
    expect(rejected).toMatchObject({ severity: "FATAL", code: "28000" });
    expect(rejected.message).toMatch(/^pg_hba.conf rejects connection for host "127.0.0.1", user "stranger"/);
  });

  test("a password that a reload puts right is used at once", async () => {
    const clock = new VirtualClock();
    await using pooler = await startPooler(config("by_scram", wrong), clock);
    const refusal = await pooler.refusal({ user: "by_scram", database: "app", password: wrong });
    expect(refusal.code).toBe("28P01");
    await pooler.reload(config("by_scram", password));
    await works(pooler, "by_scram");
  });

  test("acceptance 97: sqlstate_compat leaves the server's own SQLSTATEs as they are, and only those", async () => {
    const base = config("by_scram", wrong);
    await using pooler = await startPooler({
      ...base,
      settings: { ...base.settings, sqlstate_compat: "pgbouncer" },
    });
    const login = { user: "by_scram", database: "app", password: wrong };
    expect(await pooler.refusal(login)).toMatchObject({ code: "28P01" });
    const cached = await pooler.refusal(login);
    expect(cached.message).toMatch(/^server login has been failing/);
    expect(cached.code).toBe("08P01");
    expect(await pooler.refusal({ ...login, password })).toMatchObject({
      code: "08P01",
      message: "SASL authentication failed",
    });
  });
});
