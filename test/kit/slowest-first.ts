/**
 * The order of the files: those that take longest first. One of them at the end would keep one process busy while all
 * others have nothing to do any more. A new file need not be here before it takes ten seconds.
 */
import { BaseSequencer, type TestSpecification } from "vitest/node";

const slowest = [
  "behaviour/differential",
  "drivers/libraries",
  "behaviour/hostile-logins",
  "behaviour/conformance/many-clients",
  "behaviour/conformance/large",
  "behaviour/ini",
  "behaviour/cli-demo",
  "behaviour/lab",
  "behaviour/cli-query",
  "behaviour/cli-start",
  "behaviour/hostile-floods",
  "behaviour/conformance/copy",
  "behaviour/authentication-matrix",
  "behaviour/timeouts",
  "behaviour/shutdown-signals",
  "behaviour/restarts",
  "behaviour/hostile-network",
  "behaviour/client-attack",
].map((name) => `/test/${name}.test.ts`);

export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const place = slowest.findIndex((name) => moduleId.endsWith(name));
      return place === -1 ? slowest.length : place;
    };
    // Of equals the order stays.
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
