/** That what is shipped about PostgreSQL's own functions is what a server says. */
import { expect, test } from "vitest";
import { builtinNamesQuery, builtinTraits } from "../../src/sql/builtin-functions.ts";
import { immutableNames, stableNames, volatileNames } from "../../src/sql/builtin-names.ts";
import { useLab } from "../kit/lab.ts";

const place = useLab();

test("the table of built-in functions is the server's pg_proc", async () => {
  const { rows } = await place.lab.primary.query(builtinNamesQuery);
  expect(new Map(rows.map(([volatility, names]) => [volatility, names]))).toEqual(
    new Map([
      ["immutable", immutableNames],
      ["stable", stableNames],
      ["volatile", volatileNames],
    ]),
  );
});

test("what is listed by hand exists, and no volatile function that SQL can use is left out", () => {
  const names = new Set(`${immutableNames} ${stableNames} ${volatileNames}`.split(" "));
  expect([...builtinTraits().keys()].filter((name) => !names.has(name))).toEqual([]);
  const unlisted = [...builtinTraits()].flatMap(([name, trait]) =>
    trait === "unknown_volatile" ? [name] : [],
  );
  // For pg_upgrade, for initdb and for the server itself.
  const internal =
    /^binary_upgrade_|^pg_extension_config_dump$|^pg_nextoid$|^pg_stop_making_pinned_objects$|^plpgsql_validator$/;
  expect(unlisted.filter((name) => !internal.test(name))).toEqual([]);
});
