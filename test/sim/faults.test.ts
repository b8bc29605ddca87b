import { describe, expect, it } from 'vitest';
import { lacks } from '../../protocol/shortfall.ts';
import { PlainPair } from './plain-pair.ts';

const nobody = 1_300_001;

/** A pair whose standby's file system refuses some of what is asked of it. */
async function makePair() {
  const pair = new PlainPair();
  pair.connect();
  pair.work.writeFile('/plain/first', 'first');
  await pair.settle();
  const doubts = () => (pair.primary.primary?.unproven.list() ?? []).map(({ path, kind }) => `${kind} ${path}`).toSorted();
  return { pair, doubts, copy: pair.copy };
}

describe('a file whose attributes the standby cannot set (I20)', () => {
  it('is there with what can be kept, is in doubt by name on both nodes, and everything else goes on', async () => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.refuses = ({ what, change: { uid = 0, gid = 0 } }) =>
      what === 'owner' && Math.max(uid, gid) > 65_535 ? 'EINVAL' : null;
    pair.work.writeFile('/plain/odd', 'odd owner');
    pair.work.setMeta('/plain/odd', { uid: nobody, gid: nobody, mode: 0o664 });
    pair.work.mkdir('/plain/dir', 0o755);
    pair.work.setMeta('/plain/dir', { uid: nobody, gid: 5 });
    pair.work.writeFile('/plain/dir/inside', 'inside');
    await pair.clock.runFor(2000);
    expect(pair.primary.primary?.changes.openCount).toBe(0);
    expect(copy.readFile('/plain/odd', 100)?.data.toString()).toBe('odd owner');
    expect(copy.readFile('/plain/dir/inside', 100)?.data.toString()).toBe('inside');
    // What was meant for the group is nobody's, because another group owns the file.
    expect(copy.lstat('/plain/odd')?.mode).toBe(0o604);
    expect(copy.lstat('/plain/dir')?.gid).toBe(5);
    expect(doubts()).toEqual(['attributes dir', 'attributes odd']);
    expect(pair.primary.primary?.unproven.list()[0]?.reason).toContain(`${nobody}`);
    expect(pair.standby.standby?.receiver.shortfalls.list().map(({ path, bits }) => [path, bits])).toEqual(
      expect.arrayContaining([
        ['odd', lacks.owner | lacks.mode],
        ['dir', lacks.owner],
      ]),
    );
    // Later changes of the same file go on.
    pair.work.append('/plain/odd', ' and more');
    await pair.clock.runFor(2000);
    expect(copy.readFile('/plain/odd', 100)?.data.toString()).toBe('odd owner and more');
  });

  it('is compared as far as the standby can, and not sent again and again', async () => {
    const { pair, doubts } = await makePair();
    pair.standbyDisk.refuses = ({ what }) => (what === 'xattrs' ? 'ENOSPC' : what === 'time' ? 'EINVAL' : null);
    pair.work.writeFile('/plain/odd', 'odd');
    pair.work.setMeta('/plain/odd', { xattrs: new Map([['user.note', Buffer.from('x')]]), mtimeNs: 5n });
    await pair.clock.runFor(2000);
    expect(doubts()).toEqual(['attributes odd']);
    let ops = 0;
    pair.network.tap = (message) => {
      if (message.type === 'ops') ops += message.ops.length;
      return message;
    };
    pair.primary.primary?.start();
    await pair.clock.runFor(5000);
    expect(ops).toBe(0);
    const progress = { files: 0, bytes: 0 };
    for (const deep of [false, true])
      for await (const difference of pair.standby.standby?.audit(deep, progress, new AbortController().signal) ?? [])
        expect(difference).toBeNull();
    // Its doubt is tried again with growing pauses.
    await pair.clock.runFor(600_000);
    expect(ops).toBeGreaterThan(2);
    expect(ops).toBeLessThan(10);
  });

  it('ceases to be in doubt by itself when it can be set, whether the connection stood or not', async () => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.refuses = ({ what }) => (what === 'owner' ? 'EPERM' : null);
    pair.work.writeFile('/plain/odd', 'odd');
    pair.work.setMeta('/plain/odd', { uid: nobody, gid: nobody });
    await pair.clock.runFor(2000);
    expect(doubts()).toEqual(['attributes odd']);
    pair.standbyDisk.refuses = null;
    await pair.clock.runFor(120_000);
    expect(doubts()).toEqual([]);
    expect(copy.lstat('/plain/odd')?.uid).toBe(nobody);
    expect(pair.differences()).toEqual([]);
    expect(pair.standby.standby?.receiver.shortfalls.count).toBe(0);

    pair.standbyDisk.refuses = ({ what }) => (what === 'owner' ? 'EPERM' : null);
    pair.work.setMeta('/plain/odd', { uid: nobody + 1 });
    await pair.clock.runFor(2000);
    pair.killStandby();
    await pair.clock.runFor(10_000);
    await pair.startStandby();
    expect(pair.standby.standby?.receiver.shortfalls.count).toBe(1);
    pair.standbyDisk.refuses = null;
    pair.connect();
    await pair.clock.runFor(3000);
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('keeps its doubt under every name that it gets', async () => {
    const { pair, doubts } = await makePair();
    pair.standbyDisk.refuses = ({ what, change: { uid = 0, gid = 0 } }) =>
      what === 'owner' && Math.max(uid, gid) > 65_535 ? 'EINVAL' : null;
    pair.work.mkdir('/plain/dir', 0o755);
    pair.work.writeFile('/plain/dir/odd', 'odd');
    pair.work.setMeta('/plain/dir/odd', { uid: nobody, gid: nobody });
    await pair.clock.runFor(2000);
    pair.work.rename('/plain/dir/odd', '/plain/dir/renamed');
    pair.work.link('/plain/dir/renamed', '/plain/dir/linked');
    await pair.clock.runFor(2000);
    expect(doubts()).toEqual(['attributes dir/linked', 'attributes dir/renamed']);
    pair.work.rename('/plain/dir', '/plain/moved');
    await pair.clock.runFor(2000);
    expect(doubts()).toEqual(['attributes moved/linked', 'attributes moved/renamed']);
    expect(
      pair.standby.standby?.receiver.shortfalls
        .list()
        .map(({ path }) => path)
        .toSorted(),
    ).toEqual(['moved/linked', 'moved/renamed']);
    pair.work.unlink('/plain/moved/linked');
    pair.work.unlink('/plain/moved/renamed');
    await pair.settle();
    expect(doubts()).toEqual([]);
    expect(pair.standby.standby?.receiver.shortfalls.count).toBe(0);
  });
});

