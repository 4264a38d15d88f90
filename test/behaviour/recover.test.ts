/** `pgsluice recover`: a node is made anew while the cluster runs, step by step; and what may go wrong with that. */
import { readdir, readFile, rm, symlink } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { LabNode } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { RecoverScene, recoveryPassword } from "./recover-scene.ts";

/** Which node has answered: a read that may go to a standby. */
const portQuery = "select current_setting('port')";

const place = useLab({
  standbys: 1,
  settings: { wal_receiver_timeout: "2s" },
  auth: [
    "host replication rebuilder 127.0.0.1/32 scram-sha-256",
    "host all all 127.0.0.1/32 trust",
    "local all all trust",
  ],
});

function standbyOf(): LabNode {
  const [standby] = place.lab.standbys;
  if (standby === undefined) throw new Error("the lab has no standby");
  return standby;
}

async function slotsOf(node: LabNode): Promise<unknown> {
  return (await node.query("select slot_name, active from pg_replication_slots")).rows;
}

test("acceptance 19: a standby that has lost its data directory is copied from the primary, catches up and is read again (recovery_user, recovery_password, recovery_timeout, recovery_prepare_command, recovery_start_command, data_directory)", async () => {
  const { lab } = place;
  const standby = standbyOf();
  await using scene = await RecoverScene.open(lab);
  await lab.primary.query("create table kept as select generate_series(1, 1000) a");
  await standby.kill();
  await rm(standby.dataFolder, { recursive: true, force: true });
  await scene.untilState(standby, "down");
  using client = await scene.pooled.connect();
  expect(await client.value(portQuery)).toBe(String(lab.primary.port));

  const prepare = 'echo "$PGSLUICE_EVENT" > "$PGSLUICE_DATA_DIRECTORY/prepared"';
  const { code, stdout, stderr } = await scene.recover(standby, ["--slot", "standby_slot"], {
    recovery_prepare_command: ["/bin/sh", "-c", prepare],
  });
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: "" });
  const steps = stdout.split("\n").map((line) => line.split(":")[0]);
  expect(steps.filter((step) => step !== "copying" && step !== "")).toEqual([
    "check",
    "detach",
    "copy",
    "prepare",
    "start",
    "catch up",
    "attach",
  ]);
  expect((await scene.rowOf(standby))["state"]).toBe("up");
  // Its own evidence: it answers, it has what was there, and it streams by the slot.
  await waitUntil(async () => (await client.value(portQuery)) === String(standby.port), "it is read");
  expect((await standby.query("select count(*), inet_server_port() is null from kept")).rows).toEqual([
    ["1000", "t"],
  ]);
  expect(await slotsOf(lab.primary)).toEqual([["standby_slot", "t"]]);
  expect(await readFile(path.join(standby.dataFolder, "prepared"), "utf8")).toBe("recovery_prepare\n");
  const settings = await readFile(path.join(standby.dataFolder, "postgresql.auto.conf"), "utf8");
  expect(settings).toContain(recoveryPassword);
  const environment = await readFile(scene.readyFile, "utf8");
  expect(environment).toContain(`PGSLUICE_DATA_DIRECTORY=${standby.dataFolder}\n`);
  expect(environment).toContain(`PGSLUICE_PRIMARY_PORT=${lab.primary.port}\n`);
  expect(stdout + stderr + environment).not.toContain(recoveryPassword);
});

test("what speaks against it is told before anything is changed", async () => {
  const { lab } = place;
  const { primary } = lab;
  const standby = standbyOf();
  await using scene = await RecoverScene.open(lab);
  expect(await scene.refusal(primary)).toMatch(
    /"node1" is the primary; nothing was changed[^]*Promote another/,
  );
  expect(await scene.refusal(standby, { existing: "remove" })).toMatch(
    /PostgreSQL runs there as process \d+; nothing/,
  );
  // The primary's own folder under another node's name.
  expect(await scene.refusal(standby, { existing: "remove", dataDirectory: primary.dataFolder })).toMatch(
    /PostgreSQL runs there/,
  );
  await standby.stop();
  expect(await scene.refusal(standby)).toMatch(/holds a database cluster of version 18[^]*--existing move/);
  const around = { existing: "remove", dataDirectory: path.dirname(standby.dataFolder) } as const;
  expect(await scene.refusal(standby, around)).toMatch(/something else than a database cluster/);
  const wrong = await scene.refusal(standby, { existing: "remove" }, { recovery_password: "wrong-one" });
  expect(wrong).toMatch(/password authentication failed for user "rebuilder"[^]*recovery_password/);
  expect(wrong).not.toContain("wrong-one");
  expect(await scene.refusal(standby, { existing: "remove" }, { recovery_start_command: [] })).toMatch(
    /recovery_start_command/,
  );
  expect(await scene.refusal(standby, { copy: false, dataDirectory: "/none" })).toMatch(
    /nothing to go on from/,
  );
  const { code, stdout, stderr } = await scene.recover(standby, []);
  expect({ code, stdout }, stderr).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/hint: Give --existing move/);
  await standby.start();
  await scene.untilState(standby, "up");
});

