import { describe, expect, it } from 'vitest';
import { GuardedPair, message } from './guarded-pair.ts';
import { PlainPair } from './plain-pair.ts';

const always = 1_000_000;
/** A batch is on its way for about so long; what happens meanwhile is spread over it. */
const momentsMs = Array.from({ length: 16 }, (_, i) => i * 4);

async function makePair() {
  const pair = new PlainPair();
  pair.connect();
  pair.work.mkdir('/plain/dir', 0o755);
  pair.work.writeFile('/plain/dir/old', 'old');
  await pair.settle();
  const doubts = () => (pair.primary.primary?.unproven.list() ?? []).map(({ path, kind }) => `${kind} ${path}`).toSorted();
  const foreign = () => pair.standby.standby?.foreign();
  return { pair, doubts, foreign };
}

function expectGood({ pair, doubts, foreign }: Awaited<ReturnType<typeof makePair>>) {
  expect([pair.differences(), doubts(), foreign()]).toEqual([[], [], []]);
}

describe('a file that could not be put into place and has moved on meanwhile (I2, I20)', () => {
  it.each(['goes on', 'is killed'])('is said to be nobody’s doing, and follows, when the standby %s', async (end) => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/.Box', 40);
    await pair.wait();
    const kills = end === 'is killed' ? [4, 10, 16, 22] : [20];
    for (const [n, [ms, killMs]] of momentsMs.flatMap((each) => kills.map((kill) => [each, kill] as const)).entries()) {
      const name = message(1000 + n);
      pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', path: new RegExp(`/new/${name}$`), times: always });
      pair.server.writeFile(`/mail/.Box/new/${name}`, `content ${ms}`);
      await pair.clock.runFor(ms);
      pair.server.rename(`/mail/.Box/new/${name}`, `/mail/.Box/cur/${name}:2,S`);
      await pair.clock.runFor(killMs);
      if (end === 'is killed') await pair.restartStandby();
      await pair.clock.runFor(500);
      expect(pair.foreign).toEqual([]);
    }
    pair.standbyDisk.mend();
    await pair.clock.runFor(120_000);
    expect([pair.differences(), pair.primary.unproven.list(), pair.foreign]).toEqual([[], [], []]);
  });

  it('or is to become a directory: what is in the way is nobody’s doing either', async () => {
    const made = await makePair();
    const { pair, foreign } = made;
    for (const operation of ['unlink', 'rename', 'link'])
      pair.standbyDisk.fail({ operation, code: 'EMLINK', path: /dir\/old$|history/, times: always });
    pair.work.unlink('/plain/dir/old');
    pair.work.mkdir('/plain/dir/old', 0o755);
    pair.work.writeFile('/plain/dir/old/inside', 'inside');
    await pair.clock.runFor(5000);
    expect(foreign()).toEqual([]);
    pair.standbyDisk.mend();
    await pair.clock.runFor(120_000);
    expectGood(made);
  });
});

describe('a directory that cannot be renamed (I2, I20)', () => {
  it('keeps all that it has under its old name, and nobody is said to have put it there', async () => {
    const made = await makePair();
    const { pair, foreign, doubts } = made;
    pair.standby.standby?.watched('fanotify');
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', path: /\/moved$|history/, times: always });
    pair.work.rename('/plain/dir', '/plain/moved');
    await pair.clock.runFor(1000);
    pair.standby.standby?.hints([
      { kind: 'path', root: 'plain', path: 'dir/old' },
      { kind: 'path', root: 'plain', path: 'dir' },
      { kind: 'tree', root: 'plain', path: '' },
    ]);
    await pair.clock.runFor(5000);
    expect(doubts()).toContain('place moved');
    expect(foreign()).toEqual([]);
    pair.standbyDisk.mend();
    await pair.clock.runFor(120_000);
    expectGood(made);
  });
});

describe('an error that a place has only at the start of a standby (I6)', () => {
  it('leaves nothing of the last batch undone: what stands beside it may be newer', async () => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/.Other', 40, 1000);
    pair.makeMailbox('/mail/.Box', 4);
    await pair.wait();
    pair.server.writeFile(`/mail/.Box/cur/${message(5)}:2,S`, 'message 5');
    pair.list('/mail/.Box', 1, 6);
    await pair.wait();
    pair.standbyDisk.fail({ operation: 'lstat', code: 'ENOSYS', path: /\.Box\/dovecot-uidlist$/, times: 2 });
    await pair.restartStandby();
    expect(pair.shortfalls).toEqual([]);
  });
});

