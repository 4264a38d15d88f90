/**
 * The programs in examples/client run as they are, against a server that is reached by the environment, and
 * print what their comments say. What docs/client.md and README.md show of the client is taken out of them.
 */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { exampleOutput, exampleRegions, withExamples } from "../../scripts/example-blocks.ts";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const files = readdirSync(path.join(root, "examples", "client"));
const pages = ["docs/client.md", "README.md"].map((file) => readFileSync(path.join(root, file), "utf8"));

describe("examples/client", () => {
  const authority = new CertificateAuthority({ commonName: "test authority" });
  const shared = useLab({
    tls: { server: authority.issue({ commonName: "localhost", hosts: ["localhost", "127.0.0.1"] }) },
    auth: ["local all all trust", "hostssl all all 127.0.0.1/32 scram-sha-256"],
  });

  beforeAll(async () => {
    await shared.lab.primary.query("CREATE ROLE app LOGIN PASSWORD 'example'");
    await shared.lab.primary.query("CREATE DATABASE app OWNER app");
  });

  test.each(files)("%s prints what it says", async (file) => {
    await using home = await tempFolder();
    const rootCertificate = path.join(home.path, "root.crt");
    await writeFile(rootCertificate, authority.certificate);
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ["--import", "tsx", path.join("examples", "client", file)],
      {
        cwd: root,
        timeout: 50_000,
        env: {
          HOME: home.path,
          PGHOST: "127.0.0.1",
          PGPORT: String(shared.lab.primary.port),
          PGUSER: "app",
          PGPASSWORD: "example",
          PGDATABASE: "app",
          PGSSLROOTCERT: rootCertificate,
          // The package's name leads to the sources, so that nothing has to be built.
          TSX_TSCONFIG_PATH: path.join(root, "examples", "tsconfig.json"),
        },
      },
    );
    expect(stdout).toBe(exampleOutput(file));
    expect(stdout).not.toBe("");
    expect(stderr).toBe("");
  });
});

describe("the documentation of the client", () => {
  test("shows examples as `npm run docs` writes them", () => {
    for (const page of pages) expect(withExamples(page)).toBe(page);
  });

  test("has no TypeScript that is not run", () => {
    const [page = ""] = pages;
    const blocks = page.match(/^```(ts|js|typescript)$/gm) ?? [];
    const shown = page.match(/^<!-- example: \S+ \S+ -->\n```ts$/gm) ?? [];
    expect(blocks.length).toBeGreaterThan(20);
    expect(shown.length).toBe(blocks.length);
  });

  test("shows every example", () => {
    const regions = files.flatMap((file) =>
      [...exampleRegions(file).keys()].map((name) => `${file} ${name}`),
    );
    expect(regions.length).toBeGreaterThan(20);
    expect(
      regions.filter((name) => !pages.some((page) => page.includes(`<!-- example: ${name} -->`))),
    ).toEqual([]);
  });
});
