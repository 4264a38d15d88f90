import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ParameterVector,
  ServerParameters,
  settingsQueries,
  trackedName,
  trackedStartupName,
} from "../../../src/pool/parameters.ts";

function vector(values: Record<string, string>): ParameterVector {
  const result = new ParameterVector();
  for (const [name, value] of Object.entries(values)) result.set(name, value);
  return result;
}

/** The texts of Query messages. */
const texts = (queries: Buffer[]): string[] =>
  queries.map((query) => {
    expect(query[0]).toBe(0x51);
    expect(query.readInt32BE(1)).toBe(query.length - 1);
    expect(query.at(-1)).toBe(0);
    return query.toString("utf8", 5, query.length - 1);
  });

const changes = (values: Record<string, string>): string[] =>
  texts(settingsQueries(new ParameterVector(), vector(values)));

/**
 * Reads `SELECT pg_catalog.set_config(name, value, false), …` as PostgreSQL's scanner does, with
 * standard_conforming_strings as told.
 */
function readCalls(text: string, standardStrings: boolean): [string, string][] {
  const calls: [string, string][] = [];
  let position = 0;
  const expectText = (token: string): void => {
    expect(text.slice(position, position + token.length)).toBe(token);
    position += token.length;
  };
  const literal = (): string => {
    const escapes = text[position] === "E" || !standardStrings;
    if (text[position] === "E") position++;
    expectText("'");
    let value = "";
    for (;;) {
      const character = text[position++];
      if (character === undefined) throw new Error("a literal without an end");
      if (character === "\\" && escapes) value += text[position++] ?? "";
      else if (character !== "'") value += character;
      else if (text[position] === "'") value += text[position++];
      else return value;
    }
  };
  expectText("SELECT ");
  for (;;) {
    expectText("pg_catalog.set_config(");
    const name = literal();
    expectText(", ");
    calls.push([name, literal()]);
    expectText(", false)");
    if (position === text.length) return calls;
    expectText(", ");
  }
}

describe("the queries that bring a server to a client's settings", () => {
  test("none if nothing differs", () => {
    const same = { TimeZone: "UTC", application_name: "x" };
    expect(settingsQueries(vector(same), vector(same))).toEqual([]);
  });

  test("what the client has not goes back to what a new session has", () => {
    const [query, none] = settingsQueries(vector({ TimeZone: "UTC" }), new ParameterVector());
    expect(query?.toString("latin1")).toContain("set_config('TimeZone', NULL, false)");
    expect(none).toBeUndefined();
  });

  test("only what differs, in one query", () => {
    const from = vector({ TimeZone: "UTC", DateStyle: "ISO, MDY", application_name: "a" });
    const to = vector({ TimeZone: "UTC", DateStyle: "German, DMY", application_name: "b" });
    expect(texts(settingsQueries(from, to))).toEqual([
      "SELECT pg_catalog.set_config('DateStyle', 'German, DMY', false), " +
        "pg_catalog.set_config('application_name', 'b', false)",
    ]);
  });

  test("client_encoding goes first and alone, wherever it stands", () => {
    expect(changes({ application_name: "a", client_encoding: "LATIN1", TimeZone: "UTC" })).toEqual([
      "SELECT pg_catalog.set_config('client_encoding', 'LATIN1', false)",
      "SELECT pg_catalog.set_config('application_name', 'a', false), " +
        "pg_catalog.set_config('TimeZone', 'UTC', false)",
    ]);
    expect(changes({ client_encoding: "UTF8" })).toHaveLength(1);
  });

  test("what was read from the catalogs is written as UTF-8, what was reported in the client's encoding", () => {
    const to = {
      client_encoding: "LATIN1",
      search_path: "sch\udce4ma",
      "a.b": "ä",
      TimeZone: "UTC",
      role: "ö",
    };
    const encode = (name: string): string =>
      `SELECT pg_catalog.set_config('client_encoding', '${name}', false)`;
    const queries = settingsQueries(vector({ client_encoding: "LATIN1", TimeZone: "UTC" }), vector(to));
    expect(texts(queries.toSpliced(3))).toEqual([
      encode("UTF8"),
      "SELECT pg_catalog.set_config('a.b', 'ä', false), pg_catalog.set_config('role', 'ö', false)",
      encode("LATIN1"),
    ]);
    expect(queries[3]?.toString("latin1")).toContain("set_config('search_path', 'sch\u00e4ma', false)");
    expect(queries).toHaveLength(4);
    expect(texts(settingsQueries(vector({ client_encoding: "UTF8" }), vector(to)).slice(0, 2))).toEqual([
      "SELECT pg_catalog.set_config('a.b', 'ä', false), pg_catalog.set_config('role', 'ö', false)",
      encode("LATIN1"),
    ]);
  });

  test("a search_path stays the list that it is", () => {
    expect(changes({ search_path: '"$user", public, "it\'s", "a, ""b""" ' })).toEqual([
      'SELECT pg_catalog.set_config(\'search_path\', \'"$user", public, "it\'\'s", "a, ""b""" \', false)',
    ]);
  });

  test("quotes and backslashes mean themselves whatever standard_conforming_strings says", () => {
    expect(changes({ application_name: "it's" })[0]).toContain("'it''s'");
    expect(changes({ application_name: "a\\b'c" })[0]).toContain("E'a\\\\b''c'");
    expect(changes({ application_name: "'); DROP TABLE t; --" })[0]).toContain("'''); DROP TABLE t; --'");
    expect(changes({ application_name: "" })[0]).toContain("''");
  });

  test("any value is read back as it is", () => {
    const part = fc.constantFrom("'", "\\", "''", "\\'", "E'", '"', ",", ")", "--", "a", "ü", "$1", "\n");
    fc.assert(
      fc.property(fc.array(part), fc.array(part), fc.boolean(), (first, second, standardStrings) => {
        const [text] = changes({ application_name: first.join(""), search_path: second.join("") });
        expect(readCalls(text as string, standardStrings)).toEqual([
          ["application_name", first.join("")],
          ["search_path", second.join("")],
        ]);
      }),
    );
  });
});

