/**
 * Steps that name their client, one in a line; lines that begin with a blank go on with the step before, `#`
 * begins a comment. A client connects at its first step, if it was not told to before.
 *
 *     a: select 1                        a simple query, and its answer up to ReadyForQuery
 *     a connect user=ada options='-c x=1'
 *     a query: select 2                  a message for the next write; so are the following
 *     a parse s1 int4 0: select $1, $2   types by name, or 0 for what the server is to find out; "" is the unnamed one
 *     a bind s1 (1, null, 'a, b', \x00)  [portal p1] [formats 0 1] [results 1]
 *     a describe statement s1            or: portal p1
 *     a execute p1 rows 2
 *     a close portal p1
 *     a function 177 (1, 2)
 *     a copydata: 1\tone\n               with escapes of C; copydone, copyfail: why
 *     a sync more | a flush more         a Sync, or a Flush, for the next write
 *     a sync | a flush | a ready [2]     writes, and reads the answers to everything, or to so many Syncs
 *     a send                             only writes
 *     a wait NotificationResponse [2]    writes, and reads up to such a message
 *     a wait close
 *     a save mine: select pg_backend_pid()    further on {mine} is its value, and {a.pid} the pid from the login
 *     a cancel | a terminate | a vanish
 *     * until: select …                  waits until a direct query yields true; `* blocked 1`: so many wait for a lock
 *     * run: …                           SQL as superuser, directly
 */
import type { BackendMessage, FrontendMessage, Target } from "../../../src/wire/index.ts";
import { type Action, ScriptError, type Step } from "./script.ts";

const withText =
  /^([a-z]\w*|\*)((?:\s+(?:query|parse|copydata|copyfail|save|until|run)\b[^:]*?)?)\s*:\s?([^]*)$/;
const withoutText = /^([a-z]\w*|\*)\s+([a-z][^]*)$/;

export function annotatedSteps(text: string, file: string): Step[] {
  const steps: Step[] = [];
  for (const { source, line } of logicalLines(text)) {
    const parts = withText.exec(source) ?? withoutText.exec(source);
    try {
      if (parts === null) throw new Error("a step begins with its client, as in `a: select 1`");
      const [, client = "", words = "", text] = parts;
      steps.push({ client, source, actions: actionsOf(client, splitWords(words), text) });
    } catch (error) {
      throw new ScriptError(`${file}:${line}: ${(error as Error).message}`, { cause: error });
    }
  }
  return steps;
}

function* logicalLines(text: string): Generator<{ source: string; line: number }> {
  let current: { source: string; line: number } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    if (/^\s/.test(line) && current !== undefined) {
      current.source += `\n${line}`;
    } else if (line !== "" && !line.startsWith("#")) {
      if (current !== undefined) yield current;
      current = { source: line, line: index + 1 };
    }
  }
  if (current !== undefined) yield { ...current, source: current.source.trimEnd() };
}

