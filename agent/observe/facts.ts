const textLengthMax = 2000;
const itemsMax = 50;
const depthMax = 4;
const secretName = /pass(word|phrase)|secret|token|private|^key$|^(pairing)?code$/i;
/** `code` is also what errors are known by; those are words, a pairing code is not. */
const plainCode = /^([A-Z][A-Z0-9_]*|[a-z][a-z0-9]*(-[a-z0-9]+)*)$/;

/**
 * What may be logged of some facts: no content (bytes are only counted), no secrets, everything bounded. Errors give
 * their code and message; the stack only when they are not an operator's, because then it is a fault to find.
 */
export function safeFacts(facts: object): Record<string, unknown> {
  return safeObject(facts, 0);
}

function safeObject(value: object, depth: number): Record<string, unknown> {
  const safe: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value).slice(0, itemsMax)) {
    const secret = secretName.test(name) && !(name === 'code' && (typeof item !== 'string' || plainCode.test(item)));
    safe[name] = secret && item !== null && item !== undefined ? '[hidden]' : safeValue(item, depth + 1);
  }
  return safe;
}

function safeValue(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      return value.length > textLengthMax ? `${value.slice(0, textLengthMax)}… (${value.length} characters)` : value;
    case 'bigint':
      return String(value);
    case 'function':
    case 'symbol':
      return undefined;
    case 'object':
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (value instanceof Error) return safeError(value);
  if (value instanceof Date) return value.toISOString();
  if (depth > depthMax) return '…';
  if (Array.isArray(value)) return value.slice(0, itemsMax).map((item) => safeValue(item, depth + 1));
  if (value instanceof Map || value instanceof Set) return `${value.size} items`;
  return safeObject(value, depth);
}

function safeError(error: Error): Record<string, unknown> {
  const { code, remedy } = error as { code?: unknown; remedy?: unknown };
  const safe: Record<string, unknown> = { name: error.name, message: safeValue(error.message, depthMax) };
  if (typeof code === 'string') safe['code'] = code;
  if (typeof remedy === 'string') safe['remedy'] = remedy;
  else if (error.stack !== undefined) safe['stack'] = safeValue(error.stack, depthMax);
  return safe;
}
