import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { provide } from '../lab/release.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-release-'));
const pathBefore = process.env['PATH'];
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Stands for the real one: says that it was called, takes its time, makes a tree. */
function fakeDebootstrap(end: string): void {
  mkdirSync(join(dir, 'bin'), { recursive: true });
  const script = `#!/bin/sh
for tree; do :; done
echo called >> ${dir}/calls
mkdir -p "$tree/etc" "$tree/usr/sbin" || exit 1
sleep 0.3
${end}
`;
  writeFileSync(join(dir, 'bin/debootstrap'), script, { mode: 0o755 });
}

const calls = () => readFileSync(join(dir, 'calls'), 'utf8').split('\n').filter(Boolean).length;
const cache = join(dir, 'cache');
const program = join(cache, 'trixie/lab/dovecot');

beforeEach(() => {
  process.env['PATH'] = `${join(dir, 'bin')}:${pathBefore ?? ''}`;
  writeFileSync(join(dir, 'calls'), '');
});
afterEach(() => {
  process.env['PATH'] = pathBefore;
  rmSync(cache, { recursive: true, force: true });
});

it('makes a release once, however many ask for it at the same time, and never again', async () => {
  fakeDebootstrap('exit 0');
  await Promise.all([1, 2, 3].map(() => provide('trixie', cache)));
  await provide('trixie', cache);
  expect(calls()).toBe(1);
  execFileSync('sh', ['-n', program]);
  expect(readFileSync(program, 'utf8')).toContain(` ${cache}/trixie /usr/sbin/dovecot "$@"`);
});

it('makes a tree anew that was left half made, or was made in another way', async () => {
  fakeDebootstrap('exit 0');
  for (const left of ['trixie', 'trixie.part']) {
    mkdirSync(join(cache, left, 'lab'), { recursive: true });
    writeFileSync(join(cache, left, 'lab/whole-0'), '');
    writeFileSync(join(cache, left, 'old'), '');
  }
  await provide('trixie', cache);
  expect([existsSync(program), existsSync(join(cache, 'trixie/old')), existsSync(join(cache, 'trixie.part'))]).toEqual([
    true,
    false,
    false,
  ]);
});

it('says why it cannot be made, and leaves nothing that could be taken for a whole one', async () => {
  fakeDebootstrap('echo the archive does not answer >&2; exit 1');
  await expect(provide('trixie', cache)).rejects.toThrow(/the archive does not answer/);
  expect(existsSync(join(cache, 'trixie'))).toBe(false);
  fakeDebootstrap('exit 0');
  await provide('trixie', cache);
  expect(existsSync(program)).toBe(true);
});
