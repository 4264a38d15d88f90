/**
 * What it takes to say what a statement is, by the layer that says it. `node --import tsx bench/micro/classify.ts`
 * prints microseconds for one text, the median of several rounds.
 */
import { Catalog, Classifier, Parser } from "../../src/sql/index.ts";

const rounds = 7;
const catalog = Catalog.loaded([]);
const parser = await Parser.load();
const fresh = (): Classifier =>
  new Classifier(parser, { now: () => 0, parseBurstMs: Number.POSITIVE_INFINITY });

const short = "SELECT abalance FROM pgbench_accounts WHERE aid = ";
const long = `SELECT o.id, o.total, c.name, count(i.id) FROM orders AS o JOIN customers AS c ON c.id = o.customer_id
  LEFT JOIN items AS i ON i.order_id = o.id WHERE o.created_at > now() - interval '1 day' AND c.region IN ($1, $2, $3)
  AND o.state <> 'cancelled' GROUP BY o.id, o.total, c.name HAVING count(i.id) > 2 ORDER BY o.total DESC LIMIT `;

const cases: readonly (readonly [string, number, (index: number) => Buffer])[] = [
  ["plain shape, 52 bytes", 100_000, (index) => Buffer.from(`${short}${index % 100}`)],
  ["plain shape, 400 bytes", 100_000, (index) => Buffer.from(`${long}${index % 100}`)],
  ["text cache, 52 bytes", 100_000, () => Buffer.from(`${short}/**/1`)],
  ["text cache, 400 bytes", 100_000, () => Buffer.from(`${long}/**/1`)],
  ["scanner, SAVEPOINT with a number", 20_000, (index) => Buffer.from(`SAVEPOINT s${index}`)],
  ["other shape, 52 bytes", 20_000, (index) => Buffer.from(`${short}/**/${index}`)],
  ["other shape, 400 bytes", 20_000, (index) => Buffer.from(`${long}/**/${index}`)],
  ["parser, 52 bytes", 2000, (index) => Buffer.from(`${short}a${index}`)],
  ["parser, 400 bytes", 1000, (index) => Buffer.from(`${long}a${index}`)],
  ["refused, 64 kB of parentheses", 200, (index) => Buffer.from(`SELECT ${"(".repeat(60_000)}${index}`)],
  ["parsed, 8,000 tokens", 20, (index) => Buffer.from(`SELECT a${index}${",1".repeat(3990)}`)],
];

for (const [name, count, text] of cases) {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const classifier = fresh();
    const texts = Array.from({ length: count }, (_, index) => text(index));
    const startedAt = performance.now();
    for (const one of texts) classifier.classify(one, catalog);
    times.push(((performance.now() - startedAt) * 1000) / count);
  }
  times.sort((a, b) => a - b);
  process.stdout.write(`${name.padEnd(36)} ${(times[rounds >> 1] ?? 0).toFixed(2).padStart(10)} µs\n`);
}
