/**
 * The commonest utility statements, recognised without the parser: texts that come in ever new forms (savepoints with
 * numbers, SET with values) and that sessions send by the thousand. It claims a text only if it understands all
 * of it; whatever it does not, is the parser's. A property holds the two together: they say the same of what is claimed.
 */
import type {
  IsolationLevel,
  SessionEffect,
  SettingScope,
  Statement,
  StatementKind,
  TransactionControl,
  TransactionModes,
} from "./statement-class.ts";
import { statementTraits } from "./statement-table.ts";
import type { Syntax } from "./syntax.ts";

/** Longer ones are not worth a second way. */
const scannedBytesMax = 300;
const tokensMax = 24;
/** NAMEDATALEN - 1: longer names are cut off by the server. */
const nameBytesMax = 63;

interface Token {
  readonly kind: "word" | "quoted" | "string" | "number" | "sign";
  /** Words in lower case; names and strings without their quotes. */
  readonly text: string;
}

/** Undefined: not one of these, or not surely. */
export function scan(text: string): Syntax | undefined {
  if (text.length > scannedBytesMax) return undefined;
  const tokens = tokenize(text);
  const [first] = tokens ?? [];
  if (tokens === undefined || first?.kind !== "word") return undefined;
  const read = new Reader(tokens);
  const statement = starts[read.word()]?.(read);
  return statement !== undefined && read.atEnd ? syntaxOf(statement) : undefined;
}

/** What the syntax of a single statement consists of, here where it names neither functions nor relations. */
function syntaxOf(found: Found): Syntax {
  const traits = statementTraits(found.tag);
  const statement: Statement = {
    tag: found.tag,
    kind: traits.kind satisfies StatementKind,
    range: undefined,
    transaction: found.transaction,
    effects: found.effect === undefined ? [] : [found.effect],
    shows: found.shows,
    locking: false,
    returnsRows: traits.returnsRows,
    outsideTransactionOnly: false,
  };
  return {
    statements: [statement],
    calls: [],
    relations: [],
    operators: [],
    types: [],
    fields: [],
    unsteady: false,
    opaque: false,
    route: traits.route,
    changesCatalog: false,
    hints: [],
  };
}

interface Found {
  readonly tag: string;
  readonly transaction?: TransactionControl;
  readonly effect?: SessionEffect;
  readonly shows?: string;
}

/** ASCII alone, as the text comes byte by byte: what else there is, is the parser's. */
const pattern =
  /[ \t\n\r\f\v]+|([a-z_][a-z0-9_]*)|"([ !#-[\]-~]+)"|'((?:[\t\n\r -&(-[\]-~]|'')*)'(?![ \t\n\r\f\v]*')|([+-]?(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?)(?![\w.$])|([=,.*;])/iy;

function tokenize(text: string): Token[] | undefined {
  const tokens: Token[] = [];
  pattern.lastIndex = 0;
  while (pattern.lastIndex < text.length) {
    const match = pattern.exec(text);
    if (match === null || tokens.length > tokensMax) return undefined;
    const [, word, quoted, string, number, sign] = match;
    if (word !== undefined) tokens.push({ kind: "word", text: word.toLowerCase() });
    else if (quoted !== undefined) tokens.push({ kind: "quoted", text: quoted });
    else if (string !== undefined) tokens.push({ kind: "string", text: string.replaceAll("''", "'") });
    else if (number !== undefined) tokens.push({ kind: "number", text: number });
    else if (sign !== undefined) tokens.push({ kind: "sign", text: sign });
  }
  while (tokens.at(-1)?.text === ";" && tokens.at(-1)?.kind === "sign") tokens.pop();
  return tokens;
}

class Reader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get atEnd(): boolean {
    return this.#at === this.#tokens.length;
  }

  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#at + ahead];
  }

  next(): Token | undefined {
    const token = this.#tokens[this.#at];
    this.#at += 1;
    return token;
  }

  /** The next word, which is taken; "" if it is none. */
  word(): string {
    const token = this.peek();
    if (token?.kind !== "word") return "";
    this.#at += 1;
    return token.text;
  }

  /** Takes these words, if they are next. */
  takes(...words: readonly string[]): boolean {
    const there = words.every((word, index) => {
      const token = this.peek(index);
      return token?.kind === "word" && token.text === word;
    });
    if (there) this.#at += words.length;
    return there;
  }

  takesSign(...signs: readonly string[]): boolean {
    const token = this.peek();
    if (token?.kind !== "sign" || !signs.includes(token.text)) return false;
    this.#at += 1;
    return true;
  }

  /** A name that the grammar takes without thinking. */
  name(): string | undefined {
    const token = this.next();
    if (token === undefined || token.text.length > nameBytesMax) return undefined;
    if (token.kind === "quoted") return token.text;
    return token.kind === "word" && !reserved.has(token.text) ? token.text : undefined;
  }
}

