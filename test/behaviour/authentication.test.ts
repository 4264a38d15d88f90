/** How clients prove who they are, and that nobody becomes a session without it. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { md5Hash } from "../../src/auth/md5.ts";
import { saltedPassword } from "../../src/auth/pbkdf2.ts";
import { buildScramSecret, formatScramSecret } from "../../src/auth/secret.ts";
import {
  type BackendMessage,
  encodePassword,
  encodeQuery,
  encodeSaslInitialResponse,
  encodeStartup,
  encodeTerminate,
  protocolVersion30,
} from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import type { RawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { fatal, startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();

const password = `it's "sécret" \\ 100%`;
const wrong = "not the secret of anybody";
/** By user name; each user's secret is the same password, kept in another way. */
const stored: Record<string, string> = {};

beforeAll(async () => {
  const salt = randomBytes(16);
  stored["plain"] = password;
  stored["hashed"] = `md5${md5Hash("hashed", password)}`;
  stored["verified"] = formatScramSecret(
    buildScramSecret(await saltedPassword(password, salt, 4096), salt, 4096),
  );
});

/** Servers are logged in to as the superuser, whoever the client is. */
function config(method: string, users: Readonly<Record<string, string | undefined>> = stored): TestConfig {
  const secrets = Object.entries(users).map(([name, secret]) => [name, { password: secret }]);
  return {
    node: place.lab.primary,
    settings: { auth_type: method, pool_mode: "transaction" },
    databases: { "*": { user: "postgres" }, app: { dbname: "postgres", user: "postgres" } },
    users: Object.fromEntries(secrets) as TestConfig["users"] & object,
    secrets: [password, wrong],
  };
}

/** Every message of one login, with what is random in it masked. */
async function transcript(pooler: TestPooler, user: string, tried: string): Promise<unknown[]> {
  const client = await pooler.open();
  const seen: BackendMessage[] = [];
  const next = client.next.bind(client);
  client.next = async (...options) => {
    const message = await next(...options);
    seen.push(message);
    return message;
  };
  await client.startup({ user, database: "app", password: tried }).catch(() => undefined);
  client.destroy();
  return seen.map(masked);
}

function masked(message: BackendMessage): unknown {
  switch (message.kind) {
    case "AuthenticationMD5Password":
      return { ...message, salt: message.salt.length };
    case "AuthenticationSASLContinue":
      return {
        ...message,
        data: message.data.toString().replace(/^r=[^,]+,s=[^,]+/, (text) => text.length.toString()),
      };
    case "BackendKeyData":
      return message.kind;
    default:
      return message;
  }
}

describe("methods", () => {
  test.each([
    ["password", "plain"],
    ["password", "hashed"],
    ["password", "verified"],
    ["md5", "plain"],
    ["md5", "hashed"],
    ["md5", "verified"],
    ["scram-sha-256", "plain"],
    ["scram-sha-256", "verified"],
  ])("acceptance 42, 44: %s with a secret that is kept %s", async (method, user) => {
    await using pooler = await startPooler(config(method));
    const asks = method === "md5" && user === "verified" ? "scram-sha-256" : method;
    const request = {
      password: "AuthenticationCleartextPassword",
      md5: "AuthenticationMD5Password",
      "scram-sha-256": "AuthenticationSASL",
    }[asks];
    // Twice: with a pool that has no server yet, and with one that has.
    for (const _time of [1, 2]) {
      const { client, session } = await pooler.login({ user, database: "app", password });
      expect(session.messages[0]?.kind).toBe(request);
      expect(await value(client, "select 1")).toBe("1");
      client.destroy();
    }
    for (const tried of [wrong, `${password} `, password.slice(1), password.toUpperCase()]) {
      expect(await pooler.refusal({ user, database: "app", password: tried })).toEqual({
        severity: "FATAL",
        code: "28P01",
        message: asks === "scram-sha-256" ? "SASL authentication failed" : "password authentication failed",
      });
    }
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 42: trust asks nothing, reject lets nobody in", async () => {
    await using trusting = await startPooler(config("trust"));
    const { client, session } = await trusting.login({ user: "anybody", database: "app" });
    expect(session.messages[0]?.kind).toBe("AuthenticationOk");
    client.destroy();
    await using rejecting = await startPooler(config("reject"));
    for (const user of ["plain", "anybody"]) {
      const refusal = await rejecting.refusal({ user, database: "app", password });
      expect(refusal).toEqual({ severity: "FATAL", code: "28000", message: "login rejected" });
    }
    await rejecting.untilNobodyIsLeft();
    expect(rejecting.pooler.counts.servers).toBe(0);
  });

  test("a secret that SCRAM cannot use lets nobody in by SCRAM", async () => {
    await using pooler = await startPooler(config("scram-sha-256"));
    expect(await pooler.refusal({ user: "hashed", database: "app", password })).toMatchObject({
      code: "28P01",
    });
  });

  test.each(["password", "md5", "scram-sha-256"])(
    "nobody logs in with an empty password by %s",
    async (method) => {
      await using pooler = await startPooler(
        config(method, { plain: "", hashed: `md5${md5Hash("hashed", "")}` }),
      );
      for (const user of ["plain", "hashed"]) {
        expect((await pooler.refusal({ user, database: "app", password: "" })).code).toBe("28P01");
      }
    },
  );
});

