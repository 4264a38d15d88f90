/** One PostgreSQL for all tests of a file. */
import { afterAll, beforeAll } from "vitest";
import { Lab, type LabOptions } from "../../src/lab/index.ts";

/**
 * To be called at the top of a test file or a `describe`. The lab starts before its first test and stops after
 * its last; what is returned gives it to the tests.
 */
export function useLab(options: LabOptions = {}): { readonly lab: Lab } {
  let lab: Lab | undefined;
  beforeAll(async () => {
    lab = await Lab.start(options);
  });
  afterAll(async () => {
    await lab?.stop();
  });
  return {
    get lab(): Lab {
      if (lab === undefined) throw new Error("the lab runs only while tests do");
      return lab;
    },
  };
}
