/** Names of parameters in texts that are not understood. */
import { expect, test } from "vitest";
import { namesIn } from "../../../src/session/auto/custom-names.ts";

test.each([
  [
    "do $$ begin set a.b = 1; SET SESSION c.d TO 'x'; set\tlocal e.f.g to default; end $$",
    ["a.b", "c.d", "e.f.g"],
  ],
  [`set "My"."Own" = 'it''s \\\\ mine'`, ["My.Own"]],
  ["select set_config('a.b', $1, false), set_config ( e'c.d' , 'x', true)", ["a.b", "c.d"]],
  [`set "a.b" = 1; set "ä"."é" to 2`, ["a.b", "ä.é"]],
  ["select set_config(n, f(v, 'x,y)'), TRUE ), set_config(a[1, 2], v, true)", []],
  ["execute 'set work_mem = ' || v; execute format('set local %I = 1', n)", []],
  ["set work_mem = 1; update t set c = a.b; offset a.b", []],
])("%s", (text, names) => {
  expect(namesIn(text)).toEqual({ names, hidden: false });
});

test.each([
  "select set_config(n, 'x', false)",
  "select set_config(n, 'x', l), set_config('a.b', 'x', true)",
  "select set_config(n, true)",
  "select set_config(n, 'x, true)",
  "execute format('set %I = %L', n, v)",
  "execute 'SET SESSION app.' || n || ' = 1'",
])("a name that is no constant is hidden: %s", (text) => {
  expect(namesIn(text).hidden).toBe(true);
});
