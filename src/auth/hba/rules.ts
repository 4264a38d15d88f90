/**
 * Records of pg_hba.conf, and which of them decides over a connection: the first that fits its kind, address,
 * database and user (hba.c parse_hba_line, check_hba). Whether the user or the database exists is not looked up to
 * decide, so the decision tells a stranger nothing of either. Rules for `+role`, `samerole` and host names need facts that
 * are asked for when such a rule is the next that could fit, and not before.
 *
 * What cannot be done here is refused by name when the file is loaded, never passed over: a rule that is
 * skipped lets in whom it was to keep out.
 */
import type { LdapOptions } from "../ldap.ts";
import type { AuthMethod } from "../login.ts";
import {
  type Address,
  type AddressRange,
  contains,
  type InterfaceAddress,
  isOfInterfaces,
  parseAddress,
  parsePeerAddress,
  rangeOfBits,
  rangeOfMask,
} from "./address.ts";
import {
  databasePattern,
  type Fit,
  fitsDatabase,
  fitsUser,
  type HbaQuestion,
  type NamePattern,
  type NamesAsked,
  RecordError,
  userPattern,
} from "./names.ts";
import { parseMethod, parseOptions } from "./options.ts";
import { nameCharactersMax } from "./regex.ts";
import type { Token, TokenLine } from "./tokens.ts";

export type ConnectionType = "local" | "host" | "hostssl" | "hostnossl" | "hostgssenc" | "hostnogssenc";

export type AddressPattern =
  | { readonly kind: "all" | "samehost" | "samenet" }
  | { readonly kind: "range"; readonly range: AddressRange }
  /** `suffix`: names that end in it, with a dot before it. Both in small letters. */
  | { readonly kind: "hostName" | "suffix"; readonly name: string };

export interface HbaRule {
  readonly file: string;
  readonly line: number;
  readonly type: ConnectionType;
  readonly databases: readonly NamePattern[];
  readonly users: readonly NamePattern[];
  /** Of type `local` there is none. */
  readonly address: AddressPattern | undefined;
  readonly method: AuthMethod;
  /** The certificate a client must show: one that our authorities vouch for, `verify-full` one of its user too. */
  readonly clientCertificate: "verify-ca" | "verify-full" | undefined;
  /** Which name in the certificate counts: the common name, or the distinguished name as a whole (RFC 2253). */
  readonly clientName: "CN" | "DN";
  /** The map of pg_ident.conf that says which users a certificate stands for; undefined: the one of its name. */
  readonly map: string | undefined;
  /** Of the method ldap: where to ask; undefined: what auth_ldap_options says. */
  readonly ldap: LdapOptions | undefined;
}

/** What is known of a client before it proves anything. */
export interface HbaConnection extends NamesAsked {
  readonly encrypted: boolean;
  /** Address of a TCP client as its socket says it; undefined: a Unix socket. */
  readonly address: string | undefined;
  /** The name of the address, which has the address; empty: it has none; undefined: not asked yet. */
  readonly hostName?: string;
  /** The interfaces of this machine; asked only for `samehost` and `samenet`. */
  readonly interfaces: () => readonly InterfaceAddress[];
}

/** The rule that decides, or what has to be found out first; undefined: none fits, and the client is refused. */
export function findRule(
  rules: readonly HbaRule[],
  connection: HbaConnection,
): HbaRule | HbaQuestion | undefined {
  // Regular expressions fit no such name, and one of them may be there to refuse it.
  const longest = Math.max(connection.user.length, connection.database.length);
  if (longest > nameCharactersMax) return undefined;
  const address = connection.address === undefined ? undefined : parsePeerAddress(connection.address);
  if (connection.address !== undefined && address === undefined) return undefined;
  for (const rule of rules) {
    if (!fitsType(rule.type, connection)) continue;
    const fits = [
      fitsDatabase(rule.databases, connection),
      fitsUser(rule.users, connection),
      fitsAddress(rule.address, address, connection),
    ];
    if (fits.includes(false)) continue;
    const question = fits.find((fit) => fit !== true);
    return question === undefined || question === false ? rule : question;
  }
  return undefined;
}

/** Whether a rule can only be held against a client whose roles are known. */
export function asksForRoles({ databases, users }: HbaRule): boolean {
  return databases.some(({ kind }) => kind === "samerole") || users.some(({ kind }) => kind === "member");
}