/** Words at blanks; quotes hold one together, and parentheses a list. */
function splitWords(text: string): string[] {
  return text.match(/\((?:'(?:[^']|'')*'|[^')])*\)|(?:[^\s'"(]|'(?:[^']|'')*'|"[^"]*")+/g) ?? [];
}

const ready: Action = { kind: "ready", count: undefined };
const add = (message: FrontendMessage): Action[] => [{ kind: "message", message }];

function actionsOf(client: string, words: readonly string[], text: string | undefined): Action[] {
  const [verb, ...args] = words;
  if (client === "*") return runnerActions(verb, args, text);
  if (text !== undefined) return textActions(verb, args, text);
  switch (verb) {
    case "connect":
      return [{ kind: "connect", parameters: args.map(parameter) }];
    case "bind":
      return add(bind(args));
    case "describe":
      return add({ kind: "Describe", ...targetAndName(args) });
    case "close":
      return add({ kind: "Close", ...targetAndName(args) });
    case "execute":
      return add(execute(args));
    case "function":
      return add(functionCall(args));
    case "copydone":
      return add({ kind: "CopyDone" });
    case "sync":
      return [...add({ kind: "Sync" }), ...(args[0] === "more" ? [] : [ready])];
    case "flush":
      return args[0] === "more" ? add({ kind: "Flush" }) : [{ kind: "flush" }];
    case "send":
    case "terminate":
    case "vanish":
    case "cancel":
      return [{ kind: verb }];
    case "ready":
      return [{ kind: "ready", count: args[0] === undefined ? undefined : number(args[0]) }];
    case "wait":
      if (args[0] === "close") return [{ kind: "closed" }];
      return [{ kind: "wait", for: kindNamed(args[0]), count: number(args[1] ?? "1") }];
    default:
      throw new Error(`no such step: ${words.join(" ")}`);
  }
}

function textActions(verb: string | undefined, args: readonly string[], text: string): Action[] {
  switch (verb) {
    case undefined:
      return [...add({ kind: "Query", sql: text }), ready];
    case "query":
      return add({ kind: "Query", sql: text });
    case "parse":
      return add({ kind: "Parse", name: name(args[0]), sql: text, types: args.slice(1).map(typeOid) });
    case "copydata":
      return add({ kind: "CopyData", data: Buffer.from(unescape(text)) });
    case "copyfail":
      return add({ kind: "CopyFail", message: text });
    case "save":
      return [...add({ kind: "Query", sql: text }), { kind: "save", variable: name(args[0]) }, ready];
    default:
      throw new Error(`no such step: ${verb} ${args.join(" ")}: …`);
  }
}

function runnerActions(
  verb: string | undefined,
  args: readonly string[],
  text: string | undefined,
): Action[] {
  if (verb === "blocked") {
    const waiting = `wait_event_type = 'Lock' and datname = current_database()`;
    return [
      {
        kind: "until",
        sql: `select count(*) = ${number(args[0] ?? "1")} from pg_stat_activity where ${waiting}`,
      },
    ];
  }
  if ((verb === "until" || verb === "run") && text !== undefined) return [{ kind: verb, sql: text }];
  throw new Error(`no such step of the runner: ${verb}`);
}

function parameter(word: string): [string, string] {
  const at = word.indexOf("=");
  if (at < 1) throw new Error(`not a startup parameter: ${word}`);
  return [word.slice(0, at), unquote(word.slice(at + 1))];
}

function bind(args: readonly string[]): FrontendMessage {
  const [statement, ...rest] = args;
  let values: (Buffer | null)[] = [];
  let portal = "";
  const lists: Record<string, number[]> = { formats: [], results: [] };
  let list: number[] | undefined;
  for (let index = 0; index < rest.length; index++) {
    const word = rest[index] ?? "";
    if (word.startsWith("(")) values = valuesOf(word);
    else if (word === "portal") portal = name(rest[++index]);
    else if (word in lists) list = lists[word];
    else if (list !== undefined) list.push(number(word));
    else throw new Error(`not understood in bind: ${word}`);
  }
  const { formats = [], results: resultFormats = [] } = lists;
  return { kind: "Bind", portal, statement: name(statement), formats, values, resultFormats };
}

function functionCall(args: readonly string[]): FrontendMessage {
  return {
    kind: "FunctionCall",
    functionOid: number(args[0] ?? ""),
    formats: [],
    values: valuesOf(args[1] ?? "()"),
    resultFormat: 0,
  };
}

/** `(1, null, 'it''s', \x00ff)` */
function valuesOf(list: string): (Buffer | null)[] {
  const items = list.slice(1, -1).match(/'(?:[^']|'')*'|[^\s,][^,]*/g) ?? [];
  return items.map((item) => {
    const word = item.trim();
    if (word === "null") return null;
    if (word.startsWith("\\x")) return Buffer.from(word.slice(2), "hex");
    return Buffer.from(unquote(word));
  });
}

function execute(args: readonly string[]): FrontendMessage {
  const at = args.indexOf("rows");
  const maxRows = at < 0 ? 0 : number(args[at + 1] ?? "");
  return { kind: "Execute", portal: at === 0 ? "" : name(args[0] ?? '""'), maxRows };
}

function targetAndName(args: readonly string[]): { target: Target; name: string } {
  const [target, which = '""'] = args;
  if (target !== "statement" && target !== "portal") throw new Error("say `statement NAME` or `portal NAME`");
  return { target, name: name(which) };
}

function name(word: string | undefined): string {
  if (word === undefined) throw new Error('a name is missing; `""` is the unnamed one');
  return word === '""' ? "" : word;
}

function number(word: string): number {
  if (!/^-?\d+$/.test(word)) throw new Error(`not a number: ${word}`);
  return Number(word);
}

function unquote(word: string): string {
  return word.startsWith("'") ? word.slice(1, -1).replaceAll("''", "'") : word;
}

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", "\\": "\\" };

function unescape(text: string): string {
  return text.replace(/\\([ntr\\])/g, (_, letter: string) => escapes[letter] ?? letter);
}

const typeOids: Readonly<Record<string, number>> = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  float8: 701,
  unknown: 705,
  int4array: 1007,
  varchar: 1043,
  date: 1082,
  timestamptz: 1184,
  numeric: 1700,
};

function typeOid(word: string): number {
  return typeOids[word] ?? number(word);
}

const kinds: ReadonlySet<string> = new Set([
  "BindComplete",
  "CommandComplete",
  "CopyData",
  "CopyDone",
  "CopyInResponse",
  "CopyOutResponse",
  "DataRow",
  "ErrorResponse",
  "NotificationResponse",
  "NoticeResponse",
  "ParameterStatus",
  "ParseComplete",
  "PortalSuspended",
  "ReadyForQuery",
  "RowDescription",
]);

function kindNamed(word: string | undefined): BackendMessage["kind"] {
  if (word === undefined || !kinds.has(word)) throw new Error(`no message to wait for: ${word}`);
  return word as BackendMessage["kind"];
}
