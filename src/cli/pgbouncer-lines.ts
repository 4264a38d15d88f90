/**
 * Log lines as PgBouncer writes them (`log_format = "pgbouncer"`), for the programs that read its log:
 *
 *     2026-01-31 12:00:00.000 UTC [pid] LOG C-0x1: app/ada@127.0.0.1:50000 closing because: client close request (age=3s)
 *
 * Made from the fields of our own log, line by line; those who log know nothing of this. An event that PgBouncer
 * does not log at this level gives no line, one that it does not know a line of our own words with its prefix.
 */

/** A log line's fields, as pino writes them. */
type Fields = Readonly<Record<string, unknown>>;

/** PgBouncer's words for pino's levels. */
const levelWords: Readonly<Record<number, string>> = {
  10: "NOISE",
  20: "DEBUG",
  30: "LOG",
  40: "WARNING",
  50: "ERROR",
  60: "FATAL",
};

const log = 30;
const warning = 40;

/** A line as it is written. */
export interface LogLine {
  /** As in pino. */
  readonly level: number;
  /** What stands before it unless somebody else notes the time. */
  readonly prefix: string;
  /** Ends with a line break. */
  readonly text: string;
}

/** A line without its prefix. */
interface Line {
  readonly level: number;
  readonly text: string;
}

/** `2026-01-31 12:00:00.000 UTC [pid] LOG `, of a line's fields. */
export function linePrefix(time: unknown, pid: unknown, level: number): string {
  const when = String(time).replace("T", " ").replace("Z", " UTC");
  return `${when} [${String(pid)}] ${levelWords[level] ?? "LOG"} `;
}

export class PgbouncerLines {
  /** When the servers that live were connected: PgBouncer says how old a server is when it is closed. */
  readonly #serversSinceMs = new Map<unknown, number>();
  /** Of our own sockets: how PgBouncer calls clients that come by the Unix socket. */
  #port = "";

  /** The lines for one line of pino's JSON. */
  format(json: string): readonly LogLine[] {
    const fields = JSON.parse(json) as Fields;
    const { time, pid } = fields;
    return this.#linesOf(fields).map(({ level, text }) => ({
      level,
      prefix: linePrefix(time, pid, level),
      text: `${text.replaceAll("\n", "\n\t")}\n`,
    }));
  }

  #linesOf(fields: Fields): readonly Line[] {
    switch (fields["msg"]) {
      case "listening":
        this.#port = /\d+$/.exec(listOf(fields["addresses"])[0] ?? "")?.[0] ?? "";
        return listOf(fields["addresses"]).map((address) => ({
          level: log,
          text: `listening on ${address}`,
        }));
      case "process up":
        return [{ level: log, text: `process up: ${textOf(fields["program"])}` }];
      case "configuration reloaded":
        return [
          {
            level: log,
            text: `config reloaded, changed: ${listOf(fields["changed"]).join(", ") || "nothing"}`,
          },
        ];
      case "stats":
        return [{ level: log, text: statsText(fields) }];
    }
    const command = commandText(fields);
    if (command !== undefined) return [{ level: log, text: command }];
    if (fields["client"] !== undefined) return clientLines(fields, this.#port);
    if (fields["pool"] !== undefined) return this.#serverLines(fields);
    return [own("", fields, [])];
  }

  #serverLines(fields: Fields): readonly Line[] {
    const { server, pool, reason, level } = fields;
    const label = `${identifier("S", server)}: ${serverName(textOf(pool))} `;
    switch (fields["msg"]) {
      case "new connection to server":
        this.#serversSinceMs.set(server, timeOf(fields));
        return [{ level: log, text: `${label}new connection to server${localEnd(fields)}` }];
      case "closing server":
      case "server lost": {
        const sinceMs = this.#serversSinceMs.get(server) ?? timeOf(fields);
        this.#serversSinceMs.delete(server);
        const ageSeconds = Math.floor((timeOf(fields) - sinceMs) / 1000);
        return [{ level: log, text: `${label}closing because: ${textOf(reason)} (age=${ageSeconds}s)` }];
      }
      case "server login failed":
        return [
          { level: log, text: `${label}closing because: ${textOf(fields["outcome"])} (age=0s)` },
          { level: Number(level), text: `${label}server login failed: ${textOf(reason)}` },
        ];
    }
    return [own(label, fields, ["pool", "server"])];
  }
}

