/** What systemd is told of a pooler whose unit says Type=notify (man 3 sd_notify), and the example units. */
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { CliProgram } from "./cli-program.ts";

const units = fileURLToPath(new URL("../../examples/systemd/", import.meta.url));

/** Listens on a datagram socket, which Node cannot, and prints what comes, a line for each. */
const receiver = `use Socket; $| = 1;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, pack_sockaddr_un($ARGV[0])) or die; print "listening\\n";
while (defined recv($s, my $m, 4096, 0)) { $m =~ tr/\\n/ /; print "$m\\n" unless $m =~ /^BARRIER/; }`;

const missing = ["systemd-notify", "perl"].filter((name) => spawnSync(name, ["--version"]).status !== 0);
if (missing.length > 0)
  process.stderr.write(`${missing.join(", ")} missing: what systemd is told is not tested\n`);

test.skipIf(missing.length > 0).each([1, 2])(
  "systemd is told of the start, of reloads, good or bad, and of the end, once (workers: %i)",
  async (workers) => {
    await using folder = await tempFolder();
    const socket = path.join(folder.path, "notify");
    const child = spawn("perl", ["-e", receiver, socket], { stdio: ["ignore", "pipe", "inherit"] });
    const gone = new Promise((resolve) => child.once("exit", resolve));
    let heard = "";
    child.stdout.on("data", (chunk: Buffer) => {
      heard += chunk.toString();
    });
    const said = (): string[] => heard.split("\n").slice(1, -1);
    try {
      await waitUntil(() => heard.startsWith("listening\n"), "the receiver listens");
      const file = path.join(folder.path, "pgsluice.toml");
      const write = (mode: string): void =>
        writeFileSync(
          file,
          `[pgsluice]\nlisten_port = 0\nworkers = ${workers}\nauth_type = "trust"\npool_mode = "${mode}"\n[nodes.main]\n`,
        );
      write("session");
      await using program = new CliProgram(
        { environment: { NOTIFY_SOCKET: socket } },
        "start",
        "--config",
        file,
      );
      await waitUntil(() => said().length === 1, "systemd is told that it is ready", 40_000);
      expect(said()[0]).toMatch(/^READY=1 STATUS=listening on 127\.0\.0\.1:\d+$/);
      const before = process.hrtime.bigint() / 1000n;
      write("transaction");
      program.signal("SIGHUP");
      await waitUntil(() => said().length === 3, "systemd is told of a reload");
      write("no such mode");
      program.signal("SIGHUP");
      await waitUntil(() => said().length === 5, "systemd is told of a reload that fails");
      for (const [reloading, ready] of [said().slice(1, 3), said().slice(3, 5)]) {
        const [, micros = "0"] = /^RELOADING=1 MONOTONIC_USEC=(\d+)$/.exec(reloading ?? "") ?? [];
        expect(BigInt(micros)).toBeGreaterThan(before);
        expect(BigInt(micros)).toBeLessThan(process.hrtime.bigint() / 1000n);
        expect(ready).toBe("READY=1");
      }
      program.signal("SIGTERM");
      expect(await within(program.exit, "the program ends")).toBe(0);
      await waitUntil(() => said().length === 6, "systemd is told that it stops");
      expect(said()[5]).toBe("STOPPING=1");
      expect(program.stderr).toContain("reload failed");
    } finally {
      child.kill();
      await gone;
    }
  },
);

test("the example units are whole", () => {
  const texts = Object.fromEntries(
    readdirSync(units).map((name) => [name, readFileSync(path.join(units, name), "utf8")]),
  );
  expect(Object.keys(texts).sort()).toEqual(["pgsluice.service", "pgsluice.socket", "pgsluice@.service"]);
  const known = /^(#.*|\[(Unit|Service|Socket|Install)\]|[A-Z][A-Za-z]+=.+|)$/;
  for (const text of Object.values(texts)) {
    expect(text.split("\n").filter((line) => !known.test(line))).toEqual([]);
  }
  for (const name of ["pgsluice.service", "pgsluice@.service"]) {
    expect(texts[name]).toContain("Type=notify\n");
    expect(texts[name]).toMatch(/^NotifyAccess=all$/m);
  }
  expect(texts["pgsluice@.service"]).toContain("Sockets=pgsluice.socket\n");
});
