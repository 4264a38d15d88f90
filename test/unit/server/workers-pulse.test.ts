/** Which workers answer, and what becomes of those that do not. */
import { expect, test } from "vitest";
import { silentLogger } from "../../../src/base/log.ts";
import { type Heart, Pulse } from "../../../src/server/workers/pulse.ts";

/** A worker that answers when it is told to. */
class Fake implements Heart {
  readonly slot = 0;
  readonly pid = 1;
  ready = true;
  silent = false;
  killed = 0;
  asked = 0;
  answer: () => void = () => undefined;

  askStatus(): Promise<void> {
    this.asked++;
    return new Promise((resolve) => {
      this.answer = resolve;
    });
  }

  kill(): void {
    this.killed++;
  }
}

function pulseOf(members: readonly Fake[]): { beats: (count: number) => Promise<void>; heard: () => number } {
  let heard = 0;
  const pulse = new Pulse(
    () => members,
    silentLogger,
    () => heard++,
  );
  pulse.stop();
  return {
    async beats(count) {
      for (let i = 0; i < count; i++) {
        pulse.beat();
        await Promise.resolve();
      }
    },
    heard: () => heard,
  };
}

test("a worker that answers is asked at each beat, one that does not only once", async () => {
  const [quick, slow] = [new Fake(), new Fake()];
  const { beats } = pulseOf([quick, slow]);
  for (let i = 0; i < 4; i++) {
    await beats(1);
    quick.answer();
    await Promise.resolve();
  }
  expect([quick.asked, slow.asked]).toEqual([4, 1]);
  expect([quick.silent, slow.silent]).toEqual([false, false]);
});

test("after five beats without an answer it is silent, until it answers", async () => {
  const member = new Fake();
  const { beats, heard } = pulseOf([member]);
  await beats(5);
  expect(member.silent).toBe(false);
  await beats(1);
  expect(member.silent).toBe(true);
  member.answer();
  await Promise.resolve();
  await Promise.resolve();
  expect([member.silent, heard(), member.killed]).toEqual([false, 1, 0]);
  await beats(5);
  expect(member.silent).toBe(false);
});

test("after thirty it is killed, once", async () => {
  const member = new Fake();
  const { beats } = pulseOf([member]);
  await beats(30);
  expect(member.killed).toBe(0);
  await beats(5);
  expect(member.killed).toBe(1);
});

test("one that is being started is not asked", async () => {
  const member = new Fake();
  member.ready = false;
  await pulseOf([member]).beats(40);
  expect([member.asked, member.silent, member.killed]).toEqual([0, false, 0]);
});
