/** The log calls a mistake of the pooler's what is one, and nothing that the pooler does on purpose. */
import { expect, test } from "vitest";
import { mistake, poolerShutdown } from "../../../src/pool/failures.ts";
import { PoolLog } from "../../../src/pool/pool-log.ts";
import { fakeServer } from "./fakes.ts";

const nothing = (): void => {};

test.each([
  ["a shutdown", poolerShutdown(), ["warn server lost"]],
  ["a mistake", mistake(new Error("a bug")), ["error internal error", "warn server lost"]],
])("a server that is lost by %s", (_, failure, expected) => {
  const lines: string[] = [];
  const logger = {
    debug: nothing,
    info: nothing,
    warn: (_: object, message: string) => lines.push(`warn ${message}`),
    error: (_: object, message: string) => lines.push(`error ${message}`),
  };
  const { server } = fakeServer();
  new PoolLog(logger, "p").lost(server, failure);
  expect(lines).toEqual(expected);
});
