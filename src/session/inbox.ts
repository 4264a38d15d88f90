/** What a client has sent and nobody has handled yet: the framer, and chunks that came while it was busy. */
import { Deque } from "../base/deque.ts";
import { Frontend } from "../wire/constants.ts";
import { Frame, Framer, frontendRules } from "../wire/framer.ts";

/** Parse is kept whole up to this; PostgreSQL's own limit is 1 GB. */
const collectedBytesMax = 64 * 1024 * 1024;
/** The same for all clients since `max_packet_size` was last changed. */
let rules = { packetBytesMax: Number.POSITIVE_INFINITY, frames: frontendRules(collectedBytesMax) };

export class Inbox {
  readonly framer: Framer;
  /** The message in the framer waits: until it is known what its name means, or for its turn. */
  held: Frame | undefined;
  /** Exists while something is in it: an idle client needs none. */
  #backlog: Deque<Buffer> | undefined;
  /** What came last has been read to its end, and was nothing but data of a COPY and parts of long messages: nothing of it is known to be kept. */
  passedOn = false;
  #onlyPasses = false;

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

  /** A part of a message has been handled, and the rest is still to come: what waits has not begun. */
  get midMessage(): boolean {
    return this.framer.streaming && this.held !== Frame.head;
  }

  push(chunk: Buffer): void {
    this.passedOn = false;
    this.#onlyPasses = true;
    if (this.framer.drained && this.#backlog === undefined) {
      this.framer.feed(chunk);
      return;
    }
    this.#backlog ??= new Deque();
    this.#backlog.push(chunk);
  }

  /**
   * The next message or part, in `framer`, if none is held; data of a COPY as many whole messages as there are. Throws PeerError as
   * the framer does.
   */
  next(): Frame {
    const { framer, held } = this;
    if (held !== undefined) return held;
    for (;;) {
      const kind = framer.next();
      if (kind !== Frame.need) {
        const whole = kind === Frame.whole;
        if (framer.type !== Frontend.copyData) this.#onlyPasses &&= !whole && kind !== Frame.head;
        else if (whole) framer.takeAlike();
        return kind;
      }
      const chunk = this.#backlog?.shift();
      if (chunk === undefined) {
        this.#backlog = undefined;
        this.passedOn = this.#onlyPasses;
        return Frame.need;
      }
      framer.feed(chunk);
    }
  }

  clear(): void {
    this.#backlog = undefined;
  }
}