/** `PAUSE 'app' command issued`, of a command of the console; undefined: the line is about something else. */
function commandText(fields: Fields): string | undefined {
  const [, verb] = /^([A-Z_]+) command issued$/.exec(textOf(fields["msg"] ?? "")) ?? [];
  if (verb === undefined) return undefined;
  if (verb === "SHUTDOWN") {
    const wait = fields["wait"] === "none" ? "" : ` WAIT_FOR_${textOf(fields["wait"]).toUpperCase()}`;
    return `SHUTDOWN${wait} command issued`;
  }
  const argument = fields["database"] ?? fields["client"] ?? fields["setting"];
  return argument === undefined ? `${verb} command issued` : `${verb} '${textOf(argument)}' command issued`;
}

/** ` (from 127.0.0.1:50001)`; on a Unix socket there is nothing to tell. */
function localEnd({ from }: Fields): string {
  return from === undefined ? "" : ` (from ${textOf(from)})`;
}

/** Averages of a period; PgBouncer's words, and its order. */
function statsText(fields: Fields): string {
  const figure = (name: string): string => textOf(fields[name] ?? 0);
  const parses = `${figure("clientParsesPerSecond")} client parses/s, ${figure("serverParsesPerSecond")} server parses/s`;
  return [
    `stats: ${figure("xactsPerSecond")} xacts/s, ${figure("queriesPerSecond")} queries/s`,
    `${parses}, ${figure("bindsPerSecond")} binds/s`,
    `in ${figure("receivedBytesPerSecond")} B/s, out ${figure("sentBytesPerSecond")} B/s`,
    `xact ${figure("xactMicros")} us, query ${figure("queryMicros")} us, wait ${figure("waitMicros")} us`,
  ].join(", ");
}

function clientLines(fields: Fields, port: string): readonly Line[] {
  const { client, user, database, reason, ageSeconds } = fields;
  const peer = fields["peer"] === "unix" ? `unix:${port}` : textOf(fields["peer"]);
  const who = `${textOf(database ?? "(nodb)")}/${textOf(user ?? "(nouser)")}@${peer}`;
  const label = `${identifier("C", client)}: ${who} `;
  const closing = {
    level: log,
    text: `${label}closing because: ${textOf(reason)} (age=${textOf(ageSeconds)}s)`,
  };
  switch (fields["msg"]) {
    case "connection received":
      // PgBouncer tells of it only to those who debug it.
      return [];
    case "login attempt: authenticated": {
      const tls = textOf(fields["tls"] ?? "no");
      return [
        { level: log, text: `${label}login attempt: db=${textOf(database)} user=${textOf(user)} tls=${tls}` },
      ];
    }
    case "closing client":
      return [closing];
    case "pooler error":
      return [{ level: warning, text: `${label}pooler error: ${textOf(reason)}` }];
    case "login failed":
      return [closing, { level: warning, text: `${label}pooler error: ${textOf(reason)}` }];
  }
  return [own(label, fields, ["client", "peer", "user", "database"])];
}

/** A line in our own words: the text, and the fields that do not show elsewhere. */
function own(label: string, fields: Fields, shown: readonly string[]): Line {
  const facts: string[] = [];
  let stack = "";
  for (const [name, value] of Object.entries(fields)) {
    if (["level", "time", "pid", "msg", ...shown].includes(name)) continue;
    if (name === "err" && typeof value === "object" && value !== null) {
      const { message, stack: from } = value as { message?: unknown; stack?: unknown };
      facts.push(textOf(message));
      if (Number(fields["level"]) > warning) stack = `\n${textOf(from ?? "")}`;
    } else {
      facts.push(`${name}=${textOf(value)}`);
    }
  }
  const suffix = facts.length === 0 ? "" : ` (${facts.join(", ")})`;
  return { level: Number(fields["level"]), text: `${label}${textOf(fields["msg"] ?? "")}${suffix}${stack}` };
}

/** PgBouncer shows an address in memory; ours is the number of the connection. */
function identifier(side: "C" | "S", id: unknown): string {
  return `${side}-0x${typeof id === "number" ? id.toString(16) : "0"}`;
}

/** `app/ada@/tmp:5432` is `app/ada@unix:5432` in PgBouncer. */
function serverName(pool: string): string {
  return pool.replace(/@[/@][^/]*(?:\/[^/]*)*:(\d+)$/, "@unix:$1");
}

function timeOf(fields: Fields): number {
  return Date.parse(textOf(fields["time"]));
}

function listOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(textOf) : [];
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
