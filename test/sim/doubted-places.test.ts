import { describe, expect, it } from 'vitest';
import { GuardedPair, message } from './guarded-pair.ts';
import { PlainPair } from './plain-pair.ts';

const always = 1_000_000;
const doubtsOf = (pair: PlainPair) => (pair.primary.primary?.unproven.list() ?? []).map(({ path, kind }) => `${kind} ${path}`).toSorted();

async function makePair() {
  const pair = new PlainPair();
  pair.connect();
  pair.work.mkdir('/plain/dir', 0o755);
  pair.work.writeFile('/plain/dir/old', 'old');
  await pair.settle();
  return pair;
}

/** A pair with a mailbox of four messages, and a larger one. */
async function makeMailPair() {
  const pair = new GuardedPair();
  pair.makeMailbox('/mail/.Box', 4);
  // So many other ones that no removal here is a mass deletion.
  pair.makeMailbox('/mail/.Other', 120, 1000);
  pair.server.writeFile('/mail/.Box/dovecot.index.log', '');
  await pair.wait();
  return pair;
}

describe('a place that the standby can neither have nor look at (I1, I20)', () => {
  it.each(['goes on', 'is killed'])('is not taken for the same while nobody knows what is there, when the standby %s', async (end) => {
    const pair = await makePair();
    pair.standbyDisk.fail({ operation: 'rename', code: 'EACCES', path: /dir\/new$/, times: always });
    pair.standbyDisk.fail({ operation: 'lstat', code: 'EACCES', path: /dir\/new$/, times: always });
    pair.work.writeFile('/plain/dir/new', 'new');
    await pair.clock.runFor(2000);
    expect(doubtsOf(pair)).toEqual(['place dir/new']);
    if (end === 'is killed') {
      pair.killStandby();
      await pair.clock.runFor(10);
    }
    pair.standbyDisk.mend();
    if (end === 'is killed') {
      await pair.startStandby();
      pair.connect();
    }
    await pair.clock.runFor(60_000);
    expect(pair.differences()).toEqual([]);
    expect(doubtsOf(pair)).toEqual([]);
    expect(pair.standby.standby?.foreign()).toEqual([]);
  });

  it('refuses itself alone while its new content is staged, and all else goes on (I20)', async () => {
    const pair = await makePair();
    pair.standbyDisk.fail({ operation: 'openRead', code: 'EACCES', path: /dir\/old$/, times: always });
    pair.work.overwrite('/plain/dir/old', 'and more', 3);
    pair.work.writeFile('/plain/dir/new', 'new');
    await pair.clock.runFor(2000);
    expect(pair.filesOf('b').readFile('/plain/dir/new', 100)?.data.toString()).toBe('new');
    expect(doubtsOf(pair)).toEqual(['place dir/old']);
    expect(pair.primary.primary?.sender.held).toBeNull();
    pair.standbyDisk.mend();
    await pair.clock.runFor(60_000);
    expect([pair.differences(), doubtsOf(pair)]).toEqual([[], []]);
  });

  it('is tried at once by whoever waits, and said to be durable when it was mended', async () => {
    const pair = await makePair();
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', path: /dir\/new$/, times: always });
    pair.work.writeFile('/plain/dir/new', 'new');
    await pair.clock.runFor(2000);
    const wait = () => pair.clock.settle(pair.primary.primary!.wait(5000, new AbortController().signal), 6000);
    await expect(wait()).rejects.toMatchObject({ code: 'unproven' });
    expect(pair.filesOf('b').lstat('/plain/dir/new')).toBeNull();
    pair.standbyDisk.mend();
    await pair.clock.runFor(1500);
    expect(doubtsOf(pair)).toEqual(['place dir/new']);
    await wait();
    expect([pair.differences(), doubtsOf(pair)]).toEqual([[], []]);
  });

  it('is removed when it can be, also when nothing was known of it meanwhile', async () => {
    const pair = await makePair();
    for (const operation of ['lstat', 'unlink', 'rename'])
      pair.standbyDisk.fail({ operation, code: 'EACCES', path: /dir\/old$/, times: always });
    pair.work.unlink('/plain/dir/old');
    await pair.clock.runFor(2000);
    expect(doubtsOf(pair)).toEqual(['place dir/old']);
    pair.standbyDisk.mend();
    await pair.clock.runFor(60_000);
    expect(pair.differences()).toEqual([]);
    expect(doubtsOf(pair)).toEqual([]);
  });

  it('that is a directory ends its doubt, and gets all that came into it meanwhile', async () => {
    const pair = await makePair();
    pair.standbyDisk.fail({ operation: 'lstat', code: 'EACCES', path: /dir2$/, times: always });
    pair.work.mkdir('/plain/dir2', 0o755);
    await pair.clock.runFor(2000);
    expect(doubtsOf(pair)).toContain('place dir2');
    pair.work.writeFile('/plain/dir2/inside', 'inside');
    await pair.clock.runFor(2000);
    pair.standbyDisk.mend();
    await pair.clock.runFor(60_000);
    expect(pair.differences()).toEqual([]);
    expect(doubtsOf(pair)).toEqual([]);
    expect(pair.standby.standby?.foreign()).toEqual([]);
  });

  it('costs no open file', async () => {
    const pair = await makePair();
    pair.work.writeFile('/plain/dir/log', 'x'.repeat(10_000));
    await pair.settle();
    pair.standbyDisk.fail({ operation: 'fstat', code: 'EIO', path: /dir\/log$/, times: 3 });
    pair.work.append('/plain/dir/log', 'more');
    await pair.clock.runFor(60_000);
    expect(pair.standby.files.openFiles).toBe(0);
    expect(pair.differences()).toEqual([]);
  });
});