describe('an error that no file is to blame for, or another one than is looked at (I20)', () => {
  it.each([
    ['primary', 'lstat', /dovecot-keywords$/, 'EACCES'],
    ['primary', 'lstat', /\.Box\/(?:cur|new)$/, 'EIO'],
    ['primary', 'mountPoints', /./, 'EMFILE'],
    ['standby', 'mountPoints', /./, 'EMFILE'],
    ['standby', 'unlink', /stage/, 'EIO'],
    ['standby', 'space', /./, 'ENOMEM'],
  ] as const)('on the %s, of %s of %s, ends no connection, and all is there when it is over', async (node, operation, path, code) => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/.Box', 4);
    pair.makeMailbox('/mail/.Other', 40, 1000);
    await pair.wait();
    const disk = node === 'primary' ? pair.primaryDisk : pair.standbyDisk;
    const met = disk.faultFor.bind(disk);
    let count = 0;
    disk.faultFor = (...call) => {
      const found = met(...call);
      if (found !== null) count++;
      return found;
    };
    disk.fail({ operation, code, path, times: always });
    // One that the standby refuses, so that it has something to drop from its staging.
    pair.standbyDisk.fail({ operation: 'symlink', code: 'EPERM', times: 1 });
    pair.server.symlink('first', '/plain/link');
    pair.server.writeFile('/plain/first', 'first');
    pair.server.writeFile(`/mail/.Box/cur/${message(5)}:2,Sa`, 'message 5');
    pair.list('/mail/.Box', 1, 6);
    pair.server.writeFile(`/mail/.Other/cur/${message(2000)}:2,S`, 'message 2000');
    await pair.clock.runFor(3000);
    if (operation === 'lstat') expect(pair.names('/mail/.Other/cur')).toContain(`${message(2000)}:2,S`);
    expect(count).toBeGreaterThan(0);
    disk.mend();
    await pair.clock.runFor(120_000);
    expect(pair.isConnected).toBe(true);
    expect(pair.differences()).toEqual([]);
  });

  it('costs no change that it meets just as a large file is to go ahead', async () => {
    const made = await makePair();
    const { pair } = made;
    const large = 'x'.repeat(300_000);
    const faultFor = pair.primaryDisk.faultFor.bind(pair.primaryDisk);
    for (let met = 0; met < 12; met++) {
      const name = `large ${met}`;
      pair.work.writeFile(`/plain/${name}`, large);
      let left = met;
      pair.primaryDisk.faultFor = (operation, path) =>
        operation === 'lstat' && path.endsWith(name) && left-- === 0 ? 'EIO' : faultFor(operation, path);
      await pair.clock.runFor(60_000);
      expect([met, pair.copy.lstat(`/plain/${name}`)?.size, pair.primary.primary?.changes.openCount]).toEqual([met, large.length, 0]);
    }
    pair.primaryDisk.faultFor = faultFor;
    expectGood(made);
  });
});

describe('an error that is met while a mailbox is closed (I1, I20)', () => {
  it.each(['lstat', 'mountId', 'identity'])('of %s, at whichever call, costs no removal of a message', async (operation) => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/.Box', 30);
    pair.makeMailbox('/mail/.Other', 200, 1000);
    await pair.wait();
    const faultFor = pair.primaryDisk.faultFor.bind(pair.primaryDisk);
    for (let met = 0; met < 24; met++) {
      let left = met;
      pair.primaryDisk.faultFor = (called, path) =>
        called === operation && path.startsWith('/mail') && !path.includes('Other') && left-- === 0 ? 'EIO' : faultFor(called, path);
      pair.server.unlink(`/mail/.Box/cur/${message(met + 1)}:2,S`);
      pair.list('/mail/.Box', met + 2, 31);
      await pair.clock.runFor(70_000);
      pair.primaryDisk.faultFor = faultFor;
      expect([met, pair.differences(), pair.primary.unproven.list()]).toEqual([met, [], []]);
    }
  });
});