test("killed in the middle, or without its primary, it is begun again by the same command", async () => {
  const { lab } = place;
  const { primary } = lab;
  const standby = standbyOf();
  await using scene = await RecoverScene.open(lab);
  await standby.stop();
  await scene.emptyFolder(standby);
  const slow = ["--max-rate", "2000", "--slot", "another"];
  {
    await using running = await scene.start(standby, slow);
    await running.printed("stdout", /copying: /);
    running.signal("SIGKILL");
    await running.exit;
  }
  expect(await readdir(standby.dataFolder)).toContain("pgsluice_copy.json");
  // Nothing that could be started by mistake.
  await expect(standby.start()).rejects.toMatchObject({ code: "lab.start_failed" });
  {
    await using running = await scene.start(standby, [...slow, "--slot", "third", "--json"]);
    await running.printed("stdout", /"step":"existing"/);
    await running.printed("stdout", /"bytes"/);
    await primary.kill();
    expect(await running.exit).toBe(2);
    const last = JSON.parse(running.stdout.trim().split("\n").at(-1) ?? "") as { error: { code: string } };
    expect(last.error.code).toBe("recovery.copy_failed");
    expect(running.stdout).toMatch(/"step":"slot","text":"slot \\"third\\" may be left on node \\"node1\\"/);
    expect(running.stderr).toMatch(/the copy of node "node1" failed: [^]*same command/);
  }
  await primary.start();
  await scene.untilState(primary, "up");
  expect((await scene.rowOf(standby))["state"]).toBe("down");
  const { code, stdout, stderr } = await scene.recover(standby, ["--json"]);
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain("an unfinished copy");
  expect(await readdir(standby.dataFolder)).not.toContain("pgsluice_copy.json");
  expect((await scene.rowOf(standby))["state"]).toBe("up");
});

test("an old primary that is fenced is copied from the new one: the old data is kept, and the fence is lifted", async () => {
  const { lab } = place;
  const old = lab.primary;
  const next = standbyOf();
  await using scene = await RecoverScene.open(lab);
  await old.kill();
  await waitUntil(() => scene.pooled.log.some(({ message }) => message === "no primary"), "it is noticed");
  await next.promote();
  await scene.untilState(next, "up");
  await old.start();
  await scene.untilState(old, "fenced");
  await old.query("create table never_seen (a int)");
  await old.stop();
  const link = path.join(scene.folder, "link");
  await symlink(old.dataFolder, link);
  const args = ["--existing", "move", "--data-directory", link];
  const { code, stdout, stderr } = await scene.recover(old, args);
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: "" });
  expect(await scene.rowOf(old)).toMatchObject({ role: "standby", state: "up", timeline: "2" });
  expect((await old.query("select to_regclass('never_seen'), pg_is_in_recovery()")).rows).toEqual([
    [null, "t"],
  ]);
  using client = await scene.pooled.connect();
  await waitUntil(async () => (await client.value(portQuery)) === String(old.port), "the old one is read");
  const beside = await readdir(path.dirname(old.dataFolder));
  const kept = beside.find((name) => name.startsWith("data.before-"));
  expect(await readdir(path.join(path.dirname(old.dataFolder), kept ?? ""))).toContain("PG_VERSION");
});

test("recovery_copy_command takes the place of the base backup, and a start that fails is gone on from", async () => {
  const { lab } = place;
  const standby = standbyOf();
  await using scene = await RecoverScene.open(lab);
  await standby.stop();
  const failing = await scene.recover(standby, [], {
    recovery_copy_command: [
      "/bin/sh",
      "-c",
      'echo "$PGSLUICE_EVENT $PGSLUICE_NODE from $PGSLUICE_PRIMARY" >&2; exit 3',
    ],
  });
  expect(failing.code, failing.stdout).toBe(2);
  expect(failing.stderr).toContain(
    `exit code 3\ndetail: recovery_copy ${standby.name} from ${lab.primary.name}`,
  );
  // What it was is as good as a copy.
  const copied = await scene.recover(standby, [], {
    recovery_copy_command: ["/bin/true"],
    recovery_start_command: ["/bin/false"],
  });
  expect(copied.stderr).toMatch(/recovery_start_command failed[^]*--no-copy/);
  const { code, stdout, stderr } = await scene.recover(standby, ["--no-copy"]);
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: "" });
  expect((await scene.rowOf(standby))["state"]).toBe("up");
});
