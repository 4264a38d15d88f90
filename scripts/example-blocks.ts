/**
 * Code in the documentation comes out of programs that a test runs: `<!-- example: FILE REGION -->` in a page is
 * followed by what stands between `//#region REGION` and `//#endregion` in examples/client/FILE. What a program
 * prints, and in which order, its comments that begin with `//=>` say.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const examples = fileURLToPath(new URL("../examples/client/", import.meta.url));
const marker = /^<!-- example: (\S+) (\S+) -->\n(?:```ts\n[^]*?\n```\n)?/gm;
const region = /^\/\/#region (\S+)\n([^]*?)\n\/\/#endregion$/gm;

/** The page with each marker's region behind it. Throws for one that does not exist. */
export function withExamples(page: string): string {
  return page.replace(marker, (_, file: string, name: string) => {
    const code = exampleRegions(file).get(name);
    if (code === undefined) throw new Error(`examples/client/${file} has no region ${name}`);
    return `<!-- example: ${file} ${name} -->\n\`\`\`ts\n// examples/client/${file}\n${code}\n\`\`\`\n`;
  });
}

/** The regions of a program by their names. */
export function exampleRegions(file: string): Map<string, string> {
  const text = readFileSync(path.join(examples, file), "utf8");
  return new Map([...text.matchAll(region)].map(([, name = "", code = ""]) => [name, code]));
}

/** What a program says that it prints. */
export function exampleOutput(file: string): string {
  const text = readFileSync(path.join(examples, file), "utf8");
  return [...text.matchAll(/\/\/=> (.*)\n/g)].map(([, line = ""]) => `${line}\n`).join("");
}
