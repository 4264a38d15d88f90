/**
 * Accepts at a socket that Node listens on, in Node's place: a connection is a descriptor from the beginning, and no handle is made for it.
 * Node's own watching of the socket is taken out of libuv's epoll; it keeps the socket, its address and its closing.
 */
import type { AcceptedDescriptor } from "../base/descriptors.ts";
import { systemError } from "../base/direct-write.ts";
import type { AddressReader } from "./addresses.ts";
import {
  closeOnExec,
  duplicateCloseOnExec,
  epollDelete,
  epollIn,
  noDelayOption,
  nonBlocking,
  tcpLevel,
} from "./constants.ts";
import { abortedCode, againCode, interruptedCode, noDescriptorsCodes } from "./errors.ts";
import type { EventLoop, Watcher } from "./event-loop.ts";

/** Connections that are accepted in a turn, so that a flood of them leaves time for others. */
const acceptedMax = 16;
/** How long nothing is accepted when not even who waits can be refused; epoll would tell of them again and again. */
const restMs = 100;
const one = Buffer.from([1, 0, 0, 0]);

export class Accepting implements Watcher {
  readonly #loop: EventLoop;
  readonly #addresses: AddressReader;
  readonly #descriptor: number;
  readonly #onAccept: (accepted: AcceptedDescriptor) => void;
  readonly #onFailed: (error: Error) => void;
  /** Given up for a moment to get rid of connections that cannot be had, as libuv does (uv__emfile_trick). */
  #spare = -1;
  #stopped = false;
  #rest: NodeJS.Timeout | undefined;

  constructor(
    loop: EventLoop,
    addresses: AddressReader,
    descriptor: number,
    onAccept: (accepted: AcceptedDescriptor) => void,
    onFailed: (error: Error) => void,
  ) {
    this.#loop = loop;
    this.#addresses = addresses;
    this.#descriptor = descriptor;
    this.#onAccept = onAccept;
    this.#onFailed = onFailed;
  }

  /** False, and Node accepts as before, if the socket cannot be watched. */
  begin(): boolean {
    const { calls } = this.#loop;
    if (calls.epoll_ctl(calls.backendDescriptor(), epollDelete, this.#descriptor, null) !== 0) return false;
    if (!this.#loop.watch(this.#descriptor, this, epollIn)) return false;
    this.#spare = this.#duplicate();
    return true;
  }

  stop(): void {
    this.#stopped = true;
    this.#loop.unwatch(this.#descriptor, this.#rest === undefined ? epollIn : 0);
    clearTimeout(this.#rest);
    if (this.#spare >= 0) this.#loop.calls.close(this.#spare);
  }

  onReady(): void {
    for (let count = 0; count < acceptedMax && !this.#stopped; count++) {
      const descriptor = this.#accept();
      if (descriptor >= 0) this.#take(descriptor);
      else if (this.#goesNoFurther(this.#loop.calls.errno())) return;
    }
  }

  #accept(): number {
    const { address, length } = this.#addresses;
    this.#addresses.clear();
    return this.#loop.calls.accept4(this.#descriptor, address, length, nonBlocking | closeOnExec);
  }

  #take(descriptor: number): void {
    const { calls } = this.#loop;
    const peer = this.#addresses.told();
    if (peer.address !== undefined) calls.setsockopt(descriptor, tcpLevel, noDelayOption, one, one.length);
    this.#onAccept({ descriptor, peer, close: () => calls.close(descriptor) });
  }

  #goesNoFurther(code: number): boolean {
    if (code === againCode) return true;
    if (code === interruptedCode || code === abortedCode) return false;
    this.#onFailed(systemError(-code, "accept"));
    if (noDescriptorsCodes.has(code)) this.#refuseAll();
    return true;
  }

  /** Connections that wait for a descriptor would have it called again and again. */
  #refuseAll(): void {
    const { calls } = this.#loop;
    if (this.#spare >= 0) calls.close(this.#spare);
    let refused = this.#accept();
    for (; refused >= 0; refused = this.#accept()) calls.close(refused);
    if (calls.errno() !== againCode) this.#takeRest();
    this.#spare = this.#duplicate();
  }

  #takeRest(): void {
    this.#loop.change(this.#descriptor, epollIn, 0);
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.#loop.change(this.#descriptor, 0, epollIn);
    }, restMs);
  }

  /** Any descriptor: the socket's own is there. */
  #duplicate(): number {
    return this.#loop.calls.fcntl(this.#descriptor, duplicateCloseOnExec, "int", 0);
  }
}
