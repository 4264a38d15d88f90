import { describe, expect, test } from "vitest";
import { isAlive } from "../../../src/backup/processes.ts";
import { HookCommand } from "../../../src/server/hook-command.ts";
import { waitUntil } from "../../kit/wait.ts";

const run = (script: string, ...args: readonly string[]) =>
  new HookCommand("failover_command_timeout").run(
    ["/bin/sh", "-c", script, "sh", ...args],
    { PGSLUICE_EVENT: "a; exit 9" },
    10_000,
  );

describe("failover_command", () => {
  test("gets its arguments and its environment as they are, and what it writes is kept", async () => {
    expect(await run('echo "$PGSLUICE_EVENT" "$1"; echo "$HOME" >&2', "$(exit 8)")).toEqual({
      output: `a; exit 9 $(exit 8)\n${process.env["HOME"]}`,
      problem: undefined,
    });
  });

  test("its exit code counts, and what ended it", async () => {
    expect(await run("exit 3")).toMatchObject({ problem: "it has ended with exit code 3" });
    expect(await run("kill -TERM $$")).toMatchObject({ problem: "it was ended by SIGTERM" });
    const missing = await new HookCommand("failover_command_timeout").run(["/none"], {}, 1000);
    expect(missing.problem).toContain("ENOENT");
  });

  test("of much output the beginning is kept", async () => {
    const { output, problem } = await run("head -c 1000000 /dev/zero | tr '\\0' x");
    expect([output.length, problem]).toEqual([8192, undefined]);
  });

  test("failover_command_timeout ends it, and what it has started", async () => {
    const command = new HookCommand("failover_command_timeout");
    const { output, problem } = await command.run(["/bin/sh", "-c", "sleep 1000 & echo $!; wait"], {}, 300);
    expect(problem).toBe("it had not ended after 0.3 s (failover_command_timeout)");
    expect(Number(output)).toBeGreaterThan(0);
    await waitUntil(() => !isAlive(Number(output)), "the other process is gone");
  });
});
