/**
 * How tests start the command line as a program: from the sources, or from the build that `npm test` has just made
 * (it says so with PGSLUICE_BUILT), which starts in a third of the time.
 */
export const program: readonly string[] =
  process.env["PGSLUICE_BUILT"] === "1" ? ["dist/cli/main.js"] : ["--import", "tsx", "src/cli/main.ts"];
