/** Sockets by their file descriptors, where the system and the runtime allow it: Linux, the main thread, Node, and koffi's binary. */
import {
  type AcceptedDescriptor,
  type DescriptorStream,
  type Descriptors,
  type PeerAddress,
  type StreamOwner,
  useDescriptors,
} from "../base/descriptors.ts";
import type { ReadBuffer } from "../base/read-buffer.ts";
import { Accepting } from "./accepting.ts";
import { AddressReader } from "./addresses.ts";
import { duplicateCloseOnExec } from "./constants.ts";
import { EventLoop } from "./event-loop.ts";
import { EpollStream } from "./stream.ts";
import { loadSystemCalls } from "./system-calls.ts";

/** One for the process. Null: it has been tried. */
let made: EpollDescriptors | null | undefined;

/** Sockets that are opened from now on are read and written by descriptor, if that is wanted and possible here. Returns whether they are. */
export function useEpoll(wanted = true): boolean {
  if (wanted) made ??= EpollDescriptors.create() ?? null;
  const used = wanted ? (made ?? undefined) : undefined;
  useDescriptors(used);
  return used !== undefined;
}

class EpollDescriptors implements Descriptors {
  readonly #loop: EventLoop;
  readonly #addresses: AddressReader;

  private constructor(loop: EventLoop) {
    this.#loop = loop;
    this.#addresses = new AddressReader(loop.calls);
  }

  static create(): EpollDescriptors | undefined {
    const calls = loadSystemCalls();
    const loop = calls && EventLoop.create(calls);
    return loop && new EpollDescriptors(loop);
  }

  get reads(): ReadBuffer {
    return this.#loop.reads;
  }

  open(
    socket: { descriptor: number; peer?: PeerAddress },
    owner: StreamOwner,
    copies: boolean,
  ): DescriptorStream {
    return new EpollStream(this.#loop, this.#addresses, socket, owner, copies);
  }

  take(handle: { readonly fd?: number; close(): void }): number | undefined {
    const { fd } = handle;
    if (typeof fd !== "number" || fd < 0) return undefined;
    const own = this.#loop.calls.fcntl(fd, duplicateCloseOnExec, "int", 0);
    if (own < 0) return undefined;
    handle.close();
    return own;
  }

  accept(
    listening: { readonly fd?: number },
    onAccept: (accepted: AcceptedDescriptor) => void,
    onFailed: (error: Error) => void,
  ): (() => void) | undefined {
    const { fd } = listening;
    if (typeof fd !== "number" || fd < 0) return undefined;
    const accepting = new Accepting(this.#loop, this.#addresses, fd, onAccept, onFailed);
    return accepting.begin() ? () => accepting.stop() : undefined;
  }
}
