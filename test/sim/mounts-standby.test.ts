import { describe, expect, it } from 'vitest';
import { metaKey } from '../../agent/journal/keys.ts';
import { PlainPair } from './plain-pair.ts';

const point = '/plain/example.com';
const never = new AbortController().signal;

/** A filled pair whose standby has a disk of its own at a place. */
async function filledPair(place: string): Promise<PlainPair> {
  const pair = new PlainPair({ noticeMs: [0, 0], standbyDisk: place });
  pair.connect();
  pair.work.mkdir('/plain/other', 0o755);
  if (place.startsWith('/plain/other/')) pair.work.mkdir(place, 0o755);
  pair.work.mkdir(point, 0o755);
  for (let i = 0; i < 5; i++) pair.work.writeFile(`${point}/${i}`, `content ${i}`);
  expect(await wait(pair)).toBe('durable');
  expect(pair.differences()).toEqual([]);
  return pair;
}

async function wait(pair: PlainPair): Promise<string> {
  const waiting = pair.primary.primary?.wait(20_000, never).then(
    () => 'durable',
    (error: unknown) => (error as { code: string }).code,
  );
  return pair.clock.settle(waiting ?? Promise.resolve('no primary'), 60_000);
}

const foreign = (pair: PlainPair) => pair.standby.standby?.foreign() ?? [];
const names = (pair: PlainPair, path: string) => (pair.filesOf('b').readdir(path) ?? []).map(({ name }) => name).toSorted();

describe('the disk of a standby', () => {
  it('that goes with its root takes nothing, acknowledges nothing, and goes on when it is back (I19)', async () => {
    const pair = await filledPair('/plain');
    pair.disk('b').mounts.umount('/plain');
    pair.work.writeFile('/plain/other/new', 'x');
    await pair.clock.runFor(10_000);
    expect(names(pair, '/plain')).toEqual([]);
    expect(await wait(pair)).toBe('held');
    expect(pair.primary.primary?.sender.held?.code).toBe('root-changed');
    expect(pair.primary.primary?.lag().changes).toBeGreaterThan(0);
    expect(foreign(pair)).toEqual([]);
    pair.disk('b').mounts.mount('/plain', 'disk');
    await pair.clock.runFor(3000);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
    expect(foreign(pair)).toEqual([]);
  });

  it('is not there at its start: the agent does not begin, and nothing is written', async () => {
    const pair = await filledPair('/plain');
    pair.killStandby();
    pair.disk('b').mounts.umount('/plain');
    await expect(pair.startStandby()).rejects.toMatchObject({ code: 'root-changed' });
    expect(names(pair, '/plain')).toEqual([]);
    expect(pair.filesOf('b').lstat('/plain/.mailtwin')).toBeNull();
  });

  it('is another one, empty or not, with the same look: its mark tells', async () => {
    const pair = await filledPair('/plain');
    pair.killStandby();
    pair.disk('b').mounts.umount('/plain');
    pair.volume('b', 'copy');
    pair.disk('b').mounts.mount('/plain', 'copy');
    await expect(pair.startStandby()).rejects.toMatchObject({ code: 'root-changed' });
  });

  it('goes in the midst of whatever the standby does: nothing is acknowledged that is not on it', async () => {
    const pair = await filledPair('/plain');
    for (let at = 0; at < 60; at++) {
      let isGone = false;
      pair.standby.files.interruptAfter(at * 3, () => {
        isGone = true;
        pair.disk('b').mounts.umount('/plain');
      });
      for (let i = 0; i < 4; i++) pair.work.overwrite(`${point}/${i}`, `content ${at % 10}`, 0);
      pair.work.mkdir(`/plain/new${at}`, 0o755);
      pair.work.writeFile(`/plain/new${at}/x`, `x${at}`);
      const waiting = wait(pair);
      await pair.clock.runWhile(() => !isGone, 60_000);
      await waiting;
      expect(names(pair, '/plain'), `after ${at * 3} calls`).toEqual([]);
      pair.disk('b').mounts.mount('/plain', 'disk');
      await pair.clock.runFor(3000);
      expect(await wait(pair), `after ${at * 3} calls`).toBe('durable');
      expect(pair.differences()).toEqual([]);
      expect(foreign(pair)).toEqual([]);
    }
  });
});

