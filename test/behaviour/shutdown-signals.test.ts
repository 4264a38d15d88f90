/** Signals to a pooler that runs as a program of its own, seen from its clients, and its exit codes. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { untilRefused } from "../kit/byte-stream.ts";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { CliProgram } from "./cli-program.ts";
import { backends, Client, query, untilRunning } from "./pooled.ts";

const place = useLab();
const farewell = { kind: "ErrorResponse", fields: { severity: "FATAL", code: "57P01" } };

/** A pooler as a program, and where it listens. */
async function started(...flags: string[]): Promise<{ readonly program: CliProgram; readonly port: number }> {
  const { host, port } = place.lab.primary;
  const upstream = `postgres://postgres@${host}:${port}/postgres?sslmode=disable`;
  const program = new CliProgram("start", "--upstream", upstream, "--port", "0", ...flags);
  return { program, port: await portOf(program) };
}

async function portOf(program: CliProgram): Promise<number> {
  const [, port] = await program.printed("stderr", /"port":(\d+)\},"msg":"listening"/);
  return Number(port);
}

test("acceptance 2, 3, 8: TERM refuses new clients at once, lets the sessions finish, and ends with 0", async () => {
  const { program, port } = await started("--mode", "transaction");
  await using _ = program;
  using idle = await Client.connect(port);
  using block = await Client.connect(port);
  await block.run("begin");
  program.signal("SIGTERM");
  await untilRefused(port);
  expect(await idle.value("select 'goes on'")).toBe("goes on");
  expect(await block.run("commit")).toMatchObject({ tags: ["COMMIT"] });
  await idle.close();
  // A second one changes nothing for the session that is left.
  program.signal("SIGTERM");
  expect(await block.value("select 'goes on'")).toBe("goes on");
  await block.close();
  expect(await program.exit).toBe(0);
  expect(await backends(place.lab)).toBe(0);
});

for (const [signal, last] of [
  ["SIGINT", [farewell]],
  ["SIGQUIT", []],
] as const) {
  const told = signal === "SIGINT" ? "57P01" : "nothing";
  test(`acceptance 3, 4, 8: ${signal} tells each client ${told}, and ends with 0`, async () => {
    const { program, port } = await started("--mode", "transaction", "--pool-size", "2");
    await using _ = program;
    const clients = await Promise.all(Array.from({ length: 4 }, () => Client.connect(port)));
    const [, block, busy, waiting] = clients as [Client, Client, Client, Client];
    await block.run("begin");
    busy.send(query("select pg_sleep(60), 'signalled'"));
    await untilRunning(place.lab, "signalled");
    waiting.send(query("select 'never'"));
    // Also one that has not logged in yet.
    using halfOpen = await rawClient(port);
    program.signal(signal);
    for (const client of clients) expect(await client.raw.rest()).toMatchObject(last);
    expect(await halfOpen.rest()).toEqual([]);
    for (const client of clients) client.destroy();
    expect(await program.exit).toBe(0);
    await waitUntil(async () => (await backends(place.lab)) === 0, "PostgreSQL has no client left");
  });
}

test("acceptance 3, 4: a session that TERM waits for ends with INT", async () => {
  const { program, port } = await started();
  await using _ = program;
  using client = await Client.connect(port);
  await client.run("begin");
  program.signal("SIGTERM");
  await untilRefused(port);
  program.signal("SIGINT");
  expect(await client.raw.rest()).toMatchObject([farewell]);
  client.destroy();
  expect(await program.exit).toBe(0);
});

