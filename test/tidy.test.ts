/**
 * What no linter checks: which room imports which, that sans-IO files stay so, sizes, dead files, links in
 * the documentation. Reads text, not syntax: imports by their form, functions by the indentation that the
 * formatter gives them.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Folders of what is installed, built, or written by a program ("generated": see the file beside it). */
const notOurs = new Set(["node_modules", "dist", "coverage", ".git", ".cache", "generated"]);
const fileLinesMax = 500;
const functionLinesMax = 70;

/** Files that may be longer, or hold longer functions, each with the reason. */
const sizeExceptions: Readonly<Record<string, string>> = {};

/** What each room may import; a file directly in src is the outermost room. "docs/architecture.md" says why. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  base: [],
  wire: ["base"],
  epoll: ["base"],
  config: ["base"],
  auth: ["base", "wire"],
  sql: ["base"],
  client: ["base", "wire", "auth"],
  cluster: ["base", "config", "sql", "client"],
  pool: ["base", "wire", "config", "client"],
  session: ["base", "wire", "sql", "config", "auth", "client", "cluster", "pool"],
  admin: ["base", "wire", "sql", "config", "cluster", "pool", "session"],
  server: ["base", "wire", "epoll", "sql", "config", "auth", "client", "cluster", "pool", "session", "admin"],
  check: ["base", "config", "client", "session", "server"],
  backup: ["base", "client"],
  recovery: ["base", "config", "client", "server", "backup"],
  lab: ["base", "client", "backup"],
  cli: ["base", "sql", "config", "client", "server", "check", "recovery", "lab"],
  src: ["base", "config", "client", "server"],
};

/** Bytes, events and `now` in, actions out; whatever these import at run time has to be the same. */
const sansIo = (file: string): boolean =>
  /^src\/(wire\/|sql\/(?!parser\.ts|index\.ts)|auth\/(?!pbkdf2\.ts)|client\/handshake\/handshake\.ts|pool\/replies\.ts|cluster\/(?!probing\/))/.test(
    file,
  );
