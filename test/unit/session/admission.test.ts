import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { Admission, admissionFailure, type RunState } from "../../../src/session/admission.ts";

function running(sessionsMax: number, reserved = 0): Admission {
  const admission = new Admission({ sessionsMax, reserved });
  admission.state = "running";
  return admission;
}

describe("acceptance 93, 94: the state of the system comes before the count", () => {
  const states: [RunState, string, string, string][] = [
    ["shutting_down", "shutting_down", "57P03", "pooler is shutting down"],
    ["starting", "starting", "57P03", "the database system is starting up"],
    ["recovering", "recovering", "57P03", "the database system is in recovery mode"],
  ];
  test.each(states)("acceptance 93, 94: %s", (state, refusal, sqlstate, message) => {
    const admission = running(1);
    admission.state = state;
    expect(admission.check(true)).toBe(refusal);
    expect(admission.check(false), "although there are too many").toBe(refusal);
    const failure = admissionFailure(refusal as "starting");
    expect(failure).toMatchObject({ sqlstate, message, source: "internal", retrySafe: true });
  });

  test("acceptance 93, 94: too many, 53300, only while all is well", () => {
    const admission = running(1);
    expect(admission.check(true)).toBe("ok");
    expect(admission.check(false)).toBe("too_many");
    expect(admissionFailure("too_many")).toMatchObject({
      sqlstate: "53300",
      message: "no more connections allowed (max_client_conn)",
    });
  });

  test("acceptance 93: it is starting before it is anything else", () => {
    expect(new Admission({ sessionsMax: 1, reserved: 0 }).check(true)).toBe("starting");
  });
});

describe("acceptance 95, 96: two limits", () => {
  test("acceptance 95: twice as many may log in as may stay", () => {
    const admission = running(3, 1);
    expect(admission.loginMax).toBe(8);
    const logins = Array.from({ length: 10 }, () => ({}));
    expect(logins.map((login) => admission.beginLogin(login))).toEqual([
      ...Array.from({ length: 8 }, () => true),
      false,
      false,
    ]);
    expect(admission.loginCount).toBe(8);
  });

  test("acceptance 96: dead ends do not count, and take no place with them when they go", () => {
    const admission = running(1);
    const logins = [{}, {}, {}] as [object, object, object];
    expect(logins.map((login) => admission.beginLogin(login))).toEqual([true, true, false]);
    admission.endLogin(logins[2]);
    expect(admission.loginCount).toBe(2);
    expect(admission.beginLogin({})).toBe(false);
    admission.endLogin(logins[0]);
    admission.endLogin(logins[0]);
    expect(admission.loginCount).toBe(1);
    expect(admission.beginLogin({})).toBe(true);
  });

  test("acceptance 95, 96: sessions are counted exactly, logins apart", () => {
    const admission = running(2);
    for (let i = 0; i < 4; i++) admission.beginLogin({});
    const sessions = [{}, {}] as [object, object];
    expect(admission.beginSession(sessions[0], false)).toBe(true);
    expect(admission.beginSession(sessions[1], false)).toBe(true);
    expect(admission.beginSession({}, false)).toBe(false);
    expect(admission.sessionCount).toBe(2);
    admission.endSession(sessions[0]);
    admission.endSession(sessions[0]);
    admission.endSession({});
    expect(admission.sessionCount).toBe(1);
    expect(admission.beginSession({}, false)).toBe(true);
  });

  test("acceptance 94: the reserved places are for administrators", () => {
    const admission = running(2, 2);
    expect([1, 2, 3].map(() => admission.beginSession({}, false))).toEqual([true, true, false]);
    expect([1, 2, 3].map(() => admission.beginSession({}, true))).toEqual([true, true, false]);
    expect(admission.sessionCount).toBe(4);
  });

  test("an administrator takes an ordinary place while there is one, as superusers do", () => {
    const admission = running(2, 1);
    admission.beginSession({}, true);
    expect(admission.beginSession({}, false)).toBe(true);
    expect(admission.beginSession({}, false)).toBe(false);
    expect(admission.beginSession({}, true)).toBe(true);
  });

  test("the place of a login becomes its session's even if the limit has sunk", () => {
    const admission = running(2);
    const login = {};
    const session = {};
    admission.beginSession(login, false);
    admission.beginSession({}, false);
    admission.limits = { sessionsMax: 1, reserved: 0 };
    admission.handOver(login, session);
    expect(admission.sessionCount).toBe(2);
    expect(() => admission.handOver(login, {})).toThrow(AssertionError);
    admission.endSession(session);
    expect(admission.beginSession({}, false)).toBe(false);
  });

  test("a session begins once", () => {
    const admission = running(2);
    const session = {};
    admission.beginSession(session, false);
    expect(() => admission.beginSession(session, false)).toThrow(AssertionError);
  });
});
