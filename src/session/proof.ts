/**
 * What a client is asked to prove, and against what: put together from its connection and the configuration.
 *
 * With host-based authentication a rule decides, and it is looked for by what the client says and where it
 * comes from, before anything is looked up: refusals here are the same for names that exist and for others. Only
 * then is the user looked up, which may take a question to PostgreSQL.
 */
import { randomBytes } from "node:crypto";
import os from "node:os";
import type { TLSSocket } from "node:tls";
import { distinguishedName, subjectCommonName } from "../auth/certificate.ts";
import type { HostBasedRules } from "../auth/hba/hba.ts";
import type { HbaConnection, HbaRule } from "../auth/hba/rules.ts";
import type { LdapOptions } from "../auth/ldap.ts";
import { type AuthMethod, LoginMachine } from "../auth/login.ts";
import { PeerError } from "../base/errors.ts";
import type { ClientTls, KnownUser, LoginContext, LoginRequest } from "./context.ts";

/** A client's connection, as far as it matters for what the client must prove. */
export interface ClientConnection {
  /** Number in the log. */
  readonly id: number;
  /** Address of a TCP client; undefined: a Unix socket. */
  readonly address: string | undefined;
  /** The connection, if it is encrypted, and what its handshake was done with. */
  readonly socket: TLSSocket | undefined;
  readonly tls: ClientTls | undefined;
}

/** What a client has to do, and what comes of it. */
export interface Proof {
  readonly machine: LoginMachine;
  /** Whom the client then is. */
  readonly known: KnownUser;
  /** Asks the directory whether a password is the user's. */
  readonly ask: (password: string) => Promise<boolean>;
}

/**
 * The client's login, ready to start, once it is known what is stored of its user. Throws or rejects with PeerError
 * 28000 if no rule lets the client in, or if its certificate is not what the rule asks for.
 */
export function proofFor(
  context: LoginContext,
  request: LoginRequest,
  connection: ClientConnection,
): Proof | Promise<Proof> {
  return after(demandOn(context, request, connection), (demand) => {
    // A directory knows its users itself.
    const needless = demand.method === "reject" || demand.method === "ldap";
    const known = demand.known ?? (needless ? stranger(request) : context.authentication.find(request));
    return after(known, (found) => proofOf(context, request, connection, demand, found));
  });
}

function proofOf(
  { authentication }: LoginContext,
  { user }: LoginRequest,
  { socket, tls }: ClientConnection,
  { method, certificateUser, ldap }: Demand,
  known: KnownUser,
): Proof {
  const { secret, missing, unknownKind } = known;
  const machine = new LoginMachine({
    method,
    user,
    secret,
    missing,
    tls: {
      secure: socket !== undefined,
      endPoint: tls?.endPoint,
      certificateUser,
    },
    random: randomBytes,
    mockKey: authentication.mockKey,
    scramIterations: authentication.scramIterations(),
    ...(unknownKind === undefined ? {} : { unknownUserKind: unknownKind }),
  });
  return { machine, known, ask: (password) => authentication.ask(ldap, user, password) };
}

/** A user of whom nothing has to be known. */
function stranger({ user }: LoginRequest): KnownUser {
  return { user, secret: undefined, missing: false, unknownKind: undefined };
}

/** Whether a client has shown a certificate that our authorities vouch for. */
export function hasTrustedCertificate(socket: TLSSocket): boolean {
  // Node calls a resumed session authorized although nobody showed a certificate in it.
  return socket.authorized && socket.getPeerX509Certificate() !== undefined;
}

interface Demand {
  readonly method: AuthMethod;
  /** The user whom the client's certificate stands for. */
  readonly certificateUser: string | undefined;
  /** Whom the client acts as, if nothing has to be looked up. */
  readonly known?: KnownUser;
  /** The directory of the rule; undefined: that of auth_ldap_options. */
  readonly ldap?: LdapOptions | undefined;
}

function demandOn(
  context: LoginContext,
  request: LoginRequest,
  connection: ClientConnection,
): Demand | Promise<Demand> {
  const authentication = context.authentication.method();
  if (authentication === "any") return demandOnAny(context, request);
  if (typeof authentication === "string") {
    return { method: authentication, certificateUser: commonNameOf(connection.socket) };
  }
  return after(ruleFor(authentication, context, request, connection), (rule) =>
    demandOfRule(authentication, rule, context, request, connection),
  );
}

