/**
 * The named rules by which messages that can never be equal in two runs become comparable. They apply to both
 * transcripts, whatever the mode; what differs for another reason belongs into differences.ts, with that reason.
 *
 * - keys: the cancel key of BackendKeyData is masked, and its pid becomes the number of the client
 * - pids: a value that is the pid told to a client at login, where its column is called so or is not known, or one that a step
 *   saved, becomes its name; so does the pid of a notification
 * - oids: object identifiers from 16384 on (access/transam.h FirstNormalObjectId), in descriptions and in columns
 *   of type oid
 * - transactions, positions in the log: values of xid, xid8, pg_snapshot, pg_lsn
 * - times: values of date and time types within two hours of now
 * - temporary schemas: pg_temp_N and pg_toast_temp_N; names of exported snapshots
 * - texts: numbers of processes, transactions, relations and databases in what errors and notices say
 */
import type { BackendMessage, ColumnDescription, Value } from "../../../src/wire/index.ts";

const firstNormalOid = 16_384;
const textTypes = { oid: 26, xid: 28, xid8: 5069, snapshot: 5038, lsn: 3220 };
const timeTypes: ReadonlySet<number> = new Set([1082, 1083, 1114, 1184, 1266]);
const nowMarginMs = 2 * 3600 * 1000;

/** What the rules have to know of one run. */
export class Names {
  /** Clients by the pid they were told. Who comes later may get that of one who has gone. */
  readonly #pids = new Map<string, { readonly name: string; readonly number: number }>();
  #logins = 0;
  readonly #saved = new Map<string, string>();

  login(client: string, pid: number): void {
    this.#pids.set(String(pid), { name: `<${client}.pid>`, number: ++this.#logins });
  }

  save(variable: string, value: string): void {
    // Short values would be found everywhere.
    if (/^\d{3,}$/.test(value)) this.#saved.set(value, `<${variable}>`);
  }

  /** `mayBePid`: else it is the same by chance. */
  nameOf(value: string, mayBePid: boolean): string | undefined {
    return (mayBePid ? this.#pids.get(value)?.name : undefined) ?? this.#saved.get(value);
  }

  /** For messages that have room only for a number: 0 is nobody that is known. */
  numberOf(pid: number): number {
    const saved = [...this.#saved.keys()].indexOf(String(pid));
    return this.#pids.get(String(pid))?.number ?? (saved < 0 ? 0 : this.#logins + saved + 1);
  }
}

/** `columns` are those of the row description that came last; `certain`: they are those of these rows. */
export function normalise(
  message: BackendMessage,
  names: Names,
  columns: readonly ColumnDescription[],
  certain: boolean,
): BackendMessage {
  switch (message.kind) {
    case "BackendKeyData":
      return { ...message, pid: names.numberOf(message.pid), key: Buffer.alloc(4) };
    case "NotificationResponse":
      return { ...message, pid: names.numberOf(message.pid) };
    case "RowDescription":
      return {
        ...message,
        columns: message.columns.map((column) => ({
          ...column,
          tableOid: maskedOid(column.tableOid),
          typeOid: maskedOid(column.typeOid),
        })),
      };
    case "ParameterDescription":
      return { ...message, types: message.types.map(maskedOid) };
    case "DataRow":
      return {
        ...message,
        values: message.values.map((value, at) => maskedValue(value, columns[at], names, certain)),
      };
    case "CopyData":
      return { ...message, data: Buffer.from(maskedText(message.data.toString("latin1")), "latin1") };
    case "ErrorResponse":
    case "NoticeResponse": {
      const fields = Object.entries(message.fields).map(([field, text]) => [
        field,
        maskedWords(text as string),
      ]);
      return { ...message, fields: Object.fromEntries(fields) as typeof message.fields };
    }
    default:
      return message;
  }
}

const maskedOid = (oid: number): number => (oid >= firstNormalOid ? firstNormalOid : oid);

function maskedValue(
  value: Value,
  column: ColumnDescription | undefined,
  names: Names,
  certain: boolean,
): Value {
  if (value === null) return null;
  if (column?.format === 1) return maskedBinary(value, column.typeOid);
  const text = value.toString("latin1");
  const mayBePid = !certain || column === undefined || column.name.endsWith("pid");
  const masked = names.nameOf(text, mayBePid) ?? maskedByType(text, column?.typeOid) ?? maskedText(text);
  return masked === text ? value : Buffer.from(masked, "latin1");
}

function maskedByType(text: string, type: number | undefined): string | undefined {
  switch (type) {
    case textTypes.oid:
      return Number(text) >= firstNormalOid ? "<oid>" : undefined;
    case textTypes.xid:
    case textTypes.xid8:
      return "<xid>";
    case textTypes.snapshot:
      return "<snapshot>";
    case textTypes.lsn:
      return "<lsn>";
    default:
      return type !== undefined && timeTypes.has(type) && isNow(text) ? "<now>" : undefined;
  }
}

function maskedBinary(value: Buffer, type: number): Buffer {
  const varies = timeTypes.has(type) || Object.values(textTypes).includes(type);
  return varies ? Buffer.alloc(value.length) : value;
}

/** A time as text, ISO or not; times without a date are never taken for now. */
function isNow(text: string): boolean {
  const parsed = Date.parse(text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00"));
  if (Number.isNaN(parsed)) return false;
  const margin = text.length <= 10 ? 24 * 3600 * 1000 : nowMarginMs;
  return Math.abs(parsed - Date.now()) < margin;
}

const maskedText = (text: string): string =>
  text
    .replace(/\bpg_(toast_)?temp_\d+/g, "pg_$1temp_N")
    .replace(/^[0-9A-F]{8}-[0-9A-F]{8}-\d+$/, "<snapshot>");

function maskedWords(text: string): string {
  return maskedText(text)
    .replace(
      /\b(process|pid|PID|transaction|relation|database|tuple|object|virtual transaction) \d+(\/\d+)?/gi,
      "$1 N",
    )
    .replace(/\(\d+,\d+\) of relation/g, "(N,N) of relation");
}
