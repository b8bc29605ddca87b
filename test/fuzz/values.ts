import type { SimRandom } from '../sim/sim-random.ts';

/** Values as they travel, in a form that can also be wrong: keys twice or of any kind, bytes that are no value. */
export type Value = null | undefined | boolean | number | bigint | string | Buffer | Value[] | Entries | Raw;

/** A map; keys may come twice, and be no text. */
export class Entries {
  readonly pairs: [Value, Value][];
  constructor(pairs: [Value, Value][]) {
    this.pairs = pairs;
  }
}

/** Bytes that stand where a value should be. */
export class Raw {
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

/** The form of a plain value. */
export function toValue(plain: unknown): Value {
  if (Array.isArray(plain)) return plain.map(toValue);
  if (plain instanceof Uint8Array) return Buffer.from(plain);
  if (typeof plain === 'object' && plain !== null) return new Entries(Object.entries(plain).map(([key, value]) => [key, toValue(value)]));
  return plain as Value;
}

const numbers: readonly Value[] = [
  ...[0, -0, 1, -1, 2, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 48 - 1, 2 ** 48],
  ...[2 ** 53 - 1, 2 ** 53, -(2 ** 31), -(2 ** 53), 2 ** 63, 2 ** 64, 1e308, -1e308, 5e-324, 0.5, -0.1, NaN, Infinity, -Infinity],
  ...[2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n)],
];

const texts: readonly string[] = [
  ...[
    '',
    '.',
    '..',
    '/',
    '//',
    '../..',
    '/etc/passwd',
    '../../../../etc/passwd',
    'a/../b',
    './a',
    'a//b',
    'a/',
    'a\0b',
    '\0',
    '\n',
    'a\nb',
  ],
  ...[
    '\u001b[2J\u001b]0;owned\u0007',
    '\u202e',
    '\ud800',
    '\udc00x',
    '\u00ff',
    'a\u0301',
    '\ufeff',
    '𝕏',
    'CON',
    'cur',
    'new',
    'tmp',
    '%2e%2e',
    '$(id)',
    '`id`',
  ],
  ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'null', 'NaN', '-1', '1e999', '0x10', '9'.repeat(400)],
  ...[254, 255, 256].map((length) => 'x'.repeat(length)),
];
const longTexts: readonly string[] = [...[4095, 4096, 70_000].map((length) => 'x'.repeat(length)), 'a/'.repeat(2100)];

const bufferLengths = [0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 255, 256, 65_536];

/** A value that is seldom what is due. */
function strange(random: SimRandom): Value {
  switch (random.int(9)) {
    case 0:
    case 1:
      return random.pick(numbers);
    case 2:
    case 3:
      return random.pick(random.chance(0.1) ? longTexts : texts);
    case 4:
      return random.bytes(random.pick(bufferLengths));
    case 5:
      return random.pick<Value>([null, undefined, true, false]);
    case 6:
      return random.pick<Value>([[], new Entries([]), [[]], [null]]);
    case 7:
      return new Entries([[random.pick(texts), random.pick(numbers)]]);
    default:
      return nested(random);
  }
}

/** Arrays or maps in one another; some much deeper than any message. */
function nested(random: SimRandom): Value {
  let value: Value = random.pick(numbers);
  const isMap = random.chance(0.3);
  for (let depth = random.chance(0.02) ? 3000 : random.int(40); depth > 0; depth--) value = isMap ? new Entries([['a', value]]) : [value];
  return value;
}

interface Slot {
  get(): Value;
  set(value: Value): void;
  /** Takes it away, or puts something after it, where its parent can. */
  remove?: () => void;
  add?: (value: Value) => void;
}

/** A place in a value: from the top down by chance, so that it costs nothing how large it is. */
function pickSlot(random: SimRandom, top: { value: Value }): Slot {
  let slot: Slot = { get: () => top.value, set: (value) => void (top.value = value) };
  for (let depth = 0; depth < 40; depth++) {
    const value = slot.get();
    if (depth > 0 && random.chance(0.2)) break;
    if (Array.isArray(value) && value.length > 0) {
      const i = random.int(value.length);
      slot = {
        get: () => value[i],
        set: (next) => void (value[i] = next),
        remove: () => void value.splice(i, 1),
        add: (next) => void value.splice(i + 1, 0, next),
      };
    } else if (value instanceof Entries && value.pairs.length > 0) {
      const i = random.int(value.pairs.length);
      const pair = value.pairs[i] as [Value, Value];
      const side = random.chance(0.85) ? 1 : 0;
      slot = {
        get: () => pair[side],
        set: (next) => void (pair[side] = next),
        remove: () => void value.pairs.splice(i, 1),
        add: (next) => void value.pairs.splice(i + 1, 0, [pair[0], next]),
      };
    } else break;
  }
  return slot;
}

