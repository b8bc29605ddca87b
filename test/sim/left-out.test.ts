import { describe, expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';

/** A pair with two domains, filled. */
async function filledPair(): Promise<PlainPair> {
  const pair = new PlainPair();
  for (const domain of ['example.com', 'example.org']) {
    pair.work.mkdir(`/plain/${domain}`, 0o755);
    for (let n = 0; n < 5; n++) pair.work.writeFile(`/plain/${domain}/${n}`, `${domain} ${n}`);
  }
  pair.work.mkdir('/disk2', 0o755);
  pair.connect();
  await pair.settle();
  return pair;
}

const names = (pair: PlainPair, dir: string) => (pair.copy.readdir(dir) ?? []).map(({ name }) => name).toSorted();
const five = ['0', '1', '2', '3', '4'];
const holds = (pair: PlainPair) => pair.primary.primary?.holds.list().map(({ code, path }) => [code, path]);
const counts = (pair: PlainPair) => pair.primary.primary?.leftOut.list().map(({ reason, count, kept }) => [reason, count, kept]);

/** The domain goes to another disk, and a link is left in its place. */
function moveOut(pair: PlainPair): void {
  pair.work.rename('/plain/example.com', '/disk2/example.com');
  pair.work.symlink('/disk2/example.com', '/plain/example.com');
}

describe('a directory that becomes a link that leads out (I22)', () => {
  it('stays on the standby by name, while the rest flows, and nothing behind the link is read', async () => {
    const pair = await filledPair();
    moveOut(pair);
    pair.work.writeFile('/disk2/example.com/6', 'behind the link');
    pair.work.writeFile('/plain/example.org/6', 'flows');
    await pair.settle();
    expect(names(pair, '/plain/example.com')).toEqual(five);
    expect(names(pair, '/plain/example.org')).toEqual([...five, '6']);
    expect(holds(pair)).toEqual([['left-out', 'example.com']]);
    expect(counts(pair)).toEqual([['link-out', 1, 1]]);
    // A hint for what was below is not looked at through the link.
    pair.primary.primary?.hints([
      { kind: 'path', root: 'plain', path: 'example.com/6' },
      { kind: 'path', root: 'plain', path: 'example.com/0' },
      { kind: 'tree', root: 'plain', path: 'example.com' },
    ]);
    await pair.settle();
    expect(names(pair, '/plain/example.com')).toEqual(five);
  });

  it('is not read through the link, although a hint for what was below comes first', async () => {
    const pair = await filledPair();
    pair.killPrimary();
    moveOut(pair);
    pair.work.writeFile('/disk2/example.com/0', 'changed behind the link');
    pair.startPrimary();
    pair.primary.primary?.hints([{ kind: 'path', root: 'plain', path: 'example.com/0' }]);
    pair.connect();
    await pair.settle();
    expect(pair.copy.readFile('/plain/example.com/0', 100)?.data.toString()).toBe('example.com 0');
    expect(holds(pair)).toEqual([['left-out', 'example.com']]);
  });

  it.each(['primary', 'standby'] as const)('outlives a restart of the %s and a comparison', async (who) => {
    const pair = await filledPair();
    moveOut(pair);
    await pair.settle();
    if (who === 'primary') {
      pair.killPrimary();
      pair.startPrimary();
    } else {
      pair.killStandby();
      await pair.startStandby();
    }
    pair.connect();
    await pair.clock.runFor(10_000);
    await pair.settle();
    const { primary } = pair.primary;
    const report = await pair.clock.settle(
      primary!.verify(true, 60_000, new AbortController().signal, () => {}),
      60_000,
    );
    expect(report.differences).toEqual([]);
    expect(names(pair, '/plain/example.com')).toEqual(five);
    expect(holds(pair)).toEqual([['left-out', 'example.com']]);
  });

  it('stays also when the link goes while no agent runs, and the hold ends when the directory is back', async () => {
    const pair = await filledPair();
    moveOut(pair);
    await pair.settle();
    pair.killPrimary();
    pair.work.unlink('/plain/example.com');
    pair.startPrimary();
    pair.connect();
    await pair.settle();
    expect(names(pair, '/plain/example.com')).toEqual(five);
    expect(holds(pair)).toEqual([['left-out', 'example.com']]);
    pair.work.unlink('/disk2/example.com/0');
    pair.work.writeFile('/disk2/example.com/7', 'written on the other disk');
    pair.work.rename('/disk2/example.com', '/plain/example.com');
    await pair.settle();
    await pair.settle();
    expect(holds(pair)).toEqual([]);
    expect(counts(pair)).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('goes when a person names it, and nothing else does', async () => {
    const pair = await filledPair();
    moveOut(pair);
    pair.work.rename('/plain/example.org', '/disk2/example.org');
    pair.work.symlink('/disk2/example.org', '/plain/example.org');
    await pair.settle();
    expect(pair.primary.primary?.releaseLeftOut('plain', 'example.com')).toBe(true);
    await pair.settle();
    expect(pair.copy.lstat('/plain/example.com')).toBeNull();
    expect(names(pair, '/plain/example.org')).toEqual(five);
    expect(holds(pair)).toEqual([['left-out', 'example.org']]);
  });

  it('that is deleted with its parent holds only itself', async () => {
    const pair = await filledPair();
    pair.work.unlink('/plain/example.com/0');
    pair.work.symlink('/disk2/0', '/plain/example.com/0');
    await pair.settle();
    // The standby keeps the file that was there.
    expect(pair.copy.lstat('/plain/example.com/0')?.kind).toBe('file');
    expect(counts(pair)).toEqual([['link-out', 1, 1]]);
    expect(holds(pair)).toEqual([]);
    for (const name of five) pair.work.unlink(`/plain/example.com/${name}`);
    pair.work.rmdir('/plain/example.com');
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(counts(pair)).toEqual([]);
  });
});

describe('links that lead inside (row 5)', () => {
  it('lead to the same place on the standby, out and back again', async () => {
    const pair = await filledPair();
    pair.work.symlink('/plain/example.org/0', '/plain/example.com/link');
    await pair.settle();
    expect(pair.copy.readlink('/plain/example.com/link')).toBe('/plain/example.org/0');
    pair.work.unlink('/plain/example.com/link');
    pair.work.symlink('/disk2/0', '/plain/example.com/link');
    await pair.settle();
    expect(pair.copy.readlink('/plain/example.com/link')).toBe('/plain/example.org/0');
    expect(counts(pair)).toEqual([['link-out', 1, 1]]);
    pair.work.unlink('/plain/example.com/link');
    pair.work.symlink('/plain/example.org/1', '/plain/example.com/link');
    await pair.settle();
    expect(pair.copy.readlink('/plain/example.com/link')).toBe('/plain/example.org/1');
    expect(counts(pair)).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('are judged again when a directory above them moves', async () => {
    const pair = await filledPair();
    pair.work.mkdir('/plain/example.com/u', 0o755);
    pair.work.symlink('../../example.org/0', '/plain/example.com/u/link');
    await pair.settle();
    pair.work.rename('/plain/example.com/u', '/plain/u');
    await pair.settle();
    expect(counts(pair)).toEqual([['link-out', 1, 1]]);
    const { primary } = pair.primary;
    const report = await pair.clock.settle(
      primary!.verify(false, 60_000, new AbortController().signal, () => {}),
      60_000,
    );
    expect(report.differences).toEqual([]);
  });
});

describe('what the patterns of a root name (row 18)', () => {
  async function excludedPair(): Promise<PlainPair> {
    const pair = await filledPair();
    for (const dir of ['fts-flatcurve', 'old']) {
      pair.work.mkdir(`/plain/example.com/${dir}`, 0o755);
      pair.work.writeFile(`/plain/example.com/${dir}/x`, dir);
    }
    await pair.settle();
    pair.killPrimary();
    pair.killStandby();
    pair.exclude(['fts-flatcurve/', '/example.com/old']);
    pair.startPrimary();
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(5000);
    await pair.settle();
    return pair;
  }

  it('leaves the copy where the mail server makes it anew, stays there otherwise, and is not followed any more', async () => {
    const pair = await excludedPair();
    expect(names(pair, '/plain/example.com')).toEqual([...five, 'old']);
    expect(counts(pair)?.toSorted()).toEqual([
      ['derived', 1, 0],
      ['excluded', 1, 1],
    ]);
    pair.work.writeFile('/plain/example.com/old/y', 'new');
    pair.work.writeFile('/plain/example.com/fts-flatcurve/y', 'new');
    pair.work.writeFile('/plain/example.com/6', 'flows');
    await pair.settle();
    expect(names(pair, '/plain/example.com')).toEqual([...five, '6', 'old']);
    expect(names(pair, '/plain/example.com/old')).toEqual(['x']);
    const { primary } = pair.primary;
    const report = await pair.clock.settle(
      primary!.verify(true, 60_000, new AbortController().signal, () => {}),
      60_000,
    );
    expect(report.differences).toEqual([]);
    expect(primary!.releaseLeftOut('plain', 'example.com/old')).toBe(true);
    await pair.settle();
    expect(names(pair, '/plain/example.com')).toEqual([...five, '6']);
  });

  it('goes with its directory, and with what a person deletes', async () => {
    const pair = await excludedPair();
    pair.work.rename('/plain/example.com', '/plain/example.net');
    await pair.settle();
    expect(names(pair, '/plain/example.net')).toEqual([...five, 'old']);
    for (const dir of ['fts-flatcurve', 'old']) {
      pair.work.unlink(`/plain/example.net/${dir}/x`);
      pair.work.rmdir(`/plain/example.net/${dir}`);
    }
    for (const name of five) pair.work.unlink(`/plain/example.net/${name}`);
    pair.work.rmdir('/plain/example.net');
    await pair.settle();
    expect(pair.copy.lstat('/plain/example.net')).toBeNull();
    expect(counts(pair)).toEqual([]);
  });
});
