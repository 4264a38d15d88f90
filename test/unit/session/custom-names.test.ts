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
  ["set work_mem = 1; update t set c = a.b; offset a.b", []],
])("%s", (text, names) => {
  expect(namesIn(text)).toEqual({ names, hidden: false });
});

test("a name that is no constant is hidden", () => {
  expect(namesIn("select set_config(n, 'x', false)")).toEqual({ names: [], hidden: true });
});
