import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../src/base/clock.ts";
import { PoolDefaults, SessionDefaults } from "../../../src/pool/defaults.ts";
import { int16, typed, value } from "../wire/bytes.ts";
import { fakeServer } from "./fakes.ts";

type Row = readonly [kind: string, name: string, value: string | null, context: string];

/** The answer of a server whose catalog has this fingerprint. */
function answer(fingerprint: string | null, ...rows: readonly Row[]): Buffer {
  const all: Row[] = [...rows, ["fingerprint", "", fingerprint, ""]];
  return Buffer.concat(
    all.map((row) => typed("D", int16(row.length), ...row.map((column) => value(column)))),
  );
}

const plain = new SessionDefaults(
  answer(
    null,
    ["value", "work_mem", "4096", "user"],
    ["value", "TimeZone", "UTC", "user"],
    ["value", "log_statement", "none", "superuser"],
    ["value", "lock_timeout", "0", "user"],
  ),
);
const special = new SessionDefaults(
  answer(
    "7",
    ["default", "work_mem", "5120", "user"],
    ["default", "TimeZone", "Asia/Tokyo", "user"],
    ["default", "log_statement", "all", "superuser"],
    ["value", "lock_timeout", "3", "user"],
    ["undeclared", "own.x", "five", "user"],
  ),
);

describe("what has to be set on a server that began with other defaults", () => {
  const reported = (superuser: string): Map<string, string> =>
    new Map([
      ["TimeZone", "UTC"],
      ["is_superuser", superuser],
    ]);

  test("is what a role or database had altered for one of the two; not what is reported, and not what only a superuser may set", () => {
    expect([...special.over(plain, reported("off"))]).toEqual([
      ["work_mem", "5120"],
      ["own.x", "five"],
    ]);
    // The name stays: it can be emptied only.
    expect([...plain.over(special, reported("off"))]).toEqual([
      ["work_mem", "4096"],
      ["own.x", ""],
    ]);
    expect([...plain.over(plain, reported("off"))]).toEqual([]);
  });

  test("for a superuser is that as well", () => {
    const own = new SessionDefaults(answer("8", ["default", "log_statement", "all", "superuser"]));
    expect([...own.over(plain, reported("on"))]).toEqual([["log_statement", "all"]]);
  });
});

describe("of a pool", () => {
  function pool(): {
    clock: VirtualClock;
    defaults: PoolDefaults;
    retired: unknown[];
    owner: { welcome: unknown };
  } {
    const clock = new VirtualClock();
    const retired: unknown[] = [];
    const owner = {
      welcome: new Map<string, string>(),
      retireServers: (_reason: string, except?: unknown): void => void retired.push(except),
    };
    return { clock, defaults: new PoolDefaults(owner, clock), retired, owner };
  }

  test("servers that begin with the same share what is known; one that begins with something else retires the others", () => {
    const { defaults, retired } = pool();
    const { server: first } = fakeServer();
    const { server: second } = fakeServer();
    for (const server of [first, second]) {
      defaults.note(server, answer("7", ["default", "work_mem", "5120", "user"]));
      defaults.begin(server);
    }
    expect(second.defaults).toBe(first.defaults);
    expect(retired).toEqual([]);
    const { server: third } = fakeServer();
    defaults.note(third, answer("8", ["default", "work_mem", "6144", "user"]));
    defaults.begin(third);
    expect(retired).toEqual([third]);
    expect(defaults.current).toBe(third.defaults);
  });

  test("they are stale two minutes after the last look", () => {
    const { clock, defaults, retired, owner } = pool();
    const { server } = fakeServer();
    defaults.note(server, answer("7"));
    defaults.begin(server);
    clock.advance(119_999);
    expect(defaults.stale).toBe(false);
    clock.advance(1);
    expect(defaults.stale).toBe(true);
    expect(defaults.see("8")).toBe(false);
    expect(defaults.stale).toBe(true);
    expect(defaults.see("7")).toBe(true);
    expect(defaults.stale).toBe(false);
    defaults.renew();
    expect(owner.welcome).toBeUndefined();
    expect(retired).toEqual([undefined]);
    expect(defaults.current).toBeUndefined();
  });

  test("who asks is told when all is decided that is in doubt then", () => {
    const { defaults } = pool();
    const [one, two, three] = [fakeServer().server, fakeServer().server, fakeServer().server];
    const told: string[] = [];
    expect(defaults.awaitDecisions(() => told.push("nothing in doubt"))).toBe(false);
    defaults.doubt(one);
    defaults.doubt(two);
    expect(defaults.awaitDecisions(() => told.push("one and two"))).toBe(true);
    defaults.decide(one);
    defaults.doubt(three);
    expect(told).toEqual([]);
    defaults.decide(two);
    expect(told).toEqual(["one and two"]);
    defaults.decide(three);
    expect(told).toEqual(["one and two"]);
  });
});
