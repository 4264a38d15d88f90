/** What a client's session and login need from the process around them. Composed by server/app. */
import type { SecureContext } from "node:tls";
import type { AuthMethod } from "../auth/login.ts";
import type { Secret } from "../auth/secret.ts";
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ScramKeys } from "../client/conninfo/options.ts";
import type { CancelRegistry } from "../pool/cancel-registry.ts";
import type { Pool } from "../pool/pool.ts";
import type { Admission } from "./admission.ts";
import type { Session } from "./session.ts";

/** Time limits on clients in milliseconds; 0: none. */
export interface ClientLimits {
  readonly idleMs: number;
  readonly idleTransactionMs: number;
  readonly queryMs: number;
}

/** Who a client is. */
export interface SessionIdentity {
  readonly id: number;
  readonly user: string;
  readonly database: string;
  readonly peer: string;
  readonly connectedAtMs: number;
}

export interface SessionContext {
  readonly logger: Logger;
  /** Time of the last tick: enough for limits of seconds, and free. */
  tickMs(): number;
  clientLimits(): ClientLimits;
  /** Longest body of a message (`max_packet_size`). */
  packetBytesMax(): number;
  /** Answer with PgBouncer's SQLSTATE for everything. */
  asPgbouncer(): boolean;
  cancelsForLostClients(): boolean;
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
}

/** What a client asks for when it logs in. */
export interface LoginRequest {
  readonly user: string;
  readonly database: string;
  /** Startup parameters that are not tracked, as sent: part of what makes a pool. */
  readonly otherParameters: readonly (readonly [string, string])[];
  /** A replication connection: it gets a server of its own. */
  readonly replication: boolean;
}

export interface LoginContext extends SessionContext {
  readonly clock: Clock;
  readonly cancels: CancelRegistry;
  readonly admission: Admission;
  /** Undefined: TLS is off. */
  clientTls(): ClientTls | undefined;
  authMethod(): AuthMethod;
  secretOf(user: string): Secret | undefined;
  /** The kind of secret that an unknown user seems to have; undefined: the method's own. */
  unknownUserKind(): Secret["kind"] | undefined;
  readonly mockKey: Buffer;
  scramIterations(): number;
  isAdministrator(user: string): boolean;
  ignoresParameter(name: string): boolean;
  /** What a login proved: lets the pool log in to servers as this user. */
  learnCredential(
    user: string,
    credential: { keys?: ScramKeys | undefined; password?: string | undefined },
  ): void;
  /** Undefined: no such database. */
  poolFor(request: LoginRequest): Pool | undefined;
  /** The login is over, one way or another. */
  onLoginEnd(login: object): void;
  onSessionStart(session: Session): void;
  nextClientId(): number;
}