describe("HUP", () => {
  test("acceptance 5: puts a changed file in force at once, and keeps the old one if it is wrong", async () => {
    await using folder = await tempFolder();
    const file = path.join(folder.path, "pgsluice.toml");
    const write = (settings: string): void => {
      const node = `[nodes.main]\nport = ${place.lab.primary.port}\nserver_tls_sslmode = "disable"`;
      writeFileSync(file, `[pgsluice]\nlisten_port = 0\nauth_type = "trust"\n${settings}\n${node}\n`);
    };
    write('pool_mode = "transaction"\ndefault_pool_size = 1');
    await using program = new CliProgram("start", "--config", file);
    const port = await portOf(program);
    using holder = await Client.connect(port);
    using waiting = await Client.connect(port);
    await holder.run("begin");
    const outcome = waiting.value("select 'served'");
    const mistakes = {
      'pool_mode = "transactional"': "pool_mode",
      "default_pool_size = -1": "default_pool_size",
      "this is no TOML": "pgsluice.toml",
      'auth_file = "no-such-file"': "auth_file",
    };
    for (const [index, [wrong, complaint]] of Object.entries(mistakes).entries()) {
      write(wrong);
      program.signal("SIGHUP");
      const refusals = (): string[] => program.stderr.match(/.*"msg":"reload failed.*/g) ?? [];
      await waitUntil(() => refusals().length === index + 1, `${wrong} is refused`);
      expect(refusals().at(-1)).toContain(complaint);
    }
    expect(await holder.value("select 'goes on'")).toBe("goes on");
    using later = await Client.connect(port);
    write('pool_mode = "transaction"\ndefault_pool_size = 2\nlisten_addr = "127.0.0.2"');
    program.signal("SIGHUP");
    expect(await outcome).toBe("served");
    await program.printed(
      "stderr",
      /"settings":\["pgsluice.listen_addr"\],"msg":"these settings take effect/,
    );
    expect(await holder.run("commit")).toMatchObject({ tags: ["COMMIT"] });
    expect(await later.value("select 1")).toBe("1");
    program.signal("SIGINT");
    expect(await program.exit).toBe(0);
  });
});

test("acceptance 6, 7: USR1 pauses: idle servers are closed, those in use when they are given back; USR2 resumes", async () => {
  const { program, port } = await started("--mode", "transaction");
  await using _ = program;
  using one = await Client.connect(port);
  using two = await Client.connect(port);
  await Promise.all([one.run("begin"), two.run("begin")]);
  const [inUse, idle] = [await one.backendPid(), await two.backendPid()];
  await two.run("commit");
  program.signal("SIGUSR1");
  await waitUntil(async () => (await backends(place.lab, `pid = ${idle}`)) === 0, "the idle one is closed");
  expect(await one.backendPid()).toBe(inUse);
  expect(await one.run("commit")).toMatchObject({ tags: ["COMMIT"] });
  await waitUntil(async () => (await backends(place.lab, `pid = ${inUse}`)) === 0, "the other as well");
  const answer = two.value("select 'goes on'");
  program.signal("SIGUSR2");
  expect(await answer).toBe("goes on");
  program.signal("SIGINT");
  one.destroy();
  two.destroy();
  expect(await program.exit).toBe(0);
});

test("acceptance 1: clients that break off in the middle of everything never end the process", async () => {
  const { program, port } = await started("--mode", "transaction");
  await using _ = program;
  using witness = await Client.connect(port);
  for (let i = 0; i < 30; i++) {
    using client = await Client.connect(port);
    client.send(query("select repeat('x', 100000) from generate_series(1, 200)"));
    if (i % 2 === 0) await client.raw.expect("RowDescription");
    client.raw.stream.reset();
    const halfOpen = await rawClient(port);
    halfOpen.sendStartup({ database: "postgres" });
    halfOpen.stream.reset();
  }
  expect(await witness.value("select 'still here'")).toBe("still here");
  program.signal("SIGINT");
  witness.destroy();
  expect(await program.exit).toBe(0);
  expect(program.stderr).not.toMatch(/"level":(50|60)/);
});

test("acceptance 8: what cannot start ends with 1 and says why", async () => {
  const mistakes: readonly (readonly [string, ...string[]])[] = [
    ["--mode", "--upstream", "postgres://a@b/c", "--mode", "transactional"],
    ["no_such_setting", "--upstream", "postgres://a@b/c", "--set", "no_such_setting=1"],
    ["/no/such/file.toml", "--config", "/no/such/file.toml"],
  ];
  await Promise.all(
    mistakes.map(async ([complaint, ...flags]) => {
      const { code, stderr } = await CliProgram.run("start", ...flags);
      expect(code).toBe(1);
      expect(stderr).toContain(complaint);
    }),
  );
});
