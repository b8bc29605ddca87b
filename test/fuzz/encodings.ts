import type { SimRandom } from '../sim/sim-random.ts';
import { Entries, Raw, type Value } from './values.ts';

/** More than any decoder takes: what comes behind is left out. */
const bytesMax = 1200 * 1024;

/** Writes values as MessagePack, also those that no encoder would write. */
export function writeMsgpack(value: Value): Buffer {
  const parts: Buffer[] = [];
  // Values nest deeper than the stack.
  const todo: Value[] = [value];
  let bytes = 0;
  for (let seen = 0; todo.length > 0 && bytes < bytesMax;) {
    for (; seen < parts.length; seen++) bytes += parts[seen]?.length ?? 0;
    const next = todo.pop();
    if (next === null || next === undefined) parts.push(Buffer.from([0xc0]));
    else if (typeof next === 'boolean') parts.push(Buffer.from([next ? 0xc3 : 0xc2]));
    else if (typeof next === 'number') parts.push(msgpackNumber(next));
    else if (typeof next === 'bigint') parts.push(msgpackBigint(next));
    else if (typeof next === 'string') {
      const text = textBytes(next);
      parts.push(head(text.length, [0xd9, 0xda, 0xdb], text.length < 32 ? 0xa0 + text.length : null), text);
    } else if (Buffer.isBuffer(next)) parts.push(head(next.length, [0xc4, 0xc5, 0xc6], null), next);
    else if (next instanceof Raw) parts.push(next.bytes);
    else if (Array.isArray(next)) {
      parts.push(head(next.length, [null, 0xdc, 0xdd], next.length < 16 ? 0x90 + next.length : null));
      for (let i = next.length - 1; i >= 0; i--) todo.push(next[i]);
    } else {
      const { pairs } = next;
      parts.push(head(pairs.length, [null, 0xde, 0xdf], pairs.length < 16 ? 0x80 + pairs.length : null));
      for (const [key, item] of pairs.toReversed()) todo.push(item, key);
    }
  }
  return Buffer.concat(parts);
}

function head(length: number, [of1, of2, of4]: readonly [number | null, number, number], fixed: number | null): Buffer {
  if (fixed !== null) return Buffer.from([fixed]);
  if (of1 !== null && length < 0x100) return Buffer.from([of1, length]);
  if (length < 0x1_0000) return Buffer.from([of2, length >> 8, length & 0xff]);
  const out = Buffer.from([of4, 0, 0, 0, 0]);
  out.writeUInt32BE(length, 1);
  return out;
}

function msgpackNumber(value: number): Buffer {
  if (Number.isInteger(value) && value >= 0 && value < 0x80) return Buffer.from([value]);
  const out = Buffer.alloc(9);
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) {
    out[0] = 0xce;
    out.writeUInt32BE(value, 1);
    return out.subarray(0, 5);
  }
  out[0] = 0xcb;
  out.writeDoubleBE(value, 1);
  return out;
}

function msgpackBigint(value: bigint): Buffer {
  const out = Buffer.alloc(9);
  out[0] = value < 0n ? 0xd3 : 0xcf;
  if (value < 0n) out.writeBigInt64BE(BigInt.asIntN(64, value), 1);
  else out.writeBigUInt64BE(BigInt.asUintN(64, value), 1);
  return out;
}

/** UTF-8; a lone surrogate as the three bytes that no valid text has. */
function textBytes(text: string): Buffer {
  if (!/[\ud800-\udfff]/.test(text)) return Buffer.from(text, 'utf8');
  return Buffer.concat(
    Array.from(text, (character) => {
      const code = character.codePointAt(0) ?? 0;
      return code >= 0xd800 && code < 0xe000
        ? Buffer.from([0xed, 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)])
        : Buffer.from(character, 'utf8');
    }),
  );
}

/** What MessagePack, or msgpackr, has beyond plain values, and lengths that lie. */
export function rawMsgpack(random: SimRandom): Raw {
  const hex = random.pick([
    ...[
      'c1',
      'd40000',
      'd47240',
      'd4724092a161a162',
      'd57240',
      'd6ff00000000',
      'd7ff0000000000000000',
      'd800',
      'c70042',
      'c7',
      'c7046200000008',
    ],
    ...[
      'c70465',
      'd46500',
      'd4690000',
      'd67000000001',
      'd669000000019100',
      'd473009101',
      'd4740001',
      'c70274ff00',
      'd4780092a161a0',
      'd478009261a1',
    ],
    ...[
      'ddffffffff',
      'dfffffffff',
      'dbffffffff',
      'c6ffffffff',
      'dcffff',
      'deffff',
      'd9ff',
      'daffff',
      'c4ff',
      'c9ffffffff00',
      '9f',
      '8f',
      'bf',
    ],
    ...['40', '7f', 'e0', 'ca7fc00000', 'cb7ff8000000000000', 'cfffffffffffffffff', 'd38000000000000000', 'a3eda080', 'a1ff', 'a2c328'],
  ]);
  return new Raw(Buffer.from(hex, 'hex'));
}

/** Writes values as JSON, also those that it does not have: then as JavaScript shows them. */
export function writeJson(value: Value): Buffer {
  const parts: Buffer[] = [];
  const text = (part: string) => parts.push(Buffer.from(part, 'utf8'));
  const todo: (Value | (() => void))[] = [value];
  let bytes = 0;
  for (let seen = 0; todo.length > 0 && bytes < bytesMax;) {
    for (; seen < parts.length; seen++) bytes += parts[seen]?.length ?? 0;
    const next = todo.pop();
    if (typeof next === 'function') next();
    else if (next instanceof Raw) parts.push(next.bytes);
    else if (typeof next === 'string') text(JSON.stringify(next));
    else if (Buffer.isBuffer(next)) text(JSON.stringify(next.toString('base64')));
    else if (Array.isArray(next)) {
      text('[');
      todo.push(() => text(']'));
      for (let i = next.length - 1; i >= 0; i--) todo.push(next[i], ...(i > 0 ? [() => text(',')] : []));
    } else if (next instanceof Entries) {
      text('{');
      todo.push(() => text('}'));
      next.pairs
        .toReversed()
        .forEach(([key, item], i) =>
          todo.push(item, () =>
            text(`${i < next.pairs.length - 1 ? ',' : ''}${JSON.stringify(typeof key === 'string' ? key : typeof key)}:`),
          ),
        );
    } else text(String(next));
  }
  return Buffer.concat(parts);
}

/** What is no JSON, and what a parser may stumble over. */
export function rawJson(random: SimRandom): Raw {
  return new Raw(
    Buffer.from(
      random.pick([
        ...[
          '',
          ',',
          ':',
          '{',
          '}',
          '[',
          ']',
          '"',
          '\\',
          '"\\u',
          '"\\ud800"',
          '01',
          '+1',
          '.5',
          '1.',
          '1e',
          'NaN',
          '-Infinity',
          'undefined',
          '\0',
          '\r\n',
        ],
        ...[
          '{"__proto__":{"polluted":1}}',
          '{"constructor":{"prototype":{"polluted":1}}}',
          '1e999',
          '-0',
          '/*',
          '"\u0001"',
          '\ufeff',
          '{"a":1,"a":2}',
        ],
        ...(random.chance(0.1) ? ['['.repeat(20_000), '{"a":'.repeat(5000), '9'.repeat(5000), `"${'x'.repeat(70_000)}"`] : []),
      ]),
    ),
  );
}