const outsideWorld =
  /\b(?:Date\.now|new Date|performance\.|setTimeout|setInterval|setImmediate|queueMicrotask|nextTick|async|await|Promise|Math\.random|random(?:Bytes|Int|UUID|FillSync))\b|\.then\(/;
const nodeModulesWithoutIo = new Set(["node:crypto", "node:buffer", "node:util"]);

/** Entry points besides those of package.json, each with what starts it. */
const furtherEntryPoints: Readonly<Record<string, string>> = {
  "src/cli/worker.ts": "the processes that serve clients, where there are several",
  "src/lab/bench/load/main.ts": "a process of its own, started by the benchmark",
};

/** Names of the workplace and of tools, which are nobody's business in here. Written apart to not find itself. */
const foreignWords = new RegExp(
  [
    ["/wo", "rk/"],
    ["helper", " agent"],
    ["cla", "ude"],
    ["anthro", "pic"],
  ]
    .map((parts) => parts.join(""))
    .join("|"),
  "i",
);

interface SourceFile {
  readonly file: string;
  readonly text: string;
  /** The text without comments and without what stands in quotes. */
  readonly code: string;
  readonly imports: readonly Import[];
}

interface Import {
  readonly specifier: string;
  /** Repository path of a relative import. */
  readonly target: string | undefined;
  readonly typeOnly: boolean;
}

const files = listFiles("");
const sources = files
  .filter((file) => /^(src|test|scripts|bench|examples)\/.*\.ts$/.test(file))
  .map(readSource);
const product = sources.filter(({ file }) => file.startsWith("src/"));
const byName = new Map(sources.map((source) => [source.file, source]));

describe("rooms", () => {
  test("import only what they may", () => {
    const wrong = product.flatMap(({ file, imports }) =>
      imports
        .filter(({ target }) => target !== undefined && !mayImport(file, target))
        .map(({ target }) => `${file} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test("base and the wire format need no packages", () => {
    const wrong = product
      .filter(({ file }) => ["base", "wire"].includes(roomOf(file)))
      .flatMap(({ file, imports }) => imports.map(({ specifier }) => `${file} imports ${specifier}`))
      .filter((line) => !/ imports (node:|\.)/.test(line));
    expect(wrong).toEqual([]);
  });

  test("what tests share knows none of them", () => {
    const wrong = sources
      .filter(({ file }) => file.startsWith("test/kit/"))
      .flatMap(({ file, imports }) => imports.map(({ target }) => [file, target] as const))
      .filter(([, target]) => target !== undefined && !/^(src|test\/kit|scripts)\//.test(target))
      .map(([file, target]) => `${file} imports ${target}`);
    expect(wrong).toEqual([]);
  });

  test("form no cycle", () => {
    const edges = product.flatMap(({ file, imports }) =>
      imports.flatMap(({ target }) =>
        target === undefined ? [] : [[roomOf(file), roomOf(target)] as const],
      ),
    );
    const reaches = (from: string, goal: string, seen = new Set<string>()): boolean =>
      edges.some(
        ([a, b]) => a === from && b !== from && !seen.has(b) && (b === goal || reaches(b, goal, seen.add(b))),
      );
    expect(Object.keys(rooms).filter((room) => reaches(room, room))).toEqual([]);
  });
});

test("sans-IO files know no clock, timer, promise, socket or chance", () => {
  const wrong: string[] = [];
  for (const file of reachable(product.map((source) => source.file).filter(sansIo), false)) {
    const { code, imports } = byName.get(file) as SourceFile;
    for (const [index, line] of code.split("\n").entries()) {
      if (outsideWorld.test(line)) wrong.push(`${file}:${index + 1}: ${line.trim()}`);
    }
    for (const { specifier, typeOnly } of imports) {
      const harmless = typeOnly || !specifier.startsWith("node:") || nodeModulesWithoutIo.has(specifier);
      if (!harmless) wrong.push(`${file} imports ${specifier}`);
    }
  }
  expect(wrong).toEqual([]);
});

describe("sizes", () => {
  test(`no file has more than ${fileLinesMax} lines`, () => {
    const long = sources
      .map(({ file, text }) => ({ file, lines: text.split("\n").length - 1 }))
      .filter(({ file, lines }) => lines > fileLinesMax && sizeExceptions[file] === undefined);
    expect(long).toEqual([]);
  });

  test(`no function has more than ${functionLinesMax} lines`, () => {
    const long = sources.filter(({ file }) => sizeExceptions[file] === undefined).flatMap(longFunctions);
    expect(long).toEqual([]);
  });

  test("every exception is needed and has a reason", () => {
    for (const [file, reason] of Object.entries(sizeExceptions)) {
      const source = byName.get(file);
      expect(source, file).toBeDefined();
      expect(reason.length, file).toBeGreaterThan(20);
      if (source === undefined) continue;
      expect(source.text.split("\n").length > fileLinesMax || longFunctions(source).length > 0, file).toBe(
        true,
      );
    }
  });
});

test("every source file is reached from an entry point", () => {
  const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    bin: Record<string, string>;
    exports: Record<string, string | { default: string }>;
  };
  const built = [
    ...Object.values(manifest.bin),
    ...Object.values(manifest.exports).map((to) => (typeof to === "string" ? to : to.default)),
  ];
  const entries = built
    .filter((file) => file.endsWith(".js"))
    .map((file) =>
      path
        .normalize(file)
        .replace(/^dist\//, "src/")
        .replace(/\.js$/, ".ts"),
    );
  for (const entry of entries) expect(byName.has(entry), `${entry}, which package.json names`).toBe(true);
  const alive = new Set(reachable([...entries, ...Object.keys(furtherEntryPoints)], true));
  expect(product.map(({ file }) => file).filter((file) => !alive.has(file))).toEqual([]);
});

test("no test is run alone", () => {
  const alone = sources.filter(
    ({ file, code }) =>
      file.startsWith("test/") && /\b(?:test|it|describe|suite)(?:\.\w+)*\.only\b/.test(code),
  );
  expect(alone.map(({ file }) => file)).toEqual([]);
});

test("links in the documentation lead somewhere", () => {
  const broken = files.filter((file) => file.endsWith(".md")).flatMap(brokenLinks);
  expect(broken).toEqual([]);
});

test("no word of the workplace is left in", () => {
  const found = files
    .filter(
      (file) =>
        /\.(ts|mjs|js|json|md|toml|txt|yml|yaml|sh)$|^\.ci\//.test(file) && file !== "package-lock.json",
    )
    .flatMap((file) =>
      readFileSync(path.join(root, file), "utf8")
        .split("\n")
        .flatMap((line, index) =>
          foreignWords.test(line) ? [`${file}:${index + 1}: ${line.trim().slice(0, 100)}`] : [],
        ),
    );
  expect(found).toEqual([]);
});

test("package-lock.json names no registry, or the public one", () => {
  const lock = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { resolved?: string }>;
  };
  const elsewhere = Object.values(lock.packages).flatMap(({ resolved }) =>
    resolved === undefined || resolved.startsWith("https://registry.npmjs.org/") ? [] : [resolved],
  );
  expect(elsewhere).toEqual([]);
});

function listFiles(folder: string): string[] {
  return readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.posix.join(folder, entry.name);
    if (!entry.isDirectory()) return [file];
    return notOurs.has(entry.name) ? [] : listFiles(file);
  });
}

function readSource(file: string): SourceFile {
  const text = readFileSync(path.join(root, file), "utf8");
  // Strings come first in the pattern, so that a "//" in one of them is no comment.
  const pieces = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[^])*`|\/\*[^]*?\*\/|\/\/.*/g;
  const blank = (piece: string): string => piece.replace(/[^\n]/g, " ");
  const code = text.replace(pieces, blank);
  const uncommented = text.replace(pieces, (piece) => (/^\/[*/]/.test(piece) ? blank(piece) : piece));
  const statements =
    /\b(import|export)\s+(type\s)?(?:[\w*\s{},$]+?\bfrom\s*)?"([^"\n]+)"|\bimport\("([^"\n]+)"\)/g;
  const imports = [...uncommented.matchAll(statements)].map(([, , type, specifier, dynamic]): Import => {
    const name = specifier ?? dynamic ?? "";
    const target = name.startsWith(".") ? path.posix.join(path.posix.dirname(file), name) : undefined;
    return { specifier: name, target, typeOnly: type !== undefined };
  });
  return { file, text, code, imports };
}

function roomOf(file: string): string {
  return /^src\/([^/]+)\//.exec(file)?.[1] ?? "src";
}

function mayImport(file: string, target: string): boolean {
  const [from, to] = [roomOf(file), roomOf(target)];
  return target.startsWith("src/") && (from === to || (rooms[from]?.includes(to) ?? false));
}

/** The files that `entries` lead to, themselves included; through type imports only if asked. */
function reachable(entries: readonly string[], throughTypes: boolean): string[] {
  const seen = new Set<string>();
  const queue = [...entries];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    const source = byName.get(file);
    if (source === undefined || seen.has(file)) continue;
    seen.add(file);
    for (const { target, typeOnly } of source.imports) {
      if (target !== undefined && (throughTypes || !typeOnly)) queue.push(target);
    }
  }
  return [...seen].sort();
}

/** A function ends at the first `}` as far to the left as the line that opens it. Groups of tests do not count. */
function longFunctions({ file, code }: SourceFile): string[] {
  const lines = code.split("\n");
  return lines.flatMap((line, index) => {
    if (!/(?:=>|\)(?::.*)?) \{$/.test(line) || /^\s*describe\b/.test(line)) return [];
    const indentation = /^\s*/.exec(line)?.[0] ?? "";
    const length = lines.slice(index).findIndex((end) => end.startsWith(`${indentation}}`)) + 1;
    return length > functionLinesMax ? [`${file}:${index + 1} (${length} lines)`] : [];
  });
}

function brokenLinks(file: string): string[] {
  const text = readFileSync(path.join(root, file), "utf8").replace(/```[^]*?```|`[^`\n]*`/g, "");
  return [...text.matchAll(/\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)/gm)].flatMap(([, inline, reference]) => {
    const link = inline ?? reference ?? "";
    if (/^[a-z]+:/i.test(link)) return [];
    const [name = "", anchor] = link.split("#");
    const target = name === "" ? file : path.posix.join(path.posix.dirname(file), decodeURI(name));
    const found =
      existsSync(path.join(root, target)) && (anchor === undefined || anchorsOf(target).includes(anchor));
    return found ? [] : [`${file}: ${link}`];
  });
}

/** The anchors that GitHub gives to the headings of a file. */
function anchorsOf(file: string): string[] {
  const text = readFileSync(path.join(root, file), "utf8").replace(/```[^]*?```/g, "");
  return [...text.matchAll(/^#+\s+(.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replace(/\s/g, "-"),
  );
}
