/** The transport over descriptors, where the system has an epoll: what it promises over Node's sockets holds. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { currentDescriptors, useDescriptors } from "../../src/base/descriptors.ts";
import { useEpoll } from "../../src/epoll/descriptors.ts";
import "../unit/base/transport-cases.ts";

const onLinux = process.platform === "linux";

beforeAll(() => {
  expect(useEpoll()).toBe(onLinux);
});
afterAll(() => useDescriptors(undefined));

test("the process reads by descriptors", () => {
  expect(currentDescriptors() !== undefined).toBe(onLinux);
});
