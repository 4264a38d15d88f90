/**
 * What one client listens to. LISTEN and UNLISTEN run on the client's server, so that transactions, savepoints and
 * functions mean what they mean; when the server could be given back, its channels move to the pool's shared
 * listener, and before a statement that may ask for them, change them or notify they move to its server again:
 *
 *     native ─▶ leaving ─▶ shared ─▶ entering ─▶ native        (none: it listens to nothing)
 *
 * *Leaving*: the shared listener listens; then the server notifies a marker. What the server sends before the marker
 * goes to the client, what the shared listener hears behind it too, and the rest of both is nobody's. *Entering* is
 * the same the other way round. PostgreSQL has one order for all listeners, so nothing is lost, heard twice, or out
 * of order.
 *
 * While it is shared the client may read (`light` units): what was committed before its unit came is delivered before
 * the unit is sent, as by an idle session of PostgreSQL.
 */
import type { Failure } from "../../../base/errors.ts";
import type { Server } from "../../../pool/server.ts";
import { askUnseen } from "../../../pool/unseen.ts";
import { encodeQuery } from "../../../wire/encode-frontend.ts";
import { Entry } from "./entry.ts";
import { listeningLost, tooManyNotifications } from "./failures.ts";
import { isSameHost, type Listeners, type ReservedListening } from "./listeners.ts";
import {
  channelOf,
  inOneTransaction,
  listen,
  notifyMarker,
  payloadOf,
  pidOf,
  withPid,
} from "./notification.ts";
import type { ListeningPeer } from "./peer.ts";
import type { SharedListener, Subscriber } from "./shared-listener.ts";

/** Notifications that a client has not taken, and that wait for it. */
const pendingBytesMax = 8 * 1024 * 1024;
/** More are kept on the client's own server. */
const channelsMax = 1000;
/** How often a server is asked to notify before it is kept. */
const attemptsMax = 3;

const unlistenAll = encodeQuery("UNLISTEN *");

/** How far a client has got on its way to the shared listener. */
interface Steps {
  /** The server was asked to listen no more, and does not. */
  asked: boolean;
  serverLeft: boolean;
  /** They have come to the marker. */
  serverSaw: boolean;
  listenerSaw: boolean;
}

/** Of all clients that are not on it. */
const noSteps: Steps = Object.freeze({
  asked: false,
  serverLeft: false,
  serverSaw: false,
  listenerSaw: false,
});

const noChannels: readonly string[] = Object.freeze([]);

export class ClientListening implements Subscriber, ReservedListening {
  /** The client keeps its server, because there is no shared listener that could listen for it. */
  reserved = false;
  readonly #peer: ListeningPeer;
  readonly #listeners: Listeners;
  /** As the ledger has found them on the server. */
  #channels: readonly string[] = noChannels;
  #state: "none" | "native" | "leaving" | "shared" | "entering" = "none";
  #listener: SharedListener | undefined;
  /** Notifications for which it is not the time yet. */
  #pending: Buffer[] | undefined;
  #pendingBytes = 0;
  /** Of leaving: the marker that is expected, and how far it has got. */
  #marker = 0;
  #steps: Steps = noSteps;
  #attempts = 0;
  #entry: Entry | undefined;
  /** The unit that is to run needs no channels on its server. */
  #light = false;

  constructor(peer: ListeningPeer, listeners: Listeners) {
    this.#peer = peer;
    this.#listeners = listeners;
  }

  get listens(): boolean {
    return this.#channels.length > 0;
  }

  /** The client's notifications come from the shared listener. */
  get shared(): boolean {
    return this.#state === "shared";
  }

  /** The server that the client holds listens. */
  get native(): boolean {
    return this.#state === "native" || this.#state === "leaving";
  }

  get leaving(): boolean {
    return this.#state === "leaving";
  }

