/** SHOW DISCOVERY: where the list of the nodes comes from, when it was told last, and what went wrong last. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(
  ["text", "source", "place", "state", "members", "leader"],
  ["int8", "answer_age_ms"],
  ["text", "last_error"],
  ["int8", "error_age_ms"],
);

export const showDiscovery: Command<undefined> = showCommand("DISCOVERY", columns, (context) => {
  const { source, place, state, members, leader, answerAgeMs, error, errorAgeMs } = context.discovery();
  return [
    [
      ...[source, place, state, members.join(" "), leader ?? null],
      ...[rounded(answerAgeMs), error ?? null, rounded(errorAgeMs)],
    ],
  ];
});

function rounded(value: number | undefined): number | null {
  return value === undefined ? null : Math.round(value);
}
