/** The effects of utility statements, one function for each. */
import { objectEffects } from "./objects.ts";
import type { Json, JsonObject } from "./parser.ts";
import { settingEffect, transactionModes } from "./settings.ts";
import type { SessionEffect, TextRange, TransactionControl } from "./statement-class.ts";
import { listAt, names, numberAt, tagged, textAt } from "./tree.ts";

/** CURSOR_OPT_… of PostgreSQL's parsenodes.h. */
const cursorOption = { binary: 1, scroll: 2, noScroll: 4, hold: 32 } as const;

export function statementEffects(
  tag: string,
  statement: JsonObject,
  innerStatement: () => TextRange,
): SessionEffect[] {
  switch (tag) {
    case "VariableSetStmt": {
      const effect = settingEffect(statement);
      return effect === undefined ? [] : [effect];
    }
    case "DiscardStmt":
      return [{ kind: "discard", target: discardTarget(textAt(statement, "target") ?? "") }];
    case "PrepareStmt":
      return [
        {
          kind: "prepare",
          name: textAt(statement, "name") ?? "",
          parameterTypes: listAt(statement, "argtypes").map(typeText),
          statement: innerStatement(),
        },
      ];
    case "ExecuteStmt":
      return [{ kind: "execute", name: textAt(statement, "name") ?? "" }];
    case "DeallocateStmt":
      return [{ kind: "deallocate", name: textAt(statement, "name") ?? null }];
    case "ListenStmt":
      return [{ kind: "listen", channel: textAt(statement, "conditionname") ?? "" }];
    case "UnlistenStmt":
      return [{ kind: "unlisten", channel: textAt(statement, "conditionname") ?? null }];
    case "NotifyStmt":
      return [{ kind: "notify", channel: textAt(statement, "conditionname") ?? "" }];
    case "LoadStmt":
      return [{ kind: "load", file: textAt(statement, "filename") ?? "" }];
    case "LockStmt":
      return [{ kind: "lock_table" }];
    case "DoStmt":
      return [{ kind: "do" }];
    case "CallStmt":
      return [{ kind: "call" }];
    case "CopyStmt":
      return [copyEffect(statement)];
    case "DeclareCursorStmt":
    case "ClosePortalStmt":
    case "FetchStmt":
      return [cursorEffect(tag, statement)];
    default:
      return objectEffects(tag, statement);
  }
}

function typeText(node: Json): string {
  const type = tagged(node, "TypeName");
  return names(listAt(type, "names")).join(".") + "[]".repeat(listAt(type, "arrayBounds").length);
}

function discardTarget(target: string): "all" | "plans" | "sequences" | "temp" {
  if (target === "DISCARD_PLANS") return "plans";
  if (target === "DISCARD_SEQUENCES") return "sequences";
  return target === "DISCARD_TEMP" ? "temp" : "all";
}

function copyEffect(statement: JsonObject): SessionEffect {
  const file = textAt(statement, "filename");
  const direction = statement["is_from"] === true ? "from" : "to";
  if (file === undefined) return { kind: "copy", direction, with: "client" };
  return { kind: "copy", direction, with: statement["is_program"] === true ? "program" : "file" };
}

function cursorEffect(tag: string, statement: JsonObject): SessionEffect {
  const name = textAt(statement, "portalname");
  if (tag === "ClosePortalStmt") return { kind: "close_cursor", name: name ?? null };
  if (tag === "FetchStmt") return { kind: "fetch", name: name ?? "", move: statement["ismove"] === true };
  const options = numberAt(statement, "options");
  const scroll = (options & cursorOption.scroll) !== 0;
  const noScroll = (options & cursorOption.noScroll) !== 0;
  return {
    kind: "declare_cursor",
    name: name ?? "",
    withHold: (options & cursorOption.hold) !== 0,
    scroll: scroll || noScroll ? scroll : undefined,
    binary: (options & cursorOption.binary) !== 0,
  };
}

/** Undefined for what this version does not know. */
export function transactionControl(statement: JsonObject): TransactionControl | undefined {
  const name = textAt(statement, "savepoint_name") ?? "";
  const gid = textAt(statement, "gid") ?? "";
  const chain = statement["chain"] === true;
  switch (textAt(statement, "kind")) {
    case "TRANS_STMT_BEGIN":
    case "TRANS_STMT_START":
      return { kind: "begin", modes: transactionModes(listAt(statement, "options")) };
    case "TRANS_STMT_COMMIT":
      return { kind: "commit", chain };
    case "TRANS_STMT_ROLLBACK":
      return { kind: "rollback", chain };
    case "TRANS_STMT_SAVEPOINT":
      return { kind: "savepoint", name };
    case "TRANS_STMT_RELEASE":
      return { kind: "release", name };
    case "TRANS_STMT_ROLLBACK_TO":
      return { kind: "rollback_to", name };
    case "TRANS_STMT_PREPARE":
      return { kind: "prepare_transaction", gid };
    case "TRANS_STMT_COMMIT_PREPARED":
      return { kind: "commit_prepared", gid };
    case "TRANS_STMT_ROLLBACK_PREPARED":
      return { kind: "rollback_prepared", gid };
    default:
      return undefined;
  }
}