  /** A unit that would begin on the server at hand has to wait until it was given back. */
  holds(server: Server | undefined): boolean {
    return server !== undefined && (this.#state === "leaving" || this.#state === "shared");
  }

  // ---- a unit is to run ----

  /** Calls `start` when the unit may be given a server. False: at once. `light`: it only reads. */
  gate(light: boolean, start: () => void): boolean {
    this.#light = light;
    if (this.#state !== "shared" || !light) return false;
    this.#listener?.afterAllBefore(start);
    return true;
  }

  get mustEnter(): boolean {
    return this.#state === "shared" && !this.#light;
  }

  /** Whether what is notified on `server` is heard where the client listens. */
  mayEnter(server: Server): boolean {
    return isSameHost(this.#listener?.server, server);
  }

  /** Makes `server` listen for the client. `then`: whether it does; else it has to be closed. */
  enter(server: Server, then: (entered: boolean) => void): void {
    const listener = this.#listener;
    if (listener === undefined) return;
    this.#state = "entering";
    this.#entry = new Entry(server, listener, this.#channels, (notifications) => {
      this.#entry = undefined;
      if (notifications === undefined) {
        this.#state = "shared";
        this.#flush();
      } else {
        this.#state = "native";
        // Its own stream has them as well, from the marker on.
        this.#forgetPending();
        for (const one of notifications) this.#deliver(this.#told(one, server));
      }
      then(notifications !== undefined);
    });
  }

  /** The unit is not to run after all. Returns the server that has begun to listen, and has to be closed. */
  abandonEntry(): Server | undefined {
    const server = this.#entry?.abandon();
    if (server === undefined) return undefined;
    this.#entry = undefined;
    this.#state = "shared";
    this.#flush();
    return server;
  }

  // ---- a unit has run ----

  /** The ledger has read what the server listens to. */
  found(channels: readonly string[]): void {
    this.#channels = channels;
    this.#attempts = 0;
    if (channels.length > 0) this.#state = "native";
    else this.#reset();
  }

  /** No transaction is open, and nothing else keeps the server: whether this does. */
  keeps(server: Server, utf8: boolean): boolean {
    if (this.#state === "native") this.#leave(server, utf8);
    else if (this.#state === "leaving") this.#goOn(server);
    return this.native;
  }

  /** A notification from the client's server: what the client gets. */
  onNative(bytes: Buffer, server: Server): Buffer | undefined {
    if (this.#state === "leaving") {
      if (this.#steps.serverSaw) return undefined;
      if (channelOf(bytes) === this.#listener?.marker) {
        if (payloadOf(bytes) === String(this.#marker)) this.#steps.serverSaw = true;
        return undefined;
      }
    }
    return this.#told(bytes, server);
  }

  /** Nothing is under way to the client any more. */
  flush(): void {
    if (this.#pending !== undefined && this.#state === "shared" && this.#peer.quiet) this.#flush();
  }

  /** The client is gone. */
  end(): void {
    this.#reset();
  }

  // ---- from the shared listener ----

  onShared(notification: Buffer): void {
    switch (this.#state) {
      case "shared":
        this.#deliver(notification);
        break;
      case "entering":
        if (this.#entry?.listenerSaw === true) this.#keep(notification);
        else this.#deliver(notification);
        break;
      case "leaving":
        if (this.#steps.listenerSaw) this.#keep(notification);
        break;
      default:
    }
  }

  onListenerLost(failure: Failure): void {
    this.#listener = undefined;
    if (this.#state === "none" || this.#state === "native") return;
    this.#peer.fail(listeningLost(failure));
  }

  // ---- leaving the server ----

  #leave(server: Server, utf8: boolean): void {
    const may = utf8 && this.#channels.length <= channelsMax && this.#attempts < attemptsMax;
    const ready = may ? this.#subscribe(server) : undefined;
    this.#setReserved(ready === undefined);
    if (ready !== true) return;
    const listener = this.#listener as SharedListener;
    this.#state = "leaving";
    this.#steps = { ...noSteps };
    this.#marker = listener.expectMarker(() => {
      this.#steps.listenerSaw = true;
      if (this.#steps.serverLeft) this.#peer.onListeningChanged();
    });
    const query = [listen(listener.marker), notifyMarker(listener.marker, this.#marker)];
    askUnseen(server, inOneTransaction(query), (failed) => {
      if (failed || !this.#steps.serverSaw) this.#stay();
    });
  }

  #subscribe(server: Server): boolean | undefined {
    let listener = this.#listener;
    if (listener === undefined || listener.over) {
      listener?.unsubscribe(this);
      listener = this.#listeners.current;
    }
    this.#listener = listener;
    const ready = listener.subscribe(this, this.#channels, () => this.#peer.onListeningChanged());
    if (ready === undefined) this.#listener = undefined;
    if (ready !== true) return ready;
    // Another host is another database: nothing that is notified there comes here.
    return isSameHost(listener.server, server) ? true : undefined;
  }

  /** Its marker was not notified: cancelled in the client's place perhaps. */
  #stay(): void {
    this.#listener?.forgetMarker(this.#marker);
    this.#state = "native";
    this.#forgetPending();
    this.#attempts++;
  }

  #goOn(server: Server): void {
    const steps = this.#steps;
    if (!steps.asked) {
      steps.asked = true;
      askUnseen(server, unlistenAll, (failed) => {
        if (failed) server.closeReason ??= "it does not stop listening";
        steps.serverLeft = true;
      });
      return;
    }
    if (!steps.serverLeft || !steps.listenerSaw) return;
    this.#state = "shared";
    this.#attempts = 0;
    this.#flush();
  }

  #setReserved(reserved: boolean): void {
    if (reserved === this.reserved) return;
    this.reserved = reserved;
    this.#listeners.noteReserved(this, reserved);
  }

  /** There may be a shared listener now. */
  retry(): void {
    this.#peer.onListeningChanged();
  }

  #reset(): void {
    this.#setReserved(false);
    if (this.#state === "leaving") this.#listener?.forgetMarker(this.#marker);
    this.#state = "none";
    this.#channels = noChannels;
    this.#forgetPending();
    this.#listener?.unsubscribe(this);
    this.#listener = undefined;
  }

  // ---- to the client ----

  /** As the client knows who has notified. */
  #told(bytes: Buffer, server: Server): Buffer {
    const pid = pidOf(bytes);
    const own = pid === server.backendPid;
    return withPid(bytes, own ? this.#peer.announcedPid : this.#listeners.pidFor(pid, server));
  }

  #deliver(notification: Buffer): void {
    if (this.#pending !== undefined || !this.#peer.quiet) this.#keep(notification);
    else this.#tell(notification);
  }

  #keep(notification: Buffer): void {
    (this.#pending ??= []).push(notification);
    this.#pendingBytes += notification.length;
    if (this.#pendingBytes > pendingBytesMax) this.#peer.fail(tooManyNotifications());
  }

  #flush(): void {
    const pending = this.#pending ?? [];
    this.#forgetPending();
    for (const notification of pending) this.#tell(notification);
  }

  #forgetPending(): void {
    this.#pending = undefined;
    this.#pendingBytes = 0;
  }

  #tell(notification: Buffer): void {
    this.#peer.tell(notification);
    if (this.#peer.pendingBytes > pendingBytesMax) this.#peer.fail(tooManyNotifications());
  }
}
