import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { Admission, admissionFailure, type RunState } from "../../../src/session/admission.ts";

const owner = { database: "app", user: "ada" };

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
    expect(admission.beginSession(sessions[0], owner, false)).toBe("ok");
    expect(admission.beginSession(sessions[1], owner, false)).toBe("ok");
    expect(admission.beginSession({}, owner, false)).toBe("too_many");
    expect(admission.sessionCount).toBe(2);
    admission.endSession(sessions[0]);
    admission.endSession(sessions[0]);
    admission.endSession({});
    expect(admission.sessionCount).toBe(1);
    expect(admission.beginSession({}, owner, false)).toBe("ok");
  });

  test("acceptance 94: the reserved places are for administrators", () => {
    const admission = running(2, 2);
    expect([1, 2, 3].map(() => admission.beginSession({}, owner, false))).toEqual(["ok", "ok", "too_many"]);
    expect([1, 2, 3].map(() => admission.beginSession({}, owner, true))).toEqual(["ok", "ok", "too_many"]);
    expect(admission.sessionCount).toBe(4);
  });

  test("an administrator takes an ordinary place while there is one, as superusers do", () => {
    const admission = running(2, 1);
    admission.beginSession({}, owner, true);
    expect(admission.beginSession({}, owner, false)).toBe("ok");
    expect(admission.beginSession({}, owner, false)).toBe("too_many");
    expect(admission.beginSession({}, owner, true)).toBe("ok");
  });

  test("the place of a login becomes its session's even if the limit has sunk", () => {
    const admission = running(2);
    const login = {};
    const session = {};
    admission.beginSession(login, owner, false);
    admission.beginSession({}, owner, false);
    admission.limits = { sessionsMax: 1, reserved: 0 };
    admission.handOver(login, session, owner);
    expect(admission.sessionCount).toBe(2);
    expect(() => admission.handOver(login, {}, owner)).toThrow(AssertionError);
    admission.endSession(session);
    expect(admission.beginSession({}, owner, false)).toBe("too_many");
  });

  test("a session begins once", () => {
    const admission = running(2);
    const session = {};
    admission.beginSession(session, owner, false);
    expect(() => admission.beginSession(session, owner, false)).toThrow(AssertionError);
  });

  test("max_db_client_connections and max_user_client_connections count sessions and those that become one", () => {
    const admission = running(100);
    const ofDatabase = (name: string): number => (name === "app" ? 2 : 0);
    const ofUser = (name: string): number => (name === "bob" ? 1 : 0);
    admission.limits = { sessionsMax: 100, reserved: 0, ofDatabase, ofUser };
    const [login, session, third] = [{}, {}, {}];
    const bob = { database: "other", user: "bob" };
    expect(admission.beginSession(login, owner, false)).toBe("ok");
    expect(admission.beginSession(third, { ...owner, user: "eve" }, false)).toBe("ok");
    expect(admission.beginSession({}, owner, true), "administrators too").toBe("too_many_of_database");
    admission.handOver(login, session, owner);
    expect(admission.beginSession({}, owner, false)).toBe("too_many_of_database");
    expect(admission.beginSession({}, bob, false)).toBe("ok");
    expect(admission.beginSession({}, bob, false)).toBe("too_many_of_user");
    admission.endSession(login);
    expect(admission.beginSession({}, owner, false), "it is the session's place now").toBe(
      "too_many_of_database",
    );
    admission.endSession(session);
    admission.endSession(session);
    expect(admission.beginSession({}, owner, false)).toBe("ok");
    expect(admission.beginSession({}, owner, false)).toBe("too_many_of_database");
    expect(
      ["too_many_of_database", "too_many_of_user"].map((state) => admissionFailure(state as "too_many")),
    ).toMatchObject([
      { sqlstate: "53300", message: "client connections exceeded (max_db_client_connections)" },
      { sqlstate: "53300", message: "client connections exceeded (max_user_client_connections)" },
    ]);
  });
});
