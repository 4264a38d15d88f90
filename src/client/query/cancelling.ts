/**
 * Cancel requests until what they are meant for has ended. One is not always enough: a request travels on a
 * connection of its own, and one that overtakes its statement finds an idle server and does nothing. As nothing
 * new is sent meanwhile, a repeated request can hit nothing else either.
 */

/** How long the server has to end the statement before it is asked again; doubled each time. */
const firstPauseMs = 50;
const pauseMsMax = 2000;

export class Cancelling {
  readonly #deliver: () => Promise<void>;
  readonly #isOver: () => boolean;
  #timer: NodeJS.Timeout | undefined;
  #wake: (() => void) | undefined;

  constructor(deliver: () => Promise<void>, isOver: () => boolean) {
    this.#deliver = deliver;
    this.#isOver = isOver;
  }

  /** Never rejects: a request that cannot be delivered leaves the statement to end by itself. */
  async run(): Promise<void> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, pauseMsMax)) {
      try {
        await this.#deliver();
      } catch {
        return;
      }
      await this.#pause(pauseMs);
      if (this.#isOver()) return;
    }
  }

  /** Something has come from the server, or the session is over. */
  look(): void {
    if (this.#wake === undefined || !this.#isOver()) return;
    clearTimeout(this.#timer);
    this.#wake();
  }

  #pause(ms: number): Promise<void> {
    if (this.#isOver()) return Promise.resolve();
    return new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#timer = setTimeout(resolve, ms);
    }).then(() => {
      this.#wake = undefined;
    });
  }
}
