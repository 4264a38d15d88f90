/**
 * What has been tried so far and how it ended: the error that a handshake fails with is made from it. Texts
 * begin as libpq's do (fe-connect.c emitHostIdentityInfo), so that tools and people find what they know.
 */
import { assert } from "../../base/assert.ts";
import { Failure } from "../../base/errors.ts";
import type { ErrorFields } from "../../wire/fields.ts";
import { type ConnectAttempt, ConnectError, type ConnectErrorCode } from "../errors.ts";
import { type ConnectedEndpoint, isUnix, type Targets } from "./targets.ts";

export class AttemptLog {
  readonly #targets: Targets;
  readonly #attempts: ConnectAttempt[] = [];

  constructor(targets: Targets) {
    this.#targets = targets;
  }

  add(
    outcome: Pick<ConnectAttempt, "phase" | "tls" | "code" | "sqlstate">,
    text: string,
    more: { readonly serverError?: ErrorFields | undefined; readonly cause?: unknown } = {},
  ): void {
    const { host, port } = this.#targets.host;
    const address = this.#targets.addressKnown ? this.#targets.endpoint.address : undefined;
    const where = address === undefined ? "" : `${describe({ host, address, port })} failed: `;
    this.#attempts.push({
      ...outcome,
      host,
      address,
      port,
      message: `${where}${text}`,
      serverError: more.serverError,
      cause: more.cause,
    });
  }

  /** The failure of the whole: all texts, and the code of what ended it. `cause` overrides that of the last attempt. */
  error(cause: unknown): ConnectError {
    const last = this.#attempts.at(-1);
    assert(last !== undefined, "a handshake fails after at least one attempt");
    const message = this.#attempts.map((attempt) => attempt.message).join("\n");
    return new ConnectError(last.code, this.#attempts, message, cause);
  }
}

function describe(endpoint: ConnectedEndpoint): string {
  const { host, address, port } = endpoint;
  if (isUnix(address)) return `connection to server on socket "${address}/.s.PGSQL.${port}"`;
  const where = host === address ? `"${host}"` : `"${host}" (${address})`;
  return `connection to server at ${where}, port ${port}`;
}

const sqlstates: { readonly [Code in ConnectErrorCode]?: string } = {
  "client.connection_lost": "08006",
  "client.protocol_violation": "08P01",
};

/** The SQLSTATE of a failure: that of its cause if it has one, else the one that fits its code. */
export function sqlstateOf(code: ConnectErrorCode, cause: unknown): string {
  return cause instanceof Failure ? cause.sqlstate : (sqlstates[code] ?? "08001");
}

/** Whether bytes to this place stay on this machine. */
export function isLocal(endpoint: ConnectedEndpoint): boolean {
  const { address } = endpoint;
  return isUnix(address) || address.startsWith("127.") || address === "::1";
}
