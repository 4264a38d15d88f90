/** Threads that are not the main one have a loop of their own, which is not ours to wait in. */
import { isMainThread } from "node:worker_threads";
import { expect, test } from "vitest";
import { currentDescriptors } from "../../../src/base/descriptors.ts";
import { useEpoll } from "../../../src/epoll/descriptors.ts";

test("a thread leaves its sockets to Node", () => {
  expect(isMainThread).toBe(false);
  expect(useEpoll()).toBe(false);
  expect(currentDescriptors()).toBeUndefined();
});
