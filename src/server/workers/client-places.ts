/** The limits on clients over all workers: each client is counted here, one by one, as one process counts its own. */
import type { Config } from "../../config/schema.ts";
import { Admission, type SessionVerdict } from "../../session/admission.ts";
import { admissionLimitsOf } from "../resolved.ts";
import type { Member } from "./member.ts";
import type { AdmitAsk } from "./protocol.ts";

export class ClientPlaces {
  readonly #admission: Admission;
  /** By the numbers that their workers gave them. */
  readonly #clients = new Map<Member, Map<number, object>>();

  constructor(config: Config) {
    this.#admission = new Admission(admissionLimitsOf(config));
  }

  reconfigure(config: Config): void {
    this.#admission.limits = admissionLimitsOf(config);
  }

  admit(member: Member, { id, owner, isAdministrator }: AdmitAsk): SessionVerdict {
    const client = {};
    const verdict = this.#admission.beginSession(client, owner, isAdministrator);
    if (verdict !== "ok") return verdict;
    const own = this.#clients.get(member) ?? new Map<number, object>();
    this.#clients.set(member, own.set(id, client));
    return verdict;
  }

  leave(member: Member, id: number): void {
    const client = this.#clients.get(member)?.get(id);
    if (client === undefined) return;
    this.#clients.get(member)?.delete(id);
    this.#admission.endSession(client);
  }

  /** The worker has died, and its clients are gone. */
  onExit(member: Member): void {
    for (const client of this.#clients.get(member)?.values() ?? []) this.#admission.endSession(client);
    this.#clients.delete(member);
  }
}