describe('what cannot be read for a while (I1, I10)', () => {
  it('is compared when a directory above it could not be looked at, whatever the error', async () => {
    const made = await makePair();
    const { pair } = made;
    pair.work.mkdir('/plain/dir/sub', 0o755);
    await pair.settle();
    for (const code of ['EMFILE', 'EIO', 'EACCES']) {
      pair.primaryDisk.fail({ operation: 'lstat', code, path: /\/dir$/, times: always });
      pair.work.mkdir(`/plain/dir/sub/${code}`, 0o755);
      pair.work.writeFile(`/plain/dir/sub/${code} file`, code);
      await pair.clock.runFor(1000);
      pair.primaryDisk.mend();
      await pair.clock.runFor(120_000);
      expect(pair.differences()).toEqual([]);
    }
    expectGood(made);
  });

  it('stays in doubt, with all that is in it, although its mailbox could be closed meanwhile', async () => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/.Box', 4);
    pair.makeMailbox('/mail/.Other', 40, 1000);
    await pair.wait();
    pair.primary.unproven.add('mail', '.Box', 'cannot be read');
    pair.server.writeFile(`/mail/.Box/cur/${message(5)}:2,S`, 'message 5');
    pair.list('/mail/.Box', 1, 6);
    await pair.clock.runFor(1000);
    expect(pair.read('/mail/.Box/dovecot-uidlist')).toContain(message(5));
    expect(pair.primary.unproven.list().map(({ path }) => path)).toEqual(['.Box']);
    await pair.clock.runFor(15_000);
    expect(pair.primary.unproven.count).toBe(0);
  });
});

describe('a file with several names (I1)', () => {
  it('is durable under all of them when `wait` says so, also when it was changed by one that is gone since', async () => {
    const { pair } = await makePair();
    const large = 'x'.repeat(300_000);
    pair.work.writeFile('/plain/one', 'small');
    pair.work.link('/plain/one', '/plain/two');
    await pair.settle();
    pair.work.writeFile('/plain/one', large);
    pair.work.unlink('/plain/one');
    await pair.clock.runFor(3);
    await pair.settle();
    expect(pair.copy.lstat('/plain/two')?.size).toBe(large.length);
  });
});

it('an error that another name of a file has keeps the two from being one file no longer than it lasts (I20)', async () => {
  const made = await makePair();
  const { pair } = made;
  pair.work.writeFile('/plain/one', 'content');
  pair.work.link('/plain/one', '/plain/dir/other');
  await pair.settle();
  pair.primaryDisk.fail({ operation: 'lstat', code: 'EOVERFLOW', path: /dir\/other$/, times: always });
  pair.work.setMeta('/plain/one', { mtimeNs: 1_600_000_000_000_000_000n });
  await pair.clock.runFor(1000);
  pair.work.rename('/plain/one', '/plain/third');
  await pair.clock.runFor(1000);
  pair.primaryDisk.mend();
  await pair.clock.runFor(120_000);
  expectGood(made);
});

it('what could not be put into place is not called durable when its attributes change at once and the word of it is lost (I1)', async () => {
  const pair = new PlainPair({ latencyMs: [20, 30] });
  pair.connect();
  pair.work.mkdir('/plain/dir', 0o755);
  await pair.settle();
  const doubts = () => (pair.primary.primary?.unproven.list() ?? []).map(({ path, kind }) => `${kind} ${path}`);
  for (const [n, [ms, cutMs]] of [4, 8, 12, 16, 20].flatMap((each) => [28, 32, 36, 40, 44].map((cut) => [each, cut] as const)).entries()) {
    const path = `/plain/dir/new ${n}`;
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', path: new RegExp(`${path}$`), times: always });
    pair.work.writeFile(path, 'new');
    await pair.clock.runFor(ms);
    pair.work.setMeta(path, { mode: 0o640 });
    await pair.clock.runFor(cutMs);
    pair.network.cut();
    await pair.clock.runFor(100);
    await pair.clock.settle(pair.standby.standby?.idle() ?? Promise.resolve(), 60_000);
    pair.connect();
    await pair.settle().catch(() => {});
    expect(doubts(), `${ms} ms, cut after ${cutMs}`).toContain(`place dir/new ${n}`);
  }
});
