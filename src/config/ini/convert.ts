/** `pgsluice convert`: the pgsluice.toml that means the same as a pgbouncer.ini. */
import { stringify } from "smol-toml";
import { type Config, defaultSettings } from "../schema.ts";
import { placeText } from "./grammar.ts";
import { interpretIni, plain } from "./load.ts";

/**
 * The text of the equivalent pgsluice.toml. What has no counterpart is told in comments at its beginning; everything
 * else gives the same configuration as the file itself. Passwords of [databases] are in it. `schemaUrl`: where editors
 * find the JSON Schema.
 * @throws {ConfigError} `config.invalid`, if PgBouncer's file itself is wrong.
 */
export async function convertIni(file: string, schemaUrl: string): Promise<string> {
  const { config, findings } = await interpretIni(file, {}, false);
  const comments = [`From ${file}, by pgsluice convert.`];
  for (const { verdict, name, doc, place } of findings) {
    const fate = verdict === "inert" ? "has no effect here" : "NOT SUPPORTED, and left out";
    comments.push("", `${placeText(place)}: ${name} ${fate}. ${plain(doc)}`);
  }
  if (Object.keys(config.databases).length === 0) {
    comments.push(
      "",
      "The file names no database: nobody could log in. Add a node, and its databases if not all:",
    );
    comments.push("[nodes.main]", 'host = "127.0.0.1"');
  }
  const text = comments.map((line) => `# ${line}`.trimEnd()).join("\n");
  return `#:schema ${schemaUrl}\n\n${text}\n\n${stringify(tablesOf(config))}\n`;
}

/** The tables without what would be the same by default. */
function tablesOf(config: Config): Record<string, unknown> {
  const defaults: Readonly<Record<string, unknown>> = { ...defaultSettings() };
  const pgsluice = Object.fromEntries(
    Object.entries(config.pgsluice).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(defaults[name]),
    ),
  );
  const { nodes, databases, users, peers } = config;
  const named = { nodes: { ...nodes }, databases: { ...databases }, users: { ...users } };
  return { pgsluice, ...named, ...(Object.keys(peers).length === 0 ? {} : { peers: { ...peers } }) };
}
