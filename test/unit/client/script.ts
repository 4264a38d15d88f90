/**
 * Plays the driver and the server for the handshake machine, in memory: each step says what the machine must
 * ask for, and answers it. What the server says is handed over whole or byte by byte, and is overwritten
 * afterwards, as a reused read buffer is.
 */
import { expect } from "vitest";
import { type ConnectOptions, connectOptions } from "../../../src/client/conninfo/options.ts";
import type { ConnectError } from "../../../src/client/errors.ts";
import type {
  CancelRequest,
  Demand,
  HandshakeEvent,
  HandshakeResult,
} from "../../../src/client/handshake/demands.ts";
import { Handshake, type HandshakeEnvironment } from "../../../src/client/handshake/handshake.ts";
import { TransactionStatus } from "../../../src/wire/constants.ts";
import { decodeFrontend } from "../../../src/wire/decode-frontend.ts";
import {
  encodeAuthenticationOk,
  encodeBackendKeyData,
  encodeErrorResponse,
  encodeParameterStatus,
  encodeReadyForQuery,
} from "../../../src/wire/encode-backend.ts";
import type { ErrorFields } from "../../../src/wire/fields.ts";
import type { FrontendMessage } from "../../../src/wire/messages.ts";
import { StartupFramer, type StartupRequest } from "../../../src/wire/startup.ts";

export type Pace = "whole" | "byte by byte";
export const paces: readonly Pace[] = ["whole", "byte by byte"];

export class Script {
  readonly machine: Handshake;
  readonly #pace: Pace;
  /** Every status the machine has been seen in, in order. */
  readonly statuses: string[] = [];

  constructor(
    given: Partial<ConnectOptions> = {},
    pace: Pace = "whole",
    cancel?: CancelRequest,
    environment: Partial<HandshakeEnvironment> = {},
  ) {
    const options = connectOptions({
      user: "ada",
      sslmode: "disable",
      hosts: [{ host: "127.0.0.1", port: 5432 }],
      ...given,
    });
    const random = (bytes: number): Buffer => Buffer.alloc(bytes, 7);
    this.machine = new Handshake(options, { random, cancel, ...environment });
    this.#pace = pace;
    this.#note();
  }

  /** What the machine asks for, which has to be of this kind. */
  demand<K extends Demand["kind"]>(kind: K): Extract<Demand, { kind: K }> {
    const demand = this.machine.poll();
    this.#note();
    if (demand.kind === "failed" && kind !== "failed") throw demand.error;
    expect(demand.kind).toBe(kind);
    expect(this.machine.poll(), "asking again changes nothing").toBe(demand);
    return demand as Extract<Demand, { kind: K }>;
  }

  event(event: HandshakeEvent): void {
    this.machine.handle(event);
    this.#note();
  }

  connect(): Extract<Demand, { kind: "connect" }> {
    const demand = this.demand("connect");
    this.event({ kind: "connected" });
    return demand;
  }

  refuseConnection(): Extract<Demand, { kind: "connect" }> {
    const demand = this.demand("connect");
    this.event({ kind: "connectFailed", error: new Error("connect ECONNREFUSED") });
    return demand;
  }

  /** What the client sends. */
  written(): Buffer {
    const { data } = this.demand("write");
    this.event({ kind: "written" });
    return data;
  }

  /** What the client sends, as one of the packets before a session. */
  startup(): StartupRequest {
    const framer = new StartupFramer();
    framer.feed(this.written());
    const request = framer.next();
    expect(framer.takeRest()).toHaveLength(0);
    if (request === undefined) throw new Error("the packet is not whole");
    return request;
  }

  /** What the client sends, as a message of a session or of its login. */
  message(): FrontendMessage {
    const bytes = this.written();
    return decodeFrontend(bytes, 0, bytes.length);
  }

  /** What the server says. */
  says(...messages: Buffer[]): void {
    this.demand("read");
    const bytes = Buffer.concat(messages);
    const pieces = this.#pace === "whole" ? [bytes] : Array.from(bytes, (byte) => Buffer.of(byte));
    for (const piece of pieces) {
      this.machine.receive(piece);
      piece.fill(0xee);
      this.#note();
    }
  }

  startTls(
    endPoint?: Buffer,
    alpn: string | undefined = "postgresql",
  ): Extract<Demand, { kind: "startTls" }> {
    const demand = this.demand("startTls");
    this.event({ kind: "tlsStarted", endPoint, alpn });
    return demand;
  }

  disconnect(): void {
    this.demand("disconnect");
    this.event({ kind: "disconnected" });
  }

  done(): HandshakeResult {
    expect(this.machine.status).toBe("OK");
    return this.demand("done").result;
  }

  failed(): ConnectError {
    expect(this.machine.status).toBe("BAD");
    return this.demand("failed").error;
  }

  #note(): void {
    if (this.statuses.at(-1) !== this.machine.status) this.statuses.push(this.machine.status);
  }
}

export const fatal = (code: string, message: string, more: Partial<ErrorFields> = {}): Buffer =>
  encodeErrorResponse({ severity: "FATAL", code, message, ...more });

export const authenticationOk: Buffer = encodeAuthenticationOk();
export const ready: Buffer = encodeReadyForQuery(TransactionStatus.idle);

/** AuthenticationOk to ReadyForQuery, as a server of protocol 3.0 sends it. */
export const welcome: Buffer = Buffer.concat([
  authenticationOk,
  encodeParameterStatus("server_version", "18.4"),
  encodeBackendKeyData(42, Buffer.of(1, 2, 3, 4)),
  ready,
]);
