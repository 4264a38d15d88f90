/** The transport over Node's sockets: threads cannot have others. */
import { expect, test } from "vitest";
import { currentDescriptors } from "../../../src/base/descriptors.ts";
import "./transport-cases.ts";

test("nobody reads by descriptors here", () => {
  expect(currentDescriptors()).toBeUndefined();
});
