/** What makes a copy of a cluster a standby: standby.signal, and where it streams from (pg_basebackup's `--write-recovery-conf`). */
import { appendFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import type { ConnectOptions } from "../client/conninfo/options.ts";

export interface StandbySettings {
  /** As whom and where it streams; its password becomes part of the setting, as pg_basebackup has it. */
  readonly source: ConnectOptions;
  /** By which the primary knows it: synchronous_standby_names, pg_stat_replication. */
  readonly applicationName: string;
  /** primary_slot_name. */
  readonly slot: string | undefined;
}

/** At the end of postgresql.auto.conf, where they win over what the copy has brought along. */
export async function writeStandbySettings(folder: string, settings: StandbySettings): Promise<void> {
  const lines = [
    `primary_conninfo = ${quoted(primaryConninfo(settings))}`,
    `primary_slot_name = ${quoted(settings.slot ?? "")}`,
  ];
  await appendFile(path.join(folder, "postgresql.auto.conf"), `${lines.join("\n")}\n`, { mode: 0o600 });
  await writeFile(path.join(folder, "standby.signal"), "", { mode: 0o600 });
  await rm(path.join(folder, "recovery.signal"), { force: true });
}

/** Only what differs from what libpq assumes. */
function primaryConninfo({ source, applicationName }: StandbySettings): string {
  const values: [string, string | undefined][] = [
    ["host", source.hosts.map(({ host }) => host).join(",")],
    ["hostaddr", addressesOf(source)],
    ["port", source.hosts.map(({ port }) => port).join(",")],
    ["user", source.user],
    ["password", source.password],
    ["sslmode", source.sslmode],
    ["sslrootcert", source.sslrootcert],
    ["sslcert", source.sslcert],
    ["sslkey", source.sslkey],
    ["application_name", applicationName],
  ];
  return values
    .flatMap(([name, value]) => (value === undefined || value === "" ? [] : [`${name}=${word(value)}`]))
    .join(" ");
}

function addressesOf({ hosts }: ConnectOptions): string | undefined {
  return hosts.every(({ address }) => address !== undefined)
    ? hosts.map(({ address }) => address).join(",")
    : undefined;
}

/** A value in a connection string (libpq's conninfo_parse). */
function word(text: string): string {
  if (/^[\w./:@,-]+$/.test(text)) return text;
  return `'${text.replaceAll(/['\\]/g, (character) => `\\${character}`)}'`;
}

/** A value in postgresql.conf (guc-file.l): quotes are doubled, backslashes too. */
function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}
