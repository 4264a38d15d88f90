/**
 * The descriptor under a transport, which keeps its socket to itself. Node shows every new client socket to a
 * diagnostics channel while it is being made; what is seen there is kept, and asked when somebody wants to know.
 */
import { subscribe, unsubscribe } from "node:diagnostics_channel";

const channel = "net.client.socket";

/** As much of a socket of Node's as is needed: the handle is the system's, gone once it is closed. */
interface SocketWithHandle {
  readonly _handle?: { readonly fd?: number } | null;
}

export class SocketView {
  #socket: SocketWithHandle | undefined;

  /** Keeps the client socket that `create` makes. */
  watch<T>(create: () => T): T {
    const keep = (message: unknown): void => {
      this.#socket = (message as { readonly socket: SocketWithHandle }).socket;
    };
    subscribe(channel, keep);
    try {
      return create();
    } finally {
      unsubscribe(channel, keep);
    }
  }

  /** -1 if there is no socket, or the system has no descriptor for it (Windows). */
  get descriptor(): number {
    return this.#socket?._handle?.fd ?? -1;
  }
}
