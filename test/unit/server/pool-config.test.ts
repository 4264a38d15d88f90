/** What the configuration says about a pool's servers, where it can be seen without one. */
import { expect, test } from "vitest";
import { parseConfig } from "../../../src/config/load.ts";
import { Credentials } from "../../../src/server/credentials.ts";
import { connectOptionsOf, probeOptionsOf } from "../../../src/server/pool-config.ts";

test("server_allow_cleartext_password: a password in clear text is shown to other machines only with it", () => {
  const allowed = (settings: string): unknown => {
    const config = parseConfig(`[pgsluice]\n${settings}\n[nodes.main]\nhost = "db.example.com"`, "/");
    const request = { user: "app", database: "app", otherParameters: [], replication: false };
    return connectOptionsOf(config, new Credentials(), request, "app").allowCleartextPassword;
  };
  expect(allowed("")).toBeUndefined();
  expect(allowed("server_allow_cleartext_password = true")).toBe(true);
});

test("health_check_password is that of health_check_user; without it the user's own secret is taken", () => {
  const passwordOf = (setting: string): unknown => {
    const config = parseConfig(
      `[pgsluice]\nhealth_check_user = "watch"\n${setting}\n[users.watch]\npassword = "own"\n[nodes.a]\nrole = "auto"\n[nodes.b]`,
      "/",
    );
    const node = config.nodes["a"];
    if (node === undefined) throw new Error("there is a node");
    const credentials = new Credentials();
    credentials.replace(new Map([["watch", { kind: "plain", password: "own" }]]));
    const { user, database, password } = probeOptionsOf(config, credentials, node);
    expect([user, database]).toEqual(["watch", "postgres"]);
    return password;
  };
  expect(passwordOf('health_check_password = "given"')).toBe("given");
  expect(passwordOf("")).toBe("own");
});

test("a database that names no node is connected where the primary is, and only if the server says it is", () => {
  const config = parseConfig(
    '[pgsluice]\nhealth_check_user = "w"\n[nodes.a]\nhost = "a.example"\nrole = "auto"\n[nodes.b]\nhost = "b.example"\n[databases."*"]\n[databases.fixed]\nnode = "a"',
    "/",
  );
  const options = (database: string, primary?: string) =>
    connectOptionsOf(
      config,
      new Credentials(),
      { user: "u", database, otherParameters: [], replication: false },
      "u",
      primary,
    );
  const following = { hosts: [{ host: "b.example", port: 5432 }], targetSessionAttrs: "primary" };
  expect(options("x", "b")).toMatchObject(following);
  expect(options("fixed", "b").hosts).toEqual([{ host: "a.example", port: 5432 }]);
  expect(options("fixed", "b").targetSessionAttrs).toBeUndefined();
  expect(() => options("x")).toThrow("there is no primary");
});
