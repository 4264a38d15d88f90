/**
 * Auto mode: clients that make and drop temporary objects in every way see theirs after each step, and nobody else's,
 * with as many servers as clients and with fewer.
 */
import { beforeAll, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { seeded } from "../kit/random.ts";
import { Pooled } from "./pooled.ts";
import { Leave, prepareTemporary, TemporaryClient } from "./temporary-client.ts";

const place = useLab();
const steps = 25;

beforeAll(() => prepareTemporary(place.lab));

test.each([
  { clients: 1, servers: 1 },
  { clients: 2, servers: 2 },
  { clients: 4, servers: 2 },
  { clients: 3, servers: 1 },
])("$clients clients on $servers servers see their own temporary objects", async ({ clients, servers }) => {
  const seed = Date.now() % 1_000_000;
  await using pooled = await Pooled.start(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: servers },
  });
  const leave = new Leave(servers);
  const running = Array.from({ length: clients }, (_, at) =>
    new TemporaryClient(pooled.place, `client ${at}`, leave, seeded(seed + at)).run(steps),
  );
  const failed = (await Promise.allSettled(running)).flatMap((result) =>
    result.status === "rejected" ? [`seed ${seed}, ${String(result.reason)}`] : [],
  );
  expect(failed).toEqual([]);
  expect(pooled.closeReasons).toEqual([]);
});
