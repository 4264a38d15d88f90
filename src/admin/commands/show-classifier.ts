/**
 * SHOW CLASSIFIER: by which way the texts of auto mode became known, cheapest first, and what the caches hold. Counts are
 * since the start. A prepared statement is asked for when it is prepared, not when it is executed.
 */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(
  ["int8", "shape_hits", "text_hits", "scanner_hits", "parses", "unparsable", "unknown", "parse_time"],
  ["int8", "shape_entries", "shape_bytes", "text_entries", "text_bytes", "parser_failures"],
);

export const showClassifier: Command<undefined> = showCommand("CLASSIFIER", columns, (context) => {
  const found = context.classifierStatistics();
  if (found === undefined) return [];
  const unknown = Object.values(found.unknown).reduce((total, count) => total + count, 0);
  return [
    [
      ...[found.shapeHits, found.textHits, found.scannerHits, found.parses, found.refusals, unknown],
      // In microseconds, as all times of the console.
      Math.round(found.parseMs * 1000),
      ...[found.shapeEntries, found.shapeBytes, found.textEntries, found.textBytes, found.parserFailures],
    ],
  ];
});
