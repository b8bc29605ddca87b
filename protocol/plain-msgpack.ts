/**
 * What a frame is made of before anything is built from it: plain MessagePack (nil, booleans, numbers, strings, bytes, arrays,
 * maps with keys of text), one value, no deeper than messages are.
 *
 * A general decoder also knows extensions: records, bundled strings, references, errors, numbers of a million digits. Some of
 * them make a small frame cost seconds or gigabytes, and no message has any.
 */

/** Deeper than any message: the network state of a node has six. */
const depthMax = 16;

/** What is wrong with these bytes; null when they are one plain value. Takes time in proportion to the number of its items. */
export function notPlain(frame: Buffer): string | null {
  /** Items still to come at each level; of a map, keys and values. */
  const left: number[] = [1];
  /** Whether a level is a map: there every second item, from the first on, is a key. */
  const isMap: boolean[] = [false];
  let at = 0;
  while (left.length > 0) {
    const level = left.length - 1;
    const more = left[level] ?? 0;
    if (more === 0) {
      left.pop();
      isMap.pop();
      continue;
    }
    left[level] = more - 1;
    const token = frame[at++];
    if (token === undefined) return 'it is not whole';
    const kind = kindOf(token);
    if (kind === 'other') return `it has 0x${token.toString(16)}, which no message has`;
    if (isMap[level] === true && more % 2 === 0 && kind !== 'text') return 'a key is no text';
    let count = kind === 'fixed' ? 0 : token & (token < 0xa0 ? 0x0f : 0x1f);
    if (token >= 0xc0 && token < 0xe0) {
      const bytes = lengthBytes[token - 0xc0] ?? 0;
      if (at + bytes > frame.length) return 'it is not whole';
      count = bytes === 0 ? 0 : frame.readUIntBE(at, bytes);
      at += bytes;
    }
    if (kind === 'array' || kind === 'map') {
      // Each item takes a byte at least.
      const items = kind === 'map' ? count * 2 : count;
      if (items > frame.length - at) return 'it is not whole';
      if (left.length > depthMax) return `it is more than ${depthMax} levels deep`;
      left.push(items);
      isMap.push(kind === 'map');
    } else {
      at += kind === 'fixed' ? (valueBytes[token - 0xc0] ?? 0) : count;
      if (at > frame.length) return 'it is not whole';
    }
  }
  return at === frame.length ? null : 'something follows it';
}

type Kind = 'fixed' | 'text' | 'bytes' | 'array' | 'map' | 'other';

function kindOf(token: number): Kind {
  if (token < 0x80 || token >= 0xe0) return 'fixed';
  if (token < 0x90) return 'map';
  if (token < 0xa0) return 'array';
  if (token < 0xc0) return 'text';
  return kinds[token - 0xc0] ?? 'other';
}

/** From 0xc0 on, as the specification of MessagePack lists them. */
const kinds: readonly Kind[] = [
  ...(['fixed', 'other', 'fixed', 'fixed', 'bytes', 'bytes', 'bytes', 'other', 'other', 'other'] as const),
  ...Array.from({ length: 10 }, () => 'fixed' as const),
  ...Array.from({ length: 5 }, () => 'other' as const),
  ...(['text', 'text', 'text', 'array', 'array', 'map', 'map'] as const),
];
/** Bytes that say how long or how many, from 0xc0 on. */
const lengthBytes: readonly number[] = [0, 0, 0, 0, 1, 2, 4, ...Array.from({ length: 18 }, () => 0), 1, 2, 4, 2, 4, 2, 4];
/** Bytes of a number, from 0xc0 on: two floats, four unsigned and four signed whole numbers. */
const valueBytes: readonly number[] = [...Array.from({ length: 10 }, () => 0), 4, 8, 1, 2, 4, 8, 1, 2, 4, 8];
