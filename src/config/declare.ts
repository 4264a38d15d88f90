/**
 * What a setting is. A table of declarations (settings.ts, tables.ts) is plain data, and everything else is
 * derived from it: the TypeScript type of the values, the zod schema that checks them, docs/config.md, and
 * which settings a reload may change. So a setting is written down once.
 */
import { z } from "zod";

interface Common {
  /** For docs/config.md: what it does and what its values mean. Markdown, one paragraph. */
  readonly doc: string;
  /** Whether a reload applies a change; if not, it takes a restart. */
  readonly reloadable: boolean;
}

/**
 * One string. `path`: a file or folder, resolved against the folder of the config file; `output` is a file that
 * is written, and so need not be there. `secret`: never printed, and may stand elsewhere (secrets.ts).
 */
interface TextDeclaration extends Common {
  readonly type: "text";
  readonly default?: string;
  readonly path?: "file" | "folder" | "output";
  /** A value that stands for itself and is no path. */
  readonly word?: string;
  readonly secret?: true;
}

interface IntegerDeclaration extends Common {
  readonly type: "integer";
  readonly default?: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly unit?: string;
  /** A value that is no number. */
  readonly word?: string;
}

/** A span of time in seconds, decimals allowed. */
interface SecondsDeclaration extends Common {
  readonly type: "seconds";
  readonly default?: number;
  readonly minimum: number;
}

interface BooleanDeclaration extends Common {
  readonly type: "boolean";
  readonly default?: boolean;
}

interface ChoiceDeclaration extends Common {
  readonly type: "choice";
  readonly values: readonly string[];
  readonly default?: string;
  /** Other spellings, and which value they mean. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Values that PgBouncer or a later version knows: refused by name. */
  readonly notYet?: readonly string[];
  /** Values that PgBouncer knows and that are refused, with the reason. */
  readonly refused?: Readonly<Record<string, string>>;
}

/** Names; in the file an array, or one string with commas as PgBouncer writes it. */
interface ListDeclaration extends Common {
  readonly type: "list";
  readonly default?: readonly string[];
}

export type Declaration =
  | TextDeclaration
  | IntegerDeclaration
  | SecondsDeclaration
  | BooleanDeclaration
  | ChoiceDeclaration
  | ListDeclaration;

/** One table of the config file: its settings by name. */
export type DeclarationTable = Readonly<Record<string, Declaration>>;

/** The type of a setting's value. */
export type ValueOf<D> = D extends { type: "choice"; values: readonly (infer V)[] }
  ? V
  : D extends { type: "integer"; word: infer W }
    ? number | W
    : D extends { type: "integer" | "seconds" }
      ? number
      : D extends { type: "boolean" }
        ? boolean
        : D extends { type: "list" }
          ? readonly string[]
          : string;

/** The type of a table's values: settings with a default are always there, the others may be missing. */
export type ValuesOf<T> = {
  readonly [K in keyof T as T[K] extends { default: unknown } ? K : never]: ValueOf<T[K]>;
} & {
  readonly [K in keyof T as T[K] extends { default: unknown } ? never : K]?: ValueOf<T[K]>;
};

/** Node's timers hold at most 2^31 - 1 milliseconds; longer ones would fire at once. */
export const secondsMax = 2_147_483;

/** The zod schema of one table: checks values, fills in defaults. Unknown keys are reported by load.ts. */
export function schemaOfTable(table: DeclarationTable): z.ZodType<Record<string, unknown>> {
  const shape: Record<string, z.ZodType> = {};
  for (const [name, declaration] of Object.entries(table)) {
    const value = schemaOfValue(declaration);
    shape[name] = declaration.default === undefined ? value.optional() : value.default(declaration.default);
  }
  return z.strictObject(shape);
}

/** Which values a declaration allows, in words: "an integer from 1 to 65535". */
export function describeValues(declaration: Declaration): string {
  switch (declaration.type) {
    case "text":
      if (declaration.secret) return 'a string, { env = "NAME" } or { file = "path" }';
      if (declaration.path === undefined) return "a string";
      return `the path of a ${declaration.path === "folder" ? "folder" : "file"}`;
    case "integer": {
      const unit = declaration.unit === undefined ? "" : ` (${declaration.unit})`;
      const word = declaration.word === undefined ? "" : `, or "${declaration.word}"`;
      return `an integer from ${declaration.minimum} to ${declaration.maximum}${unit}${word}`;
    }
    case "seconds":
      return `seconds from ${declaration.minimum} to ${secondsMax}, decimals allowed`;
    case "boolean":
      return "true or false";
    case "choice":
      return `one of ${declaration.values.map((value) => `"${value}"`).join(", ")}`;
    case "list":
      return "an array of strings";
  }
}

function schemaOfValue(declaration: Declaration): z.ZodType {
  const error = `must be ${describeValues(declaration)}`;
  switch (declaration.type) {
    case "text":
      return declaration.secret
        ? z.union([textSchema(error), elsewhereSchema], { error })
        : textSchema(error);
    case "integer": {
      const number = z.int({ error }).min(declaration.minimum, { error }).max(declaration.maximum, { error });
      return declaration.word === undefined
        ? number
        : z.union([number, z.literal(declaration.word)], { error });
    }
    case "seconds":
      return z.number({ error }).min(declaration.minimum, { error }).max(secondsMax, { error });
    case "boolean":
      // PgBouncer writes 0 and 1.
      return z.preprocess(
        (value) => (value === 0 || value === 1 ? value === 1 : value),
        z.boolean({ error }),
      );
    case "choice":
      return choiceSchema(declaration, error);
    case "list":
      return z.preprocess(splitList, z.array(z.string({ error }), { error }));
  }
}

function textSchema(error: string): z.ZodType {
  return z
    .string({ error })
    .refine((text) => !text.includes("\0"), { error: "must not contain a NUL character" });
}

/** Where a secret stands, if not in the file itself. */
const elsewhereSchema: z.ZodType = z.union([
  z.strictObject({ env: z.string().min(1) }),
  z.strictObject({ file: z.string().min(1) }),
]);

function choiceSchema(declaration: ChoiceDeclaration, error: string): z.ZodType {
  return z.string({ error }).transform((text, context) => {
    const value = declaration.aliases?.[text] ?? text;
    if (declaration.values.includes(value)) return value;
    const known = declaration.notYet?.includes(text) === true;
    const reason = declaration.refused?.[text];
    if (reason !== undefined) {
      context.addIssue({ code: "custom", message: `"${text}" is refused: ${reason}; ${error}` });
      return z.NEVER;
    }
    context.addIssue({ code: "custom", message: known ? `"${text}" is not supported yet; ${error}` : error });
    return z.NEVER;
  });
}

function splitList(value: unknown): unknown {
  if (typeof value !== "string") return value;
  return value
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}
