/**
 * The same scripts of clients before the PgBouncer that is installed and before pgsluice: texts of errors, sequences of
 * answers. Where Debian's 1.18 and the 1.26 that is followed here differ, the difference stands beside the script.
 */
import { beforeAll, describe, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { compare, version } from "./side-by-side.ts";
import { commands } from "./side-by-side-console.ts";
import { logins } from "./side-by-side-logins.ts";
import { sessions } from "./side-by-side-sessions.ts";

if (version === undefined)
  process.stderr.write("pgbouncer is not installed: nothing is compared with it side by side\n");

const place = useLab({
  auth: ["local all all trust", "host all locked 127.0.0.1/32 reject", "host all all 127.0.0.1/32 trust"],
});

beforeAll(async () => {
  await place.lab.primary.query("create role app login; create role locked login; create role watcher login");
});

describe.skipIf(version === undefined)(`PgBouncer ${version ?? ""} and pgsluice`, () => {
  test.concurrent.each([...logins, ...sessions, ...commands].map((one) => [one.name, one] as const))(
    "%s",
    async (_, one) => {
      const { ini = {}, script, differences } = one;
      await compare(place.lab, ini, script, differences);
    },
  );
});
