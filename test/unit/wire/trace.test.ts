/**
 * The printer against the lines of libpq (fe-trace.c, and PostgreSQL's own src/test/modules/libpq_pipeline/
 * traces), and against whole conversations kept in test/golden. `vitest -u` writes those anew.
 */
import { describe, expect, test } from "vitest";
import { Tracer } from "../../../src/wire/trace.ts";
import { bytes, int16, int32, text, typed, untyped, value } from "./bytes.ts";
import { backendCases, frontendCases } from "./cases.ts";
import { type Spoken, scenarios } from "./scenarios.ts";

describe("single lines", () => {
  const regress = new Tracer({ regress: true });

  test("lengths, names, strings and numbers", () => {
    const plain = new Tracer();
    expect(plain.frontend(typed("S"))).toBe("F\t4\tSync\n");
    expect(plain.backend(typed("Z", "I"))).toBe("B\t5\tReadyForQuery\t I\n");
    expect(plain.frontend(typed("Q", text("BEGIN")))).toBe('F\t10\tQuery\t "BEGIN"\n');
    expect(plain.frontend(typed("C", "P", text("cursor_one")))).toBe('F\t16\tClose\t P "cursor_one"\n');
    expect(plain.frontend(typed("E", text(""), int32(0)))).toBe('F\t9\tExecute\t "" 0\n');
    expect(plain.frontend(typed("B", 0, 0, int16(0), int16(1), value("1"), int16(1), int16(0)))).toBe(
      'F\t19\tBind\t "" "" 0 1 1 \'1\' 1 0\n',
    );
    expect(plain.backend(typed("D", int16(2), value(null), value("a\n\u00ff")))).toBe(
      "B\t18\tDataRow\t 2 -1 4 'a\\x0a\\xc3\\xbf'\n",
    );
    expect(plain.backend(typed("d", "1\t2\n"))).toBe("B\t8\tCopyData\t '1\\x092\\x0a'\n");
  });

  test("a message in the middle of a buffer", () => {
    const around = bytes("before", typed("S"), "behind");
    expect(new Tracer().frontend(around, 6, 11)).toBe("F\t4\tSync\n");
  });

  test("regress mode masks identifiers, places in the server's source, and lengths of errors", () => {
    const column = (size: number, name: string): Buffer =>
      bytes(text(name), int32(16400), int16(2), int32(23), int16(size), int32(-1), int16(0));
    expect(regress.backend(typed("T", int16(1), column(-1, "itemno")))).toBe(
      'B\t31\tRowDescription\t 1 "itemno" NNNN 2 NNNN 65535 -1 0\n',
    );
    const fields = bytes("S", text("ERROR"), "V", text("ERROR"), "C", text("26000"), "M", text("gone"));
    const place = bytes("F", text("a.c"), "L", text("1"), "R", text("f"), 0);
    expect(regress.backend(typed("E", fields, place))).toBe(
      'B\tNN\tErrorResponse\t S "ERROR" V "ERROR" C "26000" M "gone" F "SSSS" L "SSSS" R "SSSS" \\x00\n',
    );
    expect(regress.backend(typed("K", int32(1), int32(2)))).toBe("B\t12\tBackendKeyData\t NNNN NNNN\n");
    expect(regress.frontend(typed("P", 0, text("SELECT $1"), int16(1), int32(23)))).toBe(
      'F\t21\tParse\t "" "SELECT $1" 1 NNNN\n',
    );
    expect(regress.backend(typed("t", int16(1), int32(23)))).toBe("B\t10\tParameterDescription\t 1 NNNN\n");
    expect(regress.backend(typed("A", int32(4711), text("c"), text("")))).toBe(
      'B\t11\tNotificationResponse\t NNNN "c" ""\n',
    );
    expect(regress.backend(typed("d", "abc"))).toBe("B\t7\tCopyData\t 'BBBB'\n");
  });

  test("untyped packets", () => {
    const plain = new Tracer({ secrets: true });
    const startup = untyped(int32(196610), text("user"), text("ann"), 0);
    expect(plain.startup(startup)).toBe('F\t18\tStartupMessage\t 3 2 "user" "ann"\n');
    expect(plain.startup(untyped(int32(80877103)))).toBe("F\t8\tSSLRequest\t 1234 5679\n");
    expect(plain.startup(untyped(int32(80877104)))).toBe("F\t8\tGSSENCRequest\t 1234 5680\n");
    expect(plain.startup(untyped(int32(80877102), int32(7), int32(-9)))).toBe(
      "F\t16\tCancelRequest\t 1234 5678 7 -9\n",
    );
    expect(regress.startup(untyped(int32(80877102), int32(7), int32(9)))).toBe(
      "F\t16\tCancelRequest\t 1234 5678 NNNN NNNN\n",
    );
    expect(plain.startup(untyped("x"))).toBe("F\t5\tUnknown message\n");
    expect(plain.response("SSLResponse", 0x4e)).toBe("B\t1\tSSLResponse\t N\n");
  });

  test("the time is local, to the millisecond, in the form of microseconds", () => {
    const tracer = new Tracer({ now: () => new Date(2026, 0, 2, 3, 4, 5, 67) });
    expect(tracer.frontend(typed("S"))).toBe("2026-01-02 03:04:05.067000\tF\t4\tSync\n");
    expect(tracer.startup(untyped(int32(80877103)))).toMatch(/^2026-01-02 03:04:05.067000\tF\t8\tSSLRequest/);
  });
});