describe.each(['/plain', point])('a disk of a standby at %s', (place) => {
  it('that goes and comes back in the midst of whatever the standby does: nothing is acknowledged that is not on it', async () => {
    const pair = await filledPair(place);
    for (let at = 0; at < 60; at++) {
      let isBack = false;
      pair.standby.files.interruptAfter(at * 3, () => {
        pair.disk('b').mounts.umount(place);
        pair.standby.files.interruptAfter(at % 7, () => {
          isBack = true;
          pair.disk('b').mounts.mount(place, 'disk');
        });
      });
      for (let i = 0; i < 4; i++) pair.work.overwrite(`${point}/${i}`, `content ${at % 10}`, 0);
      pair.work.mkdir(`${point}/new${at}`, 0o755);
      pair.work.writeFile(`${point}/new${at}/x`, `x${at}`);
      await pair.clock.runWhile(() => !isBack, 60_000);
      // It may have been seen to be away, and be held for a moment.
      const first = await wait(pair);
      if (first !== 'durable') {
        expect(['held', 'held-place'], `after ${at * 3} calls`).toContain(first);
        await pair.clock.runFor(3000);
        expect(await wait(pair), `after ${at * 3} calls`).toBe('durable');
      }
      expect(pair.differences(), `after ${at * 3} calls`).toEqual([]);
      expect(foreign(pair)).toEqual([]);
    }
  });
});

