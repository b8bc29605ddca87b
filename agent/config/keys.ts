import { globalRegistry, type z } from 'zod';
import type { ConfigKey } from '../../protocol/config-key.ts';
import type { KeyMeta } from './schema-parts.ts';
import { fileSchema } from './schema.ts';

/** Every key of the configuration file, in the order of the schema, with what is said of it there. */
export function configKeys(schema: z.core.$ZodType = fileSchema): ConfigKey[] {
  const found = new Map<string, ConfigKey & { variants: { of: string; fallback: string | null }[] }>();
  for (const { of, ...key } of keysBelow(schema, '', '')) {
    const known = found.get(key.key);
    if (!known) found.set(key.key, { ...key, variants: [{ of, fallback: key.fallback }] });
    else if (!known.variants.some((variant) => variant.of === of)) known.variants.push({ of, fallback: key.fallback });
  }
  return [...found.values()].map(({ variants, ...key }) => {
    const values = new Set(variants.map(({ fallback }) => fallback));
    // A key that several kinds of a section have, each with a default of its own.
    return values.size > 1 ? { ...key, fallback: variants.map(({ of, fallback }) => `${fallback} (\`${of}\`)`).join(', ') } : key;
  });
}

type Found = ConfigKey & { of: string };

function keysBelow(schema: z.core.$ZodType, path: string, of: string): Found[] {
  const { meta, fallback, inner } = unwrapped(schema);
  const own: Found[] = [];
  const parts = meta.whole === true ? [] : partsOf(inner, path, of);
  if (path !== '' && (meta.description !== undefined || parts.length === 0))
    own.push({
      key: path,
      form: meta.form ?? '',
      fallback: fallback === undefined ? null : (meta.otherwise ?? fallback),
      unit: meta.unit ?? null,
      means: meta.description ?? '',
      of,
    });
  return [...own, ...parts];
}

/** The keys of a section, or of the sections that stand in a list. */
function partsOf(schema: z.core.$ZodType, path: string, of: string): Found[] {
  const def = schema._zod.def as unknown as Record<string, unknown> & { type: string };
  switch (def.type) {
    case 'object': {
      const shape = def['shape'] as Record<string, z.core.$ZodType>;
      const kind = shape['type'] === undefined ? of : (literalOf(shape['type']) ?? of);
      return Object.entries(shape).flatMap(([name, value]) => keysBelow(value, path === '' ? name : `${path}.${name}`, kind));
    }
    case 'array': {
      const { inner } = unwrapped(def['element'] as z.core.$ZodType);
      return partsOf(inner, `${path}[]`, of);
    }
    case 'union':
      return (def['options'] as z.core.$ZodType[]).flatMap((option) => partsOf(unwrapped(option).inner, path, of));
    default:
      return [];
  }
}

/** A schema without what is wrapped around it; the outermost word counts of what the wrappings say. */
function unwrapped(schema: z.core.$ZodType): { meta: KeyMeta; fallback: string | undefined; inner: z.core.$ZodType } {
  let meta: KeyMeta = {};
  let fallback: string | undefined;
  let inner = schema;
  for (;;) {
    meta = { ...(globalRegistry.get(inner) as KeyMeta | undefined), ...meta };
    const def = inner._zod.def as unknown as Record<string, unknown> & { type: string };
    if (def.type === 'default' || def.type === 'prefault') fallback ??= shownDefault(def['defaultValue']);
    else if (def.type === 'optional') fallback ??= 'none';
    else if (def.type === 'pipe') {
      const [from, to] = [def['in'], def['out']] as [z.core.$ZodType, z.core.$ZodType];
      inner = to._zod.def.type === 'transform' ? from : to;
      continue;
    } else if (def.type !== 'nullable') return { meta, fallback, inner };
    inner = def['innerType'] as z.core.$ZodType;
  }
}

function literalOf(schema: z.core.$ZodType): string | null {
  const { inner } = unwrapped(schema);
  const [value] = inner._zod.def.type === 'literal' ? (inner._zod.def as z.core.$ZodLiteralDef<string>).values : [];
  return value ?? null;
}

function shownDefault(value: unknown): string {
  if (Array.isArray(value) && value.length === 0) return 'none';
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}
