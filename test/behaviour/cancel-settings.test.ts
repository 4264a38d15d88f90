/** A cancel request that comes while the pooler brings a server to its client's settings, in front of the client's statement. */
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { MessageProxy } from "./message-proxy.ts";
import { type Client, type Pooled, query, running, untilRunning } from "./pooled.ts";

const place = useLab();
const text = "select pg_sleep(60), 'behind settings'";

interface Held {
  readonly proxy: MessageProxy;
  readonly pooled: Pooled;
  readonly client: Client;
  readonly requested: Promise<void>;
}

/** The client's statement runs behind its settings, whose replies are held; it has asked for it to be cancelled. */
async function held(
  settings: Readonly<Record<string, unknown>>,
  use: (held: Held) => Promise<void>,
): Promise<void> {
  await using proxy = await MessageProxy.start(place.lab.primary);
  const { host, port } = proxy;
  await using pooled = await startPooled(place.lab, {
    node: { host, port },
    settings: { default_pool_size: 1, ...settings },
  });
  using client = await pooled.connect();
  using other = await pooled.connect();
  using console = await openConsole(pooled);
  await client.run("set timezone = 'Asia/Tokyo'");
  await other.run("begin; commit");
  expect(await other.value("show timezone")).not.toBe("Asia/Tokyo");
  proxy.hold();
  client.send(query(text));
  await untilRunning(place.lab, "behind settings");
  const requested = client.cancel();
  const asked = async (): Promise<boolean> => {
    const rows = await table(console, "show pools");
    return proxy.cancels > 0 || rows.some((row) => row["cl_active_cancel_req"] === "1");
  };
  await waitUntil(asked, "the cancel request has come");
  await use({ proxy, pooled, client, requested });
}

async function untilStopped(): Promise<void> {
  await waitUntil(async () => (await running(place.lab, "behind settings")) === 0, "it is stopped");
}

for (const mode of ["transaction", "auto"]) {
  test(`waits for the settings, and stops the statement (${mode})`, async () => {
    await held({ pool_mode: mode }, async ({ proxy, client, requested }) => {
      expect(proxy.cancels).toBe(0);
      proxy.release();
      expect(await client.outcome()).toMatchObject({
        error: { severity: "ERROR", code: "57014" },
        status: "I",
      });
      await requested;
      expect(proxy.cancels).toBe(1);
      expect(await client.value("show timezone")).toBe("Asia/Tokyo");
    });
  });

  test(`does not wait for them for longer than cancel_wait_timeout (${mode})`, async () => {
    await held({ pool_mode: mode, cancel_wait_timeout: 0.2 }, async ({ proxy, client, requested }) => {
      await requested;
      await waitUntil(() => proxy.cancels === 1, "it is sent");
      proxy.release();
      expect(await client.outcome()).toMatchObject({ error: { severity: "ERROR", code: "57014" } });
    });
  });

  test(`is dropped when the client is gone by then, and its statement is stopped (${mode})`, async () => {
    await held({ pool_mode: mode }, async ({ proxy, pooled, client, requested }) => {
      client.destroy();
      await pooled.untilSessions(1);
      proxy.release();
      await requested;
      await untilStopped();
      using next = await pooled.connect();
      expect(await next.value("select 'next'")).toBe("next");
    });
  });
}
