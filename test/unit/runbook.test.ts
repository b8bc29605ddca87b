import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readRunbook, shapeOf, type Procedure } from '../lab/runbook-text.ts';

const read = (name: string) => readFileSync(join(import.meta.dirname, '../../deploy/docs', name), 'utf8');
const english = read('RUNBOOK.md');
const german = read('RUNBOOK.de.md');

/** All of a section that is not prose. */
const bare = ({ blocks }: Procedure) => blocks;
const headings = (text: string) => [...text.matchAll(/^(#+) /gm)].map(([, level]) => level);

describe('the runbook', () => {
  it('has the same sections with the same commands, hosts, outputs and configuration in both languages', () => {
    expect(headings(german)).toEqual(headings(english));
    expect(readRunbook(german).map(bare)).toEqual(readRunbook(english).map(bare));
    expect(readRunbook(english).length).toBeGreaterThan(30);
  });

  it.each([
    ['RUNBOOK.md', english],
    ['RUNBOOK.de.md', german],
  ])('%s leads to sections that it has', (_, text) => {
    const anchors = new Set(
      [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replaceAll(/[^\p{L}\p{N} -]/gu, '')
          .replaceAll(' ', '-'),
      ),
    );
    const links = [...text.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = '']) => anchor);
    expect(links.length).toBeGreaterThan(5);
    expect(links.filter((anchor) => !anchors.has(anchor))).toEqual([]);
  });

  it('is read as commands with their hosts, configuration and output', () => {
    const text = `# Book

## One

Both are well. On mail-a:

    mailtwin status          # on mail-b: look
    systemctl stop mailtwin

    it was stopped

Then, on both:

    limits:
      bandwidth: off
`;
    expect(readRunbook(text)).toEqual([
      {
        title: 'One',
        blocks: [
          {
            kind: 'commands',
            commands: [
              { line: 'mailtwin status', hosts: ['mail-b'] },
              { line: 'systemctl stop mailtwin', hosts: ['mail-a'] },
            ],
          },
          { kind: 'output', lines: ['it was stopped'] },
          { kind: 'config', hosts: ['mail-a', 'mail-b'], text: 'limits:\n  bandwidth: off\n' },
        ],
      },
    ]);
    expect(() => readRunbook('## One\n\nLook:\n\n    mailtwin status\n')).toThrow('nothing says where this runs');
  });

  it('shows outputs whose numbers may be others', () => {
    expect(shapeOf('done    start the mail services  0.2 s')).toBe(shapeOf('done  start the mail services  12.0 s'));
    expect(shapeOf('done    start')).not.toBe(shapeOf('failed  start'));
  });
});
