import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Output } from "../../../src/session/output.ts";
import { FakeTransport } from "../pool/fakes.ts";

const append = (output: Output, content: string | Buffer, transport: FakeTransport): void => {
  const buffer = Buffer.from(content);
  output.append(buffer, 0, buffer.length, transport.asTransport);
};

describe("one write", () => {
  test("for one run, straight from its chunk", () => {
    const transport = new FakeTransport();
    const output = new Output();
    const chunk = Buffer.from("0123456789");
    output.append(chunk, 2, 5, transport.asTransport);
    output.append(chunk, 5, 7, transport.asTransport);
    expect(transport.writes).toEqual([]);
    expect(output.empty).toBe(false);
    expect(output.flush(transport.asTransport)).toBe(true);
    expect(transport.writes).toHaveLength(1);
    expect(transport.writes[0]?.buffer).toBe(chunk.buffer);
    expect(transport.takeWritten().toString()).toBe("23456");
    expect(output.empty).toBe(true);
  });

  test("for several small runs, in order", () => {
    const transport = new FakeTransport();
    const output = new Output();
    const chunk = Buffer.from("0123456789");
    output.append(chunk, 0, 3, transport.asTransport);
    append(output, "own", transport);
    output.append(chunk, 4, 6, transport.asTransport);
    output.append(chunk, 6, 7, transport.asTransport);
    expect(transport.writes).toEqual([]);
    expect(output.flush(transport.asTransport)).toBe(true);
    expect(transport.writes).toHaveLength(1);
    expect(transport.takeWritten().toString()).toBe("012own456");
  });

  test("none for nothing", () => {
    const transport = new FakeTransport();
    const output = new Output();
    expect(output.flush(transport.asTransport)).toBe(true);
    expect(output.empty).toBe(true);
    expect(transport.writes).toEqual([]);
  });
});

test("long runs are not copied, and keep their place", () => {
  const transport = new FakeTransport();
  const output = new Output();
  const long = Buffer.alloc(20_000, "x");
  append(output, "before", transport);
  output.append(long, 0, long.length, transport.asTransport);
  append(output, "after", transport);
  output.flush(transport.asTransport);
  expect(transport.writes).toHaveLength(3);
  expect(transport.writes[1]?.buffer).toBe(long.buffer);
  expect(transport.takeWritten().toString()).toBe(`before${long.toString()}after`);
});

test("what was not sent can be forgotten", () => {
  const transport = new FakeTransport();
  const output = new Output();
  append(output, "one", transport);
  append(output, "two", transport);
  append(output, "three", transport);
  output.clear();
  expect(output.empty).toBe(true);
  append(output, "four", transport);
  output.flush(transport.asTransport);
  expect(transport.takeWritten().toString()).toBe("four");
});

describe("a kernel that does not take everything", () => {
  test("is told, for one run and for several", () => {
    const transport = new FakeTransport();
    transport.takes = false;
    const output = new Output();
    append(output, "one", transport);
    expect(output.flush(transport.asTransport)).toBe(false);
    append(output, "two", transport);
    append(output, "three", transport);
    expect(output.flush(transport.asTransport)).toBe(false);
    append(output, "four", transport);
    append(output, Buffer.alloc(20_000), transport);
    append(output, "five", transport);
    append(output, Buffer.alloc(20_000), transport);
    expect(output.flush(transport.asTransport)).toBe(false);
  });

  test("reads on from bytes that nobody writes over", () => {
    const step = fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 30_000 }), fc.boolean(), fc.nat(3));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const outputs = [0, 1, 2, 3].map(() => ({
          output: new Output(),
          transport: new FakeTransport(),
          sent: [] as Buffer[],
          taken: [] as Buffer[],
        }));
        let fill = 0;
        for (const [which, bytes, takes, flushes] of steps) {
          const one = outputs[which] as (typeof outputs)[number];
          const run = Buffer.alloc(bytes, ++fill & 0xff);
          one.transport.takes = takes;
          one.output.append(run, 0, run.length, one.transport.asTransport);
          one.sent.push(run);
          if (flushes === 0) one.output.flush(one.transport.asTransport);
          if (flushes === 1) one.taken.push(one.transport.takeWritten());
        }
        for (const { output, transport, sent, taken } of outputs) {
          output.flush(transport.asTransport);
          expect(Buffer.concat([...taken, transport.takeWritten()]).equals(Buffer.concat(sent))).toBe(true);
        }
      }),
    );
  });
});
