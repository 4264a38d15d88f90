import { describe, expect, test } from "vitest";
import { unknownStatement } from "../../../src/session/auto/knowledge.ts";
import { Hold, SequenceUse } from "../../../src/session/auto/sequences.ts";
import { Output } from "../../../src/session/output.ts";
import { fakeServer } from "../pool/fakes.ts";

/** A client that runs statements on one server, while its database's catalogs are known or not; "uses" in a text is the truth. */
function doubtful() {
  const database = {
    catalogsKnown: false,
    usesSequence: (text: Buffer): boolean => text.includes("uses"),
  };
  const use = new SequenceUse(1, database);
  const { server } = fakeServer();
  return {
    database,
    run(text: string | undefined): void {
      use.begin();
      use.see(unknownStatement, { whole: text === undefined ? undefined : Buffer.from(text) });
      use.claim(server, new Output(), 0);
    },
    hold: (): Hold => use.hold(server, false, () => 1),
    server,
  };
}

describe("a statement that ran before the catalogs were known", () => {
  test("holds the server until they tell that it has used no sequence", () => {
    const client = doubtful();
    client.run("select harmless()");
    client.run("select harmless_too()");
    expect(client.hold()).toBe(Hold.loose);
    client.database.catalogsKnown = true;
    expect(client.hold()).toBe(Hold.none);
    expect(client.hold()).toBe(Hold.none);
    // Whose values there may be is not forgotten.
    expect(client.server.sequencesOf).toBe(1);
  });

  test.each([
    ["another one has used one", "select uses()"],
    ["the text of another one is not known", undefined],
    ["another one is too long to be kept", " ".repeat(5000)],
  ])("goes on to hold it if %s", (_, other) => {
    const client = doubtful();
    client.run("select harmless()");
    client.run(other);
    client.database.catalogsKnown = true;
    expect(client.hold()).toBe(Hold.loose);
    expect(client.hold()).toBe(Hold.loose);
  });

  test("goes on to hold it if there have been too many to remember", () => {
    const client = doubtful();
    for (let count = 0; count < 20; count++) client.run("select harmless()");
    client.database.catalogsKnown = true;
    expect(client.hold()).toBe(Hold.loose);
  });

  test("and one that ran when they were known holds it in any case", () => {
    const client = doubtful();
    client.run("select harmless()");
    client.database.catalogsKnown = true;
    client.run("select opaque()");
    expect(client.hold()).toBe(Hold.loose);
  });
});
