/** Time that stands still while something happens, and then goes on to whatever comes next. */
interface Event {
  readonly at: number;
  readonly run: () => void;
}

export class VirtualTime {
  now = 0;
  /** What comes next is at the end; of two of one moment the one that was asked for first. */
  readonly #events: Event[] = [];

  at(at: number, run: () => void): void {
    const events = this.#events;
    let index = events.length;
    for (; index > 0; index--) {
      const later = events[index - 1];
      if (later === undefined || later.at > at) break;
      events[index] = later;
    }
    events[index] = { at, run };
  }

  /** Goes on until `until`, or until `over` says so. */
  run(until: number, over: () => boolean): void {
    for (let next = this.#events.pop(); next !== undefined && next.at <= until; next = this.#events.pop()) {
      this.now = next.at;
      next.run();
      if (over()) return;
    }
    this.now = until;
  }
}
