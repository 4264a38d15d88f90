/**
 * Leaves out of random plans what is known to be answered otherwise in auto mode (docs/semantics.md), and no more: what is behind a
 * RESET, in the same Query or batch of a client that began with a value of its own for what is reset, if it is a reported parameter.
 * And what ends PostgreSQL itself or is in its memory by chance (unnamed-portal.ts, prepared-execute.ts).
 */
import type { FrontendMessage } from "../../src/wire/index.ts";
import type { AutoPlan, Part, Step } from "./auto-plans.ts";
import { withoutPreparedExecute } from "./prepared-execute.ts";
import type { Burst } from "./sessions-client.ts";
import { UnnamedPortal } from "./unnamed-portal.ts";

export function withoutKnown(plan: AutoPlan): AutoPlan {
  const clients = plan.startups.map((startup) => {
    const names = reportedNames.filter((name) =>
      new RegExp(`\\b${name}\\b`, "i").test(JSON.stringify(startup)),
    );
    return names.length === 0 ? undefined : new UnitsToReset(names);
  });
  const portals = plan.startups.map(() => new UnnamedPortal());
  const cut = (part: Part): Part => {
    const units = clients[part.client];
    const kept = (messages: readonly FrontendMessage[]): readonly FrontendMessage[] =>
      withoutPreparedExecute(portals[part.client]?.of(units?.of(messages) ?? messages) ?? messages);
    return { ...part, bursts: part.bursts.map((burst) => ({ ...burst, messages: kept(burst.messages) })) };
  };
  const cutBursts = (client: number, bursts: readonly Burst[]): Burst[] => [
    ...cut({ client, bursts }).bursts,
  ];
  const steps = plan.steps.map((step): Step => {
    switch (step.kind) {
      case "parts":
        return { ...step, parts: step.parts.map(cut) };
      case "cancel":
      case "vanish":
        return { ...step, before: cutBursts(step.client, step.before) };
      default:
        return step;
    }
  });
  return { ...plan, steps };
}

/** With which a client of a plan may begin, and which are reported. */
const reportedNames = ["application_name", "TimeZone", "search_path", "DateStyle"] as const;

/** One client's messages, in their order, without what is behind a reset in its unit. */
class UnitsToReset {
  readonly #resets: RegExp;
  /** What resets: statements by their names, also if these were dropped since, and portals. */
  readonly #statements = new Set<string>();
  readonly #portals = new Set<string>();
  #hasReset = false;

  constructor(names: readonly string[]) {
    this.#resets = new RegExp(`^(reset all|discard all|reset (${names.join("|")}))$`, "i");
  }

  of(messages: readonly FrontendMessage[]): FrontendMessage[] {
    return messages.flatMap((message): FrontendMessage[] => {
      const ends = message.kind === "Sync" || message.kind === "Query" || message.kind === "FunctionCall";
      if (this.#hasReset && !ends && message.kind !== "Flush") return [];
      if (ends) this.#hasReset = false;
      if (message.kind === "Query") return [{ ...message, sql: this.#cut(message.sql) }];
      if (message.kind === "Parse") {
        if (this.#resets.test(message.sql)) this.#statements.add(message.name);
        else if (message.name === "") this.#statements.delete("");
      }
      if (message.kind === "Bind") {
        if (this.#statements.has(message.statement)) this.#portals.add(message.portal);
        else this.#portals.delete(message.portal);
      }
      this.#hasReset ||= message.kind === "Execute" && this.#portals.has(message.portal);
      return [message];
    });
  }

  #cut(sql: string): string {
    const statements = sql.split("; ");
    const last = statements.findIndex((statement) => this.#resets.test(statement));
    return last === -1 ? sql : statements.slice(0, last + 1).join("; ");
  }
}
