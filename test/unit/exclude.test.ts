import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultExcludes, derivedExcludes } from '../../protocol/exclude.ts';
import { excluding } from '../../agent/mailstore/exclude.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import type { FileKind } from '../../agent/platform/files.ts';

const maildir = excluding(formatByName('maildir'), defaultExcludes.maildir);
const matches = (patterns: readonly string[], path: string, kind: FileKind | null = 'file') =>
  excluding(formatByName('plain'), patterns).excluded?.(path, kind)?.path ?? null;

describe('patterns in the style of .gitignore', () => {
  it.each<[string[], string, FileKind | null, string | null]>([
    [['tmp'], 'tmp', 'file', 'tmp'],
    [['tmp'], 'a/b/tmp', 'dir', 'a/b/tmp'],
    [['tmp'], 'a/tmp/b/c', 'file', 'a/tmp'],
    [['tmp'], 'a/tmp2', 'file', null],
    [['tmp/'], 'a/tmp', 'file', null],
    [['tmp/'], 'a/tmp', 'dir', 'a/tmp'],
    [['tmp/'], 'a/tmp', null, null],
    [['tmp/'], 'a/tmp/x', null, 'a/tmp'],
    [['/tmp'], 'tmp/x', 'file', 'tmp'],
    [['/tmp'], 'a/tmp', 'file', null],
    [['a/tmp'], 'a/tmp', 'file', 'a/tmp'],
    [['a/tmp'], 'b/a/tmp', 'file', null],
    [['*.bak'], 'a/x.bak', 'file', 'a/x.bak'],
    [['a/*.bak'], 'a/b/x.bak', 'file', null],
    [['**/x/y'], 'x/y', 'file', 'x/y'],
    [['**/x/y'], 'a/b/x/y', 'file', 'a/b/x/y'],
    [['x/**'], 'x', 'dir', null],
    [['x/**'], 'x/a/b', 'file', 'x/a'],
    [['a/**/b'], 'a/b', 'file', 'a/b'],
    [['a/**/b'], 'a/x/y/b', 'file', 'a/x/y/b'],
    [['/**', '!a'], 'a/ab/a', 'file', 'a/ab'],
    [['?.[a-c]'], 'x.b', 'file', 'x.b'],
    [['?.[!a-c]'], 'x.b', 'file', null],
    [['[^/]x'], 'a/x', 'file', null],
    [['*', '!keep'], 'keep', 'file', null],
    [['*', '!keep'], 'other', 'file', 'other'],
    [['d/', '!d/keep'], 'd/keep', 'file', 'd'],
    [['\\*'], '*', 'file', '*'],
    [['\\*'], 'x', 'file', null],
    [['[a'], '[a', 'file', '[a'],
    [['a.b'], 'axb', 'file', null],
    [['caf\xc3\xa9'], 'caf\xc3\xa9', 'file', 'caf\xc3\xa9'],
  ])('%j and %s (%s): %s', (patterns, path, kind, found) => expect(matches(patterns, path, kind)).toBe(found));

  it('fit what git says they fit', () => {
    const dir = mkdtempSync(`${tmpdir()}/exclude-`);
    try {
      execFileSync('git', ['init', '-q', dir]);
      const part = fc.constantFrom('a', 'b', 'ab', 'x.bak', '*', '?', '**', '[a-b]', '*.bak', 'a*', '[!a]');
      const pattern = fc
        .tuple(fc.boolean(), fc.boolean(), fc.array(part, { minLength: 1, maxLength: 3 }), fc.boolean())
        .map(([negated, anchored, parts, dirs]) => `${negated ? '!' : ''}${anchored ? '/' : ''}${parts.join('/')}${dirs ? '/' : ''}`);
      const path = fc.array(fc.constantFrom('a', 'b', 'ab', 'x.bak', 'c'), { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
      fc.assert(
        fc.property(fc.array(pattern, { minLength: 1, maxLength: 3 }), path, (patterns, file) => {
          rmSync(`${dir}/w`, { recursive: true, force: true });
          mkdirSync(dirname(`${dir}/w/${file}`), { recursive: true });
          writeFileSync(`${dir}/w/${file}`, '');
          writeFileSync(`${dir}/w/.gitignore`, `${patterns.join('\n')}\n`);
          let ignored = true;
          try {
            execFileSync('git', ['-C', `${dir}/w`, 'check-ignore', '-q', '--no-index', file], { stdio: 'pipe' });
          } catch (error) {
            if ((error as { status?: number }).status !== 1) throw error;
            ignored = false;
          }
          expect([patterns, file, matches(patterns, file) !== null]).toEqual([patterns, file, ignored]);
        }),
        { numRuns: 150 },
      );
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe('what is left out by default', () => {
  it.each<[string, FileKind | null]>([
    ['.snapshots', 'dir'],
    ['.snapshots/1/snapshot/example.com/u/cur/1', 'file'],
    ['.zfs/snapshot', 'dir'],
    ['lost+found', 'dir'],
    ['example.com/lost+found/#12', 'file'],
    ['example.com/u/xapian-indexes/db_1', 'file'],
    ['example.com/u/.Sent/fts-flatcurve/current.1/glass', null],
    ['example.com/u/lucene-indexes', 'dir'],
    ['solr/dovecot/data/index/segments_1', 'file'],
  ])('in a maildir root: %s', (path, kind) => expect(maildir.classify(path, kind).ignored).toBe(true));

  it.each<[string, FileKind | null]>([
    // Folders called snapshots and zfs, and a user called solr.
    ['example.com/u/.snapshots/cur/1', 'file'],
    ['example.com/u/.snapshot', 'dir'],
    ['example.com/u/.zfs/new', 'dir'],
    ['example.com/solr/Maildir/cur/1', 'file'],
    ['example.com/solr/data/cur/1', 'file'],
    ['example.com/u/cur/1795000000.M1P1.host:2,S', null],
  ])('in a maildir root not: %s', (path, kind) => expect(maildir.classify(path, kind).ignored).toBe(false));

  it('says what the mail server makes anew, and what nobody asked for', () => {
    expect(maildir.excluded?.('u/fts-flatcurve/x', 'file')).toEqual({
      path: 'u/fts-flatcurve',
      pattern: 'fts-flatcurve/',
      derived: true,
      byDefault: true,
    });
    expect(maildir.excluded?.('lost+found', 'dir')).toMatchObject({ derived: false, byDefault: true });
    expect(excluding(formatByName('maildir'), ['u/old']).excluded?.('u/old', 'dir')).toMatchObject({ derived: false, byDefault: false });
    expect(derivedExcludes.every((pattern) => (defaultExcludes.maildir as readonly string[]).includes(pattern))).toBe(true);
  });

  it('changes nothing else of the format', () => {
    const plain = formatByName('maildir');
    for (const path of ['example.com/u/cur/1:2,S', 'example.com/u/dovecot-uidlist', 'a/b/dovecot.index.cache', 'x'])
      expect(maildir.classify(path, 'file')).toEqual(plain.classify(path, 'file'));
    expect(maildir.sealPrefixes).toEqual(plain.sealPrefixes);
  });
});
