/** LISTEN in auto mode: what is notified while the pooler asks the server something of its own is not lost. */
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { Pooled } from "./pooled.ts";

const place = useLab();

test("a client that listens gets every notification, whatever it does meanwhile", async () => {
  await using pooled = await Pooled.start(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: 3 },
  });
  using listener = await pooled.connect();
  using notifier = await pooled.connect();
  await listener.run("listen news");
  const heard: string[] = [];
  const sent = 100;
  let done = false;
  const notifying = (async (): Promise<void> => {
    for (let number = 1; number <= sent; number++) await notifier.run(`notify news, '${number}'`);
    done = true;
  })();
  const listen = async (): Promise<void> => {
    // Each is followed by a look at what the session holds.
    const { messages } = await listener.run("do $$ begin perform 1; end $$");
    for (const message of messages) if (message.kind === "NotificationResponse") heard.push(message.payload);
  };
  while (!done) await listen();
  await notifying;
  for (let round = 0; round < 5 && heard.length < sent; round++) await listen();
  expect(heard).toEqual(Array.from({ length: sent }, (_, index) => String(index + 1)));
});
