/** Lines on their way to syslog, as a server at the other end of util-linux's `logger` gets them. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Syslog, type SyslogSettings } from "../../../src/cli/syslog.ts";
import { waitUntil } from "../../kit/wait.ts";

const on: SyslogSettings = { syslog: true, syslog_facility: "daemon", syslog_ident: "pgsluice" };
const searched = process.env["PATH"];
const { error, stdout } = spawnSync("logger", ["--version"], { encoding: "utf8" });
const hasLogger = error === undefined && stdout.includes("util-linux");
if (!hasLogger)
  console.warn("util-linux's logger is not installed: what it carries to syslog is not looked at");

let folder: string;
let server: net.Server;
let received = "";
let syslog: Syslog;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "pgsluice-syslog-"));
  received = "";
  server = net.createServer((socket) => {
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString();
    });
  });
  const socketFile = path.join(folder, "log");
  await new Promise<void>((resolve) => server.listen(socketFile, resolve));
  standIn(`exec "$(PATH='${searched}' command -v logger)" --socket '${socketFile}' "$@"`);
  syslog = new Syslog();
});
afterEach(async () => {
  syslog.open({ ...on, syslog: false });
  process.env["PATH"] = searched;
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

/** A `logger` of our own, found before the system's. */
function standIn(script: string): void {
  const file = path.join(folder, "logger");
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  process.env["PATH"] = `${folder}:${searched}`;
}

/** Priority, sender and text of what came, without its time. */
const lines = (): string[] =>
  received
    .split("\n")
    .slice(0, -1)
    .map((line) => line.replace(/^(<\d+>)\w{3} [ \d]\d \d\d:\d\d:\d\d /, "$1 "));
const sender = `pgsluice[${process.pid}]:`;

test.runIf(hasLogger)("syslog: a line each, with facility and severity", async () => {
  syslog.open(on);
  for (const level of [10, 20, 30, 40, 50, 60]) syslog.write(level, `level ${level}\n`);
  syslog.write(50, "one\n\ttwo\n");
  await waitUntil(() => received.includes("two"), "they arrive");
  expect(lines()).toEqual([
    `<31> ${sender} level 10`,
    `<31> ${sender} level 20`,
    `<30> ${sender} level 30`,
    `<28> ${sender} level 40`,
    `<27> ${sender} level 50`,
    `<26> ${sender} level 60`,
    `<27> ${sender} one`,
    `<27> ${sender} \ttwo`,
  ]);
});

test.runIf(hasLogger)(
  "syslog_facility and syslog_ident, and another pair of them from a reload on",
  async () => {
    syslog.open({ ...on, syslog_facility: "local3", syslog_ident: "--odd name" });
    syslog.write(30, "first\n");
    await waitUntil(() => received.includes("first"), "it arrives");
    syslog.open({ ...on, syslog_facility: "authpriv", syslog_ident: "pooler" });
    syslog.write(30, "second\n");
    await waitUntil(() => received.includes("second"), "it arrives");
    expect(lines()).toEqual([
      `<158> --odd name[${process.pid}]: first`,
      `<86> pooler[${process.pid}]: second`,
    ]);
    syslog.open({ ...on, syslog: false });
    syslog.write(30, "third\n");
    syslog.open(on);
    syslog.write(30, "fourth\n");
    await waitUntil(() => received.includes("fourth"), "it arrives");
    expect(received).not.toContain("third");
  },
);

test.runIf(hasLogger)("a long line is cut, and the next one is whole", async () => {
  syslog.open(on);
  syslog.write(30, `${"x".repeat(20_000)}\n`);
  syslog.write(30, "short\n");
  await waitUntil(() => received.includes("short"), "they arrive");
  const [long = "", ...others] = lines();
  expect(long.length).toBeGreaterThan(8000);
  expect(others.at(-1)).toBe(`<30> ${sender} short`);
});

test.runIf(hasLogger)(
  "a logger that takes nothing costs lines, not memory; how many is told when it goes on",
  async () => {
    const gate = path.join(folder, "gate");
    const real = `PATH='${searched}' command -v logger`;
    standIn(
      [
        'case "$1" in --version) exec "$(' + real + ')" --version;; esac',
        `while [ ! -e '${gate}' ]; do sleep 0.02; done`,
        `exec "$(${real})" --socket '${path.join(folder, "log")}' "$@"`,
      ].join("\n"),
    );
    syslog.open(on);
    const text = `${"x".repeat(1000)}\n`;
    for (let i = 0; i < 5000; i++) syslog.write(30, text);
    writeFileSync(gate, "");
    await waitUntil(() => {
      if (!received.includes("lost")) syslog.write(30, "go on\n");
      return received.includes("lines were lost on the way to syslog");
    }, "it goes on");
    const [, lost = "0"] = /<28>[^\n]* (\d+) lines were lost/.exec(received) ?? [];
    expect(Number(lost)).toBeGreaterThan(3000);
    expect(lines().filter((line) => line.endsWith("x")).length).toBeLessThan(1500);
  },
);

test("where there is no logger, syslog is refused by name", () => {
  standIn("echo 'logger of another kind'");
  expect(() => syslog.open(on)).toThrow(/syslog needs the program logger of util-linux/);
  syslog.write(30, "nobody hears this\n");
  expect(received).toBe("");
});
