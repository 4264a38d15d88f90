/**
 * target_session_attrs: whether a session that has just logged in is of the kind that was asked for.
 *
 *     CHECK_TARGET ─ known ─▶ met, or not
 *        ▲   └─ unknown ─ query ─▶ CHECK_WRITABLE or CHECK_STANDBY ─ its row ─▶ CONSUME
 *        └──────────────────────────────── ReadyForQuery ◀───────────────────────┘
 *
 * Servers from 14 on report `default_transaction_read_only` and `in_hot_standby` by themselves; others are
 * asked. Rules, queries and texts are libpq's (fe-connect.c, CONNECTION_CHECK_TARGET). sans-IO.
 */
import { assert } from "../../base/assert.ts";
import { Backend, shortServerMessageBytesMax } from "../../wire/constants.ts";
import { decodeBackend } from "../../wire/decode-backend.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import { Frame, FrameRules, Framer } from "../../wire/framer.ts";
import type { BackendMessage } from "../../wire/messages.ts";
import type { TargetSessionAttrs } from "../conninfo/options.ts";
import type { Conversation, Login, Step } from "./login.ts";
import { reportBytesMax } from "./login-rules.ts";
import type { ConnectionStatus } from "./status.ts";

export type Verdict =
  | { readonly kind: "met" }
  | { readonly kind: "unmet"; readonly text: string }
  /** A query has to tell. */
  | { readonly kind: "probe"; readonly data: Buffer };

/** What decides, and how to ask for it. */
interface Probe {
  readonly sql: string;
  readonly status: ConnectionStatus;
  /** How the only value of the answer begins if it is yes. */
  readonly yes: string;
}

const readOnlyProbe: Probe = { sql: "SHOW transaction_read_only", status: "CHECK_WRITABLE", yes: "on" };
const standbyProbe: Probe = {
  sql: "SELECT pg_catalog.pg_is_in_recovery()",
  status: "CHECK_STANDBY",
  yes: "t",
};

/** What is asked, the answer that is wanted, and what is said of the other one. */
const demands: Readonly<
  Record<Exclude<TargetSessionAttrs, "any">, { probe: Probe; wanted: boolean; unmet: string }>
> = {
  "read-write": { probe: readOnlyProbe, wanted: false, unmet: "session is read-only" },
  "read-only": { probe: readOnlyProbe, wanted: true, unmet: "session is not read-only" },
  primary: { probe: standbyProbe, wanted: false, unmet: "server is in hot standby mode" },
  standby: { probe: standbyProbe, wanted: true, unmet: "server is not in hot standby mode" },
  "prefer-standby": { probe: standbyProbe, wanted: true, unmet: "server is not in hot standby mode" },
};

/** The first version with standbys that can be queried: 9. */
const firstMajorWithStandbys = 9;

const probeRules = new FrameRules(
  (type) => `unexpected message from server during startup: message type ${type}`,
  "server",
)
  .collect(Backend.parameterStatus, reportBytesMax)
  .collect(Backend.noticeResponse, reportBytesMax)
  .collect(Backend.errorResponse, reportBytesMax)
  .collect(Backend.rowDescription, shortServerMessageBytesMax)
  .collect(Backend.dataRow, shortServerMessageBytesMax)
  .collect(Backend.commandComplete, shortServerMessageBytesMax)
  .collect(Backend.emptyQueryResponse, shortServerMessageBytesMax)
  .collect(Backend.readyForQuery, shortServerMessageBytesMax);

export class SessionCheck implements Conversation {
  readonly #demand: (typeof demands)[keyof typeof demands];
  readonly #login: Login;
  readonly #framer = new Framer(probeRules);
  /** First values of the rows that the query has brought so far. */
  #rows: string[] = [];
  #answer: boolean | undefined;

  constructor(wanted: Exclude<TargetSessionAttrs, "any">, login: Login) {
    this.#demand = demands[wanted];
    this.#login = login;
  }

  /** The status while the answer to the query is awaited. */
  get probeStatus(): ConnectionStatus {
    return this.#demand.probe.status;
  }

  /** What is to be done with the session, as far as is known. */
  judge(): Verdict {
    const { probe, wanted, unmet } = this.#demand;
    const answer = this.#answer ?? this.#reported();
    if (answer === undefined) {
      return { kind: "probe", data: encodeQuery(probe.sql) };
    }
    return answer === wanted ? { kind: "met" } : { kind: "unmet", text: unmet };
  }

  feed(bytes: Buffer): void {
    this.#framer.feed(bytes);
  }

  next(): Step | undefined {
    while (this.#framer.next() === Frame.whole) {
      const { buffer, start, end } = this.#framer;
      const step = this.#receive(decodeBackend(buffer, start, end));
      if (step !== undefined) return step;
    }
    return undefined;
  }

  takeRest(): Buffer {
    return this.#framer.takeRest();
  }

  /** What the server has told of itself; undefined: not enough. */
  #reported(): boolean | undefined {
    const { parameters } = this.#login;
    const standby = isOn(parameters.get("in_hot_standby"));
    if (this.#demand.probe === standbyProbe) {
      // A version that is not reported counts as old, in libpq too.
      const major = Number.parseInt(parameters.get("server_version") ?? "0", 10);
      return major >= firstMajorWithStandbys ? standby : false;
    }
    const readOnly = isOn(parameters.get("default_transaction_read_only"));
    return standby === undefined || readOnly === undefined ? undefined : standby || readOnly;
  }

  #receive(message: BackendMessage): Step | undefined {
    switch (message.kind) {
      case "ParameterStatus":
      case "NoticeResponse":
        this.#login.note(message);
        return undefined;
      case "RowDescription":
        return undefined;
      case "DataRow":
        this.#rows.push(message.values[0]?.toString("latin1") ?? "");
        return undefined;
      case "ErrorResponse":
        return {
          kind: "unanswered",
          text: `${message.fields.severity}:  ${message.fields.message}\n${this.#failed()}`,
          fields: message.fields,
        };
      case "CommandComplete":
      case "EmptyQueryResponse":
        return this.#answered();
      default:
        assert(message.kind === "ReadyForQuery", "only messages of a query pass the framer");
        return this.#answer === undefined
          ? { kind: "unanswered", text: this.#failed(), fields: undefined }
          : { kind: "ready" };
    }
  }

  #answered(): Step {
    const [value] = this.#rows;
    if (value === undefined || this.#rows.length > 1) {
      return { kind: "unanswered", text: this.#failed(), fields: undefined };
    }
    this.#answer = value.startsWith(this.#demand.probe.yes);
    return { kind: "answered" };
  }

  #failed(): string {
    return `"${this.#demand.probe.sql}" failed`;
  }
}

function isOn(value: string | undefined): boolean | undefined {
  return value === undefined ? undefined : value === "on";
}
