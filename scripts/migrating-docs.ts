/** The tables of docs/migrating.md, from what becomes of PgBouncer's and pgpool-II's settings (src/config/ini, pgpool). */
import { globalVerdicts } from "../src/config/ini/globals.ts";
import { databaseVerdicts, peerVerdicts, userVerdicts } from "../src/config/ini/names.ts";
import type { SettingVerdict, VerdictTable } from "../src/config/ini/verdicts.ts";
import { type ParameterVerdict, pgpoolParameters } from "../src/config/pgpool/parameters.ts";

/** The text of docs/migrating.md with the tables between its markers. */
export function migratingDocs(page: string): string {
  return between(between(page, "settings", tables()), "pgpool", pgpoolTable());
}

function between(page: string, name: string, table: string): string {
  const begin = `<!-- ${name}:begin -->\n`;
  const from = page.indexOf(begin);
  const to = page.indexOf(`<!-- ${name}:end -->`, from);
  if (from < 0 || to < 0) throw new Error(`docs/migrating.md lacks the markers of its ${name}`);
  return page.slice(0, from + begin.length) + table + page.slice(to);
}

/** One row for each parameter of pgpool-II; those that are part of another stand with it. */
function pgpoolTable(): string {
  const parts = (name: string): string[] =>
    Object.entries(pgpoolParameters)
      .filter(([, { verdict, doc }]) => verdict === "part" && doc === `Part of \`${name}\`.`)
      .map(([part]) => `\`${part}\``);
  const rows = Object.entries(pgpoolParameters)
    .filter(([, { verdict }]) => verdict !== "part")
    .map(([name, parameter]) => {
      const further = parts(name);
      const names = further.length === 0 ? `\`${name}\`` : `\`${name}\`, with ${further.join(", ")}`;
      return `| ${names} | ${fates[parameter.verdict]} | ${parameter.doc} |\n`;
    });
  return `\n| Parameter | In pgsluice.toml | |\n|---|---|---|\n${rows.join("")}`;
}

const fates: Readonly<Record<ParameterVerdict["verdict"], string>> = {
  converted: "yes",
  inert: "needs nothing",
  part: "part",
  missing: "no, a comment says so",
};

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
