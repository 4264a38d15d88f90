/** What the configuration says about a pool's servers, where it can be seen without one. */
import { expect, test } from "vitest";
import { parseConfig } from "../../../src/config/load.ts";
import { Credentials } from "../../../src/server/credentials.ts";
import { connectOptionsOf } from "../../../src/server/pool-config.ts";

test("server_allow_cleartext_password: a password in clear text is shown to other machines only with it", () => {
  const allowed = (settings: string): unknown => {
    const config = parseConfig(`[pgsluice]\n${settings}\n[nodes.main]\nhost = "db.example.com"`, "/");
    const request = { user: "app", database: "app", otherParameters: [], replication: false };
    return connectOptionsOf(config, new Credentials(), request, "app").allowCleartextPassword;
  };
  expect(allowed("")).toBeUndefined();
  expect(allowed("server_allow_cleartext_password = true")).toBe(true);
});
