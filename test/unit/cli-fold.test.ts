import { describe, expect, it } from 'vitest';
import { fold } from '../../tools/cli/fold.ts';
import { processTerminal } from '../../tools/cli/terminal.ts';

const folded = (columns: number, ...lines: string[]) => fold(lines.join('\n'), columns).split('\n');

describe('long lines on a terminal', () => {
  it('go on below their text, behind mark and label', () => {
    expect(folded(40, 'pass  role      this node is the standby of the pair')).toEqual([
      'pass  role      this node is the standby',
      '                of the pair',
    ]);
    expect(folded(40, '      evidence: level 1 fence_ipmilan 10.77.0.254: on')).toEqual([
      '      evidence: level 1 fence_ipmilan',
      '      10.77.0.254: on',
    ]);
  });

  it('are broken each by itself, and short ones are left as they are', () => {
    expect(folded(20, 'done  a    b', '', 'done  one two three four')).toEqual(['done  a    b', '', 'done  one two three', '      four']);
  });

  it('keep their colours, which take no room', () => {
    expect(folded(24, '\u001b[32mdone\u001b[0m    make sure that  \u001b[2m3.0 s and more\u001b[0m')).toEqual([
      '\u001b[32mdone\u001b[0m    make sure that',
      '        \u001b[2m3.0 s and more\u001b[0m',
    ]);
  });

  it('take a label only for one when it leaves room for the text', () => {
    expect(folded(30, 'a sentence of some length  with a gap')).toEqual(['a sentence of some length', 'with a gap']);
  });

  it('give a word that is too long a line of its own, whole', () => {
    expect(folded(16, 'root  /a/path/longer/than/it and more')).toEqual(['root  /a/path/longer/than/it', '      and more']);
  });

  it('leave JSON alone', () => {
    expect(fold('{"text": "one two three"}', 10)).toBe('{"text": "one two three"}');
  });

  it('have 80 columns where the terminal does not know its size', () => {
    const known = Object.getOwnPropertyDescriptor(process.stdout, 'columns');
    try {
      Object.defineProperty(process.stdout, 'columns', { value: 0, configurable: true });
      expect(processTerminal().columns()).toBe(80);
    } finally {
      if (known) Object.defineProperty(process.stdout, 'columns', known);
      else Reflect.deleteProperty(process.stdout, 'columns');
    }
  });
});
