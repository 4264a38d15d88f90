/**
 * A script of the differential runner: what clients do, step by step, in one order for all of them. Two forms
 * become the same steps: plain SQL as psql takes it (plain.ts), and steps that name their client (steps.ts).
 *
 * Both forms take directives, lines that begin with `--` or `#` and `@`:
 *
 *     -- @servers 2           it needs two servers at once: two clients hold one each. Default 1.
 *     -- @role ada login      a role that exists only while the script runs; words as for CREATE ROLE
 *     -- @database own        a database of its own, for what cannot be cleaned up in a shared one
 *     -- @modes auto          the pool modes in which it is the same; default: session and auto
 */
import type { BackendMessage, FrontendMessage } from "../../../src/wire/index.ts";

export interface Script {
  /** The file, relative to the folder that was asked for, without its ending. */
  readonly name: string;
  readonly file: string;
  readonly servers: number;
  readonly roles: readonly Role[];
  readonly ownDatabase: boolean;
  readonly modes: readonly string[];
  readonly steps: readonly Step[];
}

export interface Role {
  readonly name: string;
  readonly options: string;
}

export interface Step {
  /** Name of the client; `*` is the runner itself, which is connected directly. */
  readonly client: string;
  /** As written, for the transcript. */
  readonly source: string;
  readonly actions: readonly Action[];
}

/** In texts of actions `{name}` is what a step saved by that name, and `{a.pid}` what client a was told as its pid. */
export type Action =
  | { readonly kind: "connect"; readonly parameters: readonly (readonly [string, string])[] }
  /** Adds a message to what is sent next, in one write. */
  | { readonly kind: "message"; readonly message: FrontendMessage }
  | { readonly kind: "send" }
  /** Sends, and reads until every ReadyForQuery that is owed has come, or `count` of them. */
  | { readonly kind: "ready"; readonly count: number | undefined }
  /** Sends with Flush, and reads the answers to everything since the last Sync. */
  | { readonly kind: "flush" }
  /** Sends, and reads up to a message of this kind, `count` times. */
  | { readonly kind: "wait"; readonly for: BackendMessage["kind"]; readonly count: number }
  /** Sends, and reads until the other side closes. */
  | { readonly kind: "closed" }
  /** If CopyInResponse comes before ReadyForQuery: these data. */
  | { readonly kind: "copyIn"; readonly data: string }
  /** Keeps the first value of the first row that comes next. */
  | { readonly kind: "save"; readonly variable: string }
  | { readonly kind: "terminate" }
  | { readonly kind: "vanish" }
  | { readonly kind: "cancel" }
  /** `*`: waits until a query yields true. */
  | { readonly kind: "until"; readonly sql: string }
  /** `*`: runs SQL as superuser, directly. */
  | { readonly kind: "run"; readonly sql: string };

/** What is wrong with a script, with its file and line. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
}
