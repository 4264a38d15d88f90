/**
 * Differences between a direct and a pooled connection that are meant, each with its reason. Whoever adds one
 * has asked first whether the pooler could not be right instead. What varies between any two runs is not here but
 * in test/kit/differential/normalise.ts.
 */
import type { Rewrite } from "../kit/differential/transcript.ts";

export interface Difference {
  readonly name: string;
  readonly reason: string;
  /** Pool modes in which it is to be expected. */
  readonly modes: readonly string[];
  /** Scripts in which it is; all if not given. */
  readonly scripts?: RegExp;
  /** Applied to both transcripts: takes out what differs. */
  readonly rewrite: Rewrite;
}

const pooled = ["session", "transaction", "statement", "auto"];

const differences: readonly Difference[] = [
  {
    name: "place of the key",
    reason:
      "Clients of a pooler are greeted in the order Ok, key, parameters, ready, as PgBouncer does it and the manual allows; " +
      "PostgreSQL sends the key behind the parameters.",
    modes: pooled,
    rewrite: (message) => (message.kind === "BackendKeyData" ? undefined : message),
  },
  {
    name: "invented pids",
    reason:
      "Outside auto mode a client is told a pid of the pooler's own, by which its cancel requests are found; pg_backend_pid() " +
      "and notifications name the server's process.",
    modes: ["session", "transaction", "statement"],
    rewrite: (message, columns) => {
      if (message.kind === "NotificationResponse") return { ...message, pid: 0 };
      if (message.kind !== "DataRow") return message;
      const isPid = (at: number): boolean => columns[at]?.name.endsWith("pid") ?? false;
      return {
        ...message,
        values: message.values.map((value, at) =>
          value !== null && isPid(at) ? Buffer.from("<pid>") : value,
        ),
      };
    },
  },
  {
    name: "empty custom parameters",
    reason:
      "A custom parameter that was ever set on a server exists there until its end, as an empty text where it was NULL " +
      "(guc.c keeps the placeholder through RESET and DISCARD).",
    modes: pooled,
    scripts: /^parameters\//,
    rewrite: (message, columns) => {
      if (message.kind !== "DataRow") return message;
      const empty = (value: Buffer | null, at: number): boolean =>
        columns[at]?.name === "current_setting" && value?.length === 0;
      return { ...message, values: message.values.map((value, at) => (empty(value, at) ? null : value)) };
    },
  },
  {
    name: "temporary schema of an earlier client",
    reason:
      "A server that ever had a temporary object keeps its empty schema, so pg_temp.x is missing there in other words than in a " +
      "new session (namespace.c keeps myTempNamespace through DISCARD TEMP).",
    modes: pooled,
    rewrite: (message, columns) => {
      if (message.kind === "DataRow") {
        const without = (value: Buffer | null, at: number): Buffer | null => {
          if (columns[at]?.name === "pg_my_temp_schema") return null;
          if (columns[at]?.name !== "current_schemas") return value;
          return value && Buffer.from(value.toString().replace("pg_temp_N,", ""));
        };
        return { ...message, values: message.values.map(without) };
      }
      if (message.kind !== "ErrorResponse" || !/\bpg_temp\b/.test(message.fields.message)) return message;
      return { kind: "ErrorResponse", fields: { severity: "ERROR", code: "3F000", message: "pg_temp" } };
    },
  },
  {
    name: "goodbye within COPY",
    reason:
      "PostgreSQL calls Terminate within COPY a loss of synchronisation, to a client that has just said that it goes; the " +
      "pooler closes its connection at once.",
    modes: pooled,
    scripts: /^copy\/terminate-within$/,
    rewrite: (message) =>
      message.kind === "ErrorResponse" && message.fields.code === "08P01" ? undefined : message,
  },
  {
    name: "ended by the pooler",
    reason:
      "A client that has no server is ended by the pooler itself, if its time is up, or another one with the only server says " +
      "so: in PostgreSQL's words, without the place in its source.",
    modes: ["auto"],
    scripts: /^(identity\/terminate-other|timeouts\/(idle-session|.*-held).*)$/,
    rewrite: (message) => {
      if (message.kind !== "ErrorResponse" || message.fields.severity !== "FATAL") return message;
      const { severity, code, message: text } = message.fields;
      return { kind: "ErrorResponse", fields: { severity, code, message: text } };
    },
  },
  {
    name: "cancelled by the pooler",
    reason:
      "What waits behind others for a server, or for an answer that is shared, is cancelled by the pooler itself: in PostgreSQL's " +
      "words, without the place in its source.",
    modes: ["auto"],
    scripts: /^random sessions in auto mode$/,
    rewrite: (message) => {
      if (message.kind !== "ErrorResponse" || message.fields.code !== "57014") return message;
      const { severity, code, message: text } = message.fields;
      return { kind: "ErrorResponse", fields: { severity, code, message: text } };
    },
  },
  {
    name: "the name of a prepared statement in an error",
    reason:
      "The server has one statement for all names that a client has given one text, and its name is put back into one of these when the error " +
      "comes: another one, if the client has sent more by then.",
    modes: ["auto"],
    scripts: /^random sessions in auto mode$/,
    rewrite: (message) => {
      if (message.kind !== "ErrorResponse" || message.fields.code !== "08P01") return message;
      const text = message.fields.message.replace(
        /prepared statement "s[12]" requires/,
        "prepared statement requires",
      );
      return { ...message, fields: { ...message.fields, message: text } };
    },
  },
  {
    name: "what is behind a RESET in its Query or batch",
    reason:
      "RESET goes to what the server was opened with, and only a startup packet can say what that is. A reported parameter with which " +
      "the client began is set on a shared server, and set again when the Query or batch is over: what is behind RESET in the same one " +
      "sees the server's default.",
    modes: ["auto"],
    scripts: /^parameters\/reset-in-one-query$/,
    rewrite: (message, columns) => {
      if (message.kind !== "DataRow") return message;
      const within = (value: Buffer | null, at: number): Buffer | null =>
        columns[at]?.name === "within_the_unit" ? null : value;
      return { ...message, values: message.values.map(within) };
    },
  },
  {
    name: "Describe in a failed transaction",
    reason:
      "In a transaction that has failed PostgreSQL describes what was parsed before, if it has no results, but parses nothing: a server " +
      "that has never had the statement refuses its Describe, as the Bind behind it would be.",
    modes: ["auto"],
    scripts: /^transactions\/describe-when-failed$/,
    rewrite: (message) => {
      if (message.kind === "ParameterDescription" || message.kind === "NoData") return undefined;
      return message.kind === "ErrorResponse" && message.fields.code === "25P02" ? undefined : message;
    },
  },
  {
    name: "refused startup parameters",
    reason:
      "The pooler finds out about wrong startup parameters before it lets a client in, and repeats the server's " +
      "words without the place in the server's source.",
    modes: pooled,
    scripts: /^(parameters\/startup-|errors\/login)/,
    rewrite: (message) => {
      if (message.kind === "AuthenticationOk") return undefined;
      if (message.kind !== "ErrorResponse" || message.fields.severity !== "FATAL") return message;
      const { severity, code, message: text, detail } = message.fields;
      return {
        kind: "ErrorResponse",
        fields: { severity, code, message: text, ...(detail === undefined ? {} : { detail }) },
      };
    },
  },
];

