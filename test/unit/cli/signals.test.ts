/** PgBouncer's map of signals; that each does what it stands for is tested with whole programs. */
import { afterEach, describe, expect, test } from "vitest";
import { servePgbouncerUntilSignalled } from "../../../src/cli/signals.ts";

let end: () => void = () => undefined;
let over: Promise<void> = Promise.resolve();

/** Signals of this process that are handled until the test ends, and what they come to. */
function serving(): string[] {
  const heard: string[] = [];
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  over = servePgbouncerUntilSignalled({
    shutdown: (signal, wait) => heard.push(`${signal} ${wait}`),
    reload: async () => {
      heard.push("reload");
    },
    pause: () => heard.push("pause"),
    resume: () => heard.push("resume"),
    ended,
  });
  return heard;
}

afterEach(async () => {
  end();
  await over;
});

describe("signals by PgBouncer's map", () => {
  test.each([
    [["SIGTERM"], ["SIGTERM clients"]],
    [["SIGINT"], ["SIGINT servers"]],
    [["SIGQUIT"], ["SIGQUIT none"]],
    [
      ["SIGTERM", "SIGINT"],
      ["SIGTERM clients", "SIGINT none"],
    ],
    [
      ["SIGINT", "SIGTERM"],
      ["SIGINT servers", "SIGTERM none"],
    ],
    [
      ["SIGTERM", "SIGQUIT"],
      ["SIGTERM clients", "SIGQUIT none"],
    ],
    [
      ["SIGHUP", "SIGUSR1", "SIGUSR2"],
      ["reload", "pause", "resume"],
    ],
  ] as const)("%j", (signals, expected) => {
    const heard = serving();
    for (const signal of signals) process.emit(signal);
    expect(heard).toEqual(expected);
  });

  test("one key that is heard twice is one signal; pressed again later it is another", () => {
    const heard = serving();
    const now = performance.now.bind(performance);
    let laterMs = 0;
    performance.now = () => now() + laterMs;
    try {
      process.emit("SIGINT");
      process.emit("SIGINT");
      laterMs = 1000;
      process.emit("SIGINT");
    } finally {
      performance.now = now;
    }
    expect(heard).toEqual(["SIGINT servers", "SIGINT none"]);
  });

  test("nothing is left behind", async () => {
    const before = process.listenerCount("SIGTERM");
    serving();
    expect(process.listenerCount("SIGTERM")).toBe(before + 1);
    end();
    await over;
    expect(process.listenerCount("SIGTERM")).toBe(before);
  });
});
