/**
 * How tests start the command line as a program: from the sources, or from the build that `npm test` has just made
 * (it says so with PGSLUICE_BUILT), which starts in a third of the time.
 */
const built: boolean = process.env["PGSLUICE_BUILT"] === "1";

/** What Node needs to run other programs of the tests. */
export const loader: readonly string[] = built ? [] : ["--import", "tsx"];

export const program: readonly string[] = [...loader, built ? "dist/cli/main.js" : "src/cli/main.ts"];
