import { describe, expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';
import { SimMounts } from './sim-mounts.ts';

const point = '/plain/example.com';
const never = new AbortController().signal;

/** A pair that is filled; the primary's root has a disk of its own below it, with files on it. */
async function filledPair(options: { birthTimes?: boolean } = {}): Promise<PlainPair> {
  const pair = new PlainPair({ noticeMs: [0, 0], ...options });
  pair.volume('a', 'disk');
  pair.work.mkdir(point, 0o755);
  pair.disk('a').mounts.mount(point, 'disk');
  pair.work.mkdir('/plain/other', 0o755);
  pair.work.mkdir(`${point}/u1`, 0o755);
  for (let i = 0; i < 5; i++) pair.work.writeFile(`${point}/u1/${i}`, `content ${i}`);
  pair.killPrimary();
  pair.startPrimary();
  pair.connect();
  await pair.settle();
  expect(pair.differences()).toEqual([]);
  return pair;
}

function there(pair: PlainPair, path = `${point}/u1`): number {
  return (pair.filesOf('b').readdir(path) ?? []).length;
}

function held(pair: PlainPair): string[] {
  return pair.primary.primary?.holds.list().map(({ code, path }) => `${code} ${path}`) ?? [];
}

async function wait(pair: PlainPair): Promise<string> {
  const waiting = pair.primary.primary?.wait(20_000, never).then(
    () => 'durable',
    (error: unknown) => (error as { code: string }).code,
  );
  return pair.clock.settle(waiting ?? Promise.resolve('no primary'), 60_000);
}

describe.each([{ birthTimes: true }, { birthTimes: false }])('a disk below the root of a primary (%o)', (options) => {
  it('that goes while mail comes holds what is on it, alone, and goes on when it is back (I19)', async () => {
    const pair = await filledPair(options);
    pair.disk('a').mounts.umount(point);
    pair.work.writeFile('/plain/other/new', 'x');
    await pair.clock.runFor(15_000);
    expect(there(pair)).toBe(5);
    expect(there(pair, '/plain/other')).toBe(1);
    expect(held(pair)).toEqual(['mount-missing example.com']);
    expect(await wait(pair)).toBe('held-place');
    pair.disk('a').mounts.mount(point, 'disk');
    pair.work.unlink(`${point}/u1/0`);
    pair.work.writeFile(`${point}/u1/5`, 'came later');
    expect(await wait(pair)).toBe('durable');
    expect(held(pair)).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('that was changed where nobody watched is compared when it is back (I10)', async () => {
    const pair = await filledPair(options);
    pair.disk('a').mounts.umount(point);
    await pair.clock.runFor(5000);
    expect(held(pair)).toEqual(['mount-missing example.com']);
    // Mounted elsewhere meanwhile, for a repair.
    const elsewhere = `${SimMounts.top('disk')}/u1`;
    pair.work.unlink(`${elsewhere}/0`);
    pair.work.overwrite(`${elsewhere}/1`, 'repaired', 0);
    pair.work.writeFile(`${elsewhere}/9`, 'found again');
    await pair.clock.runFor(5000);
    pair.disk('a').mounts.mount(point, 'disk');
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
    expect(there(pair)).toBe(5);
  });

  it('that is missing at a start takes nothing away, and what was written in its place is neither sent nor removed', async () => {
    const pair = await filledPair(options);
    pair.killPrimary();
    pair.disk('a').mounts.umount(point);
    pair.work.mkdir(`${point}/u1`, 0o755);
    pair.work.writeFile(`${point}/u1/0`, 'written onto the wrong disk');
    pair.work.writeFile(`${point}/stranger`, 'too');
    pair.startPrimary();
    pair.connect();
    await pair.clock.runFor(15_000);
    pair.work.writeFile(`${point}/u1/later`, 'and while it runs');
    pair.work.writeFile('/plain/other/new', 'x');
    await pair.clock.runFor(15_000);
    expect(there(pair)).toBe(5);
    expect(there(pair, point)).toBe(1);
    expect(there(pair, '/plain/other')).toBe(1);
    expect(await wait(pair)).toBe('held-place');
    pair.disk('a').mounts.mount(point, 'disk');
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('that was away between two looks only is watched and compared again: wait says nothing before (I10)', async () => {
    const pair = await filledPair(options);
    for (let i = 0; i < 3; i++) {
      pair.disk('a').mounts.umount(point);
      pair.disk('a').mounts.mount(point, 'disk');
      pair.work.writeFile(`${point}/u1/while it was mounted ${i}`, 'x');
      expect(await wait(pair)).toBe('durable');
      expect(pair.differences()).toEqual([]);
      pair.work.writeFile(`${point}/u1/later ${i}`, 'x');
      expect(await wait(pair)).toBe('durable');
      expect(pair.differences()).toEqual([]);
    }
    expect(held(pair)).toEqual([]);
  });

  it('is another one than before: nothing of it is sent until a person says that it is right', async () => {
    const pair = await filledPair(options);
    pair.volume('a', 'new');
    pair.disk('a').mounts.umount(point);
    pair.disk('a').mounts.mount(point, 'new');
    pair.work.writeFile(`${point}/fresh`, 'x');
    await pair.clock.runFor(5000);
    expect(held(pair)).toEqual(['mount-changed example.com']);
    expect(there(pair, point)).toBe(1);
    expect(pair.primary.primary?.acceptRoots(['plain/other'])).toEqual([]);
    expect(pair.primary.primary?.acceptRoots(['plain/example.com'])).toEqual(['plain/example.com']);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('comes back while a person accepts another one: it is watched and compared again all the same', async () => {
    const pair = await filledPair(options);
    pair.volume('a', 'second');
    pair.work.mkdir('/plain/second', 0o755);
    pair.disk('a').mounts.mount('/plain/second', 'second');
    expect(await wait(pair)).toBe('durable');
    pair.volume('a', 'new');
    pair.disk('a').mounts.umount(point);
    pair.disk('a').mounts.mount(point, 'new');
    await pair.clock.runFor(5000);
    pair.disk('a').mounts.umount('/plain/second');
    pair.disk('a').mounts.mount('/plain/second', 'second');
    pair.work.writeFile('/plain/second/nobody watches', 'x');
    expect(pair.primary.primary?.acceptRoots(['plain/example.com'])).toEqual(['plain/example.com']);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('does not come back: a person says so, and the guard against mass deletion is asked', async () => {
    const pair = await filledPair(options);
    pair.disk('a').mounts.umount(point);
    await pair.clock.runFor(2000);
    expect(pair.primary.primary?.acceptRoots(['plain/example.com'])).toEqual(['plain/example.com']);
    expect(await wait(pair)).toBe('durable');
    expect(there(pair)).toBe(0);
    expect(pair.differences()).toEqual([]);
  });

  it('comes for the first time: what is on it is compared before wait says that it is durable', async () => {
    const pair = await filledPair(options);
    pair.volume('a', 'new');
    pair.filesOf('a').writeFile('/.volumes/new/inside', 'was there before');
    pair.work.mkdir('/plain/added', 0o755);
    expect(await wait(pair)).toBe('durable');
    pair.disk('a').mounts.mount('/plain/added', 'new');
    expect(await wait(pair)).toBe('durable');
    expect(there(pair, '/plain/added')).toBe(1);
    expect(held(pair)).toEqual([]);
  });

  it('hides what was replicated: the copy keeps it until a person says that the disk is right', async () => {
    const pair = await filledPair(options);
    pair.work.writeFile('/plain/other/kept', 'x');
    await pair.settle();
    pair.volume('a', 'empty');
    pair.disk('a').mounts.mount('/plain/other', 'empty');
    await pair.clock.runFor(15_000);
    expect(held(pair)).toEqual(['mount-changed other']);
    expect(there(pair, '/plain/other')).toBe(1);
    pair.disk('a').mounts.umount('/plain/other');
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('lies in another one: each is held by itself', async () => {
    const pair = await filledPair(options);
    pair.volume('a', 'inner');
    pair.work.mkdir(`${point}/deep`, 0o755);
    pair.disk('a').mounts.mount(`${point}/deep`, 'inner');
    pair.work.writeFile(`${point}/deep/file`, 'x');
    expect(await wait(pair)).toBe('durable');
    expect(there(pair, `${point}/deep`)).toBe(1);
    pair.disk('a').mounts.umount(`${point}/deep`);
    await pair.clock.runFor(5000);
    expect(held(pair)).toEqual(['mount-missing example.com/deep']);
    pair.disk('a').mounts.umount(point);
    await pair.clock.runFor(15_000);
    expect(held(pair)).toContain('mount-missing example.com');
    expect([there(pair), there(pair, `${point}/deep`)]).toEqual([5, 1]);
    pair.disk('a').mounts.mount(point, 'disk');
    pair.disk('a').mounts.mount(`${point}/deep`, 'inner');
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('comes and goes all the time: nothing that is on it is ever taken away', async () => {
    const pair = await filledPair(options);
    for (let i = 0; i < 60; i++) {
      pair.disk('a').mounts.umount(point);
      await pair.clock.runFor((i * 7) % 40);
      pair.work.writeFile(`/plain/other/${i}`, 'x');
      await pair.clock.runFor((i * 13) % 60);
      pair.disk('a').mounts.mount(point, 'disk');
      await pair.clock.runFor((i * 3) % 50);
      expect(there(pair)).toBe(5);
    }
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('goes in the midst of whatever the primary does: what is below the mount point then is never taken for what is on it', async () => {
    const pair = await filledPair(options);
    pair.disk('a').mounts.umount(point);
    pair.work.mkdir(`${point}/u1`, 0o755);
    pair.disk('a').mounts.mount(point, 'disk');
    for (let at = 0; at < 60; at++) {
      // Enough to do that the disk goes between a look at it and the end of a batch.
      for (let i = 0; i < 4; i++) pair.work.overwrite(`${point}/u1/${i}`, `content ${at % 10}`, 0);
      pair.work.writeFile('/plain/other/x', `x${at}`);
      let isGone = false;
      pair.primary.files.interruptAfter(at * 2, () => {
        isGone = true;
        pair.disk('a').mounts.umount(point);
        pair.work.writeFile(`${point}/u1/1`, 'of the wrong disk');
        pair.work.writeFile(`${point}/u1/new`, 'of the wrong disk');
      });
      await pair.clock.runWhile(() => !isGone, 60_000);
      await pair.clock.runFor(40);
      const copy = pair.filesOf('b');
      const names = (copy.readdir(`${point}/u1`) ?? []).map(({ name }) => name).toSorted();
      expect(names, `after ${at * 2} calls`).toEqual(['0', '1', '2', '3', '4']);
      expect(copy.readFile(`${point}/u1/1`, 100)?.data.toString()).toMatch(/^content/);
      pair.disk('a').mounts.mount(point, 'disk');
      expect(await wait(pair)).toBe('durable');
    }
    expect(pair.differences()).toEqual([]);
  });

  it('has files with the inode numbers of others: they are not taken for names of one file', async () => {
    const pair = await filledPair(options);
    const numbers = new Set((pair.filesOf('a').readdir('/plain/other') ?? []).map(({ name }) => name));
    expect(numbers.size).toBe(0);
    for (let i = 0; i < 8; i++) {
      pair.work.writeFile(`/plain/other/${i}`, `here ${i}`);
      pair.work.link(`/plain/other/${i}`, `/plain/other/${i}-again`);
      pair.work.writeFile(`${point}/u1/n${i}`, `over there ${i}`);
      pair.work.link(`${point}/u1/n${i}`, `${point}/u1/n${i}-again`);
    }
    expect(await wait(pair)).toBe('durable');
    for (let i = 0; i < 8; i++) pair.work.overwrite(`${point}/u1/n${i}`, 'changed', 0);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('has the name of a file below its mount point: what changes under that name while it is away follows under the others', async () => {
    const pair = await filledPair(options);
    const away = async (work: () => void) => {
      pair.disk('a').mounts.umount(point);
      await pair.clock.runFor(2000);
      work();
      await pair.clock.runFor(50);
      pair.disk('a').mounts.mount(point, 'disk');
      expect(await wait(pair)).toBe('durable');
      expect(pair.differences()).toEqual([]);
    };
    await away(() => {
      pair.work.writeFile(`${point}/below`, 'one file');
      pair.work.link(`${point}/below`, '/plain/other/beside');
    });
    await away(() => pair.work.setMeta(`${point}/below`, { xattrs: new Map([['user.note', Buffer.from('new')]]) }));
    await away(() => pair.work.overwrite(`${point}/below`, 'ONE', 0));
    await away(() => pair.work.unlink(`${point}/below`));
  });
});
