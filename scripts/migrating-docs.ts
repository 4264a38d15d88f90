/** The tables of docs/migrating.md, from what becomes of PgBouncer's settings (src/config/ini). */
import { globalVerdicts } from "../src/config/ini/globals.ts";
import { databaseVerdicts, peerVerdicts, userVerdicts } from "../src/config/ini/names.ts";
import type { SettingVerdict, VerdictTable } from "../src/config/ini/verdicts.ts";

const begin = "<!-- settings:begin -->\n";
const end = "<!-- settings:end -->";

/** The text of docs/migrating.md with the tables between its markers. */
export function migratingDocs(page: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error("docs/migrating.md lacks the markers of its settings");
  return page.slice(0, from + begin.length) + tables() + page.slice(to);
}

function tables(): string {
  const sections: readonly (readonly [string, VerdictTable])[] = [
    ["[pgbouncer]", globalVerdicts],
    ["[databases]", databaseVerdicts],
    ["[users]", userVerdicts],
    ["[peers]", peerVerdicts],
  ];
  return sections.map(([title, table]) => `\n### ${title}\n\n${tableOf(table)}`).join("");
}

function tableOf(table: VerdictTable): string {
  const entries = Object.entries(table);
  const same = entries.filter(([, verdict]) => verdict.verdict === "same" && verdict.doc === undefined);
  const others = entries.filter((entry) => !same.includes(entry));
  const lines = same.length === 0 ? "" : `The same: ${same.map(([name]) => `\`${name}\``).join(", ")}.\n\n`;
  const rows = others.map(
    ([name, verdict]) => `| \`${name}\` | ${fateOf(verdict)} | ${verdict.doc ?? ""} |\n`,
  );
  return `${lines}| Setting | Here | |\n|---|---|---|\n${rows.join("")}`;
}

function fateOf(verdict: SettingVerdict): string {
  switch (verdict.verdict) {
    case "same":
      return "the same";
    case "renamed":
      return `\`${verdict.to}\``;
    case "inert":
      return "no effect";
    case "unsupported": {
      const allowed = [...(verdict.default ? [verdict.default] : []), ...(verdict.harmless ?? [])];
      return allowed.length === 0
        ? "refused"
        : `refused, but for ${allowed.map((value) => `\`${value}\``).join(", ")}`;
    }
  }
}
