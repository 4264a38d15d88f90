/** A classifier for tests: one parser for a file, time that stands still unless it is told to move. */
import { VirtualClock } from "../../../src/base/clock.ts";
import {
  Catalog,
  Classifier,
  type ClassifierOptions,
  Parser,
  type StatementClass,
} from "../../../src/sql/index.ts";

export const parser: Parser = await Parser.load();

export function newClassifier(options: Partial<ClassifierOptions> = {}): Classifier {
  const clock = new VirtualClock();
  return new Classifier(parser, { now: () => clock.now(), ...options });
}

/** By a classifier that has seen nothing, for a database with nothing of its own. */
export function classified(text: string | Buffer, catalog: Catalog = Catalog.assumed): StatementClass {
  return newClassifier().classify(text, catalog);
}
