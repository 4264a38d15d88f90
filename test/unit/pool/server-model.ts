/**
 * A small PostgreSQL server: reads one request after the other and answers as postgres.c and
 * copyfromparse.c do. It knows nothing of pools; `fails` says which requests are refused.
 */
import { text, typed } from "../wire/bytes.ts";
import * as fakes from "./fakes.ts";

export type ModelKind =
  | "parse"
  | "bind"
  | "describe"
  | "execute"
  | "close"
  | "sync"
  | "flush"
  | "query"
  | "functionCall"
  | "copyData"
  | "copyDone"
  | "copyFail";

export interface ModelRequest {
  readonly id: number;
  readonly kind: ModelKind;
  readonly fails: boolean;
  /** execute, query: what it brings. describe: whether there are rows. */
  readonly result: "rows" | "nothing" | "suspended" | "copyIn" | "copyOut";
}

/** One answered request. */
export interface Answer {
  readonly request: ModelRequest;
  readonly replies: readonly Buffer[];
  readonly failed: boolean;
  /** A Sync that the client may believe to be ignored: it was sent while COPY was, for all it knew, under way. */
  readonly uncertain: boolean;
}

type Copy = { readonly by: "query" | "execute"; readonly request: ModelRequest };

export class ServerModel {
  #skipping = false;
  /** An Execute has done something that Sync will commit. */
  #batchOpen = false;
  #copy: Copy | undefined;
  /** A COPY failed, and its CopyDone or CopyFail has not come yet. */
  #copyBroken = false;

  receive(request: ModelRequest): Answer {
    const replies =
      this.#copy === undefined ? this.#replies(request) : this.#copyReplies(request, this.#copy);
    const failed = replies.some((reply) => reply[0] === 0x45);
    const uncertain = request.kind === "sync" && this.#copyBroken;
    if (request.kind === "copyDone" || request.kind === "copyFail") this.#copyBroken = false;
    return { request, replies, failed, uncertain };
  }

  #replies(request: ModelRequest): Buffer[] {
    const { id, kind, fails, result } = request;
    if (kind === "sync") {
      // An error may come at the commit, if there is something to commit.
      const refused = fails && this.#batchOpen;
      this.#skipping = false;
      this.#batchOpen = false;
      return refused ? [error(id), ready(id)] : [ready(id)];
    }
    if (this.#skipping || kind === "flush" || kind.startsWith("copy")) return [];
    if (kind === "execute") this.#batchOpen = !fails;
    if (kind === "query" || kind === "functionCall") this.#batchOpen = false;
    if (kind === "query") return this.#query(request);
    if (kind === "functionCall") return fails ? [error(id), ready(id)] : [fakes.functionResult, ready(id)];
    if (fails) {
      this.#skipping = true;
      const rows = kind === "execute" && result === "rows" ? [row(id)] : [];
      return [...rows, error(id)];
    }
    switch (kind) {
      case "parse":
        return [fakes.parseComplete];
      case "bind":
        return [fakes.bindComplete];
      case "close":
        return [fakes.closeComplete];
      case "describe":
        if (result === "copyOut") return [fakes.parameterDescription, fakes.rowDescription];
        return [result === "rows" ? fakes.rowDescription : fakes.noData];
      default:
        return this.#execute(request);
    }
  }

  #execute(request: ModelRequest): Buffer[] {
    const { id, result } = request;
    switch (result) {
      case "rows":
        return [row(id), row(id), tag(id)];
      case "suspended":
        return [row(id), fakes.suspended];
      case "copyOut":
        return [fakes.copyOut, fakes.copyData(`${id}`), fakes.copyDone, tag(id)];
      case "copyIn":
        this.#copy = { by: "execute", request };
        return [fakes.copyIn];
      default:
        return [fakes.emptyQuery];
    }
  }

  #query(request: ModelRequest): Buffer[] {
    const { id, fails, result } = request;
    if (fails) return [...(result === "rows" ? [tag(id)] : []), error(id), ready(id)];
    switch (result) {
      case "rows":
        return [fakes.rowDescription, row(id), tag(id), tag(id), ready(id)];
      case "copyOut":
        return [fakes.copyOut, fakes.copyData(`${id}`), fakes.copyDone, tag(id), ready(id)];
      case "copyIn":
        this.#copy = { by: "query", request };
        return [fakes.copyIn];
      default:
        return [fakes.emptyQuery, ready(id)];
    }
  }

  #copyReplies(request: ModelRequest, copy: Copy): Buffer[] {
    const { kind, fails } = request;
    const { id } = copy.request;
    if (kind === "copyDone" && !fails) {
      this.#copy = undefined;
      return copy.by === "query" ? [tag(id), ready(id)] : [tag(id)];
    }
    if (kind === "copyFail" || fails) {
      this.#copy = undefined;
      this.#copyBroken = true;
      if (copy.by === "query") return [error(id), ready(id), ...this.#afterBroken(request)];
      this.#skipping = true;
      this.#batchOpen = false;
      return [error(id), ...this.#afterBroken(request)];
    }
    return [];
  }

  /** COPY failed just before it read this: then it is read as any other message. */
  #afterBroken(request: ModelRequest): Buffer[] {
    return request.kind === "sync" ? this.#replies({ ...request, fails: false }) : [];
  }
}

const ready = (id: number): Buffer => typed("Z", "I", id & 0xff, id >> 8);
const row = (id: number): Buffer => fakes.row(`row of ${id}`);
const tag = (id: number): Buffer => typed("C", text(`TAG ${id}`));
const error = (id: number): Buffer => fakes.failure("22000", `error of ${id}`);
