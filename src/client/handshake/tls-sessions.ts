/**
 * TLS sessions with servers that can be resumed, for whoever connects to the same ones again and again. PostgreSQL gives out no
 * tickets; other poolers do. A session stands for everything that was verified when it began, so it is offered only
 * where all of that is the same: the host by its name, the files and every option that the check and the handshake depend on.
 */
import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { ConnectOptions, TlsSessionStore } from "../conninfo/options.ts";
import type { TlsMaterial } from "./tls.ts";

/** Servers whose sessions are kept; the one that was kept first goes first. */
const sessionsMax = 64;

export class TlsSessions implements TlsSessionStore {
  readonly #sessions = new Map<string, Buffer>();

  find(key: string): Buffer | undefined {
    return this.#sessions.get(key);
  }

  /** TLS 1.3 sends tickets behind the handshake, TLS 1.2 in it. */
  keep(key: string, socket: TLSSocket): void {
    const sessions = this.#sessions;
    const known = socket.isSessionReused() ? undefined : socket.getSession();
    if (known !== undefined && socket.getProtocol() === "TLSv1.2") put(sessions, key, known);
    socket.on("session", (session: Buffer) => put(sessions, key, session));
  }
}

function put(sessions: Map<string, Buffer>, key: string, session: Buffer): void {
  sessions.delete(key);
  sessions.set(key, session);
  if (sessions.size <= sessionsMax) return;
  for (const first of sessions.keys()) {
    sessions.delete(first);
    return;
  }
}

/**
 * Undefined: with a certificate of its own a client shows it each time, and where the login has to be bound to the server's
 * it has to be seen, which a resumed session does not bring.
 */
export function sessionKey(
  options: ConnectOptions,
  material: TlsMaterial,
  host: string,
  port: number | undefined,
): string | undefined {
  if (material.cert !== undefined || options.channelBinding === "require") return undefined;
  const { sslmode, sslrootcert, sslsni, sslMinProtocolVersion, sslMaxProtocolVersion, tlsCiphers } = options;
  const depends = [
    [host, port, sslmode, sslrootcert, sslsni, sslMinProtocolVersion, sslMaxProtocolVersion, tlsCiphers],
    [material.ca, material.crl],
  ];
  return createHash("sha256").update(JSON.stringify(depends)).digest("base64");
}