describe('a place that the standby cannot have (I20)', () => {
  it('is refused by name before the commit, and the batch is made again without it', async () => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.fail({ operation: 'symlink', code: 'ENAMETOOLONG', times: 1000 });
    const at: { reject?: number; ack?: number } = {};
    pair.network.tap = (message) => {
      if (message.type === 'reject' && message.code === 'path') at.reject ??= pair.clock.now;
      if (message.type === 'ack' && at.reject !== undefined) at.ack ??= pair.clock.now;
      return message;
    };
    pair.work.writeFile('/plain/before', 'before');
    pair.work.symlink('x/'.repeat(600), '/plain/link');
    pair.work.writeFile('/plain/later', 'later');
    await pair.clock.runFor(2000);
    // At once: nothing is held for it.
    expect((at.ack ?? Infinity) - (at.reject ?? 0)).toBeLessThan(200);
    expect(doubts()).toEqual(['place link']);
    expect(copy.lstat('/plain/before')).not.toBeNull();
    expect(copy.lstat('/plain/later')).not.toBeNull();
    expect(copy.lstat('/plain/link')).toBeNull();
    pair.standbyDisk.mend();
    await pair.clock.runFor(120_000);
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it.each(['file', 'directory'])('a %s, after the commit, is left undone there, and everything beside it goes on', async (kind) => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', times: 1000, path: /\/plain\/bad$/ });
    if (kind === 'directory') {
      pair.work.mkdir('/plain/bad', 0o755);
      pair.work.writeFile('/plain/bad/inside', 'inside');
    } else pair.work.writeFile('/plain/bad', 'bad');
    pair.work.writeFile('/plain/good', 'good');
    await pair.clock.runFor(5000);
    pair.work.writeFile('/plain/later', 'later');
    await pair.clock.runFor(5000);
    expect(doubts()).toContain('place bad');
    expect(copy.readFile('/plain/good', 10)?.data.toString()).toBe('good');
    expect(copy.readFile('/plain/later', 10)?.data.toString()).toBe('later');
    expect(copy.lstat('/plain/bad')).toBeNull();
    expect(pair.primary.primary?.changes.openCount).toBe(0);
    expect(pair.standby.standby?.foreign()).toEqual([]);
    pair.standbyDisk.mend();
    await pair.clock.runFor(200_000);
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
    expect(pair.standby.standby?.foreign()).toEqual([]);
  });

  it('leaves no content in staging, however often it is tried, and nobody is blamed for that after a kill', async () => {
    const { pair, doubts, copy } = await makePair();
    const staged = () => copy.readdir('/state-b/staging/plain/stage') ?? ['no staging'];
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', times: 1000, path: /\/plain\/bad$/ });
    pair.work.writeFile('/plain/bad', 'bad');
    let tries = 0;
    pair.network.tap = (message) => {
      if (message.type === 'ops') tries += message.ops.length;
      return message;
    };
    await pair.clock.runFor(600_000);
    expect(tries).toBeGreaterThan(2);
    expect(staged()).toEqual([]);
    pair.killStandby();
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(5000);
    expect(doubts()).toEqual(['place bad']);
    expect(pair.standby.standby?.foreign()).toEqual([]);
    pair.standbyDisk.mend();
    await pair.clock.runFor(4_000_000);
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('and one that it cannot let go stays in doubt until it can', async () => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', times: 1000, path: /history\// });
    pair.standbyDisk.fail({ operation: 'unlink', code: 'EPERM', times: 1000, path: /first/ });
    pair.work.unlink('/plain/first');
    pair.work.writeFile('/plain/later', 'later');
    await pair.clock.runFor(5000);
    expect(doubts()).toEqual(['place first']);
    expect(copy.lstat('/plain/first')).not.toBeNull();
    expect(copy.lstat('/plain/later')).not.toBeNull();
    pair.standbyDisk.mend();
    await pair.clock.runFor(200_000);
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('is known after a kill between the commit and the acknowledgement, too', async () => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', times: 1000, path: /\/plain\/bad$/ });
    pair.network.tap = (message) => {
      if (message.type === 'ack') {
        pair.network.tap = (same) => same;
        pair.network.cut();
      }
      return message;
    };
    pair.work.writeFile('/plain/bad', 'bad');
    pair.work.writeFile('/plain/good', 'good');
    await pair.clock.runFor(3000);
    pair.killStandby();
    await pair.clock.runFor(3000);
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(3000);
    expect(doubts()).toEqual(['place bad']);
    expect(copy.lstat('/plain/good')).not.toBeNull();
    pair.standbyDisk.mend();
    await pair.clock.runFor(200_000);
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('is tried for a while when the disk reports an error, and then is its own when the rest of the disk works', async () => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.fail({ operation: 'rename', code: 'EIO', times: 5, path: /\/plain\/once$/ });
    pair.work.writeFile('/plain/once', 'once');
    await pair.clock.runFor(10_000);
    expect(doubts()).toEqual([]);
    expect(copy.lstat('/plain/once')).not.toBeNull();
    pair.standbyDisk.fail({ operation: 'rename', code: 'EIO', times: 1000, path: /\/plain\/bad$/ });
    pair.work.writeFile('/plain/bad', 'bad');
    await pair.clock.runFor(60_000);
    pair.work.writeFile('/plain/later', 'later');
    await pair.clock.runFor(5000);
    expect(doubts()).toEqual(['place bad']);
    expect(copy.lstat('/plain/later')).not.toBeNull();
  });
});

describe('a file that the primary cannot read or carry (I20)', () => {
  it.each(['EACCES', 'ESTALE', 'ELOOP', 'EOVERFLOW', 'EIO', 'errno 117'])('%s puts it in doubt, and nothing else', async (code) => {
    const { pair, doubts, copy } = await makePair();
    pair.primaryDisk.fail({ operation: 'readFile', code, times: 1e6, path: /\/plain\/bad$/ });
    pair.work.writeFile('/plain/bad', 'bad');
    pair.work.writeFile('/plain/good', 'good');
    await pair.clock.runFor(5000);
    expect(doubts()).toEqual(['reading bad']);
    expect(copy.lstat('/plain/good')).not.toBeNull();
    pair.primaryDisk.mend();
    await pair.clock.runFor(120_000);
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('with more attributes than a message holds travels without them, in doubt until it has less', async () => {
    const { pair, doubts, copy } = await makePair();
    const many = new Map(Array.from({ length: 200 }, (_, i) => [`user.${i}`, Buffer.alloc(60_000, i)]));
    pair.work.writeFile('/plain/bad', 'bad');
    pair.work.setMeta('/plain/bad', { xattrs: many });
    pair.work.mkdir('/plain/dir', 0o700);
    pair.work.setMeta('/plain/dir', { xattrs: many });
    pair.work.writeFile('/plain/dir/good', 'good');
    await pair.clock.runFor(5000);
    expect(doubts()).toEqual(['bounds bad', 'bounds dir']);
    expect(copy.readFile('/plain/bad', 10)?.data.toString()).toBe('bad');
    expect(copy.lstat('/plain/dir/good')).not.toBeNull();
    pair.work.setMeta('/plain/bad', { xattrs: new Map([['user.one', Buffer.alloc(60_000)]]) });
    pair.work.setMeta('/plain/dir', { xattrs: new Map() });
    await pair.settle();
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('and one with a time of the year 2300 or 1600 has it on the standby', async () => {
    const { pair, doubts } = await makePair();
    for (const [name, seconds] of [
      ['later', 10_413_792_000n],
      ['before', -11_676_096_000n],
      ['odd', -(2n ** 40n)],
    ] as const) {
      pair.work.writeFile(`/plain/${name}`, name);
      pair.work.setMeta(`/plain/${name}`, { mtimeNs: seconds * 1_000_000_000n + 7n });
      pair.work.mkdir(`/plain/d-${name}`, 0o755);
      pair.work.setMeta(`/plain/d-${name}`, { mtimeNs: seconds * 1_000_000_000n });
    }
    await pair.settle();
    expect(doubts()).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });
});

describe('a disk that keeps whole seconds (I20)', () => {
  it('of the standby: nothing is sent again, and nothing is reported for it', async () => {
    const { pair, doubts } = await makePair();
    pair.standbyDisk.timesNs = 1_000_000_000n;
    pair.work.writeFile('/plain/one', 'one');
    pair.work.setMeta('/plain/one', { mtimeNs: 1_650_000_000_123_456_789n });
    pair.work.symlink('one', '/plain/link');
    await pair.settle();
    let ops = 0;
    pair.network.tap = (message) => {
      if (message.type === 'ops') ops += message.ops.length;
      return message;
    };
    pair.primary.primary?.start();
    await pair.clock.runFor(5000);
    expect(ops).toBe(0);
    expect(doubts()).toEqual([]);
    const found: unknown[] = [];
    for await (const difference of pair.standby.standby?.audit(true, { files: 0, bytes: 0 }, new AbortController().signal) ?? [])
      found.push(difference);
    expect(found).toEqual([]);
  });

  it('of the primary: a change within the second in which a file was read is found', async () => {
    const { pair, copy } = await makePair();
    pair.primaryDisk.timesNs = 1_000_000_000n;
    pair.work.writeFile('/plain/one', 'before');
    await pair.clock.runFor(300);
    expect(copy.readFile('/plain/one', 10)?.data.toString()).toBe('before');
    pair.killPrimary();
    pair.work.overwrite('/plain/one', 'after!', 0);
    await pair.clock.runFor(5000);
    pair.startPrimary();
    pair.connect();
    await pair.clock.runFor(5000);
    expect(copy.readFile('/plain/one', 10)?.data.toString()).toBe('after!');
  });
});

describe('a disk without ACLs or attributes (I20)', () => {
  it('has the files with narrow permissions, none in doubt, and nothing is sent again', async () => {
    const { pair, doubts, copy } = await makePair();
    pair.standbyDisk.refuses = ({ what }) => (what === 'xattrs' ? 'EOPNOTSUPP' : null);
    pair.work.mkdir('/plain/dir', 0o770);
    pair.work.setMeta('/plain/dir', { xattrs: new Map([['system.posix_acl_access', acl]]), mode: 0o770 });
    pair.work.writeFile('/plain/one', 'one');
    pair.work.setMeta('/plain/one', { xattrs: new Map([['system.posix_acl_access', acl]]), mode: 0o660 });
    await pair.settle();
    expect(doubts()).toEqual([]);
    // The file's own group has nothing; what the mode shows there is the mask.
    expect(copy.lstat('/plain/one')?.mode).toBe(0o600);
    expect(copy.lstat('/plain/dir')?.mode).toBe(0o700);
    let ops = 0;
    pair.network.tap = (message) => {
      if (message.type === 'ops') ops += message.ops.length;
      return message;
    };
    pair.primary.primary?.start();
    await pair.clock.runFor(5000);
    expect(ops).toBe(0);
    const found: unknown[] = [];
    for await (const difference of pair.standby.standby?.audit(true, { files: 0, bytes: 0 }, new AbortController().signal) ?? [])
      found.push(difference);
    expect(found).toEqual([]);
  });
});

/** user::rw-, user:1000:rw-, group::---, mask::rw-, other::--- as Linux keeps it. */
const acl = Buffer.from('0200000001000600ffffffff02000600e803000004000000ffffffff10000600ffffffff20000000ffffffff', 'hex');

describe('a file with several names whose attributes the standby cannot set (I2, I20)', () => {
  it('lacks them under each name that it gets meanwhile, and nobody is said to have written there', async () => {
    const { pair } = await makePair();
    pair.standbyDisk.refuses = ({ what, change: { uid = 0 } }) => (what === 'owner' && uid > 65_535 ? 'EPERM' : null);
    pair.work.mkdir('/plain/dir', 0o755);
    pair.work.writeFile('/plain/dir/one', 'one');
    await pair.settle();
    // The owner changes in one batch with a second name, before the directory above gets another one.
    pair.work.setMeta('/plain/dir/one', { uid: nobody });
    pair.work.link('/plain/dir/one', '/plain/dir/two');
    await pair.clock.runFor(4);
    pair.work.rename('/plain/dir', '/plain/moved');
    await pair.clock.runFor(5000);
    expect(pair.standby.standby?.foreign()).toEqual([]);
    for await (const { path, what } of pair.standby.standby?.audit(false, { files: 0, bytes: 0 }, new AbortController().signal) ?? [])
      expect(`${path} ${what}`).toBe('');
    pair.killStandby();
    await pair.clock.runFor(10);
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(5000);
    expect(pair.standby.standby?.foreign()).toEqual([]);
  });
});

describe('a file that is written anew while its last change is on its way (I20)', () => {
  it('or moves lacks what it could not be given then, and nothing else', async () => {
    const { pair } = await makePair();
    pair.standbyDisk.refuses = ({ what, change: { uid = 0, xattrs } }) =>
      (what === 'owner' && uid === nobody) || (what === 'xattrs' && xattrs?.has('user.refused')) ? 'EPERM' : null;
    const refused = { xattrs: new Map([['user.refused', Buffer.from('x')]]) };
    const lacking = (name: string) => pair.standby.index.at('plain', name)?.entry.lacks ?? 0;
    for (let ms = 0; ms < 60; ms += 2) {
      const [worse, well, kept, mended] = [`worse ${ms}`, `well ${ms}`, `kept ${ms}`, `mended ${ms}`];
      const all = [worse, well, `old ${kept}`, `old ${mended}`];
      for (const name of all) pair.work.writeFile(`/plain/${name}`, name);
      await pair.clock.runFor(1000);
      for (const name of all) pair.work.setMeta(`/plain/${name}`, refused);
      await pair.clock.runFor(ms);
      pair.work.rename(`/plain/old ${kept}`, `/plain/${kept}`);
      pair.work.rename(`/plain/old ${mended}`, `/plain/${mended}`);
      pair.work.setMeta(`/plain/${mended}`, { xattrs: new Map() });
      pair.work.append(`/plain/${worse}`, ' and more');
      pair.work.setMeta(`/plain/${worse}`, { uid: nobody });
      pair.work.writeFile('/plain/new', 'another file');
      pair.work.rename('/plain/new', `/plain/${well}`);
      await pair.clock.runFor(1000);
      expect([worse, well, kept, mended].map(lacking), `after ${ms} ms`).toEqual([lacks.owner | lacks.attributes, 0, lacks.attributes, 0]);
    }
    for await (const { path, what } of pair.standby.standby?.audit(false, { files: 0, bytes: 0 }, new AbortController().signal) ?? [])
      expect.fail(`${path} ${what}`);
    expect(pair.standby.standby?.foreign()).toEqual([]);
  });
});
