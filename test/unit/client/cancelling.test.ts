/** Cancel requests are repeated until what they are for has ended, and not longer. */
import { expect, test } from "vitest";
import { Cancelling } from "../../../src/client/query/cancelling.ts";

test("a request without effect is repeated", async () => {
  let delivered = 0;
  const cancelling = new Cancelling(
    () => {
      delivered++;
      return Promise.resolve();
    },
    () => delivered === 3,
  );
  await cancelling.run();
  expect(delivered).toBe(3);
});

test("the end of the statement is noticed at once, and a request that is under way is waited for", async () => {
  let over = false;
  let taken: () => void = () => {};
  let delivered = 0;
  const cancelling = new Cancelling(
    () => {
      delivered++;
      return new Promise((resolve) => {
        taken = resolve;
      });
    },
    () => over,
  );
  let ended = false;
  const running = cancelling.run().then(() => {
    ended = true;
  });
  over = true;
  cancelling.look();
  await new Promise(setImmediate);
  expect(ended).toBe(false);
  taken();
  await running;
  expect(delivered).toBe(1);
});

test("a request that cannot be delivered is the last", async () => {
  let tries = 0;
  const cancelling = new Cancelling(
    () => Promise.reject(new Error(`refused ${++tries}`)),
    () => false,
  );
  await cancelling.run();
  expect(tries).toBe(1);
});
