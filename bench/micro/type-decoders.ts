/**
 * What it costs to make values of a row's bytes: nanoseconds per value for each codec, rows of five columns per
 * second, and the ways to make a string of 1 to 50 bytes.
 *
 *   node --import tsx bench/micro/type-decoders.ts [ROUNDS]
 */
import { type Decode, types } from "../../src/client/types/index.ts";

type Slicing = Buffer & Record<"latin1Slice" | "utf8Slice", (start: number, end: number) => string>;

const rounds = Number(process.argv[2] ?? 5);
const valuesPerRound = 1_000_000;
/** Values that differ, so that nothing can be remembered; together they fit in the processor's cache. */
const distinct = 1024;
let sink: unknown;

interface Column {
  readonly name: string;
  readonly text: (index: number) => string;
  readonly decode: Decode;
}

const columns: readonly Column[] = [
  { name: "int4", text: (i) => String(i * 1_000_003), decode: types.int4.decodeText },
  { name: "text 10", text: (i) => `text-${String(i).padStart(5, "0")}`, decode: types.text.decodeText },
  { name: "int8", text: (i) => String(i * 1_000_000_007), decode: types.int8.decodeText },
  { name: "bool", text: (i) => (i % 3 === 0 ? "t" : "f"), decode: types.bool.decodeText },
  { name: "timestamptz", text: instant, decode: types.timestamptz.decodeText },
];

const further: readonly Column[] = [
  { name: "text 40", text: (i) => String(i).padEnd(40, "abc"), decode: types.text.decodeText },
  { name: "text 10, é", text: (i) => `é${String(i).padStart(8, "0")}`, decode: types.text.decodeText },
  { name: "float8", text: (i) => String(i / 7), decode: types.float8.decodeText },
  { name: "numeric", text: (i) => `${i}.50`, decode: types.numeric.decodeText },
  {
    name: "uuid",
    text: (i) => `a0eebc99-9c0b-4ef8-bb6d-${String(i).padStart(12, "0")}`,
    decode: types.uuid.decodeText,
  },
  { name: "date", text: (i) => instant(i).slice(0, 10), decode: types.date.decodeText },
  { name: "jsonb", text: (i) => `{"id": ${i}, "name": "x"}`, decode: types.jsonb.decodeText },
  { name: "int4[] of 5", text: (i) => `{${i},2,3,4,5}`, decode: types.arrayOf(types.int4).decodeText },
  {
    name: "int8 binary",
    text: (i) => bytes((b) => b.writeBigInt64BE(BigInt(i) ** 3n)),
    decode: types.int8.decodeBinary,
  },
  {
    name: "timestamptz binary",
    text: (i) => bytes((b) => b.writeBigInt64BE(BigInt(i) * 774_000_000_123n)),
    decode: types.timestamptz.decodeBinary,
  },
];

const strings: Readonly<Record<string, Decode<string>>> = {
  "types.text": types.text.decodeText,
  latin1Slice: (buffer, start, end) => (buffer as Slicing).latin1Slice(start, end),
  utf8Slice: (buffer, start, end) => (buffer as Slicing).utf8Slice(start, end),
  "toString utf8": (buffer, start, end) => buffer.toString("utf8", start, end),
  "ASCII? latin1Slice": (buffer, start, end) => {
    for (let index = start; index < end; index++) {
      if ((buffer[index] as number) >= 0x80) return (buffer as Slicing).utf8Slice(start, end);
    }
    return (buffer as Slicing).latin1Slice(start, end);
  },
};

for (const column of [...columns, ...further]) {
  print(column.name, `${perValue(column).toFixed(1)} ns`);
}
const row = perRow();
print("a row of the first five", `${row.toFixed(0)} ns, ${(1000 / row).toFixed(2)} M rows/s`);
for (const length of [1, 5, 10, 12, 16, 24, 50]) {
  for (const [name, decode] of Object.entries(strings)) {
    const text = (index: number): string => String(index).padStart(length, "x").slice(0, length);
    print(`${length} bytes, ${name}`, `${perValue({ name, text, decode }).toFixed(1)} ns`);
  }
}

/** The best of the rounds: the others were disturbed. */
function perValue(column: Column): number {
  const { buffer, ends } = lay([column]);
  const { decode } = column;
  return best(() => {
    for (let done = 0; done < valuesPerRound; done += distinct) {
      let start = 0;
      for (let index = 0; index < distinct; index++) {
        const end = ends[index] as number;
        sink = decode(buffer, start, end);
        start = end;
      }
    }
  });
}

/** Rows as an array of arrays, as a result holds them. */
function perRow(): number {
  const { buffer, ends } = lay(columns);
  const decoders = columns.map(({ decode }) => decode);
  return best(() => {
    for (let done = 0; done < valuesPerRound; done += distinct) {
      let at = 0;
      let start = 0;
      for (let index = 0; index < distinct; index++) {
        const values: unknown[] = [];
        for (const decode of decoders) {
          const end = ends[at++] as number;
          values.push(decode(buffer, start, end));
          start = end;
        }
        sink = values;
      }
    }
  });
}

function lay(given: readonly Column[]): { buffer: Buffer; ends: number[] } {
  const parts: Buffer[] = [];
  const ends: number[] = [];
  let end = 0;
  for (let index = 0; index < distinct; index++) {
    for (const { name, text } of given) {
      const part = Buffer.from(text(index), name.endsWith("binary") ? "latin1" : "utf8");
      parts.push(part);
      ends.push((end += part.length));
    }
  }
  return { buffer: Buffer.concat(parts), ends };
}

function best(round: () => void): number {
  let nanoseconds = Number.POSITIVE_INFINITY;
  for (let index = 0; index < rounds; index++) {
    const before = process.hrtime.bigint();
    round();
    nanoseconds = Math.min(nanoseconds, Number(process.hrtime.bigint() - before));
  }
  return nanoseconds / (Math.ceil(valuesPerRound / distinct) * distinct);
}

function instant(index: number): string {
  return `${new Date(index * 98_765_432_109).toISOString().slice(0, -1).replace("T", " ")}456+00`;
}

function bytes(write: (buffer: Buffer) => void): string {
  const buffer = Buffer.alloc(8);
  write(buffer);
  return buffer.toString("latin1");
}

function print(name: string, figure: string): void {
  console.log(`${name.padEnd(30)}${figure}`);
}

void sink;
