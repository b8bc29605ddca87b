import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { entryDigest, entryOf } from '../../agent/journal/entry.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { canonicalTarget, targetHere } from '../../agent/replicate/links.ts';
import type { Root } from '../../agent/replicate/root.ts';

let dir: string;
const root = (name: string, path: string): Root => ({ name, path, format: formatByName('plain'), staging: '' });

beforeEach(() => {
  dir = mkdtempSync(`${tmpdir()}/links-`);
  mkdirSync(`${dir}/data/vmail/example.com/u1/sieve`, { recursive: true });
  mkdirSync(`${dir}/home/u1`, { recursive: true });
  mkdirSync(`${dir}/disk2/example.org`, { recursive: true });
  writeFileSync(`${dir}/data/vmail/example.com/u1/sieve/away`, 'keep;');
  // The root's own path is a link, as /var/vmail -> /data/vmail is.
  symlinkSync(`${dir}/data/vmail`, `${dir}/vmail`);
  symlinkSync(`${dir}/vmail`, `${dir}/old-name`);
});

afterEach(() => rmSync(dir, { recursive: true }));

describe('what two nodes compare of a link', () => {
  it('is where it leads, not how long the path of the root makes its text', () => {
    const stat = realFiles.lstat(`${dir}/vmail`)!;
    const entry = entryOf(stat, Buffer.alloc(32, 1), Buffer.alloc(0), 0);
    expect(entryDigest({ ...entry, size: entry.size + 5 })).toEqual(entryDigest(entry));
    expect(entryDigest({ ...entry, content: Buffer.alloc(16, 2) })).not.toEqual(entryDigest(entry));
    expect(entryDigest({ ...entry, kind: 'file', size: entry.size + 5 })).not.toEqual(entryDigest({ ...entry, kind: 'file' }));
  });
});

describe('where a link leads (I11, I22)', () => {
  const roots = () => [root('mail', `${dir}/vmail`), root('home', `${dir}/home`)];
  const canonical = (path: string, target: string) => {
    const [mail] = roots();
    return mail && canonicalTarget(realFiles, roots(), mail, path, target);
  };

  it.each([
    // As text, whatever is there.
    ['example.com/u1/.dovecot.sieve', 'sieve/away', 'sieve/away'],
    ['example.com/u1/x', '../u2/not-there', '../u2/not-there'],
    // Absolute, by the root's path, by what that leads to, and by another link to either.
    ['example.com/u1/x', 'DIR/vmail/example.com/u1/sieve/away', '/example.com/u1/sieve/away'],
    ['example.com/u1/x', 'DIR/data/vmail/example.com/u1/sieve/away', '/example.com/u1/sieve/away'],
    ['x', 'DIR/old-name/example.com', '/example.com'],
    ['x', 'DIR//vmail///example.com//u1', '/example.com//u1'],
    ['x', 'DIR/vmail/example.com/', '/example.com/'],
    ['x', 'DIR/vmail/./example.com', '/./example.com'],
    ['x', 'DIR/vmail/../vmail/x', '/x'],
    ['x', 'DIR/data/vmail/../vmail/example.com', '/example.com'],
    // The root itself, dangling, and through what is not there.
    ['x', 'DIR/vmail', '/'],
    ['x', 'DIR/vmail/', '/'],
    ['x', 'DIR/vmail/not/there', '/not/there'],
    ['x', 'DIR/vmail/not/../there', '/not/../there'],
    // Out of the root and back in, relative: by its place in the root from then on.
    ['example.com/x', '../../vmail/example.com/u1', '/example.com/u1'],
    ['example.com/x', '../../../data/vmail/example.com/u1', '/example.com/u1'],
    ['example.com/x', '../../no-vmail/example.com/u1', null],
    // Another root of the pair.
    ['x', 'DIR/home/u1/.dovecot.sieve', '//home/u1/.dovecot.sieve'],
    ['x', 'DIR/home', '//home/'],
    // Out.
    ['x', 'DIR/disk2/example.org', null],
    ['x', 'DIR/vmail/../disk2/example.org', null],
    ['x', 'DIR/vmail-old', null],
    ['x', '/etc/passwd', null],
    ['x', '/', null],
    ['x', '', null],
    ['x', 'a\0b', null],
    ['x', '../../../../../../../../../etc/passwd', null],
  ])('%s -> %s is %s', (path, target, expected) => {
    expect(canonical(path, target.replace('DIR', dir))).toBe(expected);
  });

  it('becomes the same place below the roots of the other node, and is read there as the same', () => {
    const here = roots();
    mkdirSync(`${dir}/b/mail/example.com/u1`, { recursive: true });
    mkdirSync(`${dir}/b/home`);
    const there = [root('mail', `${dir}/b/mail`), root('home', `${dir}/b/home`)];
    const [mailHere, mailThere] = [here[0]!, there[0]!];
    for (const [target, expected] of [
      [`${dir}/vmail/example.com/u1/sieve/away`, `${dir}/b/mail/example.com/u1/sieve/away`],
      [`${dir}/vmail`, `${dir}/b/mail`],
      [`${dir}/home/u1`, `${dir}/b/home/u1`],
      ['../y', '../y'],
    ] as const) {
      const form = canonicalTarget(realFiles, here, mailHere, 'example.com/x', target)!;
      const made = targetHere(there, mailThere, 'example.com/x', form);
      expect(made).toBe(expected);
      expect(canonicalTarget(realFiles, there, mailThere, 'example.com/x', made!)).toBe(form);
    }
  });

  it.each(['//etc/passwd', '//mail/../x', '/../x', '/a/../../x', '/a\0b', '../x', '//', '//mail/a\0b'])(
    'is refused by a standby when %j would lead out',
    (form) => expect(targetHere(roots(), roots()[0]!, 'x', form)).toBeNull(),
  );
});