describe("what a stranger learns", () => {
  test.each([
    ["password", { known: password }],
    ["md5", { known: password }],
    ["md5", { known: "hash" }],
    ["md5", { known: "verifier" }],
    ["scram-sha-256", { known: password }],
    ["scram-sha-256", { known: "verifier" }],
    ["password", { known: "verifier" }],
  ])(
    "acceptance 42: an unknown user cannot be told from a wrong password by %s, %j",
    async (method, { known }) => {
      const secret =
        { hash: `md5${md5Hash("known", password)}`, verifier: stored["verified"] }[known] ?? known;
      await using pooler = await startPooler(config(method, { known: secret }));
      const refused = await transcript(pooler, "known", wrong);
      expect(refused.at(-1)).toMatchObject({ kind: "ErrorResponse", fields: { code: "28P01" } });
      expect(await transcript(pooler, "nobody", wrong)).toEqual(refused);
    },
  );

  test("acceptance 42: the salt of an unknown user does not change between two tries", async () => {
    await using pooler = await startPooler(config("scram-sha-256"));
    const saltOf = async (user: string): Promise<string | undefined> => {
      const client = await pooler.open();
      client.sendStartup({ user, database: "app" });
      await client.expect("AuthenticationSASL");
      client.send(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=abcdefghijklmnop")));
      const { data } = await client.expect("AuthenticationSASLContinue");
      client.destroy();
      return /,s=([^,]+),/.exec(data.toString())?.[1];
    };
    for (const user of ["nobody", "plain", "verified", "hashed"]) {
      const salt = await saltOf(user);
      expect(salt).toBeDefined();
      expect(await saltOf(user)).toBe(salt);
    }
    expect(await saltOf("nobody")).not.toBe(await saltOf("nobody else"));
  });

  test.each(["password", "md5", "scram-sha-256"])(
    "whether a database exists is told only after the password, by %s",
    async (method) => {
      await using pooler = await startPooler({
        ...config(method),
        databases: { app: { dbname: "postgres", user: "postgres" } },
      });
      const refusal = await pooler.refusal({ user: "plain", database: "nowhere", password: wrong });
      expect(refusal.code).toBe("28P01");
      expect(await pooler.refusal({ user: "nobody", database: "nowhere", password })).toEqual(refusal);
      expect(await pooler.refusal({ user: "plain", database: "nowhere", password })).toEqual({
        severity: "FATAL",
        code: "3D000",
        message: "no such database: nowhere",
      });
    },
  );
});

describe("no way around", () => {
  /** A pooler that has an idle server and knows how to welcome a client without asking it. */
  async function warm(method: string): Promise<TestPooler> {
    const pooler = await startPooler(config(method));
    const { client } = await pooler.login({ user: "plain", database: "app", password });
    expect(await value(client, "select 1")).toBe("1");
    await client.close();
    expect(pooler.pooler.counts.servers).toBe(1);
    return pooler;
  }

  const startup = encodeStartup(protocolVersion30, [
    ["user", "plain"],
    ["database", "app"],
  ]);

  test.each(["password", "md5", "scram-sha-256"])(
    "acceptance 43, 45: a server in the pool is no way in without the secret, by %s",
    async (method) => {
      await using pooler = await warm(method);
      const tries: ((client: RawClient) => void)[] = [
        (client) => client.send(encodeQuery("select 1")),
        (client) => client.send({ kind: "Sync" }),
        (client) => client.send(startup, encodeQuery("select 1")),
        (client) => client.send(encodePassword(""), encodeQuery("select 1")),
        (client) => client.send(encodePassword(wrong), encodeQuery("select 1")),
        (client) => client.send(encodePassword(stored["hashed"] ?? ""), encodeQuery("select 1")),
        (client) =>
          client.send(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.alloc(0)), encodeQuery("select 1")),
        (client) =>
          client.send(
            encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=")),
            encodeQuery("select 1"),
          ),
        (client) => client.send(encodeSaslInitialResponse("NONE", Buffer.from("x")), encodeQuery("select 1")),
        (client) => client.send(Buffer.from("p\0\0\0\x04"), encodeQuery("select 1")),
        (client) => client.send(Buffer.from("p\xff\xff\xff\xff", "latin1")),
        (client) => client.send(Buffer.from("p\0\x01\0\x04", "latin1")),
      ];
      for (const attempt of tries) {
        const client = await pooler.open();
        client.send(startup);
        attempt(client);
        const messages = await client.rest();
        const kinds = messages.map(({ kind }) => kind);
        expect(kinds.at(-1)).toBe("ErrorResponse");
        for (const kind of [
          "AuthenticationOk",
          "BackendKeyData",
          "ParameterStatus",
          "ReadyForQuery",
          "DataRow",
        ]) {
          expect(kinds).not.toContain(kind);
        }
      }
      await pooler.untilNobodyIsLeft();
      expect(pooler.pooler.counts.servers).toBe(1);
    },
  );

  test("acceptance 45: a second startup packet inside the exchange does not change who is asking (PgBouncer 1.26.1, advisory 107350)", async () => {
    await using pooler = await warm("scram-sha-256");
    const client = await pooler.open();
    client.sendStartup({ user: "nobody", database: "nowhere" });
    await client.expect("AuthenticationSASL");
    client.send(startup);
    expect(await fatal(client)).toMatchObject({ code: "08P01", message: "invalid frontend message type 0" });
  });

  test("a client may leave in the middle of the exchange", async () => {
    await using pooler = await warm("scram-sha-256");
    const client = await pooler.open();
    client.send(startup, encodeTerminate());
    const messages = await client.rest();
    expect(messages.map(({ kind }) => kind)).toEqual(["AuthenticationSASL"]);
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 41, 79: leaving while the password is being hashed leaves nothing behind", async () => {
    await using pooler = await startPooler(config("password"));
    for (let attempt = 0; attempt < 20; attempt++) {
      const client = await pooler.open();
      client.sendStartup({ user: "verified", database: "app" });
      await client.expect("AuthenticationCleartextPassword");
      client.send(encodePassword(password));
      client.stream.reset();
    }
    await pooler.untilNobodyIsLeft();
  });
});

