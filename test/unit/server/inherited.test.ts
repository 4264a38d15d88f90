/** Sockets that whoever started the process has passed: man 3 sd_listen_fds. */
import { describe, expect, test } from "vitest";
import { takeInheritedSockets } from "../../../src/server/inherited.ts";

describe("sockets that were passed", () => {
  test.each([
    [{}, []],
    [{ LISTEN_FDS: "1", LISTEN_PID: "41" }, []],
    [{ LISTEN_FDS: "1" }, []],
    [{ LISTEN_FDS: "0", LISTEN_PID: "42" }, []],
    [{ LISTEN_FDS: "1", LISTEN_PID: "42" }, [{ descriptor: 3, name: "" }]],
    [
      { LISTEN_FDS: "2", LISTEN_PID: "42", LISTEN_FDNAMES: "tcp:unix" },
      [
        { descriptor: 3, name: "tcp" },
        { descriptor: 4, name: "unix" },
      ],
    ],
  ])("%j", (environment, sockets) => {
    expect(takeInheritedSockets({ ...environment }, 42)).toEqual(sockets);
  });

  test.each(["", "x", "-1", "1.5", "1001", "99999999"])("LISTEN_FDS=%j is refused", (count) => {
    expect(() => takeInheritedSockets({ LISTEN_FDS: count, LISTEN_PID: "42" }, 42)).toThrow(
      `LISTEN_FDS is "${count}", not a number of sockets`,
    );
  });

  test("no child gets to see the variables", () => {
    const environment = { LISTEN_FDS: "1", LISTEN_PID: "7", LISTEN_FDNAMES: "a", OTHER: "stays" };
    takeInheritedSockets(environment, 42);
    expect(environment).toEqual({ OTHER: "stays" });
  });
});
