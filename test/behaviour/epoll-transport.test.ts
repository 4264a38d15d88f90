/** The transport over descriptors: what it promises over Node's sockets holds. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { currentDescriptors, useDescriptors } from "../../src/base/descriptors.ts";
import { useEpoll } from "../../src/epoll/descriptors.ts";
import { transportCases } from "../unit/base/transport-cases.ts";

describe.runIf(process.platform === "linux")("by descriptors", () => {
  beforeAll(() => {
    expect(useEpoll()).toBe(true);
  });
  afterAll(() => useDescriptors(undefined));

  test("the process reads by descriptors", () => {
    expect(currentDescriptors()).toBeDefined();
  });

  transportCases();
});