describe("where users are kept", () => {
  test("acceptance 42: users of auth_file and of the configuration, which has precedence", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "userlist.txt");
    const lines = [
      "; users",
      `"from ""file""" "in the file"`,
      `"both" "in the file"`,
      `"hashed" "${stored["hashed"]}" and more`,
      `"verified" "${stored["verified"]}"`,
    ];
    await writeFile(file, lines.join("\n"));
    const base = config("md5", { both: "in the configuration" });
    const withFile = {
      ...base,
      settings: { ...base.settings, auth_file: file },
      secrets: [...lines.slice(3), "in the file", password],
    };
    await using pooler = await startPooler(withFile);
    const accepts = async (user: string, tried: string): Promise<boolean> => {
      const client = await pooler.open();
      const session = await client.startup({ user, database: "app", password: tried }).catch(() => undefined);
      client.destroy();
      return session !== undefined;
    };
    expect(await accepts(`from "file"`, "in the file")).toBe(true);
    expect(await accepts("both", "in the file")).toBe(false);
    expect(await accepts("both", "in the configuration")).toBe(true);
    expect(await accepts("hashed", password)).toBe(true);
    expect(await accepts("verified", password)).toBe(true);

    // A reload takes over what has changed.
    await writeFile(file, `"both" "in the file"\n"new" "in the file"\n`);
    await pooler.reload({ ...withFile, users: {} });
    expect(await accepts("both", "in the file")).toBe(true);
    expect(await accepts("both", "in the configuration")).toBe(false);
    expect(await accepts("new", "in the file")).toBe(true);
    expect(await accepts(`from "file"`, "in the file")).toBe(false);

    // One that cannot be read changes nothing, and its error says the line, not what stands there.
    await writeFile(file, `"both" "in the file"\n"new" "secret without an end\n`);
    const failure = await pooler.reload({ ...withFile, users: {} }).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      sqlstate: "F0000",
      message: expect.stringContaining("line 2") as string,
    });
    expect(String(failure)).not.toContain("without an end");
    expect(await accepts("new", "in the file")).toBe(true);
  });

  test("names that are properties of every object are no users", async () => {
    await using pooler = await startPooler(config("password"));
    for (const user of ["__proto__", "constructor", "toString"]) {
      expect((await pooler.refusal({ user, database: "app", password })).code).toBe("28P01");
    }
    await using trusting = await startPooler({
      ...config("trust"),
      databases: { app: { user: "postgres" } },
    });
    for (const database of ["__proto__", "constructor", "toString"]) {
      expect((await trusting.refusal({ database })).message).toBe(`no such database: ${database}`);
    }
  });
});