/** Reads one record. Throws RecordError (names.ts) with what is wrong with it. */
export function parseRule(record: TokenLine): HbaRule {
  const fields = new Fields(record);
  const type = parseType(fields.single("connection type"));
  const databases = fields.some("database").map(databasePattern);
  const users = fields.some("user").map(userPattern);
  const address = type === "local" ? undefined : parseAddressPattern(fields);
  const method = parseMethod(fields.single("authentication method"), type);
  const options = parseOptions(fields.rest(), type, method);
  const { file, line } = record;
  return { file, line, type, databases, users, address, method, ...options };
}

function fitsType(type: ConnectionType, { address, encrypted }: HbaConnection): boolean {
  switch (type) {
    case "local":
      return address === undefined;
    case "host":
    case "hostnogssenc":
      return address !== undefined;
    case "hostssl":
      return address !== undefined && encrypted;
    case "hostnossl":
      return address !== undefined && !encrypted;
    case "hostgssenc":
      // Encryption by GSSAPI is never agreed to.
      return false;
  }
}

function fitsAddress(
  pattern: AddressPattern | undefined,
  address: Address | undefined,
  connection: HbaConnection,
): Fit {
  if (pattern === undefined || pattern.kind === "all") return true;
  if (address === undefined) return false;
  switch (pattern.kind) {
    case "range":
      return contains(pattern.range, address);
    case "hostName":
    case "suffix":
      return fitsHostName(pattern, connection.hostName);
    default:
      return isOfInterfaces(address, connection.interfaces(), pattern.kind);
  }
}

function fitsHostName(
  { kind, name }: Extract<AddressPattern, { kind: "hostName" | "suffix" }>,
  hostName: string | undefined,
): Fit {
  if (hostName === undefined) return "hostName";
  const found = hostName.toLowerCase();
  return kind === "suffix" ? found.endsWith(`.${name}`) && found.length > name.length + 1 : found === name;
}

/** The fields of a record, one after the other. */
class Fields {
  readonly #record: TokenLine;
  #next = 0;

  constructor(record: TokenLine) {
    this.#record = record;
  }

  some(what: string): readonly Token[] {
    const field = this.#record.fields[this.#next++];
    if (field === undefined) throw new RecordError(`the line ends before the ${what}`);
    return field;
  }

  single(what: string): Token {
    const [first, ...others] = this.some(what);
    if (first === undefined || others.length > 0) throw new RecordError(`more than one ${what}`);
    return first;
  }

  rest(): readonly Token[] {
    return this.#record.fields.slice(this.#next).flat();
  }
}

const connectionTypes: readonly ConnectionType[] = [
  "local",
  "host",
  "hostssl",
  "hostnossl",
  "hostgssenc",
  "hostnogssenc",
];

function parseType({ text }: Token): ConnectionType {
  const type = connectionTypes.find((known) => known === text);
  if (type === undefined) throw new RecordError(`invalid connection type "${text}"`);
  return type;
}

function parseAddressPattern(fields: Fields): AddressPattern {
  const token = fields.single("address");
  if (!token.quoted) {
    if (token.text === "all" || token.text === "samehost" || token.text === "samenet") {
      return { kind: token.text };
    }
  }
  const [addressText = "", ...bitsTexts] = token.text.split("/");
  const address = parseAddress(addressText);
  if (address === undefined) return parseHostName(token);
  const bitsText = bitsTexts.join("/");
  const range = bitsTexts.length > 0 ? rangeOfBits(address, bitsText) : maskedRange(address, fields);
  if (range === undefined) throw new RecordError(`invalid CIDR mask in address "${token.text}"`);
  return { kind: "range", range };
}

/** A host name, or behind a dot the end of some. */
function parseHostName({ text }: Token): AddressPattern {
  // A last part of digits alone is an address that was mistyped (RFC 1123, section 2.1).
  if (!/^\.?(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}$/.test(text) || /(?:^|\.)[0-9]+$/.test(text)) {
    throw new RecordError(`"${text}" is neither an IP address nor a host name`);
  }
  const name = text.toLowerCase();
  return name.startsWith(".") ? { kind: "suffix", name: name.slice(1) } : { kind: "hostName", name };
}

/** The mask stands in a field of its own. */
function maskedRange(address: Address, fields: Fields): AddressRange {
  const { text } = fields.single("network mask (or write ADDRESS/BITS)");
  const mask = parseAddress(text);
  if (mask === undefined) throw new RecordError(`invalid network mask "${text}"`);
  const range = rangeOfMask(address, mask);
  if (range === undefined) throw new RecordError("the address and the mask are not of the same kind");
  return range;
}
