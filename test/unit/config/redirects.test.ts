import { describe, expect, test } from "vitest";
import { checkConfig } from "../../../src/config/load.ts";
import { redirectEntry } from "../../../src/config/redirects.ts";

describe("an entry of a redirect list", () => {
  test.each([
    ["a:primary", "a", "primary", 1],
    ["report.*:node2(0.25)", "reporting", "node2", 0.25],
    ["a|bb : standby (1.0)", "bb", "standby", 1],
    ["host:[0-9]+:c", "host:12", "c", 1],
    ["a(b|c):primary(0)", "ac", "primary", 0],
  ])("%s", (text, name, where, share) => {
    const entry = redirectEntry(text);
    if (typeof entry === "string") throw new Error(entry);
    expect(entry).toMatchObject({ where, share });
    expect(entry.pattern.test(name)).toBe(true);
    expect(entry.pattern.test(`x${name}`)).toBe(false);
  });

  test.each(["a", ":primary", "a:", "a:b(2)", "a:b(.)", "a:b(0.5", "(:b"])("%s is none", (text) => {
    expect(typeof redirectEntry(text)).toBe("string");
  });

  test("is refused with the configuration, by its list", () => {
    const config = {
      pgsluice: {
        user_redirect_preference_list: ["a:elsewhere"],
        database_redirect_preference_list: ["(:main", "b:standby"],
      },
      nodes: { main: { host: "127.0.0.1" } },
      databases: { "*": { node: "main" } },
    };
    expect(() => checkConfig(config, "pgsluice.toml")).toThrow(
      /user_redirect_preference_list.*there is no node "elsewhere"[^]*database_redirect_preference_list.*\(:main/,
    );
  });
});
