/** What one client in auto mode has yet to be told of its settings: reports wait for the end of its statement. */
import { ParameterVector, trackedName } from "../../pool/parameters.ts";
import type { Server } from "../../pool/server.ts";
import { encodeParameterStatus } from "../../wire/encode-backend.ts";

export class ParameterReports {
  readonly #parameters: ParameterVector;
  /** Of parameters that are not tracked, by name. */
  #untracked: Map<string, Buffer> | undefined;
  /** As the settings were before the transaction made some for itself. */
  #before: ParameterVector | undefined;
  /** What the client has been told and is over, without a server that says so. */
  #over: Buffer[] | undefined;

  constructor(parameters: ParameterVector) {
    this.#parameters = parameters;
  }

  /** Something was reported in reply to the client's own statement. */
  add(name: string, value: string): void {
    if (trackedName(name) === undefined)
      (this.#untracked ??= new Map()).set(name, encodeParameterStatus(name, value));
  }

  /** What the client has to be told before it hears that the server is ready; `names` were reported. */
  take(server: Server, names: readonly string[]): Buffer | undefined {
    const untracked = this.#untracked;
    this.#untracked = undefined;
    const reports = this.#over ?? [];
    this.#over = undefined;
    const parameters = this.#parameters;
    for (const name of new Set(names)) {
      const tracked = trackedName(name);
      const report = untracked?.get(name);
      if (report !== undefined) reports.push(report);
      const value = tracked === undefined ? undefined : server.parameters.tracked.get(tracked);
      if (tracked === undefined || value === undefined || parameters.get(tracked) === value) continue;
      parameters.set(tracked, value);
      reports.push(encodeParameterStatus(tracked, value));
    }
    return reports.length === 0 ? undefined : Buffer.concat(reports);
  }

  /** The transaction makes settings for itself. */
  keep(): void {
    this.#before ??= ParameterVector.copyOf(this.#parameters);
  }

  /** The transaction is over, and its server has said what that means for the settings. */
  settle(): void {
    this.#before = undefined;
  }

  /** The transaction is gone, and with it what was set in it, but no server says so. */
  restore(): void {
    const before = this.#before;
    this.#before = undefined;
    if (before === undefined) return;
    const parameters = this.#parameters;
    for (const [name, value] of before.entries()) {
      if (trackedName(name) !== undefined && parameters.get(name) !== value)
        (this.#over ??= []).push(encodeParameterStatus(name, value));
    }
    parameters.become(before);
  }

  /** What comes before a reply that no server gives. */
  before(reply: Buffer): Buffer {
    const over = this.#over;
    if (over === undefined) return reply;
    this.#over = undefined;
    return Buffer.concat([...over, reply]);
  }

  forget(): void {
    this.#untracked = undefined;
  }
}