const repeatsMax = 5000;

/** Changes a value in one place by what it is made of: another kind, a border, one more or less, twice, elsewhere, deeper. */
function mutateOnce(random: SimRandom, top: { value: Value }, raw: (random: SimRandom) => Raw): void {
  const slot = pickSlot(random, top);
  const value = slot.get();
  switch (random.int(14)) {
    case 0:
    case 1:
      return slot.set(strange(random));
    case 2:
      if (typeof value === 'number') return slot.set(value + random.pick([1, -1, 0.5, 2 ** 32, -(2 ** 32)]));
      return slot.set(random.pick(numbers));
    case 3:
      if (typeof value === 'string')
        return slot.set(random.pick([`${value}${random.pick(texts)}`, `${random.pick(texts)}${value}`, value.slice(1)]));
      return slot.set(random.pick(texts));
    case 4:
      if (Buffer.isBuffer(value))
        return slot.set(random.pick([value.subarray(1), Buffer.concat([value, Buffer.alloc(1)]), value.toString('latin1')]));
      return slot.set(random.bytes(random.pick(bufferLengths)));
    case 5:
      return slot.set(copyOf(pickSlot(random, top).get()));
    case 6: {
      const other = pickSlot(random, top);
      // Copies, because one may be inside the other.
      const theirs = copyOf(other.get());
      other.set(copyOf(value));
      return slot.set(theirs);
    }
    case 7:
      return slot.remove?.();
    case 8:
      return slot.add?.(random.chance(0.5) ? value : strange(random));
    case 9:
      if (value instanceof Entries) return void value.pairs.push([random.pick<Value>([...texts, 1, null, true, []]), strange(random)]);
      return slot.set(new Entries([['__proto__', value]]));
    case 10:
      if (Array.isArray(value)) return slot.set(new Entries(value.map((item, i) => [String(i), item])));
      if (value instanceof Entries) return slot.set(value.pairs.map(([, item]) => item));
      return slot.set([value]);
    case 11:
      if (Array.isArray(value) && value.length > 0)
        for (let left = random.int(random.chance(0.02) ? repeatsMax : 20); left > 0; left--) value.push(value[0]);
      return;
    case 12:
      return slot.set(nested(random));
    default:
      return slot.set(raw(random));
  }
}

/** A value that was valid, changed in one to four places. `raw` makes bytes that only this encoding knows. */
export function mutateValue(random: SimRandom, value: Value, raw: (random: SimRandom) => Raw): Value {
  const top = { value: copyOf(value) };
  for (let left = 1 + random.int(4); left > 0; left--) mutateOnce(random, top, raw);
  return top.value;
}

function copyOf(value: Value): Value {
  if (Array.isArray(value)) return value.map(copyOf);
  if (value instanceof Entries) return new Entries(value.pairs.map(([key, item]) => [copyOf(key), copyOf(item)]));
  return value;
}

/** Changes bytes without knowing what they are: a bit, a byte, a number at a border, a part away, twice, from elsewhere. */
export function mutateBytes(random: SimRandom, input: Buffer, others: readonly Buffer[]): Buffer {
  let bytes = Buffer.from(input);
  for (let left = 1 + random.int(4); left > 0; left--) {
    const at = random.int(bytes.length + 1);
    const length = random.int(Math.min(64, bytes.length - at + 1));
    switch (random.int(8)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
        break;
      case 1:
        if (at < bytes.length)
          bytes[at] = random.pick([0, 1, 0x0a, 0x20, 0x2f, 0x3a, 0x7f, 0x80, 0xc1, 0xc7, 0xd4, 0xdd, 0xff, random.int(256)]);
        break;
      case 2: {
        const number = Buffer.from(
          random.pick(['ffffffff', '00000000', '7fffffff', '80000000', 'ffff', '0000', '01000000', 'ffffffffffffffff']),
          'hex',
        );
        number.copy(bytes, at);
        break;
      }
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)]);
        break;
      case 5:
        bytes = Buffer.concat([bytes.subarray(0, at), random.bytes(length), bytes.subarray(at)]);
        break;
      case 6:
        bytes = bytes.subarray(0, at);
        break;
      default: {
        const other = random.pick(others);
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(random.int(other.length + 1))]);
      }
    }
  }
  return bytes;
}