describe("vectors", () => {
  test("are equal if names and values are, in any order", () => {
    const one = vector({ TimeZone: "UTC", DateStyle: "ISO, MDY" });
    const other = vector({ DateStyle: "ISO, MDY", TimeZone: "UTC" });
    expect(one.equals(other)).toBe(true);
    other.set("TimeZone", "Asia/Tokyo");
    expect(one.equals(other)).toBe(false);
    other.set("TimeZone", "UTC");
    expect(one.equals(other)).toBe(true);
    other.set("application_name", "");
    expect(one.equals(other)).toBe(false);
  });

  test("a copy goes its own way", () => {
    const one = vector({ TimeZone: "UTC" });
    const copy = ParameterVector.copyOf(one);
    expect(copy.equals(one)).toBe(true);
    copy.set("TimeZone", "Asia/Tokyo");
    expect(one.get("TimeZone")).toBe("UTC");
    expect(copy.get("TimeZone")).toBe("Asia/Tokyo");
    expect([...one.entries()]).toEqual([["TimeZone", "UTC"]]);
  });

  test("equality is that of maps", () => {
    const values = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.constantFrom("", "a", "b", "c"), {
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(values, values, (one, other) => {
        const same = isDeepStrictEqual({ ...one }, { ...other });
        expect(vector(one).equals(vector(other))).toBe(same);
      }),
    );
  });
});

test("tracked names are known in any case, and have the server's spelling", () => {
  expect(trackedName("timezone")).toBe("TimeZone");
  expect(trackedName("DATESTYLE")).toBe("DateStyle");
  expect(trackedName("server_version")).toBeUndefined();
  expect(trackedName("search_path")).toBe("search_path");
  expect(trackedStartupName("search_path")).toBeUndefined();
  expect(trackedStartupName("default_transaction_read_only")).toBeUndefined();
  expect(trackedStartupName("Application_Name")).toBe("application_name");
});

test("a server knows what it reported, and whether it still acts for the same user", () => {
  const parameters = new ServerParameters(
    new Map([
      ["TimeZone", "UTC"],
      ["server_version", "18.0"],
      ["session_authorization", "ada"],
      ["is_superuser", "off"],
    ]),
  );
  expect([...parameters.tracked.entries()]).toEqual([["TimeZone", "UTC"]]);
  expect(new Map(parameters.entries()).get("server_version")).toBe("18.0");
  expect(parameters.identityKnown).toBe(true);
  parameters.set("is_superuser", "on");
  expect(parameters.identityKnown).toBe(false);
  parameters.set("TimeZone", "Asia/Tokyo");
  expect(parameters.identityKnown).toBe(false);
  parameters.set("is_superuser", "off");
  expect(parameters.identityKnown).toBe(true);
  parameters.set("session_authorization", "bob");
  expect(parameters.identityKnown).toBe(false);
});
