/**
 * Authentication against an LDAP directory: what the options of pg_hba.conf and of PgBouncer's auth_ldap_options
 * mean (docs 20.10; hba.c parse_hba_auth_opt; PgBouncer 1.25 ldapauth.c), and what is asked of the directory. Nothing
 * is sent here.
 *
 * Two ways: *simple bind* makes the name to bind as from a prefix, the user and a suffix; *search+bind* looks for the one
 * entry of the user and binds as that. Unlike PostgreSQL, which refuses names with characters that have a meaning in
 * LDAP where it searches, and takes them as they are where it does not, they are escaped in both.
 */

export type LdapScope = "base" | "one" | "sub";

/** How the name to bind as is found. */
export type LdapNaming =
  | { readonly kind: "bind"; readonly prefix: string; readonly suffix: string }
  | {
      readonly kind: "search";
      readonly baseDn: string;
      /** Whom to search as; empty: nobody. */
      readonly bindDn: string;
      readonly bindPassword: string;
      /** `$username` in it is the user. */
      readonly filter: string;
      readonly scope: LdapScope;
    };

export interface LdapOptions {
  /** Tried in this order until one can be reached: `ldap://host:port`. */
  readonly servers: readonly string[];
  /** TLS is begun on the open connection. */
  readonly startTls: boolean;
  readonly naming: LdapNaming;
}

/** What is wrong with the options; never a password. */
export class LdapOptionError extends Error {}

export const ldapOptionNames = [
  "ldapurl",
  "ldapserver",
  "ldapport",
  "ldapscheme",
  "ldaptls",
  "ldapprefix",
  "ldapsuffix",
  "ldapbasedn",
  "ldapbinddn",
  "ldapbindpasswd",
  "ldapsearchattribute",
  "ldapsearchfilter",
  "ldapscope",
] as const;

type Name = (typeof ldapOptionNames)[number];
type Given = ReadonlyMap<Name, string>;

const defaultPorts = { ldap: 389, ldaps: 636 } as const;

/** The options by their names; of one that comes twice the later counts. @throws {LdapOptionError} */
export function ldapOptions(pairs: Iterable<readonly [string, string]>): LdapOptions {
  const given = new Map<Name, string>();
  for (const [name, value] of pairs) {
    const known = ldapOptionNames.find((option) => option === name);
    // Only a URL has a scope.
    if (known === undefined || known === "ldapscope")
      throw new LdapOptionError(`unknown LDAP option "${name}"`);
    if (known === "ldapurl") for (const [part, text] of partsOfUrl(value)) given.set(part, text);
    else given.set(known, value);
  }
  return { ...serversOf(given), naming: namingOf(given) };
}

/** The text of auth_ldap_options: `name=value` with blanks or commas between, quotes around what has them. @throws {LdapOptionError} */
export function parseLdapOptions(text: string): LdapOptions {
  const pairs: [string, string][] = [];
  let rest = text.trim();
  while (rest !== "") {
    const [whole, name = "", quoted, plain = ""] =
      /^,?\s*"?([a-z]+)"?=(?:"((?:[^"]|"")*)"|([^\s,"]+))(?=[\s,]|$)/.exec(rest) ?? [];
    if (whole === undefined) {
      const [, last] = /^,?\s*"?([a-z]*)/.exec(rest) ?? [];
      throw new LdapOptionError(`name=value is expected${last ? ` at "${last}"` : ""}`);
    }
    pairs.push([name, quoted?.replaceAll('""', '"') ?? plain]);
    rest = rest.slice(whole.length).trimStart();
  }
  return ldapOptions(pairs);
}

