/** What an attempt to connect is told, what it says while it goes on, and how it ends. */
import type { Transport } from "../../base/transport.ts";
import type { HandshakeResult } from "./demands.ts";
import type { Resolve } from "./resolve.ts";
import type { ConnectionStatus } from "./status.ts";

export interface OpenOptions {
  /** Ends the attempt; it rejects with ConnectError `client.connect_aborted` and the signal's reason as cause. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Milliseconds for the whole, all hosts and addresses together; then it rejects with ConnectError
   * `client.connect_timeout`. None if not given.
   */
  readonly timeoutMs?: number | undefined;
  /** Size of the buffer that the transport reads into; 16 KiB if not given. */
  readonly readBufferBytes?: number | undefined;
  /** How host names become addresses; the system's resolver if not given. */
  readonly resolve?: Resolve | undefined;
  /** Hears of every change of status. */
  readonly onStatus?: ((status: ConnectionStatus) => void) | undefined;
}

/** Sees what goes over the connection, decrypted, in the order in which it is dealt with. */
export interface ConnectionWitness {
  /** Another host or address is turned to: what was seen before is over. */
  begun(): void;
  sent(data: Buffer): void;
  /** Valid during the call. */
  received(data: Buffer): void;
}

export interface AttemptOptions extends OpenOptions {
  /** The owner polls; otherwise `run` is called. */
  readonly stepped?: boolean | undefined;
  /** The transport stays with the attempt, unread, until it is taken or destroyed; so it does if stepped. */
  readonly kept?: boolean | undefined;
  readonly witness?: ConnectionWitness | undefined;
}

/** What a stepped attempt waits for, or how it has ended: libpq's PostgresPollingStatusType. */
export type PollingStatus = "failed" | "reading" | "writing" | "ok";

/** How an attempt has ended: a session and its transport, a cancel request that was taken, or neither. */
export type AttemptEnd =
  | { readonly kind: "session"; readonly result: HandshakeResult; readonly transport: Transport }
  | { readonly kind: "cancelled" }
  | { readonly kind: "failed"; readonly error: unknown };