describe('a commit group of which one file cannot be put into place (I6)', () => {
  it('has no index and no removals that are newer', async () => {
    const pair = await makeMailPair();
    const before = pair.read('/mail/.Box/dovecot-uidlist');
    pair.standbyDisk.fail({ operation: 'rename', code: 'EPERM', path: /dovecot-uidlist$/, times: always });
    pair.server.writeFile(`/mail/.Box/cur/${message(5)}:2,S`, 'message 5');
    pair.list('/mail/.Box', 2, 6);
    pair.replace('/mail/.Box/dovecot.index.log', `+ 5 ${message(5)}\n- 1\n`);
    pair.server.unlink(`/mail/.Box/cur/${message(1)}:2,S`);
    await pair.clock.runFor(5000);
    expect(pair.read('/mail/.Box/dovecot-uidlist')).toBe(before);
    expect(pair.read('/mail/.Box/dovecot.index.log')).toBe('');
    expect(pair.names('/mail/.Box/cur')).toContain(`${message(1)}:2,S`);
    expect(pair.names('/mail/.Box/cur')).toContain(`${message(5)}:2,S`);
    // While it cannot be had it is not sent with every delivery, and messages go on beside it.
    for (let n = 6; n < 10; n++) {
      pair.server.writeFile(`/mail/.Box/cur/${message(n)}:2,S`, `message ${n}`);
      pair.list('/mail/.Box', n - 1, n + 1);
      pair.server.unlink(`/mail/.Box/cur/${message(n - 2)}:2,S`);
      await pair.clock.runFor(500);
    }
    expect(pair.names('/mail/.Box/cur')).toContain(`${message(9)}:2,S`);
    expect(pair.names('/mail/.Box/cur')).toContain(`${message(1)}:2,S`);
    const sent = pair.sent.filter((name) => name === 'dovecot-uidlist').length;
    expect(sent).toBeLessThan(4);
    pair.standbyDisk.mend();
    await pair.clock.runFor(120_000);
    expect(pair.differences()).toEqual([]);
    expect(pair.primary.unproven.count).toBe(0);
  });
});

describe('what is owed to a doubt (I1)', () => {
  it('is done when the file that could not be read is read for another reason', async () => {
    const pair = await makeMailPair();
    pair.primaryDisk.fail({ operation: 'readFile', code: 'EIO', path: /dovecot-uidlist$/, times: 1 });
    pair.server.unlink(`/mail/.Box/cur/${message(1)}:2,S`);
    await pair.clock.runFor(100);
    expect(pair.primary.unproven.count).toBe(1);
    pair.server.writeFile(`/mail/.Box/cur/${message(5)}:2,S`, 'message 5');
    pair.list('/mail/.Box', 2, 6);
    await pair.clock.runFor(3000);
    expect(pair.primary.unproven.count).toBe(0);
    expect(pair.differences()).toEqual([]);
  });
});

describe('a connection that ends in the middle of a comparison', () => {
  it.each([1, 2])('does not keep the next one waiting (%i)', async (moment) => {
    const pair = await makePair();
    const { primary } = pair.primary;
    if (!primary) throw new Error('no primary runs');
    // The comparison waits for the disk of the state directory when the connection ends.
    const { kv } = pair.primary;
    const flushed = kv.flushed.bind(kv);
    let flushes = 0;
    kv.flushed = async () => {
      if (++flushes === moment) {
        pair.network.cut();
        await new Promise<void>((resolve) => pair.clock.after(5000, resolve));
      }
      return flushed();
    };
    primary.sender.compare('plain', 'place');
    primary.sender.compare('plain', 'dir/place');
    await pair.clock.runFor(10_000);
    pair.connect();
    pair.work.writeFile('/plain/later', 'later');
    await pair.clock.runFor(10_000);
    expect(flushes).toBeGreaterThanOrEqual(moment);
    expect(pair.copy.lstat('/plain/later')).not.toBeNull();
  });
});
