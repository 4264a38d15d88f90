/** The archive reader of base backups: whatever the cuts, the same files; nothing outside of the target; no silent loss. */
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TarUnpacker } from "../../../src/backup/tar.ts";

let folder = "";
let targets = 0;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "pgsluice-tar-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface Member {
  readonly name: string;
  readonly type?: string;
  readonly mode?: number;
  readonly data?: Buffer;
  readonly prefix?: string;
  readonly size?: string;
  readonly link?: string;
}

function member({
  name,
  type = "0",
  mode = 0o600,
  data = Buffer.alloc(0),
  prefix = "",
  size,
  link = "",
}: Member): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(`${mode.toString(8).padStart(7, "0")} `, 100);
  header.write(size ?? `${data.length.toString(8).padStart(11, "0")} `, 124);
  header.write(type, 156);
  header.write(link, 157);
  header.write("ustar\x0000", 257);
  header.write(prefix, 345);
  const sum = header.reduce((total, byte) => total + byte, 8 * 0x20);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

const end = Buffer.alloc(1024);

async function unpack(chunks: readonly Buffer[]): Promise<string> {
  const target = path.join(folder, String(++targets));
  await mkdir(target);
  await using unpacker = new TarUnpacker(target);
  for (const chunk of chunks) await unpacker.write(chunk);
  await unpacker.end();
  return target;
}

async function failure(...members: Member[]): Promise<unknown> {
  const error = await unpack([...members.map(member), end]).then(undefined, (reason: unknown) => reason);
  return (error as { detail?: string }).detail ?? (error as { code?: string }).code;
}

test("whatever the cuts, the same folders and files", async () => {
  const large = Buffer.alloc(3_000_001, "large ");
  const archive = Buffer.concat([
    member({ name: "PG_VERSION", data: Buffer.from("18\n") }),
    member({ name: "base/", type: "5", mode: 0o700 }),
    member({ name: "base/empty" }),
    member({ name: "base/page", data: Buffer.alloc(512, 7), mode: 0o400 }),
    member({ name: "large", data: large }),
    member({ name: "within", prefix: "base", data: Buffer.from("a name in two parts") }),
    end,
  ]);
  const cuts = fc.array(fc.integer({ min: 0, max: archive.length }), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(cuts, async (points) => {
      const sorted = [0, ...points.sort((a, b) => a - b), archive.length];
      const chunks = sorted.slice(1).map((point, index) => archive.subarray(sorted[index], point));
      const target = await unpack(chunks);
      expect((await readdir(target, { recursive: true })).sort()).toEqual(
        ["PG_VERSION", "base", "base/empty", "base/page", "base/within", "large"].sort(),
      );
      expect(await readFile(path.join(target, "PG_VERSION"), "utf8")).toBe("18\n");
      expect((await readFile(path.join(target, "large"))).equals(large)).toBe(true);
      expect((await readFile(path.join(target, "base/page"))).equals(Buffer.alloc(512, 7))).toBe(true);
      expect((await stat(path.join(target, "base/empty"))).size).toBe(0);
      expect((await stat(path.join(target, "base/page"))).mode & 0o777).toBe(0o400);
      expect((await stat(path.join(target, "base"))).mode & 0o777).toBe(0o700);
      await rm(target, { recursive: true });
    }),
    { numRuns: 20 },
  );
});

test("the link of a tablespace leads where it is told, and nothing is written through it", async () => {
  const target = path.join(folder, "linked");
  await mkdir(target);
  const members = (names: readonly string[]): Buffer =>
    Buffer.concat([
      member({ name: "pg_tblspc/", type: "5", mode: 0o700 }),
      ...names.map((name) => member({ name, type: "2", link: "/srv/space" })),
    ]);
  await using unpacker = new TarUnpacker(target, (location) =>
    location === "/srv/space" ? "/elsewhere" : undefined,
  );
  await unpacker.write(members(["pg_tblspc/16384/"]));
  expect(await readlink(path.join(target, "pg_tblspc/16384"))).toBe("/elsewhere");
  await expect(unpacker.write(member({ name: "pg_tblspc/16384/x" }))).rejects.toMatchObject({
    detail: expect.stringMatching(/through a link/),
  });
  await using other = new TarUnpacker(path.join(folder, "linked", "pg_tblspc"), () => "/elsewhere");
  await expect(other.write(members(["base"]))).rejects.toMatchObject({
    detail: expect.stringMatching(/link/),
  });
});

describe("is refused:", () => {
  test("a name outside of the target", async () => {
    for (const name of ["/etc/passwd", "../x", "a/../../x", "a//b", "", "..", "/"]) {
      expect(await failure({ name, data: Buffer.from("x") }), name).toMatch(/no name inside/);
    }
    expect(await failure({ name: "x", prefix: ".." })).toMatch(/no name inside/);
  });

  test("a link, a type that is not known, and a file that is there twice", async () => {
    expect(await failure({ name: "pg_tblspc/1", type: "2" })).toMatch(/link/);
    expect(await failure({ name: "x", type: "x" })).toMatch(/unknown type "x"/);
    expect(await failure({ name: "x" }, { name: "x" })).toBe("EEXIST");
    expect(await failure({ name: "missing/x" })).toBe("ENOENT");
  });

  test("a header that is none", async () => {
    const good = member({ name: "x" });
    for (const [at, expected] of [
      [0, /checksum/],
      [257, /ustar/],
      [130, /checksum/],
    ] as const) {
      const bad = Buffer.from(good);
      bad[at] = 0x41;
      await expect(unpack([bad, end])).rejects.toMatchObject({
        code: "backup.bad_archive",
        detail: expect.stringMatching(expected),
      });
    }
    expect(await failure({ name: "x", size: "zzz" })).toMatch(/size of a header is no number/);
    await expect(unpack([end, good])).rejects.toMatchObject({
      detail: expect.stringMatching(/behind its end/),
    });
  });

  test("an archive that ends in the middle", async () => {
    const archive = member({ name: "x", data: Buffer.alloc(700) });
    for (const bytes of [100, 600, 1300]) {
      await expect(unpack([archive.subarray(0, bytes)])).rejects.toMatchObject({
        detail: expect.stringMatching(/in the middle/),
      });
    }
  });
});
