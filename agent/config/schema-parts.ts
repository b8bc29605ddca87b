import { z } from 'zod';

/**
 * The kinds of values that several sections of the configuration file have; each complaint says what to write instead.
 *
 * What the documentation says of a key is written with `.meta(...)` at the key, and nowhere else (see `KeyMeta`).
 */

/** For keys.ts. zod keeps it beside the schema. */
export interface KeyMeta {
  /** What the key means, in whole sentences. */
  description?: string;
  /** What may stand there; most kinds below bring it. */
  form?: string;
  /** Of a bare number. */
  unit?: string;
  /** The default in words, where it is no value of its own. */
  otherwise?: string;
  /** The parts of the value are no keys of their own. */
  whole?: boolean;
}

/** A text with a unit. `write` is what the complaint tells the operator to write instead. */
export function unit<T>(parse: (text: string) => T | null, write: string) {
  return z
    .preprocess(
      // A bare number is how YAML reads a size without a unit.
      (value) => (typeof value === 'number' ? String(value) : value),
      z.string({ error: (issue) => `${shown(issue.input)} is not ${write}` }).transform((text, context): T => {
        const value = parse(text);
        if (value !== null) return value;
        context.addIssue({ code: 'custom', message: `${shown(text)} is not ${write}` });
        return z.NEVER;
      }),
    )
    .meta({ form: write });
}

/** How a value of the file is repeated in a complaint. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

export function whole(min: number, max: number) {
  const write = `a whole number from ${min} to ${max}`;
  return z
    .number({ error: (issue) => `${shown(issue.input)} is not ${write}` })
    .refine((n) => Number.isInteger(n) && n >= min && n <= max, { error: (issue) => `${shown(issue.input)} is not ${write}` })
    .meta({ form: write });
}

export function oneOf<const T extends readonly [string, ...string[]]>(values: T) {
  return z
    .enum(values, { error: (issue) => `${shown(issue.input)} is not one of: ${values.join(', ')}` })
    .meta({ form: values.map((value) => `\`${value}\``).join(', ') });
}

const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})$/;
export const name = z
  .string({ error: (issue) => `${shown(issue.input)} is not a name; a name that looks like a number or a word of YAML stands in quotes` })
  .regex(namePattern, {
    error: (issue) =>
      `${shown(issue.input)} is not a name; a name has letters, digits, '.', '_' and '-', starts with a letter or digit, and has at most 63 characters`,
  })
  .meta({ form: 'a name' });

export const truth = z.boolean({ error: (issue) => `${shown(issue.input)} is not true or false` }).meta({ form: '`true` or `false`' });

export const absolutePath = z
  .string({ error: (issue) => `${shown(issue.input)} is not a path` })
  .refine((path) => path.startsWith('/'), { error: (issue) => `${shown(issue.input)} is not an absolute path; it must start with /` })
  .refine((path) => !path.includes('\0'), { error: 'a path has no NUL byte' })
  .meta({ form: 'an absolute path' });

export const list = (error: string) => ({ error: (issue: { input?: unknown }) => `${shown(issue.input)} is not ${error}` });
export const section = { error: (issue: { input?: unknown }) => `${shown(issue.input)} is not a section with keys of its own` };
