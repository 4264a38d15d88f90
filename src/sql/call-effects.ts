/** What a call of one of PostgreSQL's own functions does to the session, from its trait and its constant arguments. */
import type { BuiltinTrait } from "./builtin-functions.ts";
import type { SessionEffect } from "./statement-class.ts";
import type { Call } from "./syntax.ts";

/** Undefined: a setting is changed for the session, but which, or to what, cannot be known. */
export function callEffect(trait: BuiltinTrait, call: Call): SessionEffect | undefined {
  const [first] = call.constants;
  switch (trait) {
    case "set_config":
      return setConfig(call);
    case "set_seed":
      return { kind: "set_seed" };
    case "nextval":
    case "currval":
    case "lastval":
    case "setval":
      return { kind: "sequence", operation: trait, sequence: first ?? null, implicit: false };
    case "lock_session":
      return { kind: "advisory_lock", scope: "session", action: "lock" };
    case "lock_transaction":
      return { kind: "advisory_lock", scope: "transaction", action: "lock" };
    case "unlock":
      return { kind: "advisory_lock", scope: "session", action: "unlock" };
    case "unlock_all":
      return { kind: "advisory_lock", scope: "session", action: "unlock_all" };
    case "large_object":
      return { kind: "large_object", descriptor: false };
    case "large_object_descriptor":
      return { kind: "large_object", descriptor: true };
    case "notify":
      return { kind: "notify", channel: first ?? null };
    case "export_snapshot":
      return { kind: "export_snapshot" };
    case "replication_origin":
      return { kind: "replication_origin", action: originAction(call.name) };
    case "backup":
      return {
        kind: "backup",
        action: call.name === "pg_backup_stop" ? "stop" : "start",
        certain: call.once,
      };
    case "replication_slot":
      return {
        kind: "replication_slot",
        action: call.name === "pg_drop_replication_slot" ? "drop" : "create",
      };
    default:
      return undefined;
  }
}

function originAction(name: string): "setup" | "reset" | "local" {
  if (name === "pg_replication_origin_session_setup") return "setup";
  return name === "pg_replication_origin_session_reset" ? "reset" : "local";
}

/** set_config(name, value, is_local). What is local is over with the transaction, whatever it was. */
function setConfig({ constants, once }: Call): SessionEffect | undefined {
  const [name, value, local] = constants;
  const isLocal = truth(local);
  if (isLocal === true) {
    return { kind: "set_config", name: lowered(name), value: value ?? null, scope: "local" };
  }
  if (isLocal === undefined || !once || typeof name !== "string" || value === undefined) return undefined;
  return { kind: "set_config", name: name.toLowerCase(), value, scope: "session" };
}

function lowered(name: string | null | undefined): string | null {
  return typeof name === "string" ? name.toLowerCase() : null;
}

/** Of a boolean constant; undefined if it is none that is plain. */
function truth(constant: string | null | undefined): boolean | undefined {
  if (typeof constant !== "string") return undefined;
  if (/^(?:on|t|true|y|yes|1)$/i.test(constant)) return true;
  return /^(?:of|off|f|false|n|no|0)$/i.test(constant) ? false : undefined;
}
