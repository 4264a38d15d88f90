/**
 * The two halves of the talk between the handshake machine and whoever drives it: what the machine needs
 * (demands), what came of it (events), and the result.
 */
import type { ErrorFields } from "../../wire/fields.ts";
import type { ScramKeys } from "../conninfo/options.ts";
import type { ConnectError } from "../errors.ts";
import type { ConnectedEndpoint } from "./targets.ts";

/** What the machine needs done. Each is answered by one event of the kind named beside it. */
export type Demand =
  /** `resolved` or `resolveFailed`. */
  | { readonly kind: "resolve"; readonly host: string }
  /** `connected` or `connectFailed`. `fresh`: the time allowed for one address starts now. */
  | { readonly kind: "connect"; readonly endpoint: ConnectedEndpoint; readonly fresh: boolean }
  /** `written`. */
  | { readonly kind: "write"; readonly data: Buffer }
  /** `receive`, or `ended`. */
  | { readonly kind: "read" }
  /** `tlsStarted` or `tlsFailed`. `direct`: without a word before; ALPN must then agree on "postgresql". */
  | { readonly kind: "startTls"; readonly host: string; readonly direct: boolean }
  /** `derived`: SaltedPassword by PBKDF2. */
  | { readonly kind: "derive"; readonly password: string; readonly salt: Buffer; readonly iterations: number }
  /** `disconnected`: the socket is closed, once what was written is on its way. */
  | { readonly kind: "disconnect" }
  | { readonly kind: "done"; readonly result: HandshakeResult }
  /** A cancel request has been taken: the server has closed. */
  | { readonly kind: "cancelled" }
  /** The socket, if one is open, is the driver's to close. */
  | { readonly kind: "failed"; readonly error: ConnectError };

export type HandshakeEvent =
  | { readonly kind: "resolved"; readonly addresses: readonly string[] }
  | { readonly kind: "resolveFailed"; readonly error: Error }
  | { readonly kind: "connected" }
  | { readonly kind: "connectFailed"; readonly error: Error }
  | { readonly kind: "written" }
  /**
   * `endPoint`: channel-binding data of the server's certificate. `alpn`: the protocol agreed on.
   * `certificateRequested`: the server asked for a client certificate; not known is no.
   */
  | {
      readonly kind: "tlsStarted";
      readonly endPoint: Buffer | undefined;
      readonly alpn: string | undefined;
      readonly certificateRequested?: boolean | undefined;
    }
  | { readonly kind: "tlsFailed"; readonly error: Error }
  | { readonly kind: "derived"; readonly saltedPassword: Buffer }
  | { readonly kind: "disconnected" }
  /** The peer closed, or the connection broke. May come at any time. */
  | { readonly kind: "ended"; readonly error: Error | undefined }
  /** The time for this address is over. May come at any time. */
  | { readonly kind: "timedOut" }
  /** The caller has given up. May come at any time. */
  | { readonly kind: "aborted"; readonly reason: unknown };

/** Which demand an event answers. */
export const answeredDemand: Readonly<
  Record<Exclude<HandshakeEvent["kind"], "ended" | "timedOut" | "aborted">, Demand["kind"]>
> = {
  resolved: "resolve",
  resolveFailed: "resolve",
  connected: "connect",
  connectFailed: "connect",
  written: "write",
  tlsStarted: "startTls",
  tlsFailed: "startTls",
  derived: "derive",
  disconnected: "disconnect",
};

export interface HandshakeResult {
  readonly endpoint: ConnectedEndpoint;
  readonly tls: boolean;
  readonly protocolVersion: number;
  /** 0 if the server sent no BackendKeyData. */
  readonly backendPid: number;
  readonly cancelKey: Buffer | undefined;
  /** As reported by ParameterStatus. */
  readonly parameters: Map<string, string>;
  readonly notices: readonly ErrorFields[];
  /** After a login by SCRAM: enough for the next login at servers that share the stored secret. */
  readonly scramKeys: ScramKeys | undefined;
  /** Bytes of the server behind ReadyForQuery. */
  readonly rest: Buffer;
}

/** The session a cancel request is for, and the way it took. */
export interface CancelRequest {
  readonly pid: number;
  readonly key: Buffer;
  /** Whether the session was encrypted; the cancel goes the same way. Undefined: as sslmode says. */
  readonly tls?: boolean | undefined;
}
