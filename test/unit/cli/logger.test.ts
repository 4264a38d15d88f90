import { expect, test } from "vitest";
import { formatLine } from "../../../src/cli/logger.ts";

function line(fields: object): string {
  const json = JSON.stringify({ level: 30, time: "2026-01-31T12:00:00.250Z", pid: 7, ...fields });
  const { prefix, text } = formatLine(json);
  return prefix + text;
}

test("a log line for people", () => {
  expect(line({ msg: "listening", address: { host: "::1", port: 1 }, note: "x" })).toBe(
    '2026-01-31 12:00:00.250 UTC [7] LOG listening (address={"host":"::1","port":1}, note=x)\n',
  );
  expect(line({ level: 40, msg: "careful" })).toBe("2026-01-31 12:00:00.250 UTC [7] WARNING careful\n");
});

test("an error shows its message, and from ERROR on where it comes from", () => {
  const err = { type: "Error", message: "broken", stack: "Error: broken\n    at somewhere" };
  expect(line({ level: 40, msg: "pooler error", err })).toMatch(/WARNING pooler error \(broken\)\n$/);
  expect(line({ level: 50, msg: "reload failed", err })).toMatch(
    /ERROR reload failed \(broken\)\nError: broken\n {4}at somewhere\n$/,
  );
});
