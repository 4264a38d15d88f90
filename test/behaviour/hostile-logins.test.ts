/**
 * Crowds at the door: connections that never log in, log in slowly, wrongly, or ten thousand at once. What
 * they cost is bounded, and those who have something to do here get in and are served.
 */
import { spawn } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeCertificates } from "../../src/lab/index.ts";
import { encodeQuery, encodeSaslInitialResponse } from "../../src/wire/encode-frontend.ts";
import { encodeCancelRequest, encodeStartup, gssencRequest, sslRequest } from "../../src/wire/startup.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import { useLab } from "../kit/lab.ts";
import { RawClient, rawClient } from "../kit/raw-client.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitToSee, waitUntil, within } from "../kit/wait.ts";
import { Bystander, PoolerProcess, patienceMs } from "./hostile-pooler.ts";

const pg = useLab();
const crowdProgram = fileURLToPath(new URL("hostile-crowd.mjs", import.meta.url));
const startup = encodeStartup(196_608, [
  ["user", "postgres"],
  ["database", "postgres"],
]);

function startPooler(
  settings: Readonly<Record<string, unknown>>,
  further: Partial<Parameters<typeof PoolerProcess.start>[0]> = {},
): Promise<PoolerProcess> {
  const { host, port } = pg.lab.primary;
  return PoolerProcess.start({ settings, nodes: { main: { host, port } }, ...further });
}

/** Connections of another process, because this one may not have so many. */
async function crowd(
  pooler: PoolerProcess,
  count: number,
  opening: Buffer,
): Promise<Disposable & { open: number }> {
  const args = [crowdProgram, `${pooler.place.port}`, `${count}`, opening.toString("base64")];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const [said] = (await within(once(child, "message"), `${count} connections are open`, patienceMs)) as [
    { open: number },
  ];
  return { open: said.open, [Symbol.dispose]: () => void child.kill("SIGKILL") };
}

