import { describe, expect, it } from 'vitest';
import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  existsSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { bytes, exactTree, treeDifferences } from '../lab/exact-tree.ts';
import { run, runNow } from '../lab/processes.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { changeInLargeDirectory } from './large-directory.ts';

const isRoot = process.getuid?.() === 0;
/** One way of writing a name, as bytes. */
const utf8 = (text: string) => Buffer.from(text).toString('latin1');

/** Names that have broken mail tools before: one directory and one file each. */
const hardNames = [
  utf8('Entwürfe'),
  utf8('Entwu\u0308rfe'),
  utf8('受信トレイ 📬'),
  '&UXZO1mWHTvZZOQ-',
  '.Sent.&AOkA4A-',
  'a'.repeat(255),
  utf8('é').repeat(127),
  'line\nbreak',
  'tab\tand\rreturn',
  '\x01\x1b[31m\x7f',
  '\xff\xfe\x80 not utf-8',
  '\xc3',
  ' leading and trailing ',
  '-rf',
  '*?[]{}$`"\'\\',
  '...',
  '~',
];

/** All names and kinds that are replicated, with odd attributes; returns what must be left out. */
function makeHardTree(root: string): void {
  const write = (path: string, text: string) => writeFileSync(bytes(`${root}/${path}`), text);
  hardNames.forEach((name, i) => {
    mkdirSync(bytes(`${root}/dir ${i}`));
    write(`dir ${i}/${name}`, `file ${i}`);
    mkdirSync(bytes(`${root}/dir ${i}/sub`));
    mkdirSync(bytes(`${root}/dir ${i}/sub/${name}`));
    write(`dir ${i}/sub/${name}/${name}`, `file ${i} below`);
  });
  const odd = `${root}/odd`;
  mkdirSync(odd);
  for (const mode of [0o000, 0o400, 0o640, 0o777, 0o1777]) {
    writeFileSync(`${odd}/mode-${mode.toString(8)}`, mode.toString(8));
    chmodSync(`${odd}/mode-${mode.toString(8)}`, mode);
  }
  mkdirSync(`${odd}/sticky`);
  chmodSync(`${odd}/sticky`, 0o1770);
  writeFileSync(`${odd}/empty`, '');
  writeFileSync(`${odd}/big`, Buffer.alloc(3_000_000, 'mail '));
  runNow('touch', ['-d', '1969-12-31 23:59:58.123456789 UTC', `${odd}/before-1970`]);
  runNow('touch', ['-d', '2001-02-03 04:05:06.987654321 UTC', `${odd}/nanoseconds`]);
  runNow('touch', ['-d', '2105-01-01 00:00:00.000000001 UTC', `${odd}/future`]);
  writeFileSync(`${odd}/linked`, 'one file, three names');
  linkSync(`${odd}/linked`, `${odd}/linked-too`);
  mkdirSync(`${root}/elsewhere`);
  linkSync(`${odd}/linked`, bytes(`${root}/elsewhere/\xff`));
  symlinkSync('linked', `${odd}/link-inside`);
  symlinkSync('../elsewhere', `${odd}/link-to-dir`);
  symlinkSync('not-there', `${odd}/dangling`);
  lutimesSync(`${odd}/dangling`, 1_000_000_000, 1_000_000_000);
  symlinkSync(bytes('\xff\xfe'), bytes(`${odd}/link \xfd`));
  if (isRoot) {
    writeFileSync(`${odd}/owned`, 'by somebody');
    chownSync(`${odd}/owned`, 12345, 54321);
    mkdirSync(`${odd}/owned-dir`);
    chownSync(`${odd}/owned-dir`, 12345, 54321);
  }
}

