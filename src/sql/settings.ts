/** The effects of SET, RESET and their kin, and what BEGIN says of its transaction. */
import type { Json, JsonObject } from "./parser.ts";
import type { IsolationLevel, SessionEffect, SettingScope, TransactionModes } from "./statement-class.ts";
import { constantText, listAt, tagged, textAt } from "./tree.ts";

const isolationLevels: ReadonlySet<string> = new Set([
  "read uncommitted",
  "read committed",
  "repeatable read",
  "serializable",
]);

/** Undefined for what the server refuses, such as SET … FROM CURRENT outside of a function. */
export function settingEffect(statement: JsonObject): SessionEffect | undefined {
  const kind = textAt(statement, "kind") ?? "";
  const name = textAt(statement, "name") ?? "";
  const scope: SettingScope = statement["is_local"] === true ? "local" : "session";
  const list = listAt(statement, "args");
  switch (kind) {
    case "VAR_RESET_ALL":
      return { kind: "reset_all" };
    case "VAR_RESET":
    case "VAR_SET_DEFAULT":
      return resetEffect(name.toLowerCase(), scope);
    case "VAR_SET_VALUE":
      return setEffect(name.toLowerCase(), scope, list);
    case "VAR_SET_MULTI":
      return multiEffect(name, list);
    default:
      return undefined;
  }
}

function resetEffect(name: string, scope: SettingScope): SessionEffect {
  if (name === "role") return { kind: "set_role", role: null, scope, reset: true };
  if (name === "session_authorization") return { kind: "set_session_authorization", user: null, scope };
  return { kind: "reset", name, scope };
}

function setEffect(name: string, scope: SettingScope, list: readonly Json[]): SessionEffect {
  const values = list.map(constantText);
  const constant = values.every((value) => typeof value === "string") ? values : null;
  const [only] = constant ?? [];
  if (constant?.length === 1 && only !== undefined) {
    // SET role TO 'none' and SET ROLE NONE are the same.
    if (name === "role")
      return { kind: "set_role", role: only === "none" ? null : only, scope, reset: false };
    if (name === "session_authorization") return { kind: "set_session_authorization", user: only, scope };
    if (name === "seed") return { kind: "set_seed" };
  }
  return { kind: "set_parameter", name, values: constant, scope };
}

function multiEffect(name: string, list: readonly Json[]): SessionEffect | undefined {
  if (name === "TRANSACTION") return { kind: "set_transaction", modes: transactionModes(list) };
  if (name === "SESSION CHARACTERISTICS") {
    return { kind: "set_session_characteristics", modes: transactionModes(list) };
  }
  if (name === "TRANSACTION SNAPSHOT") {
    return { kind: "set_transaction_snapshot", snapshot: constantText(list[0]) ?? "" };
  }
  return undefined;
}

/** Of a list of DefElem; where one is said twice, the last counts. */
export function transactionModes(list: readonly Json[]): TransactionModes {
  const modes: { isolation?: IsolationLevel; readOnly?: boolean; deferrable?: boolean } = {};
  for (const item of list) {
    const element = tagged(item, "DefElem");
    const value = constantText(element?.["arg"]) ?? "";
    switch (textAt(element, "defname")) {
      case "transaction_isolation":
        if (isolationLevels.has(value)) modes.isolation = value as IsolationLevel;
        break;
      case "transaction_read_only":
        modes.readOnly = value !== "0";
        break;
      case "transaction_deferrable":
        modes.deferrable = value !== "0";
        break;
      default:
    }
  }
  return modes;
}
