import { describe, expect, it } from 'vitest';
import { shortfallTextMax } from '../../protocol/shortfall.ts';
import { takenBy } from '../../agent/replicate/standby/folding.ts';
import { foldKey } from '../../agent/replicate/one-name.ts';

const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1');

it('the word for a name that is taken fits into a refusal, however long the other one is', () => {
  expect(takenBy('\xff'.repeat(255)).length).toBeLessThanOrEqual(shortfallTextMax);
});

describe('the key of a name', () => {
  it.each([
    ['INBOX', 'inbox', 'case'],
    [bytes('Entw\u00fcrfe'), bytes('ENTWU\u0308RFE'), 'case and the way to write an accent'],
    [bytes('stra\u00dfe'), bytes('STRASSE'), 'case that changes the length'],
    [bytes('a\u200db'), 'ab', 'a character without width'],
    ['1.M1,S=2:2,S', '1.M1,S=2:2,s', 'the flags of a message'],
    ['letter. ', 'letter', 'dots and spaces at the end'],
  ])('is the same for %j and %j: %s', (one, other) => {
    expect(foldKey(one)).toBe(foldKey(other));
  });

  it.each([
    ['a', 'b'],
    [bytes('\u00e9'), bytes('\u00e8')],
    ['caf\xe9', bytes('caf\u00e9')],
  ])('is another one for %j and %j', (one, other) => {
    expect(foldKey(one)).not.toBe(foldKey(other));
  });
});