describe('a disk below the root of a standby', () => {
  it('that goes is held by its name on the primary, and everything else goes on', async () => {
    const pair = await filledPair(point);
    pair.disk('b').mounts.umount(point);
    pair.work.overwrite(`${point}/0`, 'changed', 0);
    pair.work.unlink(`${point}/4`);
    pair.work.writeFile('/plain/other/new', 'x');
    await pair.clock.runFor(5000);
    expect(names(pair, point)).toEqual([]);
    expect(names(pair, '/plain/other')).toEqual(['new']);
    expect(pair.primary.primary?.holds.list().map(({ code, path }) => `${code} ${path}`)).toEqual(['standby-mount example.com']);
    expect(await wait(pair)).toBe('held-place');
    expect(foreign(pair)).toEqual([]);
    pair.disk('b').mounts.mount(point, 'disk');
    await pair.clock.runFor(3000);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
    expect(foreign(pair)).toEqual([]);
  });

  it('that comes back while content for it is under way takes it again, and nothing is said before (I1)', async () => {
    const pair = await filledPair(point);
    let comparable = 0;
    for (let at = 0; at < 30; at++) {
      pair.disk('b').mounts.umount(point);
      pair.work.overwrite(`${point}/0`, `${at}`.repeat(1_500_000), 0);
      await pair.clock.runFor(3000);
      // What is under way elsewhere keeps the wait from ending at once.
      pair.work.writeFile(`/plain/other/new${at}`, `${at}`.repeat(300_000));
      let said: string | null = null;
      void wait(pair).then((word) => (said = word));
      pair.clock.after(at * 3, () => pair.disk('b').mounts.mount(point, 'disk'));
      await pair.clock.runWhile(() => said === null, 60_000);
      if (said === 'durable') {
        comparable++;
        expect(pair.differences(), `mounted after ${at * 3} ms`).toEqual([]);
      }
      await pair.clock.runFor(30_000);
      expect(await wait(pair)).toBe('durable');
    }
    expect(comparable).toBeGreaterThan(5);
  });

  it.each(['its own directory', 'the root'])(
    'that is missing at a start holds nothing that was last put beside it, in %s (I20)',
    async (where) => {
      const pair = await filledPair(point);
      // The last batch, which is done again at the start, has a step beside the mount point.
      pair.work.writeFile(where === 'the root' ? '/plain/beside' : '/plain/other/beside', 'x');
      expect(await wait(pair)).toBe('durable');
      pair.killStandby();
      pair.disk('b').mounts.umount(point);
      // It ends by itself, with the disk still missing.
      await pair.startStandby();
      pair.connect();
      pair.work.writeFile('/plain/other/later', 'y');
      await pair.clock.runFor(5000);
      expect(names(pair, '/plain/other')).toContain('later');
      pair.disk('b').mounts.mount(point, 'disk');
      await pair.clock.runFor(3000);
      expect(await wait(pair)).toBe('durable');
      expect(pair.differences()).toEqual([]);
    },
  );

  it('that comes back is compared with all that changed while the primary passed over it (I10)', async () => {
    const pair = await filledPair(point);
    pair.disk('b').mounts.umount(point);
    await pair.clock.runFor(3000);
    // Nobody watches while it changes, and who begins then knows that nothing of it can be sent.
    pair.killPrimary();
    pair.work.overwrite(`${point}/0`, 'changed', 0);
    pair.work.unlink(`${point}/4`);
    pair.startPrimary();
    pair.connect();
    await pair.clock.runFor(5000);
    expect(await wait(pair)).toBe('held-place');
    pair.disk('b').mounts.mount(point, 'disk');
    await pair.clock.runFor(3000);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('is not there at its start: the rest works, and what waited for it is done when it is back', async () => {
    const pair = await filledPair(point);
    pair.work.writeFile(`${point}/last`, 'x');
    expect(await wait(pair)).toBe('durable');
    pair.killStandby();
    pair.disk('b').mounts.umount(point);
    await pair.startStandby();
    pair.connect();
    pair.work.writeFile('/plain/other/new', 'x');
    await pair.clock.runFor(5000);
    expect(names(pair, '/plain/other')).toEqual(['new']);
    expect(names(pair, point)).toEqual([]);
    pair.disk('b').mounts.mount(point, 'disk');
    await pair.clock.runFor(3000);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
    expect(foreign(pair)).toEqual([]);
  });

  it('comes back in the midst of a start after a power cut, and power is cut again: what was acknowledged is put into place (I1)', async () => {
    const pair = await filledPair(point);
    let met = 0;
    for (let at = 0; at < 60; at++) {
      pair.work.writeFile(`${point}/acknowledged ${at}`, `content ${at}`);
      expect(await wait(pair)).toBe('durable');
      pair.cutStandbyPower();
      pair.disk('b').mounts.umount(point);
      let isBack = false;
      const mount = (): void => {
        if (isBack) return;
        isBack = true;
        pair.disk('b').mounts.mount(point, 'disk');
      };
      await pair.startStandby((files) => files.interruptAfter(at, mount));
      if (isBack) met++;
      mount();
      // It is put into place, and no batch comes after it that would sync its disk.
      await pair.clock.runFor(2000);
      expect(names(pair, point), `mounted after ${at} calls`).toContain(`acknowledged ${at}`);
      pair.cutStandbyPower();
      await pair.startStandby();
      await pair.clock.runFor(2000);
      expect(names(pair, point), `mounted after ${at} calls, and power cut again`).toContain(`acknowledged ${at}`);
      expect(foreign(pair)).toEqual([]);
      pair.connect();
      await pair.clock.runFor(2000);
    }
    // Later than that it comes at another start.
    expect(met).toBeGreaterThan(10);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('comes back after later batches: a power cut before the next one takes back nothing of what waited for it (I1)', async () => {
    const pair = await filledPair(point);
    for (let i = 0; i < 20; i++) {
      pair.work.writeFile(`${point}/acknowledged ${i}`, `content ${i}`);
      expect(await wait(pair)).toBe('durable');
      pair.cutStandbyPower();
      pair.disk('b').mounts.umount(point);
      await pair.startStandby();
      pair.connect();
      pair.work.writeFile(`/plain/other/${i}`, 'y');
      await pair.clock.runFor(3000);
      expect(names(pair, '/plain/other')).toContain(String(i));
      pair.network.cut();
      pair.disk('b').mounts.mount(point, 'disk');
      await pair.clock.runFor(2000);
      expect(names(pair, point), `disk ${i}`).toContain(`acknowledged ${i}`);
      pair.cutStandbyPower();
      await pair.startStandby();
      await pair.clock.runFor(2000);
      expect(names(pair, point), `disk ${i}, and power cut again`).toContain(`acknowledged ${i}`);
      expect(foreign(pair)).toEqual([]);
      pair.connect();
      await pair.clock.runFor(2000);
    }
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('is missing at many starts: what waits for it is kept once', async () => {
    const pair = await filledPair(point);
    pair.work.writeFile(`${point}/last`, 'x');
    expect(await wait(pair)).toBe('durable');
    pair.killStandby();
    pair.disk('b').mounts.umount(point);
    const kept: (number | undefined)[] = [];
    for (let i = 0; i < 3; i++) {
      await pair.startStandby();
      kept.push(pair.standby.kv.get(metaKey('steps-aside'))?.length);
      pair.killStandby();
    }
    expect(kept[0]).toBeGreaterThan(0);
    expect(kept).toEqual([kept[0], kept[0], kept[0]]);
  });

  it('goes in the midst of whatever the standby does', async () => {
    const pair = await filledPair(point);
    for (let at = 0; at < 60; at++) {
      let isGone = false;
      pair.standby.files.interruptAfter(at * 3, () => {
        isGone = true;
        pair.disk('b').mounts.umount(point);
      });
      for (let i = 0; i < 4; i++) pair.work.overwrite(`${point}/${i}`, `content ${at % 10}`, 0);
      pair.work.mkdir(`${point}/new${at}`, 0o755);
      pair.work.writeFile(`${point}/new${at}/x`, `x${at}`);
      if (at > 0) pair.work.unlink(`${point}/new${at - 1}/x`);
      pair.work.writeFile(`/plain/other/${at}`, 'y');
      const waiting = wait(pair);
      await pair.clock.runWhile(() => !isGone, 60_000);
      await waiting;
      await pair.clock.runFor(3000);
      expect(names(pair, point), `after ${at * 3} calls`).toEqual([]);
      expect(names(pair, '/plain/other'), `after ${at * 3} calls`).toContain(String(at));
      pair.disk('b').mounts.mount(point, 'disk');
      await pair.clock.runFor(3000);
      expect(await wait(pair), `after ${at * 3} calls`).toBe('durable');
      expect(pair.differences()).toEqual([]);
      expect(foreign(pair)).toEqual([]);
    }
  });
});

describe('a file system that is mounted inside the root of a standby and not inside that of the primary', () => {
  const verify = async (pair: PlainPair) => {
    const verifying = pair.primary.primary?.verify(true, 60_000, never, () => {});
    return (await pair.clock.settle(verifying ?? Promise.reject(new Error('no primary')), 120_000)).total;
  };

  it('takes files that move, are linked and change between the two', async () => {
    const pair = await filledPair(point);
    const { work } = pair;
    work.rename(`${point}/0`, '/plain/other/0');
    work.link(`${point}/1`, '/plain/other/1');
    work.symlink('1', `${point}/link`);
    expect(await wait(pair)).toBe('durable');
    work.rename(`${point}/link`, '/plain/other/link');
    work.rename('/plain/other/0', `${point}/back`);
    work.overwrite(`${point}/1`, 'changed in both', 0);
    expect(await wait(pair)).toBe('durable');
    work.rename('/plain/other/1', `${point}/2`);
    expect(await wait(pair)).toBe('durable');
    expect(await verify(pair)).toBe(0);
    // A file of two names on two file systems is two files there.
    expect(pair.differences().filter((line) => !line.includes(' same as '))).toEqual([]);
    expect(foreign(pair)).toEqual([]);
  });

  it('takes directories that move out of it and into it, and its own mount point as well', async () => {
    const pair = await filledPair(point);
    const { work } = pair;
    work.mkdir(`${point}/dir`, 0o755);
    work.mkdir(`${point}/dir/deep`, 0o700);
    work.writeFile(`${point}/dir/deep/file`, 'inside');
    expect(await wait(pair)).toBe('durable');
    work.rename(`${point}/dir`, '/plain/other/dir');
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
    work.rename('/plain/other/dir', `${point}/dir2`);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
    work.rename(point, '/plain/renamed');
    expect(await wait(pair)).toBe('durable');
    // The mount point itself stays, empty.
    expect(pair.differences()).toEqual([expect.stringMatching(/^example.com: only on the replica/)]);
    expect(await verify(pair)).toBe(0);
    expect(foreign(pair)).toEqual([]);
    pair.killStandby();
    await pair.startStandby();
    pair.connect();
    work.mkdir(point, 0o711);
    work.writeFile(`${point}/again`, 'x');
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });

  it('is emptied when the directory above it goes, and what was on it is kept there', async () => {
    const pair = await filledPair('/plain/other/example.com');
    const { work } = pair;
    work.mkdir('/plain/other/example.com/u', 0o755);
    work.writeFile('/plain/other/example.com/u/mail', 'kept');
    work.writeFile('/plain/other/beside', 'kept, too');
    expect(await wait(pair)).toBe('durable');
    work.unlink('/plain/other/beside');
    work.unlink('/plain/other/example.com/u/mail');
    work.rmdir('/plain/other/example.com/u');
    work.rmdir('/plain/other/example.com');
    work.rmdir('/plain/other');
    expect(await wait(pair)).toBe('durable');
    expect(names(pair, '/plain/other')).toEqual(['example.com']);
    expect(names(pair, '/plain/other/example.com')).toEqual(['..mailtwin']);
    const kept = (dir: string): string[] =>
      (pair.filesOf('b').readdir(dir) ?? []).flatMap(({ name, kind }) => (kind === 'dir' ? kept(`${dir}/${name}`) : [`${dir}/${name}`]));
    expect(kept('/plain/other/example.com/..mailtwin/history')).not.toEqual([]);
    expect(await verify(pair)).toBe(0);
    expect(foreign(pair)).toEqual([]);
  });
});

describe('what is known against a standby', () => {
  it.each([
    ['its root', '/plain', 'held'],
    ['a disk below its root', point, 'held-place'],
  ])('is kept while it is not connected, and over a restart of the primary: %s', async (_, place, code) => {
    const pair = await filledPair(place);
    pair.disk('b').mounts.umount(place);
    await pair.clock.runFor(5000);
    pair.killStandby();
    await pair.clock.runFor(5000);
    // Everything was acknowledged, and lies on a disk of which it was last heard that it is not there.
    expect(await wait(pair)).toBe(code);
    pair.killPrimary();
    pair.startPrimary();
    await pair.clock.runFor(5000);
    const { primary } = pair.primary;
    expect([primary?.sender.held?.code, primary?.holds.stopped?.code]).toContain(code === 'held' ? 'root-changed' : 'standby-mount');
    expect(await wait(pair)).not.toBe('durable');
    pair.disk('b').mounts.mount(place, 'disk');
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(5000);
    expect(await wait(pair)).toBe('durable');
    // What it acknowledged stays confirmed when it goes, and nothing is wrong with it.
    pair.killStandby();
    await pair.clock.runFor(5000);
    expect(await wait(pair)).toBe('durable');
  });

  it('is that it stands where no batch from here ended, until it was compared, also over a restart of the primary', async () => {
    const pair = await filledPair('/plain');
    const { sender } = pair.primary.primary!;
    pair.killStandby();
    await pair.clock.runFor(5000);
    expect(await wait(pair)).toBe('durable');
    // It comes with an older state of itself, and goes again before it was compared.
    expect(sender.meet({ ...sender.durable, seq: sender.durable.seq - 1, checksum: '1'.repeat(16) })).toBe('theirs-put-back');
    expect(await wait(pair)).toBe('timeout');
    pair.killPrimary();
    pair.startPrimary();
    await pair.clock.runFor(5000);
    expect(await wait(pair)).toBe('timeout');
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(5000);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
  });
});
