/** How a rule of pg_hba.conf lets a client prove itself: its method, and the options behind it (hba.c parse_hba_auth_opt). */
import { LdapOptionError, type LdapOptions, ldapOptionNames, ldapOptions } from "../ldap.ts";
import type { AuthMethod } from "../login.ts";
import { RecordError } from "./names.ts";
import type { ConnectionType, HbaRule } from "./rules.ts";
import type { Token } from "./tokens.ts";

const methods: ReadonlyMap<string, AuthMethod> = new Map([
  ["trust", "trust"],
  ["reject", "reject"],
  ["password", "password"],
  // PgBouncer's other name for it.
  ["plain", "password"],
  ["md5", "md5"],
  ["scram-sha-256", "scram-sha-256"],
  ["cert", "cert"],
  ["ldap", "ldap"],
] as const);

/** PostgreSQL's and PgBouncer's other methods, with the reason why there is none of them here. */
const methodsMissing: ReadonlyMap<string, string> = new Map([
  ["peer", "Node cannot tell which user of the system is at the other end of a Unix socket"],
  ["ident", "no ident servers are asked here"],
  ["pam", "Node has no way to ask PAM"],
  ["bsd", "BSD authentication is not used here"],
  ["gss", "there is no GSSAPI here"],
  ["sspi", "there is no SSPI here"],
  ["radius", "no RADIUS servers are asked here"],
  ["oauth", "OAuth tokens cannot be checked here"],
]);

/** The method of a record. @throws {RecordError} */
export function parseMethod({ text }: Token, type: ConnectionType): AuthMethod {
  const method = methods.get(text);
  if (method === undefined) {
    const reason = methodsMissing.get(text);
    if (reason === undefined) throw new RecordError(`invalid authentication method "${text}"`);
    throw new RecordError(`the authentication method "${text}" is not supported: ${reason}`);
  }
  if (method === "cert" && type !== "hostssl") {
    throw new RecordError('the authentication method "cert" is for hostssl only');
  }
  return method;
}

type CertificateOptions = Pick<HbaRule, "clientCertificate" | "clientName" | "map">;
type Options = CertificateOptions & Pick<HbaRule, "ldap">;

/** The options behind the method. @throws {RecordError} */
export function parseOptions(tokens: readonly Token[], type: ConnectionType, method: AuthMethod): Options {
  // The method cert implies clientcert=verify-full.
  const full = method === "cert" ? ("verify-full" as const) : undefined;
  const options: CertificateOptions = { clientCertificate: full, clientName: "CN", map: undefined };
  const ofDirectory: [string, string][] = [];
  for (const { text } of tokens) {
    const [, name = "", value = ""] = /^([^=]*)=([^]*)$/.exec(text) ?? [];
    if (!text.includes("=")) throw new RecordError(`"${text}" is not an option, name=value`);
    if (ldapOptionNames.some((known) => known === name)) ofDirectory.push([name, value]);
    else Object.assign(options, parseOption(name, value, type, method));
  }
  return { ...options, ldap: directoryOf(ofDirectory, method) };
}

function directoryOf(
  pairs: readonly (readonly [string, string])[],
  method: AuthMethod,
): LdapOptions | undefined {
  const [first] = pairs;
  if (first === undefined) return undefined;
  if (method !== "ldap") {
    throw new RecordError(`the option "${first[0]}" is for the authentication method ldap only`);
  }
  try {
    return ldapOptions(pairs);
  } catch (error) {
    if (!(error instanceof LdapOptionError)) throw error;
    throw new RecordError(error.message);
  }
}

function parseOption(
  name: string,
  value: string,
  type: ConnectionType,
  method: AuthMethod,
): Partial<CertificateOptions> {
  switch (name) {
    case "map":
      if (method !== "cert")
        throw new RecordError('the option "map" is for the authentication method cert only');
      // An empty one means none (hba.c check_usermap).
      return { map: value === "" ? undefined : value };
    case "clientcert":
      if (type !== "hostssl") throw new RecordError('the option "clientcert" is for hostssl only');
      if (value === "verify-full" || (value === "verify-ca" && method !== "cert")) {
        return { clientCertificate: value };
      }
      if (value === "verify-ca") throw new RecordError('"cert" goes with clientcert=verify-full only');
      throw new RecordError(`invalid value for clientcert: "${value}"; verify-ca and verify-full are known`);
    case "clientname":
      if (type !== "hostssl") throw new RecordError('the option "clientname" is for hostssl only');
      if (value === "CN" || value === "DN") return { clientName: value };
      throw new RecordError(`invalid value for clientname: "${value}"; CN and DN are known`);
    default:
      throw new RecordError(`unknown option "${name}"`);
  }
}
