/**
 * The layer that pg_hba.conf and pg_ident.conf share (docs 20.1; hba.c tokenize_auth_file): lines of fields,
 * fields of one or more values, comments, quotes, lines that go on behind a backslash, lists of values in
 * other files (`@file`), and records that include whole files.
 *
 * No file is read here. {@link readLines} is a generator: it yields what it wants to read and is resumed with
 * the answer, so that its caller may take its time. Every mistake is noted with its file and line, and reading
 * goes on behind it. Stricter than PostgreSQL in one thing: a quote that is never closed is a mistake.
 */

/** A value of a field. */
export interface Token {
  readonly text: string;
  /** It began with a quote: a keyword in it is an ordinary name, and `@` no file. */
  readonly quoted: boolean;
}

/** A record: its fields, each with at least one value. */
export interface TokenLine {
  /** As the caller's answer named it. */
  readonly file: string;
  /** Counted from 1; of a record that goes on over several lines the first. */
  readonly line: number;
  readonly fields: readonly (readonly Token[])[];
}

/** A mistake in a file, for the person who wrote it. */
export interface FileProblem {
  readonly file: string;
  readonly line: number;
  readonly problem: string;
}

/** What has to be read. A relative name starts at the folder of the file `from`; undefined: it was configured. */
export interface FileRequest {
  readonly kind: "file" | "folder";
  readonly name: string;
  readonly from: string | undefined;
}

/** `path` is absolute: the file that was read, or the folder whose files are `names`. */
export type FileAnswer =
  | { readonly kind: "text"; readonly path: string; readonly text: string }
  | { readonly kind: "names"; readonly path: string; readonly names: readonly string[] }
  | { readonly kind: "unreadable"; readonly reason: string; readonly missing: boolean };

export type Reading<T> = Generator<FileRequest, T, FileAnswer>;

/** How deep files may include each other (conffiles.h CONF_FILE_MAX_DEPTH): one may include itself. */
const depthMax = 10;

/** All records of a file and of those that it includes, in their order. Mistakes are added to `problems`. */
export function* readLines(name: string, problems: FileProblem[]): Reading<TokenLine[]> {
  const answer = yield { kind: "file", name, from: undefined };
  if (answer.kind === "text") return yield* new FileReader(answer.path, 0, problems).lines(answer.text);
  problems.push({ file: name, line: 0, problem: reasonOf(answer) });
  return [];
}

/** A value, and whether the field goes on behind it with a comma. */
interface RawToken extends Token {
  readonly continues: boolean;
}

class FileReader {
  readonly #file: string;
  readonly #depth: number;
  readonly #problems: FileProblem[];

  constructor(file: string, depth: number, problems: FileProblem[]) {
    this.#file = file;
    this.#depth = depth;
    this.#problems = problems;
  }

