/**
 * What a client is asked to prove, and against what: put together from its connection and the configuration.
 *
 * With host-based authentication a rule decides, and it is looked for by what the client says and where it
 * comes from, before anything is looked up: refusals here are the same for names that exist and for others.
 */
import { randomBytes } from "node:crypto";
import os from "node:os";
import type { TLSSocket } from "node:tls";
import { distinguishedName, subjectCommonName } from "../auth/certificate.ts";
import type { HostBasedRules } from "../auth/hba/hba.ts";
import type { HbaRule } from "../auth/hba/rules.ts";
import { type AuthMethod, LoginMachine } from "../auth/login.ts";
import { PeerError } from "../base/errors.ts";
import type { ClientTls, LoginContext, LoginRequest } from "./context.ts";

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

/**
 * The client's login, ready to start. Throws PeerError 28000 if no rule lets the client in, or if its
 * certificate is not what the rule asks for.
 */
export function loginMachine(
  context: LoginContext,
  request: LoginRequest,
  connection: ClientConnection,
): LoginMachine {
  const { user } = request;
  const { socket, tls } = connection;
  const { method, certificateUser } = demandOn(context, request, connection);
  const unknownUserKind = context.unknownUserKind();
  return new LoginMachine({
    method,
    user,
    secret: context.secretOf(user),
    tls: {
      secure: socket !== undefined,
      endPoint: tls?.endPoint,
      certificateUser,
    },
    random: randomBytes,
    mockKey: context.mockKey,
    scramIterations: context.scramIterations(),
    ...(unknownUserKind === undefined ? {} : { unknownUserKind }),
  });
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
}

function demandOn(context: LoginContext, request: LoginRequest, connection: ClientConnection): Demand {
  const authentication = context.authentication();
  if (typeof authentication === "string") {
    return { method: authentication, certificateUser: commonNameOf(connection.socket) };
  }
  const rule = ruleFor(authentication, context, request, connection);
  const { socket } = connection;
  const { method, clientCertificate } = rule;
  // Who is rejected is told that, and not what certificate would not have helped.
  if (method === "reject" || clientCertificate === undefined) return { method, certificateUser: undefined };
  if (socket === undefined || !hasTrustedCertificate(socket)) {
    throw refused("connection requires a valid client certificate");
  }
  const name = rule.clientName === "CN" ? commonNameOf(socket) : distinguishedNameOf(socket);
  const certified = name !== undefined && authentication.certifies(rule, name, request.user);
  if (clientCertificate === "verify-full" && !certified) {
    context.logger.info(
      { client: connection.id, user: request.user, certificate: name, map: rule.map },
      "client certificate is for another user",
    );
    throw refused("certificate authentication failed");
  }
  return { method, certificateUser: certified ? request.user : undefined };
}

/** The rule that decides over a client; what came of the search is logged. */
function ruleFor(
  rules: HostBasedRules,
  context: LoginContext,
  request: LoginRequest,
  { id, address, socket }: ClientConnection,
): HbaRule {
  const { user, database } = request;
  const rule = rules.find({
    encrypted: socket !== undefined,
    address,
    interfaces: () => Object.values(os.networkInterfaces()).flatMap((addresses) => addresses ?? []),
    user,
    database,
    physicalReplication: isPhysicalReplication(request),
  });
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
