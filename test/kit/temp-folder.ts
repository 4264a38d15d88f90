/** Temporary folders of tests. */
import { chmod, mkdtemp, realpath, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";

export interface TempFolder extends AsyncDisposable {
  readonly path: string;
}

/** `await using folder = await tempFolder()`: an empty folder, removed at the end of the block. */
export async function tempFolder(): Promise<TempFolder> {
  const folder = await realpath(await mkdtemp(path.join(os.tmpdir(), "pgsluice-test-")));
  // Servers that a test starts may run as another user.
  await chmod(folder, 0o755);
  return {
    path: folder,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