const starts: Readonly<Record<string, (read: Reader) => Found | undefined>> = {
  __proto__: null as never,
  begin: (read) => {
    if (!read.takes("work")) read.takes("transaction");
    return began(read);
  },
  start: (read) => (read.takes("transaction") ? began(read) : undefined),
  commit: (read) => ended(read, "commit"),
  end: (read) => ended(read, "commit"),
  abort: (read) => ended(read, "rollback"),
  rollback: rolledBack,
  savepoint: (read) => savepoint(read, "savepoint"),
  release: (read) => {
    read.takes("savepoint");
    return savepoint(read, "release");
  },
  set,
  show: (read) => {
    const shows = settingName(read);
    return shows === undefined ? undefined : { tag: "VariableShowStmt", shows };
  },
  reset: (read) => {
    if (read.takes("all")) return { tag: "VariableSetStmt", effect: { kind: "reset_all" } };
    const name = settingName(read);
    return name === undefined
      ? undefined
      : { tag: "VariableSetStmt", effect: { kind: "reset", name, scope: "session" } };
  },
  discard: (read) => {
    const word = read.word();
    const target = discardTargets[word];
    return target === undefined ? undefined : { tag: "DiscardStmt", effect: { kind: "discard", target } };
  },
  deallocate: deallocated,
  listen: (read) => {
    const channel = read.name();
    return channel === undefined ? undefined : { tag: "ListenStmt", effect: { kind: "listen", channel } };
  },
  unlisten: (read) => {
    const channel = read.takesSign("*") ? null : read.name();
    return channel === undefined ? undefined : { tag: "UnlistenStmt", effect: { kind: "unlisten", channel } };
  },
  notify: (read) => {
    const channel = read.name();
    if (read.takesSign(",") && read.next()?.kind !== "string") return undefined;
    return channel === undefined ? undefined : { tag: "NotifyStmt", effect: { kind: "notify", channel } };
  },
};

// Transactions.

function began(read: Reader): Found | undefined {
  const modes: { isolation?: IsolationLevel; readOnly?: boolean; deferrable?: boolean } = {};
  for (let first = true; !read.atEnd; first = false) {
    if (!first) read.takesSign(",");
    if (!takeMode(read, modes)) return undefined;
  }
  const said: TransactionModes = modes;
  return { tag: "TransactionStmt", transaction: { kind: "begin", modes: said } };
}

function takeMode(
  read: Reader,
  modes: { isolation?: IsolationLevel; readOnly?: boolean; deferrable?: boolean },
): boolean {
  if (read.takes("isolation", "level")) {
    for (const level of isolationLevels) {
      if (!read.takes(...level.split(" "))) continue;
      modes.isolation = level;
      return true;
    }
    return false;
  }
  if (read.takes("read", "only")) modes.readOnly = true;
  else if (read.takes("read", "write")) modes.readOnly = false;
  else if (read.takes("deferrable")) modes.deferrable = true;
  else if (read.takes("not", "deferrable")) modes.deferrable = false;
  else return false;
  return true;
}

const isolationLevels: readonly IsolationLevel[] = [
  "read uncommitted",
  "read committed",
  "repeatable read",
  "serializable",
];

function ended(read: Reader, kind: "commit" | "rollback"): Found | undefined {
  if (!read.takes("work")) read.takes("transaction");
  let chain = false;
  if (!read.takes("and", "no", "chain")) chain = read.takes("and", "chain");
  return { tag: "TransactionStmt", transaction: { kind, chain } };
}