/** The name to bind as; undefined: it can be no user's. */
export function boundName(
  { prefix, suffix }: Extract<LdapNaming, { kind: "bind" }>,
  user: string,
): string | undefined {
  if (/=\s*$/.test(prefix)) return `${prefix}${escapeDn(user)}${suffix}`;
  // DOMAIN\user or user@domain: nothing can be escaped there, so what would end the name early is no name.
  return /[\p{Cc}\\/@,;=+<>"#*()]/u.test(user) ? undefined : `${prefix}${user}${suffix}`;
}

/** The filter that finds the user's entry. */
export function searchFilter({ filter }: Extract<LdapNaming, { kind: "search" }>, user: string): string {
  return filter.replaceAll("$username", () => escapeFilter(user));
}

/** A value inside a distinguished name (RFC 4514, section 2.4). */
function escapeDn(value: string): string {
  return value
    .replace(/["+,;<>=\\]/g, "\\$&")
    .replace(/\p{Cc}/gu, (character) => hexBytes(character))
    .replace(/^[ #]/, "\\$&")
    .replace(/ $/, "\\ ");
}

/** A value inside a filter (RFC 4515, section 3). */
function escapeFilter(value: string): string {
  return value.replace(/[*()\\]|\p{Cc}/gu, (character) => hexBytes(character));
}

function hexBytes(character: string): string {
  return [...Buffer.from(character)].map((byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("");
}

function serversOf(given: Given): Pick<LdapOptions, "servers" | "startTls"> {
  const scheme = given.get("ldapscheme") ?? "ldap";
  if (scheme !== "ldap" && scheme !== "ldaps") throw new LdapOptionError(`invalid ldapscheme "${scheme}"`);
  const portText = given.get("ldapport") ?? String(defaultPorts[scheme]);
  const port = /^[0-9]{1,5}$/.test(portText) ? Number(portText) : 0;
  if (port < 1 || port > 65_535) throw new LdapOptionError(`invalid LDAP port number: "${portText}"`);
  const hosts = (given.get("ldapserver") ?? "").split(" ").filter((host) => host !== "");
  if (hosts.length === 0) {
    throw new LdapOptionError("ldapserver is needed: servers are not looked for in the DNS here");
  }
  const startTls = given.get("ldaptls") === "1";
  if (startTls && scheme === "ldaps") throw new LdapOptionError("ldaptls=1 does not go with ldaps");
  return { servers: hosts.map((host) => `${scheme}://${withPort(host, port)}`), startTls };
}

/** A host may bring its own port. */
function withPort(host: string, port: number): string {
  if (/^\[.*\]$/.test(host)) return `${host}:${port}`;
  if (host.includes("]:") || /^[^:]+:[0-9]+$/.test(host)) return host;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function namingOf(given: Given): LdapNaming {
  const baseDn = given.get("ldapbasedn");
  const [prefix, suffix] = [given.get("ldapprefix"), given.get("ldapsuffix")];
  const attribute = given.get("ldapsearchattribute");
  const filter = given.get("ldapsearchfilter");
  const bindsFirst = given.has("ldapbinddn") || given.has("ldapbindpasswd");
  if (prefix !== undefined || suffix !== undefined) {
    if (baseDn !== undefined || attribute !== undefined || filter !== undefined || bindsFirst) {
      throw new LdapOptionError(
        "cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter, or ldapurl together with ldapprefix",
      );
    }
    return { kind: "bind", prefix: prefix ?? "", suffix: suffix ?? "" };
  }
  if (baseDn === undefined || baseDn === "") {
    throw new LdapOptionError(
      'authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set',
    );
  }
  if (attribute !== undefined && filter !== undefined) {
    throw new LdapOptionError("cannot use ldapsearchattribute together with ldapsearchfilter");
  }
  if (attribute !== undefined && !/^[A-Za-z][A-Za-z0-9;.-]*$/.test(attribute)) {
    throw new LdapOptionError("ldapsearchattribute is no name of an attribute");
  }
  return {
    kind: "search",
    baseDn,
    bindDn: given.get("ldapbinddn") ?? "",
    bindPassword: given.get("ldapbindpasswd") ?? "",
    filter: filter === undefined ? `(${attribute ?? "uid"}=$username)` : inParentheses(filter),
    scope: (given.get("ldapscope") as LdapScope | undefined) ?? "sub",
  };
}

function inParentheses(filter: string): string {
  return filter.startsWith("(") ? filter : `(${filter})`;
}

/** `ldap[s]://host[:port]/basedn[?[attribute][?[scope][?[filter]]]]` (RFC 4516). */
function partsOfUrl(url: string): [Name, string][] {
  const [, scheme, host = "", port, dn = "", attributes = "", scope = "", filter = ""] =
    /^(ldaps?):\/\/(\[[^\]]*\]|[^:/?]*)(?::([0-9]+))?(?:\/([^?]*)(?:\?([^?]*))?(?:\?([^?]*))?(?:\?([^?]*))?)?$/i.exec(
      url,
    ) ?? [];
  if (scheme === undefined) throw new LdapOptionError("could not parse LDAP URL");
  // RFC 4516, section 3: without a scope the base is meant, which PostgreSQL's manual calls normally not very useful.
  const scopes: Readonly<Record<string, LdapScope>> = { "": "base", base: "base", one: "one", sub: "sub" };
  const known = scopes[scope.toLowerCase()];
  if (known === undefined) throw new LdapOptionError(`invalid scope in LDAP URL: "${scope}"`);
  const [attribute = ""] = attributes.split(",");
  const parts: [Name, string][] = [
    ["ldapscheme", scheme.toLowerCase()],
    ["ldapserver", decoded(host)],
    ["ldapbasedn", decoded(dn)],
    ["ldapsearchattribute", decoded(attribute)],
    ["ldapscope", known],
    ["ldapsearchfilter", decoded(filter)],
  ];
  const given = parts.filter(([, text]) => text !== "");
  return port === undefined ? given : [...given, ["ldapport", port]];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new LdapOptionError("could not parse LDAP URL");
  }
}
