/** What a client's session and login need from the process around them. Composed by server/app. */
import type { SecureContext } from "node:tls";
import type { HostBasedRules } from "../auth/hba/hba.ts";
import type { LdapOptions } from "../auth/ldap.ts";
import type { AuthMethod } from "../auth/login.ts";
import type { Secret } from "../auth/secret.ts";
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Transport, TransportListener } from "../base/transport.ts";
import type { ScramKeys } from "../client/conninfo/options.ts";
import type { WriteFloor } from "../cluster/floor.ts";
import type { LatencyAverage, Redirect, RouteHint, SessionNames } from "../cluster/index.ts";
import type { CancelKey, CancelRegistry, CancelTarget } from "../pool/cancel-registry.ts";
import type { Multiplexer } from "../pool/multiplexer.ts";
import type { Pool } from "../pool/pool.ts";
import type { Admission } from "./admission.ts";
import type { AutoDatabase } from "./auto/database.ts";
import type { LoginLatency } from "./login-latency.ts";
import type { Session } from "./session.ts";

/** Time limits on clients in milliseconds; 0: none. */
export interface ClientLimits {
  readonly idleMs: number;
  readonly idleTransactionMs: number;
  readonly queryMs: number;
  readonly transactionMs: number;
  /** Of the user alone; undefined: that of the pool. */
  readonly queryWaitMs: number | undefined;
  /** Servers that are to be closed are closed although their sessions go on (`server_fast_close`). */
  readonly fastClose: boolean;
}

/** Who a client is. */
export interface SessionIdentity {
  readonly id: number;
  readonly user: string;
  readonly database: string;
  readonly peer: string;
  readonly connectedAtMs: number;
  /** `TLSv1.3/TLS_AES_256_GCM_SHA384`; undefined without encryption. */
  readonly tls?: string | undefined;
}

/** A client in auto mode that reads, as far as it matters for where. */
export interface Reader {
  readonly names: SessionNames;
  readonly hint: RouteHint | undefined;
  /** What it has written itself, and the position that it wants to see at least. */
  readonly written: WriteFloor;
  readonly wanted: bigint | undefined;
  /** The node of its last read. */
  last: string | undefined;
  /** Where its reads are led, and by what that was found. */
  redirect: Redirect | undefined;
  redirectedBy: object | undefined;
}

/** What one node has to do with reads of this process. */
export interface ReadLoad {
  outstanding: number;
  readonly latency: LatencyAverage;
}

/** A read that waits. */
export interface WaitingRead {
  /** The nodes have told something. Returns whether the read waits no more. */
  retry(): boolean;
  /** It has waited for as long as it may. */
  giveUp(): void;
}

/** Where units go that only read, in auto mode. */
export interface Reading {
  /** The pool of a standby, another one than `besides`; undefined: the client's own. */
  poolFor(home: Pool, reader: Reader, besides: Pool | undefined): Pool | undefined;
  loadOf(pool: Pool): ReadLoad;
  /** Of the pool of a standby. */
  multiplexerOf(pool: Pool): Multiplexer;
  /** Tells `read` when a standby may have what it has to show. Returns how to wait no more; undefined: it does not wait. */
  awaitStandby(reader: Reader, read: WaitingRead): (() => void) | undefined;
}

export interface SessionContext {
  readonly logger: Logger;
  readonly clock: Clock;
  /** Time of the last tick: enough for limits of seconds, and free. */
  tickMs(): number;
  clientLimits(user: string): ClientLimits;
  /** Throws OperationError `session.pqexec_disallowed` if queries of the simple protocol are not let through. */
  checkSimpleQuery(): void;
  /** Longest body of a message (`max_packet_size`). */
  packetBytesMax(): number;
  /** Answer with PgBouncer's SQLSTATE for everything. */
  asPgbouncer(): boolean;
  /** Why no server could be had, for a login or for a statement: what the nodes say, where the pool knows no more. */
  explained(failure: Failure, login: boolean): Failure;
  cancelsForLostClients(): boolean;
  /** Undefined: reads are not spread over standbys. */
  reading(pool: Pool): Reading | undefined;
  /** What the clients of a pool in auto mode know together. */
  autoDatabase(pool: Pool): AutoDatabase;
  onPoolerError(session: Session, failure: Failure): void;
  onSessionEnd(session: Session, reason: string): void;
}

