/**
 * libpq's two notations for connection parameters, as plain keywords and values:
 *
 *     host=localhost port=5432 dbname='my db' user=me            keyword/value
 *     postgresql://me:secret@localhost:5432/db?sslmode=require    URI
 *
 * Rules and their oddities are those of fe-connect.c (conninfo_parse, conninfo_uri_parse_options,
 * conninfo_uri_decode) of PostgreSQL 18: spaces at the ends of a URI's component are dropped, inner ones are
 * an error. No value ever appears in an error text, since it may be a password; nor does a word that is no
 * keyword where it may be the rest of one.
 */
import { badOption } from "./options.ts";
import { type ConnectionKeyword, isConnectionKeyword, isSecret } from "./parameters.ts";

const uriPrefixes = ["postgresql://", "postgres://"];

/** What a text sets, in the order it was first set; a later duplicate has replaced an earlier value. */
export type Keywords = Map<ConnectionKeyword, string>;

/** Whether libpq would take this text for a connection string (recognized_connection_string). */
export function isConnectionString(text: string): boolean {
  return text.includes("=") || uriPrefixes.some((prefix) => text.startsWith(prefix));
}

/** Parses either notation. Throws OperationError `client.bad_option` (22023). */
export function parseKeywords(text: string): Keywords {
  if (text.includes("\0")) throw badOption("a connection string cannot contain a NUL");
  const prefix = uriPrefixes.find((candidate) => text.startsWith(candidate));
  return prefix === undefined ? new KeywordValueParser(text).parse() : parseUri(text.slice(prefix.length));
}

/** Stores a value; false if there is no such keyword. `requiressl` is the old form of sslmode (conninfo_storeval). */
function store(keywords: Keywords, keyword: string, value: string): boolean {
  if (keyword === "requiressl") {
    keywords.set("sslmode", value.startsWith("1") ? "require" : "prefer");
    return true;
  }
  if (!isConnectionKeyword(keyword)) return false;
  keywords.set(keyword, value);
  return true;
}

/**
 * How an error may call a word that stands where a keyword should. It is shown if it looks like one and no
 * secret precedes it: an unquoted blank or ampersand in a password makes a keyword of the password's rest.
 */
function wordName(word: string, keywords: Keywords, position: string): string {
  if (isConnectionKeyword(word)) return `"${word}"`;
  const behindSecret = [...keywords.keys()].some(isSecret);
  return !behindSecret && /^[a-z][a-z0-9_]*$/i.test(word) ? `"${word}"` : position;
}

/** isspace() of the C locale. */
const isBlank = (character: string | undefined): boolean =>
  character !== undefined && " \t\n\v\f\r".includes(character);

