/** The console of `pgsluice start`: RELOAD reads the program's own file, SHUTDOWN ends the process. */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { CliProgram } from "./cli-program.ts";
import { table } from "./console-client.ts";
import { Client } from "./pooled.ts";

const place = useLab();

async function writeConfig(file: string, poolSize: number | string): Promise<void> {
  const { host, port } = place.lab.primary;
  const lines = ["[pgsluice]", "listen_port = 0", 'auth_type = "trust"', 'admin_users = ["postgres"]'];
  lines.push(`default_pool_size = ${poolSize}`, "[nodes.main]", `host = "${host}"`, `port = ${port}`, "");
  await writeFile(file, lines.join("\n"));
}

test("SET changes where and what is logged at once: logfile, log_level, and PgBouncer's verbose", async () => {
  await using folder = await tempFolder();
  const file = path.join(folder.path, "pgsluice.toml");
  const log = path.join(folder.path, "pooler.log");
  await writeConfig(file, 5);
  await using program = new CliProgram("start", "--config", file);
  const [, port] = await program.printed("stderr", /"port":(\d+)/);
  using console = await Client.connect({ host: "127.0.0.1", port: Number(port) }, { database: "pgbouncer" });
  const level = async (): Promise<unknown> =>
    (await table(console, "show config")).find(({ key }) => key === "log_level")?.["value"];
  expect((await console.run(`set logfile = '${log}'`)).tags).toEqual([`SET logfile=${log}`]);
  expect((await console.run("reconnect")).tags).toEqual(["RECONNECT"]);
  expect(await readFile(log, "utf8")).toContain("RECONNECT command issued");
  await console.run("set log_level = warn");
  await console.run("pause");
  await console.run("resume");
  expect(await readFile(log, "utf8")).not.toContain("PAUSE command issued");
  expect((await console.run("set verbose = 1")).tags).toEqual(["SET verbose=1"]);
  expect(await level()).toBe("debug");
  await console.run("wait_close");
  expect(await readFile(log, "utf8")).toContain("WAIT_CLOSE command issued");
  // A reload brings back what the file says, and tells that it differs.
  await console.run("reload");
  await program.printed("stderr", /"changed":\["pgsluice.logfile","pgsluice.log_level"\]/);
  expect(await level()).toBe("info");
});

test("RELOAD re-reads the file, or says that it cannot; SHUTDOWN ends the process with 0", async () => {
  await using folder = await tempFolder();
  const file = path.join(folder.path, "pgsluice.toml");
  await writeConfig(file, 5);
  await using program = new CliProgram("start", "--config", file);
  const [, port] = await program.printed("stderr", /"port":(\d+)/);
  const place = { host: "127.0.0.1", port: Number(port) };
  using console = await Client.connect(place, { database: "pgbouncer" });
  const poolSize = async (): Promise<unknown> =>
    (await table(console, "show config")).find(({ key }) => key === "default_pool_size")?.["value"];

  await writeConfig(file, 9);
  expect((await console.run("reload")).tags).toEqual(["RELOAD"]);
  expect(await poolSize()).toBe("9");
  await writeConfig(file, '"many"');
  expect((await console.run("reload")).error).toMatchObject({
    ...{ code: "F0000", message: "RELOAD failed, see logs for additional details" },
  });
  expect(await poolSize()).toBe("9");
  await program.printed("stderr", /default_pool_size: must be an integer/);

  using client = await Client.connect(place);
  expect(await client.value("select 1")).toBe("1");
  expect((await console.run("shutdown wait_for_clients")).tags).toEqual(["SHUTDOWN"]);
  expect(await client.value("select 2")).toBe("2");
  await client.close();
  expect(await program.exit).toBe(0);
});
