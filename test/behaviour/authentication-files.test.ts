/**
 * pg_hba.conf and pg_ident.conf as PostgreSQL reads them: the embedded one is given the same files and asked
 * what it takes them for (its views pg_hba_file_rules and pg_ident_file_mappings read the files anew).
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { NameRegex } from "../../src/auth/hba/regex.ts";
import { RegexError } from "../../src/auth/hba/regex-program.ts";
import { type FileProblem, readLines, type TokenLine } from "../../src/auth/hba/tokens.ts";
import { checkConfig } from "../../src/config/load.ts";
import { loadHostBasedRules, readFrom } from "../../src/server/hba.ts";
import { useLab } from "../kit/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";

const folder = await tempFolder();
const identFile = path.join(folder.path, "pg_ident.conf");
const place = useLab({ settings: { ident_file: identFile } });
afterAll(() => folder[Symbol.asyncDispose]());

/** Records that both take, and that must mean the same to both. */
const good = [
  "local all all trust",
  "local\tall, app,sales\t all   reject",
  'local "all" "all", alice trust # a comment',
  'local app"s" al"i"ce trust',
  'local "say ""hi""" "#1" trust#',
  "host all all all md5",
  "host all all 192.0.2.0/24 md5",
  "host all all 192.0.2.77/24 md5",
  "host all all 192.0.2.0 255.255.255.0 md5",
  "host all all 10.0.0.0 255.0.255.0 md5",
  "host all all ::1/128 scram-sha-256",
  "host all all 2001:DB8::/32 scram-sha-256",
  "host all all fe80::1 ffff:: scram-sha-256",
  "host all all samehost password",
  "host sameuser,replication all samenet trust",
  "hostnossl /^a all 0.0.0.0/0 trust",
  'host "/^db\\d{2,4}$" /x|y all trust',
  "host all \\\n  alice \\\n  all trust",
  'host "two\\\nlines" all all trust',
  "# a comment \\\n host all all all reject",
  "hostnogssenc all all all trust",
  "host @lists/databases,more @lists/users all trust",
  "include more.conf",
  "include_if_exists missing.conf",
  "include_dir more",
  ", local all all ,trust",
  "host all all db.example.com trust",
  "host all all .example.com trust",
  'host all all "all" trust',
] as const;

/** Records that both refuse. */
const bad = [
  "hosts all all all trust",
  "local",
  "local all",
  "local all all",
  "host all all all",
  "host,local all all all trust",
  "local, all, all, trust",
  "local all , app all trust",
  "host all all 192.0.2.1",
  "host all all 192.0.2.1 trust",
  "host all all 192.0.2.0/33 trust",
  "host all all ::1/129 trust",
  "host all all 192.0.2.1 ffff:: trust",
  "host all all localhost/8 trust",
  "host all all all,samenet trust",
  "host all all all trust,md5",
  "host all all all nothing",
  "host all all all trust nonsense",
  "host all all all trust color=red",
  "host all all all md5 map=x",
  "host all all all md5 clientcert=verify-ca",
  "host all all all cert",
  "local all all cert",
  "local /( all trust",
  "local /[a all trust",
  "local /a** all trust",
  "local /a{2 all trust",
  "local /a{300} all trust",
  "local all /\\ trust",
  "include nothing.conf",
  "include_dir nothing",
  "local @nothing all trust",
] as const;

/** Records that PostgreSQL takes and we refuse: the list of docs/operations.md. */
const refusedHere = [
  "local samerole all trust",
  "local samegroup all trust",
  "local all +admins trust",
  "local all all peer",
  "host all all all ident",
  "host all all 10.1/16 trust",
  'local all all "trust',
  "local /(?=a) all trust",
  "local /(?i)a all trust",
  "local /(a)\\1 all trust",
  "local /\\mword all trust",
] as const;

test("the same records of auth_hba_file and auth_ident_file mean the same", async () => {
  const { rules, problems, file } = await written(good.join("\n"));
  expect(problems).toEqual([]);
  expect(rules.map(meaning)).toEqual(await postgresRules(file));
  expect(rules.length).toBe(29);
  await expect(loaded(file)).resolves.toBeDefined();
});

test.each(bad)("both refuse %j", async (record) => {
  const { file } = await written(record);
  expect((await errorsOfPostgres()).length).toBeGreaterThan(0);
  await expect(loaded(file)).rejects.toThrow(/pg_hba\.conf:1: /);
});

test.each(refusedHere)("PostgreSQL takes %j, and we say why we do not", async (record) => {
  const { file } = await written(record);
  expect(await errorsOfPostgres()).toEqual([]);
  await expect(loaded(file)).rejects.toThrow(/pg_hba\.conf:1: /);
});

