/** What a text of SQL is: the public face of the room. Load the parser once, then everything is synchronous. */
export { Catalog, type CatalogRow } from "./catalog.ts";
export { changesKind, changesQuery } from "./catalog-query.ts";
export { CatalogReading } from "./catalog-reading.ts";
export {
  Classifier,
  type ClassifierOptions,
  type ClassifierStatistics,
  type ExpectedText,
  type LexicalSettings,
  unknownClass,
} from "./classifier.ts";
export { type Explanation, explain } from "./explain.ts";
export { FunctionLists } from "./function-lists.ts";
export { Parser } from "./parser.ts";
export { redacted } from "./redacted.ts";
export { type ReservationReason, reservationOf, reservationReasons } from "./reservations.ts";
export { ShapeTrail } from "./shape-index.ts";
export type * from "./statement-class.ts";