  *lines(text: string): Reading<TokenLine[]> {
    const result: TokenLine[] = [];
    for (const { line, content } of logicalLines(text)) {
      const before = this.#problems.length;
      const fields = yield* this.#fieldsOf(line, content);
      if (fields.length === 0 || this.#problems.length > before) continue;
      const included = yield* this.#included(line, fields);
      if (included === undefined) result.push({ file: this.#file, line, fields });
      else result.push(...included);
    }
    return result;
  }

  *#fieldsOf(line: number, content: string): Reading<Token[][]> {
    const scanner = new Scanner(content);
    const fields: Token[][] = [];
    let field: Token[] = [];
    for (let token = scanner.next(); token !== undefined; token = scanner.next()) {
      if (!token.quoted && token.text.length > 1 && token.text.startsWith("@")) {
        field.push(...(yield* this.#list(line, token.text.slice(1))));
      } else {
        field.push({ text: token.text, quoted: token.quoted });
      }
      if (token.continues) continue;
      // A list may turn out to be empty: it is no field then, as in PostgreSQL.
      if (field.length > 0) fields.push(field);
      field = [];
    }
    if (field.length > 0) fields.push(field);
    if (scanner.problem !== undefined) this.#note(line, scanner.problem);
    return fields;
  }

  /** All values of a file, whichever lines they are in. */
  *#list(line: number, name: string): Reading<Token[]> {
    const lines = yield* this.#read(line, name, false);
    return lines.flatMap(({ fields }) => fields.flat());
  }

  /** The records that an include record stands for; undefined for any other record. */
  *#included(line: number, fields: readonly (readonly Token[])[]): Reading<TokenLine[] | undefined> {
    const [[directive] = [], [target, ...others] = []] = fields;
    if (fields.length !== 2 || directive === undefined || target === undefined) return undefined;
    if (!["include", "include_if_exists", "include_dir"].includes(directive.text)) return undefined;
    if (others.length > 0) {
      this.#note(line, `"${directive.text}" takes one name`);
      return [];
    }
    if (directive.text !== "include_dir") {
      return yield* this.#read(line, target.text, directive.text === "include_if_exists");
    }
    const answer = yield { kind: "folder", name: target.text, from: this.#file };
    if (answer.kind !== "names") {
      this.#note(line, `"${target.text}" ${reasonOf(answer)}`);
      return [];
    }
    const result: TokenLine[] = [];
    for (const name of answer.names.filter(isConfigurationFile).sort(byBytes)) {
      result.push(...(yield* this.#read(line, `${answer.path}/${name}`, false)));
    }
    return result;
  }

  *#read(line: number, name: string, optional: boolean): Reading<TokenLine[]> {
    if (this.#depth >= depthMax) {
      this.#note(line, `"${name}": files include each other more than ${depthMax} deep`);
      return [];
    }
    const answer = yield { kind: "file", name, from: this.#file };
    if (answer.kind === "text") {
      return yield* new FileReader(answer.path, this.#depth + 1, this.#problems).lines(answer.text);
    }
    const missing = answer.kind === "unreadable" && answer.missing;
    if (!optional || !missing) this.#note(line, `"${name}" ${reasonOf(answer)}`);
    return [];
  }

  #note(line: number, problem: string): void {
    this.#problems.push({ file: this.#file, line, problem });
  }
}

/** Splits one record into values. */
class Scanner {
  problem: string | undefined;
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The next value; undefined at the end of the line, or of what is not a comment. */
  next(): RawToken | undefined {
    while (isBlank(this.#peek()) || this.#peek() === ",") this.#position++;
    const quoted = this.#peek() === '"';
    let text = "";
    let inQuotes = false;
    let sawQuotes = false;
    for (let next = this.#peek(); next !== ""; next = this.#peek()) {
      if (!inQuotes && (isBlank(next) || next === "," || next === "#")) break;
      this.#position++;
      if (next !== '"') text += next;
      else if (inQuotes && this.#peek() === '"') {
        text += next;
        this.#position++;
      } else {
        inQuotes = !inQuotes;
        sawQuotes = true;
      }
    }
    if (inQuotes) this.problem = "a quote is not closed";
    if (this.#peek() === "#") this.#position = this.#text.length;
    return text === "" && !sawQuotes ? undefined : { text, quoted, continues: this.#peek() === "," };
  }

  #peek(): string {
    return this.#text[this.#position] ?? "";
  }
}

/** Joins lines that end in a backslash with those behind them, before anything else is looked at. */
function* logicalLines(text: string): Generator<{ readonly line: number; readonly content: string }> {
  const lines = text.replace(/^\ufeff/, "").split("\n");
  let content = "";
  let first = 1;
  for (const [index, raw] of lines.entries()) {
    const line = raw.replace(/\r+$/, "");
    const goesOn = line.endsWith("\\") && index < lines.length - 1;
    content += line.endsWith("\\") ? line.slice(0, -1) : line;
    if (goesOn) continue;
    yield { line: first, content };
    content = "";
    first = index + 2;
  }
}

/** As PostgreSQL's GetConfFilesInDir: names that end in .conf, none that is hidden. */
function isConfigurationFile(name: string): boolean {
  return name.endsWith(".conf") && name.length > ".conf".length && !name.startsWith(".");
}

function byBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

function isBlank(character: string): boolean {
  return character === " " || character === "\t" || character === "\r";
}

function reasonOf(answer: FileAnswer): string {
  return answer.kind === "unreadable" ? `cannot be read: ${answer.reason}` : "cannot be read";
}