class KeywordValueParser {
  readonly #text: string;
  readonly #keywords: Keywords = new Map();
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Keywords {
    for (this.#skipBlanks(); this.#position < this.#text.length; this.#skipBlanks()) {
      const start = this.#position;
      const keyword = this.#keyword();
      this.#skipBlanks();
      const value = this.#text[this.#position] === "'" ? this.#quoted() : this.#bare();
      if (!store(this.#keywords, keyword, value)) {
        throw badOption(
          `invalid connection option ${wordName(keyword, this.#keywords, `at position ${start}`)}`,
        );
      }
    }
    return this.#keywords;
  }

  #skipBlanks(): void {
    while (isBlank(this.#text[this.#position])) this.#position++;
  }

  #keyword(): string {
    const start = this.#position;
    while (this.#position < this.#text.length && this.#text[this.#position] !== "=") {
      if (isBlank(this.#text[this.#position])) break;
      this.#position++;
    }
    const keyword = this.#text.slice(start, this.#position);
    this.#skipBlanks();
    if (this.#text[this.#position] !== "=") {
      // What is no keyword may be a whole URI, or the rest of a password.
      const what = isConnectionKeyword(keyword) ? `"${keyword}"` : `the word at position ${start}`;
      throw badOption(`missing "=" after ${what} in connection info string`);
    }
    this.#position++;
    return keyword;
  }

  #bare(): string {
    let value = "";
    while (this.#position < this.#text.length && !isBlank(this.#text[this.#position]))
      value += this.#character();
    return value;
  }

  #quoted(): string {
    this.#position++;
    let value = "";
    while (this.#text[this.#position] !== "'") {
      if (this.#position >= this.#text.length)
        throw badOption("unterminated quoted string in connection info string");
      value += this.#character();
    }
    this.#position++;
    return value;
  }

  /** The next character, or the one a backslash quotes; a backslash at the very end stands for nothing. */
  #character(): string {
    if (this.#text[this.#position] === "\\") this.#position++;
    return this.#text[this.#position++] ?? "";
  }
}

function parseUri(text: string): Keywords {
  const keywords: Keywords = new Map();
  const set = (keyword: ConnectionKeyword, encoded: string): void => {
    if (encoded !== "") keywords.set(keyword, decodeComponent(encoded));
  };
  // Credentials are there if an @ comes before the first slash.
  const designator = /^([^@/]*)@/.exec(text);
  const credentials = designator?.[1] ?? "";
  const colon = credentials.indexOf(":");
  set("user", colon < 0 ? credentials : credentials.slice(0, colon));
  if (colon >= 0) set("password", credentials.slice(colon + 1));

  const { hosts, ports, rest } = parseHostList(text.slice(designator?.[0].length ?? 0));
  set("host", hosts.join(","));
  set("port", ports.join(","));
  const question = rest.indexOf("?");
  const path = question < 0 ? rest : rest.slice(0, question);
  set("dbname", path.slice(1));
  if (question >= 0) parseQuery(rest.slice(question + 1), keywords);
  return keywords;
}

/** `host[:port],…` up to the slash or question mark that ends it. */
function parseHostList(text: string): { hosts: string[]; ports: string[]; rest: string } {
  const hosts: string[] = [];
  const ports: string[] = [];
  let rest = text;
  for (;;) {
    const host = rest.startsWith("[") ? bracketed(rest) : (/^[^:/?,]*/.exec(rest)?.[0] ?? "");
    hosts.push(host);
    rest = rest.slice(rest.startsWith("[") ? host.length + 2 : host.length);
    const port = rest.startsWith(":") ? (/^:([^/?,]*)/.exec(rest)?.[1] ?? "") : undefined;
    if (port !== undefined) rest = rest.slice(port.length + 1);
    ports.push(port ?? "");
    if (!rest.startsWith(",")) break;
    rest = rest.slice(1);
  }
  // Without any port, libpq stores none; with several hosts, the commas stay.
  return { hosts, ports: hosts.length === 1 && ports[0] === "" ? [] : ports, rest };
}

/** The IPv6 address in `[…]`; what it holds is not checked. */
function bracketed(text: string): string {
  const end = text.indexOf("]");
  if (end < 0)
    throw badOption('end of string reached when looking for matching "]" in IPv6 host address in URI');
  if (end === 1) throw badOption("IPv6 host address may not be empty in URI");
  const next = text[end + 1];
  if (next !== undefined && !":/?,".includes(next)) {
    throw badOption('unexpected character behind the IPv6 host address in URI (expected ":" or "/")');
  }
  return text.slice(1, end);
}

function parseQuery(text: string, keywords: Keywords): void {
  if (text === "") return;
  // With an @ still to come, this may be the middle of a password, cut off at an unquoted @ or slash.
  const mayBeSecret = text.includes("@");
  const given: Keywords = new Map();
  const parameters = text.split("&");
  // An ampersand at the end opens no further parameter.
  if (parameters.at(-1) === "") parameters.pop();
  for (const [index, parameter] of parameters.entries()) {
    const [encodedKeyword = "", encodedValue, ...more] = parameter.split("=");
    const fault = (what: string, keyword: string): Error => {
      const position = `number ${index + 1}`;
      return badOption(
        `${what} URI query parameter: ${mayBeSecret ? position : wordName(keyword, given, position)}`,
      );
    };
    if (more.length > 0) throw fault('extra key/value separator "=" in', encodedKeyword);
    if (encodedValue === undefined) throw fault('missing key/value separator "=" in', encodedKeyword);
    const keyword = decodeComponent(encodedKeyword);
    const value = decodeComponent(encodedValue);
    // The one alias, for the sake of JDBC's URLs.
    if (keyword === "ssl" && value === "true") store(given, "sslmode", "require");
    else if (!store(given, keyword, value)) throw fault("invalid", keyword);
  }
  for (const [keyword, value] of given) keywords.set(keyword, value);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Drops spaces at both ends, decodes `%xy`; tabs and line feeds are like any other character. libpq passes on any bytes; a string can only hold what is UTF-8. */
function decodeComponent(encoded: string): string {
  const trimmed = encoded.replace(/^ +/, "").replace(/ +$/, "");
  if (trimmed.includes(" ")) {
    throw badOption("unexpected spaces found in a part of the URI, use percent-encoded spaces (%20) instead");
  }
  if (!trimmed.includes("%")) return trimmed;
  if (/%(?![0-9a-fA-F]{2})/.test(trimmed)) throw badOption("invalid percent-encoded token in URI");
  if (trimmed.includes("%00")) throw badOption("forbidden value %00 in percent-encoded value in URI");
  const bytes: Buffer[] = [];
  for (const part of trimmed.split(/(%[0-9a-fA-F]{2})/)) {
    bytes.push(part.startsWith("%") ? Buffer.from(part.slice(1), "hex") : Buffer.from(part));
  }
  try {
    return utf8.decode(Buffer.concat(bytes));
  } catch {
    throw badOption("a percent-encoded value in URI is not UTF-8");
  }
}
