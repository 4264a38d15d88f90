/**
 * Files that PgBouncer itself takes or refuses, side by side: what the installed PgBouncer starts with, pgsluice
 * starts with, and what it refuses, pgsluice refuses. PgBouncer runs as an ordinary user; both listen where no
 * other program on this machine can come upon them.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Failure } from "../../src/base/errors.ts";
import { loadConfigFile } from "../../src/config/file.ts";
import { Pooler } from "../../src/server/app.ts";
import { type OwnAddress, ownAddress } from "../kit/own-address.ts";
import { openTemporaryFolder } from "./cli-program.ts";

const pgbouncer: string = "pgbouncer";
const found = spawnSync(pgbouncer, ["--version"], { encoding: "utf8" });
const version = /^PgBouncer (\S+)/.exec(found.stdout ?? "")?.[1];
if (version === undefined)
  process.stderr.write("pgbouncer is not installed: the files are not compared with it\n");

const folder = openTemporaryFolder();
let own: OwnAddress;
beforeAll(async () => {
  const nobody = idOfNobody();
  if (process.getuid?.() === 0) chownSync(folder, nobody.uid, nobody.gid);
  chmodSync(folder, 0o777);
  own = await ownAddress();
  writeFileSync(path.join(folder, "included.ini"), "listen_backlog = 9\n");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Answer = "starts" | "refuses";

interface Heard {
  readonly answer: Answer;
  /** What the pooler wrote until then. */
  readonly words: string;
}

/** Lines that make a file work; a case stands before or behind them. */
function main(): string {
  return `[pgbouncer]\nlisten_addr = ${own.host}\nlisten_port = ${own.port}\nunix_socket_dir =\nauth_type = trust\n`;
}

const cases: readonly (readonly [string, Answer, () => string])[] = [
  ["nothing but the main section", "starts", () => main()],
  ["no main section", "refuses", () => "[databases]\na = host=x\n"],
  ["an empty file", "refuses", () => ""],
  ["an unknown section", "refuses", () => `${main()}[database]\n`],
  ["an unknown setting", "refuses", () => `${main()}pool_mod = session\n`],
  ["a value before the first section", "refuses", () => `x = 1\n${main()}`],
  ["a line that is none", "refuses", () => `${main()}what is this\n`],
  ["a section that is not closed", "refuses", () => `${main()}[databases\n`],
  ["comments", "starts", () => `; one\n# two\n   ; three\n${main()}`],
  ["a comment behind a number", "refuses", () => `${main()}max_client_conn = 10 ; ten\n`],
  ["repeated settings", "starts", () => `${main()}max_client_conn = 10\nmax_client_conn = 20\n`],
  ["repeated sections", "starts", () => `[databases]\na = host=x\n${main()}[databases]\na = host=y\n`],
  ["a setting behind its section on one line", "starts", () => `[databases] a = host=x\n${main()}`],
  ["a hexadecimal number", "starts", () => `${main()}max_client_conn = 0x10\n`],
  ["a number with a tail", "refuses", () => `${main()}max_client_conn = 10k\n`],
  ["no number", "refuses", () => `${main()}max_client_conn =\n`],
  ["decimal seconds", "starts", () => `${main()}server_lifetime = 1.5\n`],
  ["negative seconds", "refuses", () => `${main()}server_lifetime = -1\n`],
  ["a mode in capitals", "starts", () => `${main()}pool_mode = TRANSACTION\n`],
  ["an unknown mode", "refuses", () => `${main()}pool_mode = both\n`],
  ["empty texts", "starts", () => `${main()}auth_hba_file =\nadmin_users =\nlogfile =\n`],
  ["an included file", "starts", () => `${main()}%include ${path.join(folder, "included.ini")}\n`],
  [
    "an included file that is not there",
    "refuses",
    () => `${main()}%include ${path.join(folder, "no.ini")}\n`,
  ],
  [
    "settings without meaning here",
    "starts",
    () => `${main()}pkt_buf = 8192\nsbuf_loopcnt = 7\ndns_max_ttl = 1.5\n`,
  ],
  ["a wrong value of one of them", "refuses", () => `${main()}pkt_buf = big\n`],
  [
    "connection strings",
    "starts",
    () => `[databases]\na = host=x password='a''b = c' user=u\n* = port=1 host=y\n${main()}`,
  ],
  ["a database without a word", "refuses", () => `${main()}[databases]\na b = host=x\n`],
  ["a quote that is not closed", "refuses", () => `[databases]\na = host=x password='abc\n${main()}`],
  ["an empty value in a connection string", "refuses", () => `[databases]\na = host=x password=\n${main()}`],
  ["an unknown parameter of a database", "refuses", () => `[databases]\na = hots=x\n${main()}`],
  ["a port that is none", "refuses", () => `[databases]\na = host=x port=abc\n${main()}`],
  ["a wrong mode of a database", "refuses", () => `[databases]\na = host=x pool_mode=both\n${main()}`],
  ["the reserved database", "refuses", () => `[databases]\npgbouncer = host=x\n${main()}`],
  ["a user's mode", "starts", () => `[users]\nu = pool_mode=transaction\n${main()}`],
  ["an unknown parameter of a user", "refuses", () => `[users]\nu = color=red\n${main()}`],
];

describe.skipIf(version === undefined)(`PgBouncer ${version ?? ""} and pgsluice`, () => {
  test.each(cases)("%s", async (name, expected, text) => {
    const file = path.join(folder, `${name.replaceAll(" ", "-")}.ini`);
    writeFileSync(file, text(), { mode: 0o644 });
    const theirs = await hear(pgbouncer, [file], asNobody());
    expect(theirs.answer, theirs.words).toBe(expected);
    const ours = await hearOurs(file);
    expect(ours.answer, ours.words).toBe(expected);
  });
});

/** What the program makes of a file, without the program: that is tested in ini.test.ts. */
async function hearOurs(file: string): Promise<Heard> {
  try {
    const { config } = await loadConfigFile(file);
    await using pooler = await Pooler.start(config);
    return { answer: "starts", words: `listens on ${inspect(pooler.address)}` };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { answer: "refuses", words: error.message };
  }
}

/** Runs a pooler until it listens or ends. */
async function hear(command: string, args: string[], identity: object): Promise<Heard> {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], ...identity });
  try {
    return await heardFrom(child);
  } finally {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    }
  }
}

function heardFrom(child: ChildProcess): Promise<Heard> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("process up")) resolve({ answer: "starts", words: text });
    });
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 1) resolve({ answer: "refuses", words: text });
      else reject(new Error(`ended with ${code}:\n${text}`));
    });
  });
}

/** PgBouncer refuses to run as root. */
function asNobody(): object {
  return process.getuid?.() === 0 ? idOfNobody() : {};
}

function idOfNobody(): { readonly uid: number; readonly gid: number } {
  const id = (flag: string): number => Number(spawnSync("id", [flag, "nobody"], { encoding: "utf8" }).stdout);
  return { uid: id("-u"), gid: id("-g") };
}
