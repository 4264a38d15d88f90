import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import {
  type CancelKey,
  CancelRegistry,
  type CancelTarget,
  hopsOfKey,
  peerOfKey,
  secretWithHops,
} from "../../../src/pool/cancel-registry.ts";

const target = (): CancelTarget => ({ cancel: async () => {} });

test("a key finds its own target and no other", () => {
  const registry = new CancelRegistry();
  const targets = [target(), target()];
  const keys = targets.map((one) => registry.register(one, false));
  for (const [index, key] of keys.entries()) {
    expect(registry.find(key.pid, Buffer.from(key.secret))).toBe(targets[index]);
  }
  const [one, other] = keys as [CancelKey, CancelKey];
  expect(registry.find(one.pid, other.secret)).toBeUndefined();
});

describe("acceptance 71: only a key that was given matches", () => {
  test("acceptance 71: zeros never match, whoever is here", () => {
    const registry = new CancelRegistry();
    expect(registry.find(0, Buffer.alloc(4))).toBeUndefined();
    for (const long of [false, true]) {
      for (let i = 0; i < 200; i++) registry.register(target(), long);
    }
    for (const bytes of [0, 4, 32, 256]) expect(registry.find(0, Buffer.alloc(bytes))).toBeUndefined();
  });

  test("acceptance 71: zeros are no secret that is given", () => {
    const registry = new CancelRegistry();
    for (let i = 0; i < 2000; i++) {
      const key = registry.register(target(), i % 2 === 0);
      expect(key.pid).not.toBe(0);
      expect(registry.find(key.pid, Buffer.alloc(key.secret.length))).toBeUndefined();
    }
  });

  test("acceptance 71: a key of the wrong length never matches", () => {
    const registry = new CancelRegistry();
    for (const long of [false, true]) {
      const { pid, secret } = registry.register(target(), long);
      expect(registry.find(pid, secret)).toBeDefined();
      expect(registry.find(pid, secret.subarray(0, -1))).toBeUndefined();
      expect(registry.find(pid, Buffer.alloc(0))).toBeUndefined();
      expect(registry.find(pid, Buffer.concat([secret, Buffer.alloc(1)]))).toBeUndefined();
      expect(registry.find(pid, Buffer.concat([secret, secret]))).toBeUndefined();
    }
  });

  test("acceptance 71: one wrong bit never matches", () => {
    const registry = new CancelRegistry();
    const { pid, secret } = registry.register(target(), true);
    for (let bit = 0; bit < secret.length * 8; bit++) {
      const wrong = Buffer.from(secret);
      wrong.writeUInt8(wrong.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(registry.find(pid, wrong)).toBeUndefined();
    }
    expect(registry.find(-pid, secret)).toBeUndefined();
    expect(registry.find(pid + 1, secret)).toBeUndefined();
  });

  test("acceptance 71: a key whose client has left matches nothing", () => {
    const registry = new CancelRegistry();
    const key = registry.register(target(), false);
    expect(registry.size).toBe(1);
    registry.unregister(key);
    expect(registry.size).toBe(0);
    expect(registry.find(key.pid, key.secret)).toBeUndefined();
    expect(() => registry.unregister(key)).toThrow(AssertionError);
  });

  test("acceptance 10, 71: 4 bytes for protocol 3.0, more for 3.2, all of them random", () => {
    const registry = new CancelRegistry();
    const secrets = new Set<string>();
    for (let i = 0; i < 500; i++) {
      expect(registry.register(target(), false).secret).toHaveLength(4);
      const { secret } = registry.register(target(), true);
      expect(secret).toHaveLength(32);
      secrets.add(secret.toString("hex"));
    }
    expect(secrets.size).toBe(500);
  });
});

test("a server's process id is kept, told apart by the secret, and never made up", () => {
  const registry = new CancelRegistry();
  const targets = [target(), target()];
  const keys = targets.map((one) => registry.register(one, false, 4711));
  expect(keys.map(({ pid }) => pid)).toEqual([4711, 4711]);
  for (const [index, { pid, secret }] of keys.entries())
    expect(registry.find(pid, Buffer.from(secret))).toBe(targets[index]);
  // pid_max of Linux is 2^22.
  for (let i = 0; i < 1000; i++) expect(registry.register(target(), false).pid).toBeGreaterThan(2 ** 22);
  registry.peerId = 7;
  expect(peerOfKey(registry.register(target(), false, 4711).pid)).toBe(7);
});

test("process ids are positive 32-bit integers, all different, spread over the whole range", () => {
  const registry = new CancelRegistry();
  const pids = Array.from({ length: 4000 }, () => registry.register(target(), false).pid);
  expect(new Set(pids).size).toBe(4000);
  for (const pid of pids) {
    expect(Number.isInteger(pid)).toBe(true);
    expect(pid).toBeGreaterThan(0);
    expect(pid).toBeLessThanOrEqual(0x7fff_ffff);
  }
  // Each of 16 equal parts of the range has about 250; the chance of less than 150 is nil.
  const parts = Array.from({ length: 16 }, () => 0);
  for (const pid of pids) parts[pid >>> 27] = (parts[pid >>> 27] ?? 0) + 1;
  expect(Math.min(...parts)).toBeGreaterThan(150);
});

describe("acceptance 92: keys among peers are in PgBouncer's layout", () => {
  const bytesOf = ({ pid, secret }: CancelKey): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(pid);
    return Buffer.concat([bytes, secret]);
  };

  test.each([1, 2, 255, 256, 0x1234, 16_383])(
    "acceptance 92: peer %i stands in the second and third byte, three hops in the last two bits",
    (id) => {
      const registry = new CancelRegistry();
      registry.peerId = id;
      for (let i = 0; i < 100; i++) {
        const key = registry.register(target(), i % 2 === 0);
        const bytes = bytesOf(key);
        expect(bytes).toHaveLength(8);
        expect(bytes.readUInt16LE(1)).toBe(id);
        expect(bytes.readUInt8(7) & 3).toBe(3);
        expect(bytes.readUInt8(0)).toBeLessThan(0x80);
        expect(peerOfKey(key.pid)).toBe(id);
        expect(hopsOfKey(key.secret)).toBe(3);
      }
    },
  );

  test("the other 45 bits are random", () => {
    const registry = new CancelRegistry();
    registry.peerId = 0x0102;
    const ones = Array.from({ length: 64 }, () => 0);
    for (let i = 0; i < 4000; i++) {
      const bytes = bytesOf(registry.register(target(), false));
      for (let bit = 0; bit < 64; bit++) {
        if ((bytes.readUInt8(bit >> 3) & (0x80 >> (bit & 7))) !== 0) ones[bit] = (ones[bit] ?? 0) + 1;
      }
    }
    // Half of 4000 with a standard deviation of 32.
    const random = ones.filter((count) => count > 1600 && count < 2400);
    expect(random).toHaveLength(45);
    expect(ones.filter((count) => count === 0 || count === 4000)).toHaveLength(64 - 45);
  });

  test("a key is known by its random bits, however many of its hops are used up", () => {
    const registry = new CancelRegistry();
    registry.peerId = 7;
    const mine = target();
    const { pid, secret } = registry.register(mine, false);
    for (const hops of [0, 1, 2, 3]) expect(registry.find(pid, secretWithHops(secret, hops))).toBe(mine);
    for (let bit = 0; bit < 30; bit++) {
      const wrong = Buffer.from(secret);
      wrong.writeUInt8(wrong.readUInt8(bit >> 3) ^ (0x80 >> (bit & 7)), bit >> 3);
      expect(registry.find(pid, wrong)).toBeUndefined();
    }
  });

  test("more clients than there are process ids: each is found and taken back", () => {
    const registry = new CancelRegistry();
    registry.peerId = 3;
    const clients = Array.from({ length: 70_000 }, () => {
      const one = target();
      return { one, key: registry.register(one, false) };
    });
    expect(registry.size).toBe(70_000);
    // One expectation for all: 70,000 take seconds.
    const found = (some: typeof clients): number =>
      some.filter(({ one, key }) => registry.find(key.pid, key.secret) === one).length;
    const notFound = (some: typeof clients): number =>
      some.filter(({ key }) => registry.find(key.pid, key.secret) === undefined).length;
    expect(found(clients)).toBe(70_000);
    const [left, stay] = [clients.filter((_, i) => i % 2 === 0), clients.filter((_, i) => i % 2 === 1)];
    for (const { key } of left) registry.unregister(key);
    expect([notFound(left), found(stay)]).toEqual([35_000, 35_000]);
    for (const { key } of stay) registry.unregister(key);
    expect(registry.size).toBe(0);
  });

  test("keys that were given before there were peers go on", () => {
    const registry = new CancelRegistry();
    const [first, second] = [target(), target()];
    const before = registry.register(first, true);
    registry.peerId = 9;
    const after = registry.register(second, true);
    registry.peerId = 0;
    expect(registry.find(before.pid, before.secret)).toBe(first);
    expect(registry.find(after.pid, after.secret)).toBe(second);
    expect(
      registry.find(before.pid, secretWithHops(before.secret, hopsOfKey(before.secret) ^ 1)),
    ).toBeUndefined();
  });
});