describe("secrets", () => {
  const exchange = (options: { secrets?: boolean; regress?: boolean }): string => {
    const tracer = new Tracer(options);
    return [
      tracer.backend(typed("R", int32(3))),
      tracer.frontend(typed("p", text("hunter2"))),
      tracer.backend(typed("R", int32(10), text("SCRAM-SHA-256"), 0)),
      tracer.frontend(typed("p", text("SCRAM-SHA-256"), value("hunter2"))),
      tracer.backend(typed("R", int32(11), "hunter2")),
      tracer.frontend(typed("p", "hunter2")),
      tracer.backend(typed("R", int32(12), "hunter2")),
      tracer.backend(typed("R", int32(8), "hunter2")),
      tracer.frontend(typed("p", "hunter2")),
      tracer.backend(typed("K", int32(1), "hunter2")),
      tracer.backend(typed("K", int32(1), "hunt")),
      tracer.startup(untyped(int32(80877102), int32(1), "hunter2")),
    ].join("");
  };

  test("are masked unless asked for", () => {
    expect(exchange({})).not.toMatch(/hunt|1752526452/); // the number is "hunt"
    expect(exchange({ regress: true })).not.toMatch(/hunt|1752526452/);
    expect(exchange({})).toMatch('F\t12\tPasswordMessage\t "SSSS"\n');
    expect(exchange({})).toMatch("F\t29\tSASLInitialResponse\t \"SCRAM-SHA-256\" 7 'BBBB'\n");
    expect(exchange({})).toMatch("B\t12\tBackendKeyData\t 1 NNNN\n");
    expect(exchange({})).toMatch("F\t19\tCancelRequest\t 1234 5678 1 'BBBB'\n");
  });

  test("are printed as libpq prints them if asked for", () => {
    expect(exchange({ secrets: true })).toBe(
      [
        "B\t8\tAuthenticationCleartextPassword",
        'F\t12\tPasswordMessage\t "hunter2"',
        'B\t23\tAuthenticationSASL\t "SCRAM-SHA-256" ""',
        "F\t29\tSASLInitialResponse\t \"SCRAM-SHA-256\" 7 'hunter2'",
        "B\t15\tAuthenticationSASLContinue\t 'hunter2'",
        "F\t11\tSASLResponse\t 'hunter2'",
        "B\t15\tAuthenticationSASLFinal\t 'hunter2'",
        "B\t15\tAuthenticationGSSContinue\t 'hunter2'",
        "F\t11\tGSSResponse\t 'hunter2'",
        "B\t15\tBackendKeyData\t 1 'hunter2'",
        "B\t12\tBackendKeyData\t 1 1752526452",
        "F\t19\tCancelRequest\t 1234 5678 1 'hunter2'",
        "",
      ].join("\n"),
    );
  });

  test("an answer nobody asked for is not printed", () => {
    expect(new Tracer({ secrets: true }).frontend(typed("p", text("hunter2")))).toBe(
      "F\t12\tUnknownAuthenticationResponse\nmismatched message length: consumed 4, expected 12\n",
    );
  });
});

describe("what does not add up", () => {
  const plain = new Tracer();

  test("is said in the words of libpq", () => {
    expect(plain.backend(typed("Z", "I", "more"))).toBe(
      "B\t9\tReadyForQuery\t I\nmismatched message length: consumed 5, expected 9\n",
    );
    // libpq leaves the salt out, and says so.
    expect(plain.backend(typed("R", int32(5), "salt"))).toBe(
      "B\t12\tAuthenticationMD5Password\nmismatched message length: consumed 8, expected 12\n",
    );
    expect(plain.backend(typed("Q"))).toBe("B\t4\tUnknown message: 51\n");
    expect(plain.backend(typed("R", int32(99)))).toBe("B\t8\tUnknown authentication message 99\n");
  });

  test("is never read beyond the message, and never thrown", () => {
    expect(plain.frontend(typed("Q", "SELECT 1"))).toBe(
      "F\t12\tQuery\t\nmalformed message: invalid string in message\n",
    );
    for (const [, , input] of [...frontendCases, ...backendCases]) {
      for (let length = 5; length <= input.length; length += 1) {
        const cut = Buffer.from(input.subarray(0, length));
        expect(plain.frontend(cut)).toMatch(/^F\t/);
        expect(plain.backend(cut)).toMatch(/^B\t/);
        expect(plain.startup(cut)).toMatch(/^F\t/);
      }
    }
  });

  test("and everything that does is consumed to its end", () => {
    for (const [, message, input] of frontendCases) {
      if (message.kind !== "PasswordMessage") expect(plain.frontend(input)).not.toMatch("mismatched");
    }
    for (const [, message, input] of backendCases) {
      const unread = /^Authentication(MD5|Unsupported)/.test(message.kind);
      if (!unread) expect(plain.backend(input)).not.toMatch("mismatched");
    }
  });
});

describe("conversations", () => {
  for (const [name, spoken, options] of scenarios) {
    test(name, async () => {
      const tracer = new Tracer(options);
      const trace = spoken.map((one) => print(tracer, one)).join("");
      await expect(trace).toMatchFileSnapshot(`../../golden/${name}.txt`);
    });
  }
});

function print(tracer: Tracer, [speaker, message]: Spoken): string {
  switch (speaker) {
    case "frontend":
      return tracer.frontend(message);
    case "backend":
      return tracer.backend(message);
    case "startup":
      return tracer.startup(message);
    case "ssl":
      return tracer.response("SSLResponse", message.readUInt8(0));
    case "gssenc":
      return tracer.response("GSSENCResponse", message.readUInt8(0));
  }
}
