/** What happens to one client of a step, taken down to be told behind those before it. */
import type { BackendMessage } from "../../src/wire/index.ts";
import type { Witness } from "./sessions-client.ts";

/** Channels of which others notify: when such a notification comes between a client's statements is a matter of luck. */
const commonChannels: ReadonlySet<string> = new Set(["news", "fence"]);

export class Later implements Witness {
  stuck: string | undefined;
  /** Texts of the errors among it. */
  readonly errors: string[] = [];
  readonly #told: ((witness: Witness) => void)[] = [];
  readonly #common: BackendMessage[];

  /** `common`: notifications of common channels, in the order in which they come. */
  constructor(common: BackendMessage[]) {
    this.#common = common;
  }

  heading(client: string, source: string): void {
    this.#told.push((witness) => witness.heading(client, source));
  }

  note(client: string, text: string): void {
    this.#told.push((witness) => witness.note(client, text));
  }

  message(client: string, message: BackendMessage): void {
    if (message.kind === "ErrorResponse") this.errors.push(message.fields.message);
    if (message.kind === "NotificationResponse" && commonChannels.has(message.channel))
      this.#common.push(message);
    else this.#told.push((witness) => witness.message(client, message));
  }

  tell(witness: Witness): void {
    for (const each of this.#told) each(witness);
    witness.stuck ??= this.stuck;
  }
}
