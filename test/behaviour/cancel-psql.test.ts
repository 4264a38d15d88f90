/** Ctrl-C in psql through a pooler: libpq's own cancel, and a session that goes on. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { beforeEach, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { Pooled, untilRunning } from "./pooled.ts";

const place = useLab();
const hasPsql = spawnSync("psql", ["--version"]).status === 0;
if (!hasPsql) console.warn("psql is not installed: Ctrl-C in it is not tested");

/** Statements by which psql shows that its session goes on: after a Ctrl-C outside a terminal it prints no rows. */
const sign = (text: string): string => `insert into signs values ('${text}', pg_backend_pid())`;

async function signs(): Promise<(string | null)[]> {
  const { rows } = await place.lab.primary.query("select sign from signs order by made");
  return rows.map(([text]) => text ?? null);
}

describe.skipIf(!hasPsql)("psql", () => {
  beforeEach(async () => {
    await place.lab.primary.query("drop table if exists signs");
    await place.lab.primary.query("create table signs (sign text, pid int, made serial)");
  });

  for (const mode of ["session", "transaction", "statement", "auto"]) {
    test(`acceptance 87, 88: Ctrl-C ends a statement with 57014, and the session goes on (${mode})`, async () => {
      await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
      const sleep = "select pg_sleep(60), 'ctrl-c'";
      const psql = startPsql(pooled, [sleep, sign("still here"), sleep, sign("and again")]);
      const result = collect(psql);
      for (let times = 0; times < 2; times++) {
        await untilRunning(place.lab, "ctrl-c");
        psql.kill("SIGINT");
        await waitUntil(async () => (await signs()).length === times + 1, "the session has gone on");
      }
      const cancel = "Cancel request sent\nERROR:  57014: canceling statement due to user request\n";
      await result.end;
      expect(result.errors().replaceAll(/^LOCATION: .*\n/gm, "")).toBe(cancel + cancel);
      expect(await signs()).toEqual(["still here", "and again"]);
      expect(pooled.log.filter(({ message }) => message === "login attempt: authenticated").length).toBe(1);
    });
  }

  test("acceptance 87: Ctrl-C while it waits for a server ends the wait", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using holder = await pooled.connect();
    await holder.run("begin");
    const psql = startPsql(pooled, [sign("never"), sign("served")]);
    const result = collect(psql);
    await pooled.untilWaiting(1);
    psql.kill("SIGINT");
    await waitUntil(() => result.errors().includes("57014"), "psql has been told");
    await pooled.untilWaiting(1);
    await holder.run("commit");
    await result.end;
    expect(result.errors()).toContain("57014: canceling statement due to user request");
    expect(await signs()).toEqual(["served"]);
  });
});

function startPsql(pooled: Pooled, commands: readonly string[]): ChildProcess {
  const { host, port } = pooled.pooler.address;
  const conninfo = `host=${host} port=${port} user=postgres dbname=postgres sslmode=disable`;
  const flags = ["-X", "-A", "-t", "-q", "-v", "VERBOSITY=verbose"];
  return spawn("psql", [...flags, ...commands.flatMap((command) => ["-c", command]), conninfo], {
    env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" },
    stdio: ["ignore", "ignore", "pipe"],
  });
}

/** What psql says on standard error. */
function collect(psql: ChildProcess): { readonly errors: () => string; readonly end: Promise<void> } {
  let errors = "";
  psql.stderr?.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  return { errors: () => errors, end: once(psql, "close").then(() => undefined) };
}
