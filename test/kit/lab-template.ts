/**
 * Before the tests with a database: initdb runs once, and every lab of the run copies what it has made. Labs with
 * options of initdb run it themselves. Of several projects that need it the first makes it.
 */
import path from "node:path";
import { ordinaryAccount } from "../../src/lab/account.ts";
import { findBinaries } from "../../src/lab/binaries.ts";
import { initialize, templateVariable } from "../../src/lab/data-folder.ts";
import { tempFolder } from "./temp-folder.ts";

export default async function makeTemplate(): Promise<() => PromiseLike<void> | undefined> {
  if (process.env[templateVariable] !== undefined) return () => undefined;
  const folder = await tempFolder();
  const account = await ordinaryAccount(folder.path);
  const template = path.join(folder.path, "data");
  await initialize(template, await findBinaries(account), account, []);
  process.env[templateVariable] = template;
  return () => folder[Symbol.asyncDispose]();
}
