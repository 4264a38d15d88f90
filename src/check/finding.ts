/** What a check has to say: how bad it is, where it is, and what to do about it. Never holds a secret. */
import type { Failure } from "../base/errors.ts";

/** An error keeps clients out or would lose what they ask for; a warning is a risk, or a setting that does nothing. */
export type Severity = "error" | "warning";

export interface Finding {
  readonly severity: Severity;
  /** What kind of finding it is, for programs: the area, then the fault, as `tls.expired`. */
  readonly code: string;
  /** The setting, `file:line`, node or file. */
  readonly place: string;
  readonly problem: string;
  readonly cure: string;
}

export type Report = (finding: Finding) => void;

export function failed(code: string, place: string, problem: string, cure: string): Finding {
  return { severity: "error", code, place, problem, cure };
}

export function warned(code: string, place: string, problem: string, cure: string): Finding {
  return { severity: "warning", code, place, problem, cure };
}

/** The lines of a failure's text: those of configurations and rules hold one problem each. */
export function problemLines(failure: Failure): string[] {
  return failure.message.split("\n");
}
