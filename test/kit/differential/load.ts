/** Reads scripts from files. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { plainSteps } from "./plain.ts";
import { type Role, type Script, ScriptError } from "./script.ts";
import { annotatedSteps } from "./steps.ts";

/** By whose names differences.ts knows the scripts in it. */
const ownFolder = fileURLToPath(new URL("../../differential", import.meta.url));

/** The script in a file, or all below a folder, in order of their names. */
export function loadScripts(place: string): Script[] {
  if (!statSync(place).isDirectory()) return [loadScript(place, path.dirname(place))];
  return readdirSync(place, { recursive: true, encoding: "utf8" })
    .filter((file) => /\.(sql|steps)$/.test(file))
    .sort()
    .map((file) => loadScript(path.join(place, file), place));
}

function loadScript(file: string, folder: string): Script {
  const text = readFileSync(file, "utf8");
  const own = path.relative(ownFolder, file);
  const { dir, name } = path.parse(own.startsWith("..") ? path.relative(folder, file) : own);
  const directives = readDirectives(text, file);
  return {
    name: path.posix.join(dir, name),
    file,
    ...directives,
    steps: file.endsWith(".steps") ? annotatedSteps(text, file) : plainSteps(text, file),
  };
}

function readDirectives(text: string, file: string): Omit<Script, "name" | "file" | "steps"> {
  let servers = 1;
  let ownDatabase = false;
  let modes = ["session", "auto"];
  const roles: Role[] = [];
  for (const [, word = "", rest = ""] of text.matchAll(/^(?:--|#)\s*@(\w+)[ \t]*(.*)$/gm)) {
    const words = rest.trim().split(/\s+/);
    if (word === "servers" && /^[1-9]\d?$/.test(rest.trim())) servers = Number(rest);
    else if (word === "database" && rest.trim() === "own") ownDatabase = true;
    else if (word === "modes" && words.length > 0) modes = words;
    else if (word === "role" && /^[a-z_]\w*$/.test(words[0] ?? "")) {
      roles.push({ name: words[0] ?? "", options: words.slice(1).join(" ") });
    } else {
      throw new ScriptError(`${file}: no such directive: @${word} ${rest}`);
    }
  }
  return { servers, ownDatabase, modes, roles };
}
