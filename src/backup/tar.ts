/**
 * Unpacks the archive of a base backup. It is a ustar file as PostgreSQL's tar.c writes it: folders, files and,
 * for tablespaces, links; no extensions. Nothing is written outside of the target, and what is not understood is
 * an error rather than left out: a cluster that lacks a file may seem to work.
 */
import { type FileHandle, mkdir, open, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { backupError } from "./errors.ts";

/** POSIX.1, pax, "ustar Interchange Format": offsets and lengths in a header block. */
const blockBytes = 512;
const fields = {
  name: [0, 100],
  mode: [100, 8],
  size: [124, 12],
  checksum: [148, 8],
  type: [156, 1],
  link: [157, 100],
  magic: [257, 6],
  prefix: [345, 155],
} as const;
const fileType = "0";
const linkType = "2";
const folderType = "5";

/** A cluster is a thousand small files: they are written several at a time, each in one piece. */
const wholeBytesMax = 1024 * 1024;
const writesMax = 8;

interface Entry {
  readonly file: string;
  readonly mode: number;
  /** Bytes that are still to come, and the padding behind them. */
  left: number;
  padding: number;
  /** Contents that have come and have not been written. */
  pieces: Buffer[];
  piecesBytes: number;
  /** A large file, written as it comes. */
  readonly handle: FileHandle | undefined;
}

/** Where the link of a tablespace leads, by where it does in the archive; undefined: it is not known. */
export type LinkTarget = (location: string) => string | undefined;

export class TarUnpacker implements AsyncDisposable {
  readonly #target: string;
  readonly #linkTarget: LinkTarget | undefined;
  readonly #links = new Set<string>();
  #header: Buffer = Buffer.alloc(0);
  #entry: Entry | undefined;
  #padding = 0;
  #ended = false;
  readonly #writes = new Set<Promise<void>>();
  #failure: Error | undefined;

  /** `target` is a folder that is there and empty. Without `linkTarget` links are refused. */
  constructor(target: string, linkTarget?: LinkTarget) {
    this.#target = target;
    this.#linkTarget = linkTarget;
  }

  /** The next bytes of the archive, which must not be changed afterwards. Rejects with `backup.bad_archive`, or as writing does. */
  async write(bytes: Buffer): Promise<void> {
    let position = 0;
    while (position < bytes.length) {
      if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, bytes.length - position);
        this.#padding -= skipped;
        position += skipped;
      } else if (this.#entry === undefined) {
        const missing = blockBytes - this.#header.length;
        const piece = bytes.subarray(position, position + missing);
        this.#header = this.#header.length === 0 ? piece : Buffer.concat([this.#header, piece]);
        position += piece.length;
        if (this.#header.length < blockBytes) return;
        await this.#begin(this.#header);
        this.#header = Buffer.alloc(0);
      } else {
        const piece = bytes.subarray(position, position + this.#entry.left);
        position += piece.length;
        await this.#contents(this.#entry, piece);
      }
    }
  }

  /** There is no more. Resolves when everything has been written. */
  async end(): Promise<void> {
    if (this.#entry !== undefined || this.#padding > 0 || this.#header.length > 0) {
      throw badArchive("it ends in the middle of a file");
    }
    await Promise.all(this.#writes);
    this.#throwFailure();
  }

  /** Closes what is open, complete or not. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#writes);
    await this.#entry?.handle?.close();
    this.#entry = undefined;
  }

  async #begin(header: Buffer): Promise<void> {
    // Two blocks of zeros are the end.
    if (header.every((byte) => byte === 0)) {
      this.#ended = true;
      return;
    }
    if (this.#ended) throw badArchive("there is something behind its end");
    const { name, type, mode, size, link } = readHeader(header);
    if (this.#links.has(name.split("/").slice(0, 2).join("/"))) {
      throw badArchive(`"${name}" would be written through a link`);
    }
    const file = path.join(this.#target, name);
    if (type === folderType) {
      await mkdir(file, { recursive: true, mode });
      return;
    }
    if (type === linkType) {
      await this.#link(name, link);
      return;
    }
    if (type !== fileType) throw badArchive(`${name} is of the unknown type "${type}"`);
    this.#entry = {
      file,
      mode,
      left: size,
      padding: (blockBytes - (size % blockBytes)) % blockBytes,
      pieces: [],
      piecesBytes: 0,
      handle: size > wholeBytesMax ? await open(file, "wx", mode) : undefined,
    };
    if (size === 0) await this.#contents(this.#entry, header.subarray(0, 0));
  }

  /** PostgreSQL's only links are those of tablespaces: pg_tblspc/OID, with a slash behind it as a folder (tar.c). */
  async #link(entry: string, location: string): Promise<void> {
    const name = entry.replace(/\/$/, "");
    const target = /^pg_tblspc\/\d+$/.test(name) ? this.#linkTarget?.(location) : undefined;
    if (target === undefined) throw badArchive(`${name} is a link: a tablespace cannot be copied`);
    this.#links.add(name);
    await symlink(target, path.join(this.#target, name));
  }

  async #contents(entry: Entry, piece: Buffer): Promise<void> {
    entry.left -= piece.length;
    entry.pieces.push(piece);
    entry.piecesBytes += piece.length;
    if (entry.handle !== undefined) await this.#writePart(entry, entry.handle);
    if (entry.left > 0) return;
    this.#entry = undefined;
    this.#padding = entry.padding;
    if (entry.handle === undefined) await this.#writeWhole(entry);
    else await entry.handle.close();
  }

  /** Of a large file, what is worth a write. */
  async #writePart(entry: Entry, handle: FileHandle): Promise<void> {
    if (entry.left > 0 && entry.piecesBytes < wholeBytesMax) return;
    let bytes = Buffer.concat(entry.pieces);
    entry.pieces = [];
    entry.piecesBytes = 0;
    while (bytes.length > 0) bytes = bytes.subarray((await handle.write(bytes)).bytesWritten);
  }

  /** Waits only if too many are being written. */
  async #writeWhole({ file, mode, pieces }: Entry): Promise<void> {
    const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    const write: Promise<void> = writeFile(file, bytes, { flag: "wx", mode })
      .catch((error: unknown) => {
        this.#failure ??= error as Error;
      })
      .finally(() => this.#writes.delete(write));
    this.#writes.add(write);
    if (this.#writes.size >= writesMax) await Promise.race(this.#writes);
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function readHeader(header: Buffer): {
  name: string;
  type: string;
  mode: number;
  size: number;
  link: string;
} {
  if (text(header, "magic") !== "ustar") throw badArchive("a header is not that of a ustar archive");
  // The sum of all bytes, those of the sum itself counted as blanks.
  const [sumStart, sumLength] = fields.checksum;
  let sum = sumLength * 0x20;
  for (const [index, byte] of header.entries()) {
    if (index < sumStart || index >= sumStart + sumLength) sum += byte;
  }
  if (octal(header, "checksum") !== sum) throw badArchive("the checksum of a header is wrong");
  const prefix = text(header, "prefix");
  const name = prefix === "" ? text(header, "name") : `${prefix}/${text(header, "name")}`;
  const parts = name.replace(/\/$/, "").split("/");
  if (name.startsWith("/") || parts.some((part) => part === "" || part === "..")) {
    throw badArchive(`"${name}" is no name inside of it`);
  }
  return {
    name,
    type: text(header, "type"),
    mode: octal(header, "mode"),
    size: octal(header, "size"),
    link: text(header, "link"),
  };
}

function text(header: Buffer, field: keyof typeof fields): string {
  const [start, length] = fields[field];
  const end = header.subarray(start, start + length).indexOf(0);
  return header.toString("utf8", start, start + (end < 0 ? length : end));
}

function octal(header: Buffer, field: keyof typeof fields): number {
  const digits = text(header, field).trim();
  if (!/^[0-7]+$/.test(digits)) throw badArchive(`${field} of a header is no number`);
  return Number.parseInt(digits, 8);
}

function badArchive(detail: string): Error {
  return backupError("backup.bad_archive", "the archive of a base backup cannot be unpacked", { detail });
}