test.each<[string, boolean]>([
  ["m a b", true],
  ['"m m" "a, b" all', true],
  ["m /^(.*)@x$ \\1", true],
  ["m /^a /^b", true],
  ["m a", false],
  ["m", false],
  ["m a,b c", false],
  ["m /( b", false],
  ["m b /(", false],
])("map %j", async (record, taken) => {
  await writeReadable(identFile, record);
  const { rows } = await place.lab.primary.query("select error from pg_ident_file_mappings");
  expect(rows.every(([error]) => error === null)).toBe(taken);
  const { file } = await written("local all all trust");
  const result = loaded(file, identFile);
  await (taken
    ? expect(result).resolves.toBeDefined()
    : expect(result).rejects.toThrow(/pg_ident\.conf:1: /));
});

test("regular expressions match what PostgreSQL's match", async () => {
  const unit = fc.constantFrom(
    ...["a", "b", "1", "_", ".", "^", "$", "|", "(", ")", "(?:", "*", "+", "?", "*?", "{2}", "{1,}", "{0,2}"],
    ...[
      "[ab]",
      "[^a]",
      "[]a]",
      "[a-b1]",
      "[[:digit:]]",
      "[^[:alpha:]]",
      "\\d",
      "\\w",
      "\\W",
      "\\.",
      "\\A",
      "\\Z",
      "{",
      "]",
    ],
  );
  const pattern = fc.array(unit, { maxLength: 7 }).map((units) => units.join(""));
  const name = fc.string({ unit: fc.constantFrom("a", "b", "1", "_", ".", "]", "{"), maxLength: 6 });
  const pairs = fc.sample(fc.tuple(pattern, name), 6000).flatMap(([source, text]) => {
    try {
      return [{ source, text, ours: new NameRegex(source).match(text) !== undefined }];
    } catch (error) {
      expect(error).toBeInstanceOf(RegexError);
      return [];
    }
  });
  expect(pairs.length).toBeGreaterThan(1000);
  expect(pairs.filter(({ ours }) => ours).length).toBeGreaterThan(300);
  const values = pairs.map(({ source, text }) => `(${quoted(text)} collate "C" ~ ${quoted(source)})`);
  const { rows } = await place.lab.primary.query(`select unnest(array[${values.join(",")}])`);
  const theirs = pairs.map((pair, index) => ({ ...pair, ours: rows[index]?.[0] === "t" }));
  expect(pairs).toEqual(theirs);
});

/** Gives both sides the same rules, in the place where PostgreSQL looks for them, and reads them here. */
async function written(text: string): Promise<{ rules: TokenLine[]; problems: FileProblem[]; file: string }> {
  const { dataFolder } = place.lab.primary;
  const file = path.join(dataFolder, "pg_hba.conf");
  await mkdir(path.join(dataFolder, "lists"), { recursive: true });
  await mkdir(path.join(dataFolder, "more"), { recursive: true });
  for (const name of ["lists", "more"]) await chmod(path.join(dataFolder, name), 0o755);
  await writeReadable(path.join(dataFolder, "lists", "databases"), 'one, "two" # more\nthree four\n');
  await writeReadable(path.join(dataFolder, "lists", "users"), "alice\n@others");
  await writeReadable(path.join(dataFolder, "lists", "others"), "bob");
  await writeReadable(path.join(dataFolder, "more.conf"), "\nlocal more all trust");
  await writeReadable(path.join(dataFolder, "more", "b.conf"), "local b all trust");
  await writeReadable(path.join(dataFolder, "more", "B.conf"), "local B all trust\n\nlocal C all trust");
  await writeReadable(path.join(dataFolder, "more", ".c.conf"), "nonsense");
  await writeReadable(path.join(dataFolder, "more", "c.txt"), "nonsense");
  await writeReadable(file, text);
  const problems: FileProblem[] = [];
  return { rules: await readFrom(readLines(file, problems)), problems, file };
}

/** A record as the view shows it: its file and line, and its first three fields. */
function meaning({ file, line, fields }: TokenLine): unknown[] {
  const texts = fields.map((field) => field.map(({ text }) => text));
  return [file, line, texts[0]?.[0], texts[1], texts[2]];
}

async function postgresRules(main: string): Promise<unknown[][]> {
  const { rows } = await place.lab.primary.query(
    `select coalesce(file_name, '${main}'), line_number, type, to_json(database), to_json(user_name), error from pg_hba_file_rules`,
  );
  expect(rows.filter((row) => row[5] !== null)).toEqual([]);
  return rows.map(([file, line, type, databases, users]) => [
    file,
    Number(line),
    type,
    JSON.parse(databases ?? "null"),
    JSON.parse(users ?? "null"),
  ]);
}

async function errorsOfPostgres(): Promise<unknown[]> {
  const { rows } = await place.lab.primary.query(
    "select error from pg_hba_file_rules where error is not null",
  );
  return rows;
}

async function loaded(file: string, ident = ""): Promise<unknown> {
  const settings = { auth_type: "hba", auth_hba_file: file, auth_ident_file: ident };
  return await loadHostBasedRules(checkConfig({ pgsluice: settings, nodes: { main: {} } }, "/").pgsluice);
}

/** Also for the user that PostgreSQL runs as. */
async function writeReadable(file: string, text: string): Promise<void> {
  await writeFile(file, text);
  await chmod(file, 0o644);
}

function quoted(text: string): string {
  return `'${text}'`;
}