/** Sockets, fifos, devices, links that lead out; returns how many. */
async function makeLeftOut(root: string): Promise<number> {
  const odd = `${root}/odd`;
  runNow('mkfifo', [`${odd}/fifo`]);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${odd}/socket`, resolve));
  // The name of a socket goes with its server; under another one it stays.
  renameSync(`${odd}/socket`, `${odd}/socket-left`);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  symlinkSync('/etc/passwd', `${odd}/absolute`);
  symlinkSync('../../outside', `${odd}/above`);
  if (!isRoot) return 4;
  runNow('mknod', [`${odd}/device`, 'c', '1', '3']);
  return 5;
}

function expectSame(pair: SmallPair, leftOut: readonly string[] = []): void {
  const out = new Set(leftOut);
  const tree = (node: SmallNode) => exactTree(node.root, { keep: (path) => !out.has(path) && !path.startsWith('.mailtwin') });
  expect(treeDifferences(tree(pair.primary), tree(pair.standby))).toEqual([]);
}

const leadOut = ['odd/absolute', 'odd/above'];

describe.each(isRoot ? (['fanotify', 'chokidar'] as const) : (['chokidar'] as const))('hard names with %s', (watcher) => {
  it('are the same on both nodes after the fill, live changes, and a restart of both', async () => {
    await using pair = await SmallPair.create({ set: { watcher } });
    const { primary, standby } = pair;
    makeHardTree(primary.root);
    const leftOut = await makeLeftOut(primary.root);
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    expectSame(pair, leadOut);
    expect(existsSync(`${standby.root}/odd/fifo`)).toBe(false);
    expect(existsSync(`${standby.root}/odd/absolute`)).toBe(false);
    const status = await primary.status();
    expect(status.capture.watcher).toBe(watcher);
    expect(status.leftOut.reduce((sum, { count }) => sum + count, 0)).toBe(leftOut);
    expect(status.leftOut.map(({ reason }) => reason).sort()).toEqual(['link-out', 'special']);

    // The same names come, change and go while both run.
    const live = `${primary.root}/live`;
    mkdirSync(live);
    for (const name of hardNames) writeFileSync(bytes(`${live}/${name}`), name);
    await pair.settled();
    expectSame(pair, leadOut);
    hardNames.forEach((name, i) => {
      const at = bytes(`${live}/${name}`);
      if (i % 4 === 0) unlinkSync(at);
      else if (i % 4 === 1) renameSync(at, bytes(`${live}/\xfe${i}`));
      else if (i % 4 === 2) writeFileSync(at, `changed ${i}`);
      else utimesSync(at, 1_111_111_111, 1_222_222_222);
      renameSync(bytes(`${primary.root}/dir ${i}/sub/${name}`), bytes(`${primary.root}/dir ${i}/${name.slice(0, 250)}${i}`));
    });
    linkSync(`${primary.root}/odd/big`, `${primary.root}/odd/big-too`);
    writeFileSync(`${primary.root}/odd/linked`, 'three names, another content');
    unlinkSync(`${primary.root}/odd/link-inside`);
    mkdirSync(`${primary.root}/odd/link-inside`);
    rmSync(`${primary.root}/odd/sticky`, { recursive: true });
    writeFileSync(`${primary.root}/odd/sticky`, 'a file now');
    await pair.settled();
    expectSame(pair, leadOut);

    // And while nobody watched.
    await primary.stop();
    rmSync(live, { recursive: true });
    mkdirSync(bytes(`${primary.root}/\xe9t\xe9\n`));
    for (const name of hardNames) writeFileSync(bytes(`${primary.root}/\xe9t\xe9\n/${name}`), `${name} again`);
    await standby.stop();
    await standby.start();
    await primary.start();
    await pair.settled();
    expectSame(pair, leadOut);
    // Two links lead out: nobody says that all is the same.
    const verified = await primary.cli('verify', '--deep');
    expect([verified.code, verified.stdout]).toEqual([5, expect.stringMatching(/same, except 2 places .* left out/)]);
  });
});

it('keeps extended attributes, also when only they change', async (context) => {
  await using pair = await SmallPair.create();
  const { primary } = pair;
  const file = `${primary.root}/f`;
  writeFileSync(file, 'x');
  const set = (...args: string[]) => run('setfattr', [...args, file], { mayFail: true });
  if ((await set('-n', 'user.a', '-v', '1')).code !== 0) return context.skip('no extended attributes on this file system');
  await primary.start();
  await pair.introduce();
  await pair.standby.start();
  await pair.settled();
  expectSame(pair);
  await set('-n', 'user.b', '-v', '0x00ff');
  await set('-x', 'user.a');
  await pair.settled();
  expectSame(pair);
  expect(runNow('getfattr', ['-d', '-e', 'hex', '--absolute-names', `${pair.standby.root}/f`])).toContain('user.b=0x00ff');
});

/** A path of about this many bytes below a root, made component by component, because no single call takes it whole. */
async function makeDeep(root: string, pathBytes: number, name: string): Promise<void> {
  const script = `
    use strict; my ($root, $bytes, $name) = @ARGV; chdir $root or die;
    my $len = length $name;
    for (my $i = 0; $len < $bytes; $i++) { my $d = sprintf('%s%03d', 'd' x 96, $i); mkdir $d; chdir $d or die "$!"; $len += 100; }
    open my $f, '>', $name or die "$!"; print $f 'deep'; close $f;`;
  await run('perl', ['-e', script, root, String(pathBytes), name]);
}

it.each(isRoot ? (['fanotify', 'chokidar'] as const) : (['chokidar'] as const))(
  'takes paths up to what a path may be, and says which are longer (%s)',
  async (watcher) => {
    await using pair = await SmallPair.create({ set: { watcher } });
    const { primary, standby } = pair;
    mkdirSync(`${primary.root}/fits`);
    await makeDeep(`${primary.root}/fits`, 3800, 'leaf');
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    expectSame(pair);
    // Twice as deep as any call takes: it cannot be had, and everything else goes on.
    mkdirSync(`${primary.root}/longer`);
    await makeDeep(`${primary.root}/longer`, 8000, 'leaf');
    writeFileSync(`${primary.root}/after`, 'goes on');
    // The watcher may doubt more at first; what stays in doubt is what is too long.
    const status = await primary.until(
      'the path in doubt',
      ({ replication: { unproven } }) => unproven.length > 0 && unproven.every(({ path }) => path.startsWith('longer/')),
    );
    expect(status.replication.unproven[0]?.path).toMatch(/^longer\//);
    expect(status.warnings.map(({ code }) => code)).toContain('unproven');
    const waited = await primary.cli('wait', '--timeout', '60');
    expect(waited.code).toBe(1);
    expect(waited.stderr).toMatch(/in doubt.*longer/);
    expect(existsSync(`${standby.root}/after`)).toBe(true);
    await run('rm', ['-rf', `${primary.root}/longer`]);
    await primary.until('nothing in doubt', (s) => s.replication.unproven.length === 0);
    await pair.settled();
    expectSame(pair);
  },
);

/** A walk through 50,000 names costs a hundred times what a small change does. */
const walkFactor = 5;

it('keeps 50,000 files in one directory, and a change there costs no walk through it', async () => {
  // `npm run soak -- --directory` has 200,000.
  const { large, small } = await changeInLargeDirectory(50_000);
  console.log(`a change cost ${large.toFixed(1)} ms of computing, ${small.toFixed(1)} ms in a small directory`);
  expect(large).toBeLessThan(walkFactor * small);
});
