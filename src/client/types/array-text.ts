/**
 * Arrays as text (docs 8.15): braces around elements, quotes around an element that would otherwise be read as
 * something else. Nothing here knows of types: `element` makes the text of one that is not NULL.
 */
import { badParameter } from "./failures.ts";

/** MAXDIM of PostgreSQL's src/include/utils/array.h. */
export const dimensionsMax = 6;

/** What surely needs no quotes, apart from the word NULL. */
const plain = /^[\w.+:-]+$/;

/**
 * The text of an array. Arrays within it are further dimensions, unless `arrayIsValue`: then they are elements.
 *
 * @throws OperationError `client.bad_parameter` if there are more than six dimensions.
 */
export function arrayText(
  values: readonly unknown[],
  element: (value: unknown) => string,
  delimiter: string,
  arrayIsValue: boolean,
): string {
  const text = levelText(values, element, delimiter, arrayIsValue, 1);
  // An array without elements has no dimensions either, however many brackets it has.
  return text.startsWith("{{") && /^[{},;]+$/.test(text) ? "{}" : text;
}

function levelText(
  values: readonly unknown[],
  element: (value: unknown) => string,
  delimiter: string,
  arrayIsValue: boolean,
  depth: number,
): string {
  if (depth > dimensionsMax) throw badParameter("array", `an array of more than ${dimensionsMax} dimensions`);
  let text = "{";
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (index > 0) text += delimiter;
    if (value === null || value === undefined) text += "NULL";
    else if (Array.isArray(value) && !arrayIsValue) {
      text += levelText(value, element, delimiter, arrayIsValue, depth + 1);
    } else text += quoted(element(value));
  }
  return `${text}}`;
}

function quoted(text: string): string {
  if (plain.test(text) && !(text.length === 4 && text.toUpperCase() === "NULL")) return text;
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}
