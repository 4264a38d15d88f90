import { InvalidArgumentError } from "commander";
import { expect, test } from "vitest";
import { integerFlag, settingFlag, settingsOfFlags } from "../../../src/cli/flags.ts";

test("integers are digits within bounds", () => {
  const port = integerFlag(0, 65535);
  expect(port("0")).toBe(0);
  expect(port("65535")).toBe(65535);
  for (const text of ["", "65536", "-1", "1.5", "1e3", "0x10", " 1"]) {
    expect(() => port(text), text).toThrow(InvalidArgumentError);
  }
});

test("--set takes TOML values, or else plain text, and adds up", () => {
  const first = settingFlag("query_wait_timeout=0.5", undefined);
  const second = settingFlag("pool_mode=transaction", first);
  const third = settingFlag("server_reset_query = ", settingFlag('admin_users=["a", "b"]', second));
  expect(third).toEqual({
    query_wait_timeout: 0.5,
    pool_mode: "transaction",
    admin_users: ["a", "b"],
    server_reset_query: " ",
  });
  expect(settingFlag("auth_file=a=b", undefined)).toEqual({ auth_file: "a=b" });
  expect(settingFlag("tcp_keepalive=false", undefined)).toEqual({ tcp_keepalive: false });
  for (const text of ["", "=1", "name"])
    expect(() => settingFlag(text, undefined)).toThrow(InvalidArgumentError);
});

test("a value cannot bring settings of its own along", () => {
  expect(settingFlag('auth_file="x"\npool_mode="y"', undefined)).toEqual({
    auth_file: '"x"\npool_mode="y"',
  });
});

test("the named flags win over --set", () => {
  expect(
    settingsOfFlags({
      port: 1,
      mode: "session",
      poolSize: 2,
      logLevel: "warn",
      set: { listen_port: 9, x: 1 },
    }),
  ).toEqual({
    listen_port: 1,
    pool_mode: "session",
    default_pool_size: 2,
    log_level: "warn",
    x: 1,
  });
  expect(settingsOfFlags({})).toEqual({});
});
