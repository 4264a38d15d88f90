/** The oldest Node that runs pgsluice: the first of the 20 line whose `require` and loaders are all we need. */
const needed = [20, 19];

/** Ends the process with a clear message if this Node is too old. */
export function requireNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > needed[0] || (major === needed[0] && minor >= needed[1])) return;
  console.error(
    "pgsluice needs Node.js " +
      needed.join(".") +
      " or newer; this is " +
      process.version +
      " (" +
      process.execPath +
      ").\n" +
      "Install a current version from https://nodejs.org and try again.",
  );
  process.exit(1);
}