function demandOfRule(
  rules: HostBasedRules,
  rule: HbaRule,
  context: LoginContext,
  request: LoginRequest,
  { id, socket }: ClientConnection,
): Demand {
  const { method, clientCertificate } = rule;
  // Who is rejected is told that, and not what certificate would not have helped.
  if (method === "reject" || clientCertificate === undefined) {
    return { method, certificateUser: undefined, ldap: rule.ldap };
  }
  if (socket === undefined || !hasTrustedCertificate(socket)) {
    throw refused("connection requires a valid client certificate");
  }
  const name = rule.clientName === "CN" ? commonNameOf(socket) : distinguishedNameOf(socket);
  const certified = name !== undefined && rules.certifies(rule, name, request.user);
  if (clientCertificate === "verify-full" && !certified) {
    context.logger.info(
      { client: id, user: request.user, certificate: name, map: rule.map },
      "client certificate is for another user",
    );
    throw refused("certificate authentication failed");
  }
  return { method, certificateUser: certified ? request.user : undefined, ldap: rule.ldap };
}

/** Every client is let in, as the user of its database; at the console, which has none, as who it says it is. */
function demandOnAny(context: LoginContext, request: LoginRequest): Demand {
  const { user, database } = request;
  const forced = context.isConsole(database) ? user : context.authentication.forcedUserOf(request);
  return { method: "trust", certificateUser: undefined, known: { ...stranger(request), user: forced } };
}

/** The rule that decides over a client; what came of the search is logged. */
function ruleFor(
  rules: HostBasedRules,
  context: LoginContext,
  request: LoginRequest,
  client: ClientConnection,
): HbaRule | Promise<HbaRule> {
  const { user, database } = request;
  const connection: HbaConnection = {
    encrypted: client.socket !== undefined,
    address: client.address,
    interfaces: () => Object.values(os.networkInterfaces()).flatMap((addresses) => addresses ?? []),
    user,
    database,
    physicalReplication: isPhysicalReplication(request),
  };
  const found = rules.find(connection);
  if (typeof found !== "string") return ruleFound(found, context, request, client);
  return ruleAfterQuestions(rules, context, request, connection).then((rule) =>
    ruleFound(rule, context, request, client),
  );
}

/** For rules of roles and of host names: finds out what they need to know. */
async function ruleAfterQuestions(
  rules: HostBasedRules,
  { authentication }: LoginContext,
  request: LoginRequest,
  connection: HbaConnection,
): Promise<HbaRule | undefined> {
  const known = { ...connection };
  let found = rules.find(known);
  while (typeof found === "string") {
    if (found === "hostName") {
      Object.assign(known, { hostName: await authentication.hostNameOf(known.address ?? "") });
    } else {
      const roles = await authentication.rolesOf(request);
      // A rule that may be there to keep the client out cannot be passed over.
      if (roles === undefined) throw refused("no authentication method is found");
      Object.assign(known, { roles });
    }
    found = rules.find(known);
  }
  return found;
}

function ruleFound(
  rule: HbaRule | undefined,
  context: LoginContext,
  { user, database }: LoginRequest,
  { id, address, socket }: ClientConnection,
): HbaRule {
  if (rule === undefined) {
    const host = address ?? "[local]";
    const encryption = socket === undefined ? "no encryption" : "SSL encryption";
    throw refused(
      "no authentication method is found",
      `no rule of auth_hba_file for host "${host}", user "${user}", database "${database}", ${encryption}`,
    );
  }
  const { method } = rule;
  const fields = { client: id, user, database, rule: `${rule.file}:${rule.line}`, method };
  if (method === "reject") context.logger.info(fields, "authentication rule");
  else context.logger.debug(fields, "authentication rule");
  return rule;
}

/** Goes on at once if there is nothing to wait for: most logins need no promise. */
function after<T, U>(value: T | Promise<T>, goOn: (value: T) => U | Promise<U>): U | Promise<U> {
  return value instanceof Promise ? value.then(goOn) : goOn(value);
}

/** `replication=database` is a connection to a database like any other for pg_hba.conf (docs 20.1). */
function isPhysicalReplication({ replication, otherParameters }: LoginRequest): boolean {
  return (
    replication && !otherParameters.some(([name, value]) => name === "replication" && value === "database")
  );
}

function commonNameOf(socket: TLSSocket | undefined): string | undefined {
  return subjectCommonName(socket?.authorized === true ? socket.getPeerCertificate() : undefined);
}

function distinguishedNameOf(socket: TLSSocket): string | undefined {
  return distinguishedName(socket.getPeerX509Certificate()?.subject);
}

function refused(message: string, detail?: string): PeerError {
  return new PeerError(message, {
    code: "peer.login_refused",
    sqlstate: "28000",
    source: "client",
    ...(detail === undefined ? {} : { detail }),
  });
}
