/**
 * Looks on while a connection logs in, and prints its messages for whoever traces. It cuts what the server
 * sends into messages also while nobody does, so that tracing may begin at any time. It never disturbs the
 * login: of bytes that are no messages it sees nothing more.
 */
import { PeerError } from "../../base/errors.ts";
import { Backend, sslRequestCode } from "../../wire/constants.ts";
import { Frame, FrameRules, Framer } from "../../wire/framer.ts";
import { type TraceOptions, Tracer } from "../../wire/trace.ts";
import type { ConnectionWitness } from "../handshake/attempt-options.ts";
import { reportBytesMax } from "../handshake/login-rules.ts";

const rules = new FrameRules((type) => `message type ${type}`, "server");
for (const type of Object.values(Backend)) rules.collect(type, reportBytesMax);

export class TraceWitness implements ConnectionWitness {
  #framer: Framer | undefined;
  /** One byte, and no message, answers a request for encryption. */
  #awaitsByte = false;
  #tracer: Tracer | undefined;
  #write: (line: string) => void = () => undefined;

  trace(write: (line: string) => void, options: TraceOptions): void {
    this.#tracer = new Tracer(options);
    this.#write = write;
  }

  untrace(): void {
    this.#tracer = undefined;
  }

  begun(): void {
    this.#framer = new Framer(rules);
    this.#awaitsByte = false;
  }

  sent(data: Buffer): void {
    // Packets without a type begin with their length, which is short.
    const untyped = data.readUInt8(0) === 0;
    this.#awaitsByte = untyped && data.readInt32BE(4) === sslRequestCode;
    const tracer = this.#tracer;
    if (tracer === undefined) return;
    if (untyped) return this.#write(tracer.startup(data));
    for (let start = 0; start < data.length; ) {
      const end = start + 1 + data.readUInt32BE(start + 1);
      this.#write(tracer.frontend(data, start, end));
      start = end;
    }
  }

  received(data: Buffer): void {
    if (!this.#awaitsByte) return this.#receiveMessages(data);
    this.#awaitsByte = false;
    if (this.#tracer !== undefined) this.#write(this.#tracer.response("SSLResponse", data.readUInt8(0)));
  }

  #receiveMessages(data: Buffer): void {
    const framer = this.#framer;
    if (framer === undefined) return;
    try {
      framer.feed(data);
      while (framer.next() === Frame.whole) {
        const { buffer, start, end } = framer;
        if (this.#tracer !== undefined) this.#write(this.#tracer.backend(buffer, start, end));
      }
    } catch (error) {
      if (!(error instanceof PeerError)) throw error;
      this.#framer = undefined;
    }
  }
}
