import { describe, expect, test } from "vitest";
import { PeerError } from "../../../src/base/errors.ts";
import { readStartup, type Startup } from "../../../src/session/startup.ts";

const ignoresNothing = (): boolean => false;

const read = (...parameters: [string, string][]): Startup => readStartup(0, parameters, ignoresNothing);

describe("acceptance 32: what a startup packet says", () => {
  test("acceptance 32: user and database are understood, others are passed on as they are", () => {
    const startup = readStartup(
      2,
      [
        ["user", "ada"],
        ["options", "-c work_mem=8MB"],
        ["database", "engine"],
        ["search_path", '"$user"'],
        ["some.thing", " x "],
      ],
      ignoresNothing,
    );
    expect(startup).toEqual({
      minor: 2,
      user: "ada",
      database: "engine",
      tracked: new Map(),
      otherParameters: [
        ["options", "-c work_mem=8MB"],
        ["search_path", '"$user"'],
        ["some.thing", " x "],
      ],
      unknownOptions: [],
      replication: false,
    });
  });

  test("acceptance 32: settings that follow the client have the server's spelling", () => {
    const { tracked, otherParameters } = read(
      ["user", "ada"],
      ["application_name", "psql"],
      ["timezone", "Asia/Tokyo"],
      ["CLIENT_ENCODING", "latin1"],
    );
    expect([...tracked]).toEqual([
      ["application_name", "psql"],
      ["TimeZone", "Asia/Tokyo"],
      ["client_encoding", "latin1"],
    ]);
    expect(otherParameters).toEqual([]);
  });

  test("acceptance 32: of duplicates the last counts", () => {
    const startup = read(
      ["user", "first"],
      ["database", "one"],
      ["application_name", "a"],
      ["options", "x"],
      ["user", "ada"],
      ["database", "engine"],
      ["application_name", "b"],
      ["options", "y"],
    );
    expect(startup).toMatchObject({ user: "ada", database: "engine", otherParameters: [["options", "y"]] });
    expect(startup.tracked.get("application_name")).toBe("b");
  });

  test("acceptance 32: protocol options are told apart, to be named to the client", () => {
    const startup = read(["user", "ada"], ["_pq_.compression", "lz4"], ["_pq_.x", ""]);
    expect(startup.unknownOptions).toEqual(["_pq_.compression", "_pq_.x"]);
    expect(startup.otherParameters).toEqual([]);
  });

  test.each([
    ["database", true],
    ["true", true],
    ["ON", true],
    ["1", true],
    ["yes", true],
    ["false", false],
    ["off", false],
    ["OF", false],
    ["n", false],
    ["0", false],
    ["perhaps", true], // the server refuses it in its own words
    ["o", true],
    ["", true],
  ])("acceptance 32: replication=%s asks for a connection of its own: %s", (value, replication) => {
    const startup = read(["user", "ada"], ["replication", value], ["application_name", "walreceiver"]);
    expect(startup.replication).toBe(replication);
    expect(startup.otherParameters[0]).toEqual(["replication", value]);
    // A walsender takes no SQL, so that it gets everything at its start.
    expect(startup.otherParameters.length).toBe(replication ? 2 : 1);
    expect(startup.tracked.size).toBe(replication ? 0 : 1);
  });

  test("parameters that are to be ignored are gone", () => {
    const startup = readStartup(
      0,
      [
        ["user", "ada"],
        ["extra_float_digits", "2"],
        ["application_name", "x"],
        ["options", ""],
      ],
      (name) => name === "extra_float_digits" || name === "application_name" || name === "user",
    );
    expect(startup.user).toBe("ada");
    expect(startup.otherParameters).toEqual([["options", ""]]);
    expect(startup.tracked.size).toBe(0);
  });
});

describe("acceptance 36: no user", () => {
  test.each([
    ["none at all", []],
    ["an empty one", [["user", ""]]],
    [
      "an empty one at last",
      [
        ["user", "ada"],
        ["user", ""],
      ],
    ],
    ["another case", [["USER", "ada"]]],
  ] as [string, [string, string][]][])("acceptance 36: %s", (_what, parameters) => {
    let error: unknown;
    try {
      read(["database", "engine"], ...parameters);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(PeerError);
    expect(error).toMatchObject({
      sqlstate: "28000",
      message: "no PostgreSQL user name specified in startup packet",
      source: "client",
    });
  });
});

test("acceptance 37: a missing or empty database is that of the user's name", () => {
  expect(read(["user", "ada"]).database).toBe("ada");
  expect(read(["user", "ada"], ["database", ""]).database).toBe("ada");
  expect(read(["database", ""], ["user", "ada"]).database).toBe("ada");
  expect(read(["user", "ada"], ["database", "engine"]).database).toBe("engine");
});