function rolledBack(read: Reader): Found | undefined {
  if (!read.takes("work")) read.takes("transaction");
  if (read.takes("to")) {
    read.takes("savepoint");
    return savepoint(read, "rollback_to");
  }
  return ended(read, "rollback");
}

function savepoint(read: Reader, kind: "savepoint" | "release" | "rollback_to"): Found | undefined {
  const name = read.name();
  return name === undefined ? undefined : { tag: "TransactionStmt", transaction: { kind, name } };
}

// Settings.

/** Names that begin a form of their own: SET ROLE, SHOW TIME ZONE, SET NAMES. */
const special: ReadonlySet<string> = new Set(
  `authorization catalog characteristics constraints local names role schema seed session
  session_authorization time transaction xml all current`.split(/\s+/),
);

/** `name` or `prefix.name`. */
function settingName(read: Reader): string | undefined {
  let name = plainSettingName(read);
  while (name !== undefined && read.takesSign(".")) {
    const part = plainSettingName(read);
    name = part === undefined ? undefined : `${name}.${part}`;
  }
  return name;
}

function plainSettingName(read: Reader): string | undefined {
  const token = read.peek();
  const name = read.name();
  return token?.kind === "word" && name !== undefined && !special.has(name) ? name : undefined;
}

function set(read: Reader): Found | undefined {
  const scope: SettingScope = read.takes("local") ? "local" : "session";
  if (scope === "session") read.takes("session");
  const name = settingName(read);
  if (name === undefined || !(read.takesSign("=") || read.takes("to"))) return undefined;
  if (read.takes("default")) return { tag: "VariableSetStmt", effect: { kind: "reset", name, scope } };
  const value = settingValue(read);
  if (value === undefined) return undefined;
  return { tag: "VariableSetStmt", effect: { kind: "set_parameter", name, values: [value], scope } };
}

function settingValue(read: Reader): string | undefined {
  const token = read.next();
  switch (token?.kind) {
    case "string":
      return token.text;
    case "number":
      return numberText(token.text);
    case "word":
      // ON, TRUE and FALSE are reserved elsewhere; here they are values.
      return ["on", "true", "false"].includes(token.text) || !reservedEverywhere.has(token.text)
        ? cut(token.text)
        : undefined;
    default:
      return undefined;
  }
}

function numberText(text: string): string {
  if (text.includes(".")) return text.startsWith("+") ? text.slice(1) : text;
  return String(Number(text));
}

function cut(word: string): string | undefined {
  return word.length > nameBytesMax ? undefined : word;
}

const discardTargets: Readonly<Record<string, "all" | "plans" | "sequences" | "temp">> = {
  __proto__: null as never,
  all: "all",
  plans: "plans",
  sequences: "sequences",
  temp: "temp",
  temporary: "temp",
};

function deallocated(read: Reader): Found | undefined {
  read.takes("prepare");
  const name = read.takes("all") ? null : read.name();
  return name === undefined ? undefined : { tag: "DeallocateStmt", effect: { kind: "deallocate", name } };
}

/** Reserved keywords, of pg_get_keywords(). */
const reservedEverywhere: ReadonlySet<string> = new Set(
  `all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
  current_catalog current_date current_role current_time current_timestamp current_user default deferrable
  desc distinct do else end except false fetch for foreign from grant group having in initially intersect
  into lateral leading limit localtime localtimestamp not null offset on only or order placing primary
  references returning select session_user some symmetric system_user table then to trailing true union
  unique user using variadic when where window with`.split(/\s+/),
);

/** Words that are no name of a savepoint, channel or setting: reserved, or kept for functions and types. */
const reserved: ReadonlySet<string> = new Set([
  ...reservedEverywhere,
  ..."authorization binary collation concurrently cross current_schema freeze full ilike inner is isnull join left like natural notnull outer overlaps right similar tablesample verbose".split(
    " ",
  ),
  // Optional words of the statements themselves, which as names are read either way.
  ..."prepare prepared savepoint work transaction session local".split(" "),
]);
