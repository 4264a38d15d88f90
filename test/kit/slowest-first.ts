/**
 * The order of the files: those that take longest first. One of them at the end would keep one process busy while all
 * others have nothing to do any more. A new file need not be here before it takes ten seconds. Files that get a process
 * of their own come last: between others they would cost those the process that they share.
 */
import { BaseSequencer, type TestSpecification } from "vitest/node";

const slowest = [
  "unit/client/types-hostile",
  "unit/cluster/simulation",
  "unit/client/exchange-cancel",
  "behaviour/differential",
  "drivers/libraries",
  "behaviour/hostile-logins",
  "behaviour/conformance/many-clients",
  "behaviour/cancel-race",
  "behaviour/hostile-floods",
  "behaviour/ini",
  "behaviour/cli-demo",
  "behaviour/reads-lost",
  "behaviour/cli-bench",
  "behaviour/cli-start",
  "behaviour/examples-client",
  "behaviour/failover",
  "behaviour/conformance/large",
  "behaviour/cli-query",
  "behaviour/lab",
  "behaviour/failover-patroni",
  "behaviour/conformance/parameters",
  "behaviour/conformance/pipelining",
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
    const rank = ({ moduleId, project }: TestSpecification): number => {
      if (project.config.isolate) return slowest.length + 1;
      const place = slowest.findIndex((name) => moduleId.endsWith(name));
      return place === -1 ? slowest.length : place;
    };
    // Of equals the order stays.
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
