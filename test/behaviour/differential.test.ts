/**
 * Every script of test/differential, run directly and through a pooler in each mode that can carry it: what its clients are
 * told is the same, message by message, with as few servers as the script can do with and with many.
 * `npm run differential` does the same for any script and shows more.
 */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compares, rewritesFor } from "../differential/differences.ts";
import { Ground, performanceOf, viasOf } from "../kit/differential/ground.ts";
import { loadScripts } from "../kit/differential/load.ts";

const modes = ["session", "auto"];

let ground: Ground;
beforeAll(async () => {
  ground = await Ground.start({ rewrites: rewritesFor });
});
afterAll(() => ground.stop());

for (const script of loadScripts(fileURLToPath(new URL("../differential", import.meta.url)))) {
  const vias = modes.filter((mode) => compares(mode, script)).flatMap((mode) => viasOf(mode, script));
  if (vias.length === 0) continue;
  test.concurrent(script.name, async () => {
    for (const { via, difference } of await ground.compare(performanceOf(script), vias)) {
      expect(difference, `${via.mode} mode, ${via.servers} servers in the pool (- direct, + pooled)`).toBe(
        "",
      );
    }
  });
}
