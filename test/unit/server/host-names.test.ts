import { expect, test } from "vitest";
import { VirtualClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { HostNames, type Resolver } from "../../../src/server/host-names.ts";
import { waitUntil } from "../../kit/wait.ts";

/** A resolver that knows what it is given, and counts how often it is asked for a name. */
function names(reverse: Record<string, string>, forward: Record<string, string[]>) {
  const clock = new VirtualClock();
  const asked: string[] = [];
  const resolver: Resolver = {
    reverse: async (address) => {
      asked.push(address);
      return reverse[address] ?? Promise.reject(new Error("ENOTFOUND"));
    },
    forward: async (name) => forward[name] ?? Promise.reject(new Error("ENOTFOUND")),
  };
  return { clock, asked, hostNames: new HostNames(clock, silentLogger, resolver) };
}

test("the name of an address counts if it has the address", async () => {
  const { hostNames, asked } = names(
    {
      "192.0.2.1": "one.example.com.",
      "192.0.2.2": "forged.example.com",
      "192.0.2.3": "unknown.example.com",
      "192.0.2.4": "192.0.2.4",
      "2001:db8::1": "six.example.com",
    },
    {
      "one.example.com": ["198.51.100.1", "192.0.2.1"],
      "forged.example.com": ["198.51.100.1"],
      "192.0.2.4": ["192.0.2.4"],
      "six.example.com": ["2001:0db8:0:0::1"],
    },
  );
  expect(await hostNames.of("192.0.2.1")).toBe("one.example.com");
  expect(await hostNames.of("::ffff:192.0.2.1")).toBe("one.example.com");
  expect(asked).toEqual(["192.0.2.1", "192.0.2.1"]);
  expect(await hostNames.of("2001:db8::1")).toBe("six.example.com");
  for (const last of [2, 3, 4, 5]) expect(await hostNames.of(`192.0.2.${last}`)).toBe("");
});

test("an answer is kept for a minute, also that there is none; a reload forgets it", async () => {
  const { clock, asked, hostNames } = names({ "192.0.2.1": "a" }, { a: ["192.0.2.1"] });
  for (const address of ["192.0.2.1", "192.0.2.9"]) await hostNames.of(address);
  expect([hostNames.of("192.0.2.1"), hostNames.of("192.0.2.9")]).toEqual(["a", ""]);
  clock.advance(60_000);
  await hostNames.of("192.0.2.1");
  hostNames.forget();
  await hostNames.of("192.0.2.1");
  expect(asked).toHaveLength(4);
});

test("two are looked up at a time, the others in order; too many have no name", async () => {
  const answers: (() => void)[] = [];
  const resolver: Resolver = {
    reverse: (address) => new Promise((resolve) => answers.push(() => resolve(`host-${address}`))),
    forward: async (name) => [name.replace("host-", "")],
  };
  const hostNames = new HostNames(new VirtualClock(), silentLogger, resolver);
  const addresses = Array.from({ length: 204 }, (_, index) => `192.0.2.${index}`);
  const found = addresses.map((address) => Promise.resolve(hostNames.of(address)));
  expect(await Promise.all(found.slice(202))).toEqual(["", ""]);
  expect(answers).toHaveLength(2);
  for (let index = 0; index < 202; index++) {
    await waitUntil(() => answers.length > index, "the next one has its turn");
    expect(answers.length).toBeLessThanOrEqual(index + 2);
    answers[index]?.();
    expect(await found[index]).toBe(`host-192.0.2.${index}`);
  }
});

test("the system's resolver knows this machine", async () => {
  const hostNames = new HostNames(new VirtualClock(), silentLogger);
  expect(await hostNames.of("127.0.0.1")).not.toBe("");
});
