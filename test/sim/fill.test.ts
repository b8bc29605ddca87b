import { describe, expect, it } from 'vitest';
import { verdictOf } from '../../agent/replicate/verdict.ts';
import { sampleStatus } from '../unit/control-fixture.ts';
import { GuardedPair, message } from './guarded-pair.ts';
import { PlainPair } from './plain-pair.ts';
import type { SimFiles } from './sim-files.ts';
import { SimRandom } from './sim-random.ts';

const random = new SimRandom(12);
const limitMs = 60_000;

/** Writes into a file every few milliseconds until it is told to stop. */
function heat(clock: { after(ms: number, fn: () => void): unknown }, files: SimFiles, path: string, bytes: number): () => void {
  let isHot = true;
  const write = () => {
    if (!isHot) return;
    files.overwrite(path, random.bytes(16), random.int(bytes - 16));
    clock.after(5, write);
  };
  write();
  return () => (isHot = false);
}

async function startHot(): Promise<{ pair: PlainPair; cool: () => void }> {
  const pair = new PlainPair();
  pair.work.writeFile('/plain/hot.db', random.bytes(20_000_000));
  for (let i = 0; i < 50; i++) pair.work.writeFile(`/plain/f${i}`, `file ${i}`);
  const cool = heat(pair.clock, pair.work, '/plain/hot.db', 20_000_000);
  pair.connect();
  return { pair, cool };
}

const filled = (pair: PlainPair) => [pair.primary.primary?.sender.filled, pair.standby.standby?.filled];

describe('the initial fill', () => {
  it('ends beside a file that never rests, on both nodes; the file is named until it follows (I22)', async () => {
    const { pair, cool } = await startHot();
    await pair.clock.runWhile(() => filled(pair).includes(false), limitMs);
    expect(filled(pair)).toEqual([true, true]);
    expect(pair.clock.now).toBeLessThan(20_000);
    expect(pair.copy.readdir('/plain')).toHaveLength(50);
    const { primary } = pair.primary;
    expect(primary?.sender.lagging.list(pair.clock.now)).toMatchObject([{ root: 'plain', path: 'hot.db' }]);
    expect(primary?.loss()).toMatchObject({ changes: 1 });
    expect(primary?.loss().bytes).toBeGreaterThanOrEqual(20_000_000);
    cool();
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('is known to a standby that said where it stood before its first batch was in place', async () => {
    const pair = new PlainPair();
    pair.work.writeFile('/plain/f', 'text');
    const early = pair.standby.hello();
    pair.connect();
    await pair.clock.runWhile(() => pair.standby.standby?.receiver.position.epoch === 0, limitMs);
    // The acknowledgement is lost with the connection that a newer one replaces.
    pair.network.cut();
    pair.connect(early);
    await pair.clock.runWhile(() => filled(pair).includes(false), limitMs);
    expect(filled(pair)).toEqual([true, true]);
    expect(pair.differences()).toEqual([]);
  });

  it('does not end before all else is there', async () => {
    const pair = new PlainPair({ bytesPerMs: 200, latencyMs: [0.2, 0.5], noticeMs: [0, 0] });
    pair.work.writeFile('/plain/hot.db', random.bytes(400_000));
    const cool = heat(pair.clock, pair.work, '/plain/hot.db', 400_000);
    for (let i = 0; i < 40; i++) pair.work.writeFile(`/plain/f${i}`, random.bytes(300_000));
    pair.connect();
    await pair.clock.runFor(20_000);
    expect(filled(pair)).toEqual([false, false]);
    await pair.clock.runWhile(() => filled(pair).includes(false), 3 * limitMs);
    for (let i = 0; i < 40; i++) expect(pair.copy.lstat(`/plain/f${i}`)?.size).toBe(300_000);
    cool();
  });

  it('tells the loss again after a restart beside such a file', async () => {
    const { pair, cool } = await startHot();
    await pair.clock.runWhile(() => filled(pair).includes(false), limitMs);
    pair.killPrimary();
    pair.startPrimary();
    pair.connect();
    await pair.clock.runFor(20_000);
    expect(pair.primary.primary?.loss()).toMatchObject({ messages: 0, mailboxes: 0 });
    cool();
  });

  it('ends while a deletion is held, also one that the fill finds', async () => {
    const pair = new GuardedPair(3, false);
    pair.makeMailbox('/mail/u1', 200);
    pair.makeMailbox('/mail/u2', 600, 5000);
    pair.connect();
    await pair.clock.runWhile(() => pair.names('/mail/u1/cur').length < 200, limitMs);
    expect(pair.primary.sender.filled).toBe(false);
    const remove = () => {
      for (let n = 1; n < 190; n++) pair.server.unlink(`/mail/u1/cur/${message(n)}:2,S`);
      pair.list('/mail/u1', 190, 201);
    };
    await pair.restart(remove);
    await pair.clock.runWhile(() => !pair.primary.sender.filled || !pair.isFilledThere, limitMs);
    expect(pair.held).toMatchObject([{ place: 'mail/u1' }]);
    expect([pair.primary.sender.filled, pair.isFilledThere]).toEqual([true, true]);
    expect(pair.names('/mail/u2/cur')).toHaveLength(600);
    expect(pair.primary.loss()).toMatchObject({ changes: 1, mailboxes: 1 });
  });

  it('ends beside a message that the standby has no room for, which keeps its mailbox open', async () => {
    const pair = new GuardedPair(3, false);
    pair.makeMailbox('/mail/u1', 20);
    pair.server.writeFile(`/mail/u1/cur/${message(7)}:2,S`, random.bytes(6_000_000));
    pair.standbyDisk.capacityBytes = 3_000_000;
    pair.makeMailbox('/mail/u2', 20, 100);
    pair.connect();
    await pair.clock.runWhile(() => !pair.primary.sender.filled || !pair.isFilledThere, limitMs);
    expect([pair.primary.sender.filled, pair.isFilledThere]).toEqual([true, true]);
    expect(pair.read('/mail/u1/dovecot-uidlist')).toBeUndefined();
    expect(pair.primary.sender.lagging.list(pair.clock.now)).toHaveLength(1);
    expect(pair.names('/mail/u1/cur')).toHaveLength(19);
    expect(pair.read('/mail/u2/dovecot-uidlist')).toBeDefined();
    pair.standbyDisk.capacityBytes = Infinity;
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('never makes the status good without a word of what lags', () => {
    const base = sampleStatus();
    const lagging = [{ root: 'plain', path: 'hot.db', seconds: 7, reason: 'it changed while it was read' }];
    const status = { ...base, replication: { ...base.replication, lagging, laggingCount: 3 } };
    expect(verdictOf(status)).toMatchObject({
      level: 'warn',
      code: 'lagging',
      text: 'the copy is complete, except 3 files that lag behind, for example plain/hot.db',
    });
  });
});
