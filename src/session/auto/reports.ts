/** What one client in auto mode has yet to be told of its settings: reports wait for the end of its statement. */
import { type ParameterVector, trackedName } from "../../pool/parameters.ts";
import type { Server } from "../../pool/server.ts";
import { encodeParameterStatus } from "../../wire/encode-backend.ts";

export class ParameterReports {
  readonly #parameters: ParameterVector;
  /** Of parameters that are not tracked, by name. */
  #untracked: Map<string, Buffer> | undefined;

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
    const reports: Buffer[] = [];
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

  forget(): void {
    this.#untracked = undefined;
  }
}