/** Scripts that are not the same in a mode, and need not be. */
interface Unequal {
  readonly scripts: readonly (string | RegExp)[];
  readonly modes: readonly string[];
  readonly reason: string;
}

const unequal: readonly Unequal[] = [
  {
    scripts: [
      "parameters/discard-all",
      "parameters/reset-in-one-query",
      "parameters/reset-to-startup-value",
      "parameters/reset-not-carried-out",
      "parameters/startup-application-name",
      "parameters/startup-encoding",
    ],
    modes: ["session", "transaction", "statement"],
    reason:
      "Outside auto mode a server is shared by clients of different startup parameters, which are set on it; RESET goes to the " +
      "default of the server's own startup, as it does behind PgBouncer.",
  },
  {
    scripts: ["parameters/custom"],
    modes: ["auto"],
    reason:
      "SHOW of a custom parameter that another client has once set on that server tells an empty text, not that there is none " +
      "(as above: empty custom parameters).",
  },
  {
    scripts: ["parameters/show-all"],
    modes: ["auto"],
    reason:
      "pg_settings.source calls a setting the session's on a server where an earlier client had another value of it: it is set back by " +
      "its value.",
  },
  {
    scripts: ["temporary/shadows-prepared-first"],
    modes: pooled,
    reason:
      "PostgreSQL plans a statement anew when the first temporary object of a session changes its path, but not for the second; " +
      "on a server that was used before it is never the first.",
  },
  {
    scripts: [/^prepared\/(alter-type-in-transaction|result-type-changes|table-recreated)$/],
    modes: ["auto"],
    reason:
      'A statement is parsed anew where PostgreSQL says "cached plan must not change result type" for good; and on a server that ' +
      "had never parsed it before the change, no such error comes in a transaction either.",
  },
];

/** Whether a script is compared in this mode. */
export function compares(mode: string, { name, modes }: { name: string; modes: readonly string[] }): boolean {
  const names = (script: string | RegExp): boolean =>
    typeof script === "string" ? script === name : script.test(name);
  const isUnequal = unequal.some((entry) => entry.modes.includes(mode) && entry.scripts.some(names));
  return modes.includes(mode) && !isUnequal;
}

/** Those of a run. */
export function rewritesFor(mode: string, script: string): Rewrite[] {
  return differences
    .filter(({ modes, scripts }) => modes.includes(mode) && (scripts?.test(script) ?? true))
    .map(({ rewrite }) => rewrite);
}
