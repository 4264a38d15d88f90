/**
 * pool_hba.conf as a pg_hba.conf. Most lines are the same; files that a line names with `@` get absolute paths. A rule
 * whose method is not there becomes `reject`: without the rule, a later one might let in whom it was to ask.
 */
import path from "node:path";

export interface ConvertedRules {
  readonly text: string;
  /** What was changed, and where. */
  readonly remarks: readonly { readonly line: number; readonly text: string }[];
}

const methods: ReadonlySet<string> = new Set([
  "trust",
  "reject",
  "password",
  "md5",
  "scram-sha-256",
  "cert",
  "ldap",
]);

/** `folder` is where the file lies; `certificates`: clients' certificates can be checked. */
export function convertRules(poolHba: string, folder: string, certificates: boolean): ConvertedRules {
  const remarks: { line: number; text: string }[] = [];
  const lines = poolHba.split(/\r?\n/).map((line, index) => {
    if (/^\s*(?:#|$)/.test(line)) return line;
    const absolute = line.replaceAll(namedFile, (_, before: string, quoted?: string, bare?: string) => {
      return `${before}@"${path.resolve(folder, quoted ?? bare ?? "")}"`;
    });
    const method = methodOf(absolute);
    const reason = obstacle(method?.text ?? "", certificates);
    if (reason === undefined) return absolute;
    remarks.push({ line: index + 1, text: `${reason}: whom the rule fits is refused` });
    return `${method === undefined ? "" : `${absolute.slice(0, method.start)}reject\n`}# pool_hba.conf had: ${line.trim()}`;
  });
  return { text: lines.join("\n"), remarks };
}

/** Why a rule cannot stay as it is. */
function obstacle(method: string, certificates: boolean): string | undefined {
  if (method === "") return "the line is no rule";
  if (!methods.has(method.toLowerCase())) return `method ${method} is not supported`;
  return method.toLowerCase() === "cert" && !certificates ? "method cert needs ssl_ca_cert" : undefined;
}

const namedFile = /(^|[\s,])@(?:"([^"]*)"|([^\s,"]+))/g;

interface Column {
  readonly text: string;
  readonly start: number;
}

/** Where the method of a rule stands; its address may have a mask in a column of its own. */
function methodOf(rule: string): Column | undefined {
  const columns = [...rule.matchAll(/(?:"[^"]*"|[^\s",]|,\s*)+/g)].map(({ 0: text, index }) => ({
    text,
    start: index,
  }));
  if (columns[0]?.text === "local") return columns[3];
  const hasMask = /^(?:\d+\.\d+\.\d+\.\d+|[\da-f]*:[\da-f:.]*)$/i.test(columns[4]?.text ?? "");
  return columns[hasMask ? 5 : 4];
}
