/**
 * `npm run differential -- FILE|FOLDER…`: runs scripts directly and through pgsluice, and shows every message in which
 * the two differ. Files end in .sql (as for psql) or .steps (several clients, extended protocol; the language is
 * described in test/kit/differential/steps.ts). Exit code 1 if anything differs.
 */
import { parseArgs } from "node:util";
import { compares, rewritesFor } from "../test/differential/differences.ts";
import { Ground, performanceOf, viasOf } from "../test/kit/differential/ground.ts";
import { loadScripts } from "../test/kit/differential/load.ts";

const usage = `npm run differential -- [options] FILE|FOLDER…

  --mode MODE       session, transaction, statement or auto; default session
  --servers NUMBER  only with that many servers in the pool, or more where a script needs more; default: as many as
                    a script needs, and many
  --coalesce        reads that share servers may run once for several clients
  --all             also scripts that are not meant to be equal in this mode
  --fresh           new poolers for each script, so that none meets what an earlier one left
  --show            prints transcripts that are equal, too
  --patience SECONDS
                    how long a step may take before its script counts as stuck; default 15
  --lanes NUMBER    how many scripts run side by side; default 4`;

await main();

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      mode: { type: "string", default: "session" },
      servers: { type: "string" },
      coalesce: { type: "boolean", default: false },
      show: { type: "boolean", default: false },
      fresh: { type: "boolean", default: false },
      all: { type: "boolean", default: false },
      patience: { type: "string", default: "15" },
      lanes: { type: "string", default: "4" },
    },
  });
  if (positionals.length === 0) {
    console.log(usage);
    process.exitCode = 2;
    return;
  }
  const scripts = positionals
    .flatMap(loadScripts)
    .filter((script) => values.all || compares(values.mode, script));
  const ground = await Ground.start({
    lanes: Math.min(Number(values.lanes), scripts.length),
    fresh: values.fresh,
    stepMs: Number(values.patience) * 1000,
    rewrites: rewritesFor,
  });
  const started = performance.now();
  let different = 0;
  let failed = 0;
  try {
    await Promise.all(
      scripts.map(async (script) => {
        const sizes =
          values.servers === undefined
            ? viasOf(values.mode, script)
            : [{ mode: values.mode, servers: Math.max(script.servers, Number(values.servers)) }];
        const settings = values.coalesce ? { multiplex_coalesce: true } : {};
        const vias = sizes.map((via) => ({ ...via, settings }));
        const comparisons = await ground.compare(performanceOf(script), vias).catch((error: unknown) => {
          failed++;
          console.log(`NOT COMPARED ${script.file}: ${String(error)}\n`);
          return [];
        });
        for (const { via, difference, pooled } of comparisons) {
          if (difference !== "") {
            different++;
            console.log(
              `DIFFERENT ${script.file}, ${via.servers} servers in the pool (- direct, + pooled)\n${difference}`,
            );
          } else if (values.show) {
            console.log(`EQUAL ${script.file}, ${via.servers} servers in the pool\n${pooled.join("\n")}\n`);
          }
        }
      }),
    );
  } finally {
    await ground.stop();
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${scripts.length} scripts in ${seconds} s, mode ${values.mode}: ${different} differences, ${failed} not compared`,
  );
  process.exitCode = different + failed === 0 ? 0 : 1;
}
