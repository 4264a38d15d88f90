/** Failures that are foreseen say what is wrong and what helps; anything else is ours and shows its stack. */
import { Failure } from "../base/errors.ts";

export function printError(error: unknown): void {
  if (!(error instanceof Failure)) {
    console.error(error);
    return;
  }
  console.error(`pgsluice: ${error.message}`);
  if (error.detail !== undefined) console.error(`detail: ${error.detail}`);
  if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
}
