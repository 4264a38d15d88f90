/**
 * Encryption of one client's connection while it logs in: what requests for it are answered, and what the
 * handshake brought. A client may ask for TLS, or begin with a handshake at once (docs 54.2.11, 54.2.12).
 */
import type { TLSSocket } from "node:tls";
import { assert } from "../base/assert.ts";
import { protocolViolation } from "../base/errors.ts";
import type { Transport } from "../base/transport.ts";
import type { ClientTls, LoginContext } from "./context.ts";
import { unsupportedVersion } from "./greeting.ts";
import { hasTrustedCertificate } from "./proof.ts";

const yes = Buffer.from("S");
const no = Buffer.from("N");
const alpnProtocol = "postgresql";

export class ClientEncryption {
  readonly #context: LoginContext;
  readonly #transport: Transport;
  /** On a Unix socket there is none. */
  readonly #possible: boolean;
  /** Who it is, for the log. */
  readonly #client: { readonly client: number; readonly peer: string };
  #socket: TLSSocket | undefined;
  #tls: ClientTls | undefined;
  #sslAsked = false;
  #gssAsked = false;

  constructor(
    context: LoginContext,
    transport: Transport,
    possible: boolean,
    client: { readonly client: number; readonly peer: string },
  ) {
    this.#context = context;
    this.#transport = transport;
    this.#possible = possible;
    this.#client = client;
  }

  /** The connection, once it is encrypted. */
  get socket(): TLSSocket | undefined {
    return this.#socket;
  }

  /** Protocol and cipher, for the log and the console; undefined without encryption. */
  get description(): string | undefined {
    const socket = this.#socket;
    return socket === undefined ? undefined : `${socket.getProtocol() ?? ""}/${socket.getCipher().name}`;
  }

  /** What the handshake was done with: a reload may have changed it since. */
  get tls(): ClientTls | undefined {
    return this.#tls;
  }

  /** Nothing was asked for yet: the first bytes may be a handshake. */
  get mayBeginDirectly(): boolean {
    return this.#socket === undefined && !this.#sslAsked;
  }

  /** The client came without encryption although the configuration insists on it. */
  get isMissing(): boolean {
    const tls = this.#context.clientTls();
    const required = tls !== undefined && tls.mode !== "allow" && tls.mode !== "prefer";
    return required && this.#possible && this.#socket === undefined;
  }

  /**
   * Answers an SSLRequest. True: the handshake has begun, and `onEnd` says whether its result is good enough.
   * `behind`: what came behind the request. Throws PeerError 08P01 for bytes in clear there, 0A000 for a second
   * request.
   */
  answerSslRequest(behind: () => Buffer, onEnd: (good: boolean) => void): boolean {
    if (!this.mayBeginDirectly) throw unsupportedVersion(1234, 5679);
    this.#sslAsked = true;
    if (!this.#isOffered) {
      this.#transport.write(no);
      return false;
    }
    // Bytes in clear behind the request would be taken for encrypted ones (CVE-2021-23214).
    if (behind().length > 0) throw protocolViolation("received unencrypted data after SSL request");
    this.#transport.write(yes);
    this.#secure(undefined, false, onEnd);
    return true;
  }

  /** Answers a GSSENCRequest: there is none here. Throws PeerError 0A000 for a second one. */
  answerGssRequest(): void {
    if (this.#gssAsked) throw unsupportedVersion(1234, 5680);
    this.#gssAsked = true;
    this.#transport.write(no);
  }

  /** Takes the first bytes of the connection for a handshake. False: TLS is not to be had. */
  beginDirectly(first: Buffer, onEnd: (good: boolean) => void): boolean {
    if (!this.#isOffered) return false;
    this.#secure(Buffer.from(first), true, onEnd);
    return true;
  }

  get #isOffered(): boolean {
    return this.#possible && this.#context.clientTls() !== undefined;
  }

  #secure(first: Buffer | undefined, direct: boolean, onEnd: (good: boolean) => void): void {
    const tls = this.#context.clientTls();
    assert(tls !== undefined, "a handshake needs a certificate");
    this.#tls = tls;
    this.#transport.acceptTls(
      {
        secureContext: tls.context,
        requestCert: tls.asksForCertificate,
        rejectUnauthorized: false,
        ALPNProtocols: [alpnProtocol],
      },
      first,
      (socket) => onEnd(this.#accepts(socket, direct, tls)),
    );
  }

  #accepts(socket: TLSSocket, direct: boolean, tls: ClientTls): boolean {
    // Direct TLS demands ALPN, so that no other protocol is mistaken for ours (docs 54.2.12).
    if (direct && socket.alpnProtocol !== alpnProtocol) return false;
    const verifies = tls.mode === "verify-ca" || tls.mode === "verify-full";
    if (verifies && !hasTrustedCertificate(socket)) {
      this.#context.logger.info(this.#client, "client certificate is missing or not trusted");
      return false;
    }
    this.#socket = socket;
    return true;
  }
}
