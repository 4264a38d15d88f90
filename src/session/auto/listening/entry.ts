/**
 * A server that was just leased starts to listen for its client, before the client's unit is sent to it. What comes
 * from it behind the marker is kept until the shared listener has seen the marker too.
 */
import { Handling, Request } from "../../../pool/replies.ts";
import { type RequestOutcome, unheard } from "../../../pool/request-outcome.ts";
import type { Server, ServerOwner } from "../../../pool/server.ts";
import { encodeQuery } from "../../../wire/encode-frontend.ts";
import { channelOf, inOneTransaction, listen, notifyMarker, payloadOf, unlisten } from "./notification.ts";
import type { SharedListener } from "./shared-listener.ts";

const inUtf8 = encodeQuery("SET client_encoding TO 'UTF8'");

export class Entry implements ServerOwner {
  /** The shared listener has seen the marker: what it hears from then on comes from the server as well. */
  listenerSaw = false;
  readonly #server: Server;
  readonly #listener: SharedListener;
  readonly #marker: number;
  /** Undefined notifications: the server does not listen, and must not be used. */
  readonly #then: (notifications: readonly Buffer[] | undefined) => void;
  readonly #notifications: Buffer[] = [];
  #serverSaw = false;
  #failed = false;
  #answered = false;
  #over = false;

  constructor(
    server: Server,
    listener: SharedListener,
    channels: readonly string[],
    then: (notifications: readonly Buffer[] | undefined) => void,
  ) {
    this.#server = server;
    this.#listener = listener;
    this.#then = then;
    this.#marker = listener.expectMarker(() => {
      this.listenerSaw = true;
      this.#lookAgain();
    });
    const { marker } = listener;
    const statements = [listen(marker), ...channels.map(listen), notifyMarker(marker, this.#marker)];
    const outcome: RequestOutcome = {
      ...unheard,
      onError: () => {
        this.#failed = true;
      },
    };
    server.owner = this;
    server.unnamed = undefined;
    // The client may ask which channels there are.
    const queries = [inOneTransaction(statements), encodeQuery(unlisten(marker))];
    // Its other settings can wait; but what is notified from the marker on is the client's.
    if (server.parameters.tracked.get("client_encoding") !== "UTF8") queries.unshift(inUtf8);
    for (const _ of queries) server.replies.push(Request.query, Handling.swallow, outcome);
    server.transport.write(Buffer.concat(queries));
  }

  /** Returns the server, which has to be closed; undefined: it is gone already. */
  abandon(): Server | undefined {
    if (this.#over) return undefined;
    this.#leave();
    return this.#server;
  }

  onReplies(): boolean {
    return true;
  }

  onNotification(bytes: Buffer): undefined {
    if (this.#serverSaw) {
      if (channelOf(bytes) !== this.#listener.marker) this.#notifications.push(Buffer.from(bytes));
    } else if (channelOf(bytes) === this.#listener.marker) {
      this.#serverSaw = payloadOf(bytes) === String(this.#marker);
    }
  }

  onSettled(): void {
    this.#answered = true;
    this.#lookAgain();
  }

  onParameter(): void {}

  onDropped(): void {}

  onServerDrain(): void {}

  onServerLost(): void {
    if (this.#over) return;
    this.#leave();
    this.#then(undefined);
  }

  #lookAgain(): void {
    if (this.#over || !this.#answered) return;
    const failed = this.#failed || !this.#serverSaw;
    if (!failed && !this.listenerSaw) return;
    this.#leave();
    this.#then(failed ? undefined : this.#notifications);
  }

  #leave(): void {
    this.#over = true;
    this.#listener.forgetMarker(this.#marker);
    if (this.#server.owner === this) this.#server.owner = undefined;
  }
}