/** How connections of clients are encrypted. */
export interface ClientTls {
  readonly mode: "allow" | "prefer" | "require" | "verify-ca" | "verify-full";
  readonly context: SecureContext;
  /** tls-server-end-point data of our certificate, for SCRAM-SHA-256-PLUS. */
  readonly endPoint: Buffer | undefined;
  /** Clients are asked for a certificate. */
  readonly asksForCertificate: boolean;
  /** What clients need to resume sessions; undefined: they may not. */
  readonly resumption:
    | { readonly certificate: Buffer; contextWith(ticketKeys: Buffer): SecureContext }
    | undefined;
}

/** A session at the console that is about to begin. */
export interface ConsoleStart {
  readonly session: TransportListener & CancelTarget & { cancelKey: CancelKey | undefined };
  /** ParameterStatus messages. */
  readonly parameters: Buffer;
}

/** What a client asks for when it logs in. */
export interface LoginRequest {
  readonly user: string;
  readonly database: string;
  /** Startup parameters that are not tracked, as sent: part of what makes a pool. */
  readonly otherParameters: readonly (readonly [string, string])[];
  /** A replication connection: it gets a server of its own. */
  readonly replication: boolean;
  /** The pool is not for logins: clients of the pool without this read there, on a standby of this name. */
  readonly readsFrom?: string | undefined;
}

/** What is known of a user who wants to log in. */
export interface KnownUser {
  /** Who the client is once it has proved it. */
  readonly user: string;
  /** What it must prove to know; undefined: nothing that it could know. */
  readonly secret: Secret | undefined;
  /** It is known that there is no such user, or it could not be found out. */
  readonly missing: boolean;
  /** The kind of secret that a user without one seems to have; undefined: the method's own. */
  readonly unknownKind: Secret["kind"] | undefined;
}

/** Who may log in with what. */
export interface ClientAuthentication {
  /** Of this process: where the salts of made-up secrets come from. */
  readonly mockKey: Buffer;
  scramIterations(): number;
  /** What clients must prove: the same for all of them, or what the rule that fits a client says. */
  method(): AuthMethod | "any" | HostBasedRules;
  /** Looks a user up. Never rejects: a failure to look is told to nobody but the log. */
  find(request: LoginRequest): KnownUser | Promise<KnownUser>;
  /** The roles of a user, for rules that ask. Undefined: they could not be found out, and the log says why. */
  rolesOf(request: LoginRequest): Promise<ReadonlySet<string> | undefined>;
  /** The name of a client's address, if that name has the address; else an empty text. Never rejects. */
  hostNameOf(address: string): string | Promise<string>;
  /** Asks a directory, by default that of auth_ldap_options, whether a password is the user's. Never rejects. */
  ask(directory: LdapOptions | undefined, user: string, password: string): Promise<boolean>;
  /** `auth_type = "any"`: as whom a client acts. Throws OperationError `login.config`. */
  forcedUserOf(request: LoginRequest): string;
  /** A client has proved who it is, and thereby shown what lets the pool log in to servers as this user. */
  onSuccess(
    request: LoginRequest,
    known: KnownUser,
    shown: { readonly keys: ScramKeys | undefined; readonly password: string | undefined },
  ): void;
  /** A client has not proved what it was asked to: what was looked up may be out of date. */
  onFailure(request: LoginRequest): void;
}

export interface LoginContext extends SessionContext {
  readonly cancels: CancelRegistry;
  /** Whom a cancel request stops; undefined: nobody has this key. */
  cancelTarget(pid: number, secret: Buffer): CancelTarget | undefined;
  readonly admission: Admission;
  readonly loginLatency: LoginLatency;
  /** Undefined: TLS is off. */
  clientTls(): ClientTls | undefined;
  readonly authentication: ClientAuthentication;
  isAdministrator(user: string): boolean;
  ignoresParameter(name: string): boolean;
  /** Undefined: no such database. */
  poolFor(request: LoginRequest): Pool | undefined;
  /** The login is over, one way or another. */
  onLoginEnd(login: object): void;
  onSessionStart(session: Session): void;
  nextClientId(): number;
  /** Of `login_notify_message`; empty: none. */
  loginNotice(): Buffer;
  /** `application_name_add_host` */
  addsHostToName(): boolean;
  /** Whether this is the console's database: its clients need no server, and no place among the others. */
  isConsole(database: string): boolean;
  /** Throws OperationError `login.not_allowed` for users who have no business there. */
  openConsole(identity: SessionIdentity, applicationName: string, transport: Transport): ConsoleStart;
}
