/** A client's session, as those see it who have something to tell it. */
import type { Failure } from "../../../base/errors.ts";
import type { Transport } from "../../../base/transport.ts";
import type { CancelKey } from "../../../pool/cancel-registry.ts";
import type { LooseHolder } from "../../../pool/loose-holders.ts";
import type { Server } from "../../../pool/server.ts";

export interface ListeningClient {
  readonly cancelKey: CancelKey | undefined;
  /** The server that works for it. */
  readonly server: Server | undefined;
  readonly transport: Transport;
  /** Its server may be given back now, or go on. */
  onListeningChanged(): void;
  fail(failure: Failure): void;
}

export class ListeningPeer implements LooseHolder {
  readonly #client: ListeningClient;

  constructor(client: ListeningClient) {
    this.#client = client;
  }

  /** The pid that it was told at its login. */
  get announcedPid(): number {
    return this.#client.cancelKey?.pid ?? 0;
  }

  /** The server that it has. */
  get server(): Server | undefined {
    return this.#client.server;
  }

  /** No reply is under way to it. */
  get quiet(): boolean {
    return this.#client.server === undefined;
  }

  /** Bytes that it has not taken yet. */
  get pendingBytes(): number {
    return this.#client.transport.pendingBytes;
  }

  tell(bytes: Buffer): void {
    this.#client.transport.write(bytes);
  }

  onListeningChanged(): void {
    this.#client.onListeningChanged();
  }

  giveBack(): void {
    this.#client.onListeningChanged();
  }

  fail(failure: Failure): void {
    this.#client.fail(failure);
  }
}
