/**
 * The two failures of this folder: a value that came and cannot be read, and one that cannot be sent. Their texts
 * name the type and never hold the value, which may be a secret.
 */
import { OperationError, PeerError } from "../../base/errors.ts";

/** The server's bytes are no value of the type in that format: `client.bad_value` (22P03 binary, 22P02 text). */
export function malformedValue(type: string, format: "text" | "binary", hint?: string): PeerError {
  return new PeerError(`the server sent a malformed ${format} value of type ${type}`, {
    code: "client.bad_value",
    sqlstate: format === "binary" ? "22P03" : "22P02",
    source: "server",
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The value is right, but what was chosen to stand for it cannot hold it: `client.bad_value`. */
export function unfitValue(type: string, reason: string, hint: string, sqlstate = "22003"): OperationError {
  return new OperationError(`a value of type ${type} cannot be read: ${reason}`, {
    code: "client.bad_value",
    sqlstate,
    source: "internal",
    hint,
  });
}

/**
 * The caller's value cannot be a parameter of the type: `client.bad_parameter`. 22023 unless it is a number out
 * of range (22003) or a character that PostgreSQL cannot store (22021).
 */
export function badParameter(type: string, reason: string, sqlstate = "22023"): OperationError {
  return new OperationError(`a parameter of type ${type} cannot be ${reason}`, {
    code: "client.bad_parameter",
    sqlstate,
    source: "internal",
  });
}

/** What kind of thing a value is, in words that do not tell it. */
function describeKind(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "number") {
    return Number.isNaN(value) ? "NaN" : Number.isFinite(value) ? "such a number" : "infinite";
  }
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") {
    const { constructor } = value as { constructor?: { name?: unknown } };
    const name = typeof constructor === "function" ? constructor.name : undefined;
    return typeof name === "string" && name !== "" && name !== "Object"
      ? `an object of class ${name}`
      : "an object";
  }
  return `a ${typeof value}`;
}

/** The usual refusal: this type has nothing for such a value. */
export function refuse(type: string, value: unknown): OperationError {
  return badParameter(type, describeKind(value));
}
