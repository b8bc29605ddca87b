import type { SimRandom } from '../sim/sim-random.ts';
import { mutateBytes } from './values.ts';

const borders = [
  '0',
  '1',
  '-1',
  '00',
  '255',
  '256',
  '65536',
  '2147483648',
  '4294967294',
  '4294967295',
  '4294967296',
  '9007199254740993',
  '9'.repeat(40),
  '1e9',
  '0x1f',
  '+5',
];
const marks = [
  ' ',
  '\t',
  '\n',
  '\r\n',
  '\0',
  ':',
  '/',
  '..',
  '=',
  '{',
  '}',
  '[',
  ']',
  '"',
  "'",
  '#',
  ',',
  '-',
  '%',
  '\\',
  '\u001b[31m',
  '\u00ff',
  '𝕏',
  'x'.repeat(300),
  '&a *a',
  '<<: *a',
  '!!js',
  '---',
];

/** Changes a text by its words, numbers and marks; sometimes by its bytes. */
export function mutateText(random: SimRandom, text: string, others: readonly string[]): Buffer {
  const parts = text.match(/[0-9]+|[A-Za-z_]+|\s+|[^]/g) ?? [''];
  for (let left = 1 + random.int(5); left > 0; left--) {
    const at = random.int(parts.length);
    switch (random.int(9)) {
      case 0:
        parts[at] = random.pick(borders);
        break;
      case 1:
        parts[at] = random.pick(marks);
        break;
      case 2:
        parts.splice(at, 1 + random.int(5));
        break;
      case 3:
        parts.splice(at, 0, ...parts.slice(at, at + 1 + random.int(20)));
        break;
      case 4:
        parts.splice(at, 0, random.pick(marks));
        break;
      case 5: {
        const other = random.int(parts.length);
        [parts[at], parts[other]] = [parts[other] ?? '', parts[at] ?? ''];
        break;
      }
      case 6:
        parts.splice(at, 0, random.pick(borders));
        break;
      case 7:
        parts.splice(at, parts.length, random.pick(others));
        break;
      default:
        parts[at] = (parts[at] ?? '').toUpperCase().repeat(1 + random.int(3));
    }
    if (parts.length === 0) parts.push('');
  }
  const bytes = Buffer.from(parts.join(''), 'latin1');
  return random.chance(0.2) ? mutateBytes(random, bytes, [bytes]) : bytes;
}
