/** What a client has sent and nobody has handled yet: the framer, and chunks that came while it was busy. */
import { Deque } from "../base/deque.ts";
import { Frame, Framer, frontendRules } from "../wire/framer.ts";

/** Parse is kept whole up to this; PostgreSQL's own limit is 1 GB. */
const collectedBytesMax = 64 * 1024 * 1024;
/** The same for all clients since `max_packet_size` was last changed. */
let rules = { packetBytesMax: Number.POSITIVE_INFINITY, frames: frontendRules(collectedBytesMax) };

export class Inbox {
  readonly framer: Framer;
  /** Exists while something is in it: an idle client needs none. */
  #backlog: Deque<Buffer> | undefined;

  /** `packetBytesMax`: no message may have a longer body (`max_packet_size`). */
  constructor(packetBytesMax: number) {
    if (rules.packetBytesMax !== packetBytesMax) {
      rules = { packetBytesMax, frames: frontendRules(collectedBytesMax).limit(packetBytesMax) };
    }
    this.framer = new Framer(rules.frames);
  }

  /** More has come than the message at hand. */
  get behind(): boolean {
    return this.#backlog !== undefined || !this.framer.drained;
  }

  push(chunk: Buffer): void {
    if (this.framer.drained && this.#backlog === undefined) {
      this.framer.feed(chunk);
      return;
    }
    this.#backlog ??= new Deque();
    this.#backlog.push(chunk);
  }

  /** The next message or part, in `framer`. Throws PeerError as the framer does. */
  next(): Frame {
    for (;;) {
      const kind = this.framer.next();
      if (kind !== Frame.need) return kind;
      const chunk = this.#backlog?.shift();
      if (chunk === undefined) {
        this.#backlog = undefined;
        return Frame.need;
      }
      this.framer.feed(chunk);
    }
  }

  clear(): void {
    this.#backlog = undefined;
  }
}