/** Runs `step` so often, a few at a time. */
async function repeat(
  times: number,
  atOnce: number,
  step: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < times) await step(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

async function newcomer(pooler: PoolerProcess): Promise<void> {
  using client = await pooler.connect();
  expect(await client.rows("select 'newcomer'")).toEqual([["newcomer"]]);
}

/** A newcomer gets in, at last. */
async function untilRoom(pooler: PoolerProcess): Promise<void> {
  await waitToSee(
    () => newcomer(pooler).catch((error: unknown) => error),
    (error) => error === undefined,
    "a newcomer gets in",
    patienceMs,
  );
}

describe("ten thousand half-open logins", () => {
  let pooler: PoolerProcess;
  beforeAll(async () => {
    pooler = await startPooler(
      { max_client_conn: 10_000, auth_type: "password", listen_backlog: 4096 },
      { users: { postgres: { password: "secret" } } },
    );
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test.each([
    ["that have sent nothing", Buffer.alloc(0)],
    ["in the middle of a startup packet", startup.subarray(0, 20)],
    ["that owe a password", startup],
  ])("%s: others log in and work, and it costs bounded memory", async (_, opening) => {
    const login = { database: "postgres", password: "secret" };
    await using bystander = await Bystander.start(pooler.place, login);
    await bystander.works();
    const memory = pooler.startMeasuring();
    const count = opening.length === 20 ? 10_000 : 1500;
    using attackers = await crowd(pooler, count, opening);
    // As many as this machine lets a process open; where that is less, it is as good a test.
    expect(attackers.open).toBeGreaterThan(900);
    await bystander.works();
    using client = await pooler.connect(login);
    expect(await client.rows("select 'newcomer'")).toEqual([["newcomer"]]);
    expect((await pooler.counts()).logins).toBe(attackers.open);
    // A socket and what belongs to it take about 10 kB each.
    expect(memory.grownMb()).toBeLessThan(60 + 0.015 * count);
    attackers[Symbol.dispose]();
    client.destroy();
    await pooler.untilOnly(1);
    await bystander[Symbol.asyncDispose]();
    await pooler.untilOnly(0);
  });

  test("more than may log in: who has logged in works on, cancel requests get through, and it ends", async () => {
    await using pooler = await startPooler({ max_client_conn: 10, client_login_timeout: 2 });
    await using bystander = await Bystander.start(pooler.place);
    const memory = pooler.startMeasuring();
    using attackers = await crowd(pooler, 2500, Buffer.alloc(0));
    expect(attackers.open).toBeGreaterThan(900);
    await bystander.works(10);
    expect(memory.grownMb()).toBeLessThan(80);
    expect(pooler.openFiles).toBeLessThan(1500);
    // Their time runs out, and then there is room again.
    await untilRoom(pooler);
    attackers[Symbol.dispose]();
    await pooler.untilOnly(1);
  });
});

test("logins of one byte at a time keep nobody out, and end at their time", async () => {
  await using pooler = await startPooler({ max_client_conn: 100, client_login_timeout: 2 });
  await using bystander = await Bystander.start(pooler.place);
  const streams = await Promise.all(Array.from({ length: 100 }, () => ByteStream.connect(pooler.place)));
  let position = 0;
  while (streams.some((stream) => !stream.isClosed)) {
    // The last byte never comes.
    const byte = startup.subarray(position, Math.min(position + 1, startup.length - 1));
    position++;
    for (const stream of streams) if (byte.length > 0 && !stream.isClosed) stream.write(byte);
    await bystander.works(1);
    if (position % 20 === 0) await newcomer(pooler);
  }
  for (const stream of streams) expect((await stream.readToEnd()).length).toBe(0);
  await pooler.untilOnly(1);
});

describe("TLS", () => {
  let folder: TempFolder;
  let pooler: PoolerProcess;
  beforeAll(async () => {
    folder = await tempFolder();
    const files = await makeCertificates(folder.path, { user: "postgres" });
    pooler = await startPooler({
      client_tls_sslmode: "allow",
      client_tls_cert_file: files.server.certificateFile,
      client_tls_key_file: files.server.keyFile,
      client_login_timeout: 1,
    });
  });
  afterAll(async () => {
    await pooler[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  /** A record of TLS that says it is longer than anybody allows. */
  const tooLong = Buffer.concat([Buffer.from([0x16, 3, 1, 0xff, 0xff]), Buffer.alloc(70_000, 1)]);
  const hello = Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), randomBytes(505)]);

  test.each([
    ["noise", randomBytes(5000)],
    ["zeros", Buffer.alloc(20_000)],
    ["a startup packet in clear", startup],
    ["a record that is too long", tooLong],
    ["a client hello of noise", hello],
    ["half a record", hello.subarray(0, 100)],
    ["an alert", Buffer.from([0x15, 3, 3, 0, 2, 2, 40])],
  ])("%s in place of a handshake ends in a close, and nobody notices", async (_, garbage) => {
    await using bystander = await Bystander.start(pooler.place);
    await repeat(20, 20, async (index) => {
      const stream = await ByteStream.connect(pooler.place);
      const direct = index % 2 === 0 && garbage[0] === 0x16;
      if (!direct) {
        stream.write(sslRequest);
        expect((await stream.read(1, "an answer")).toString()).toBe("S");
      }
      stream.write(garbage);
      if (garbage.length === 100) stream.end();
      const answer = await stream.readToEnd();
      expect(answer.includes("ReadyForQuery")).toBe(false);
      stream.destroy();
    });
    await bystander.works();
    using secure = new RawClient(await ByteStream.connect(pooler.place));
    await secure.startTls();
    await secure.startup({ database: "postgres" });
    expect(await secure.rows("select 'encrypted'")).toEqual([["encrypted"]]);
    secure.destroy();
    await bystander[Symbol.asyncDispose]();
    await pooler.untilOnly(0);
  });

  test("thousands of requests for encryption that nothing follows", async () => {
    await using bystander = await Bystander.start(pooler.place);
    await repeat(2000, 50, async (index) => {
      const stream = await ByteStream.connect(pooler.place);
      stream.write(index % 2 === 0 ? sslRequest : gssencRequest);
      await stream.read(1, "an answer");
      stream.reset();
    });
    const many = await ByteStream.connect(pooler.place);
    many.write(Buffer.concat(Array.from({ length: 10_000 }, () => gssencRequest)));
    expect((await many.readToEnd()).length).toBeLessThan(200);
    await bystander.works();
    await bystander[Symbol.asyncDispose]();
    await pooler.untilOnly(0);
  });
});

test("1,000 cancel requests with keys that nobody has stop nothing", async () => {
  await using pooler = await startPooler({ max_client_conn: 20 });
  await using bystander = await Bystander.start(pooler.place);
  using victim = await rawClient(pooler.place);
  const { pid, key } = await victim.startup({ database: "postgres" });
  victim.send(encodeQuery("select pg_sleep(2), 'not cancelled'"));
  await repeat(1000, 50, async (index) => {
    const stream = await ByteStream.connect(pooler.place);
    const stranger = index % 2 === 0 ? pid : randomInt(2 ** 31);
    stream.write(
      encodeCancelRequest(
        stranger,
        index % 4 === 0 ? (key.map((byte) => byte ^ 1) as Buffer) : randomBytes(4),
      ),
    );
    expect((await stream.readToEnd()).length).toBe(0);
    stream.destroy();
  });
  const row = await victim.expect("RowDescription").then(() => victim.expect("DataRow"));
  expect(row.values[1]?.toString()).toBe("not cancelled");
  await bystander.works();
  victim.destroy();
  await pooler.untilOnly(1);
});

test("a flood of SCRAM logins, each of which costs 20,000 hashes (scram_iterations), leaves others their turn", async () => {
  await using pooler = await startPooler(
    { max_client_conn: 500, auth_type: "scram-sha-256", scram_iterations: 20_000 },
    { users: { postgres: { password: "secret" } } },
  );
  await using bystander = await Bystander.start(pooler.place, { password: "secret" });
  const noise = (): Buffer => Buffer.from(`n,,n=,r=${randomBytes(18).toString("base64")}`);
  let refused = 0;
  const flood = repeat(60, 30, async (index) => {
    using client = await rawClient(pooler.place);
    if (index % 2 === 0) {
      const failed = client.startup({ database: "postgres", password: "guess" });
      await expect(failed).rejects.toThrow("28P01");
    } else {
      // Leaves while the hash is being computed.
      client.sendStartup({ database: "postgres", user: index % 4 === 1 ? "postgres" : "nobody" });
      await client.expect("AuthenticationSASL");
      client.send(encodeSaslInitialResponse("SCRAM-SHA-256", noise()));
    }
    refused++;
  });
  for (; refused < 45; await bystander.works(1));
  await flood;
  using newcomer = await pooler.connect({ password: "secret" });
  expect(await newcomer.rows("select 'in'")).toEqual([["in"]]);
  newcomer.destroy();
  await pooler.untilOnly(1);
});

test("logins with options that all differ share the servers there are, and leave nothing behind", async () => {
  const size = 3;
  await using pooler = await startPooler({ max_client_conn: 300, default_pool_size: size });
  await using bystander = await Bystander.start(pooler.place);
  let most = 0;
  await repeat(40, 15, async (index) => {
    using client = await pooler.connect({ parameters: [["options", `-c search_path=schema_${index}`]] });
    expect(await client.rows("show search_path")).toEqual([[`schema_${index}`]]);
    if (index % 10 === 0) most = Math.max(most, (await pooler.counts()).servers);
  });
  expect(most).toBeLessThanOrEqual(size);
  await bystander.works();
  await pooler.untilOnly(1);
  await waitUntil(
    async () => (await pooler.alive()).Pool <= size,
    "pools without servers are forgotten",
    patienceMs,
  );
});

test("acceptance 20: without a file descriptor left it neither falls nor stays down", async () => {
  await using pooler = await startPooler(
    { default_pool_size: 2, server_login_retry: 0.2 },
    { openFilesMax: 80 },
  );
  await using bystander = await Bystander.start(pooler.place);
  await bystander.works();
  using attackers = await crowd(pooler, 300, Buffer.alloc(0));
  await bystander.works(10);
  attackers[Symbol.dispose]();
  await untilRoom(pooler);
  await pooler.untilOnly(1);
});
