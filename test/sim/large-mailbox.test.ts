import { describe, expect, it, vi } from 'vitest';
import { silentLog } from '../../agent/platform/log.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimFiles } from './sim-files.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork, type SimNetworkOptions } from './sim-network.ts';
import { startPrimary, startStandby } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const roots = [{ name: 'mail', path: '/mail', format: 'maildir' }] as const;

/** A mailbox whose uidlist is large enough for its beginning to be taken as checked. */
async function largeMailbox(messages: number, line: SimNetworkOptions = {}) {
  const clock = new SimClock();
  const random = new SimRandom(7);
  const host = (name: string) => ({ name, disk: new SimDisk(random.fork(name)), store: new SimKvStore(() => 1), roots });
  const a = host('a');
  const b = host('b');
  const server = a.disk.open(clock.host(wall));
  for (const dir of ['/mail', '/mail/cur', '/mail/new', '/mail/tmp']) server.mkdir(dir, 0o700);
  const lineOf = (uid: number) => `${uid} :1700000000.M${uid}P1.a-rather-long-host-name.example.org,S=100\n`;
  const file = (uid: number) => `/mail/cur/1700000000.M${uid}P1.a-rather-long-host-name.example.org,S=100:2,`;
  let list = `3 V1700000000 N1 G0123456789abcdef0123456789abcdef\n`;
  for (let uid = 1; uid <= messages; uid++) {
    server.writeFile(file(uid), `message ${uid}`);
    list += lineOf(uid);
  }
  server.writeFile('/mail/dovecot-uidlist', list);
  b.disk.open(clock.host(wall)).mkdir('/mail', 0o700);
  const options = { watcherRandom: random, overflowShare: 0, log: silentLog };
  const primary = startPrimary(a, clock.host(wall), options);
  const standby = startStandby(b, clock.host(wall), options);
  const network = new SimNetwork(clock, random.fork('network'), line);
  const marks: unknown[] = [];
  network.tap = (message) => {
    if (message.type === 'watermarks') marks.push(...message.items);
    return message;
  };
  const [left, right] = network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
  void standby.standby?.serve(right, primary.hello(), 'sim');
  void primary.primary?.serve(left, standby.hello(), 'sim');
  const settle = () => clock.settle(primary.primary?.wait(60_000, new AbortController().signal) ?? Promise.resolve(), 60_000);
  const differences = () =>
    compareTrees(snapshotTree(server, '/mail', ignoresOfMaildir), snapshotTree(b.disk.open(clock.host(wall)), '/mail', ignoresOfMaildir));
  return { clock, server, copy: b.disk.open(clock.host(wall)), settle, differences, line: lineOf, file, marks };
}

describe('a mailbox with a large uidlist', () => {
  it('is filled without looking at a message before it is read', async () => {
    const lstat = vi.spyOn(SimFiles.prototype, 'lstat');
    const box = await largeMailbox(50);
    await box.settle();
    const looked = lstat.mock.calls.filter(([path]) => path.startsWith('/mail/cur/17'));
    lstat.mockRestore();
    expect(looked).toEqual([]);
    expect(box.differences()).toEqual([]);
  });

  it('is closed again after a delivery by looking at the new lines, and its marks rise (I5, I6)', async () => {
    const box = await largeMailbox(1500);
    await box.settle();
    expect(box.differences()).toEqual([]);
    expect(box.marks.at(-1)).toEqual(['mail', '', 1_700_000_000, 1501, 1]);
    await box.clock.runFor(5000);
    box.server.writeFile(box.file(1501), 'message 1501');
    box.server.append('/mail/dovecot-uidlist', box.line(1501));
    await box.settle();
    expect(box.differences()).toEqual([]);
    expect(box.marks.at(-1)).toEqual(['mail', '', 1_700_000_000, 1502, 1]);
  });

  it('never sends lines that end inside themselves (I6)', async () => {
    const box = await largeMailbox(1500);
    await box.settle();
    await box.clock.runFor(5000);
    box.server.writeFile(box.file(1501), 'message 1501');
    box.server.append('/mail/dovecot-uidlist', box.line(1501).slice(0, 20));
    await box.clock.runFor(300);
    const [torn] = box.differences();
    expect(torn).toContain('dovecot-uidlist');
    box.server.append('/mail/dovecot-uidlist', box.line(1501).slice(20));
    await box.settle();
    expect(box.differences()).toEqual([]);
  });

  /** Names of the uidlist on the standby that have no file there. */
  const missing = (copy: SimFiles, box: string) => {
    const list = copy.readFile(`${box}/dovecot-uidlist`, 1e9)?.data.toString() ?? '';
    const names = [...list.matchAll(/ :(\S+)$/gm)].map(([, name]) => name ?? '');
    const here = ['cur', 'new'].flatMap((sub) => (copy.readdir(`${box}/${sub}`) ?? []).map(({ name }) => name));
    return names.filter((name) => !here.some((there) => there.startsWith(name)));
  };
  const slow = { bytesPerMs: 2000 };

  it('waits for its own large message alone, and never names it before it is there (I6)', async () => {
    const box = await largeMailbox(3, slow);
    await box.settle();
    for (const dir of ['/mail/.Other', '/mail/.Other/cur', '/mail/.Other/new', '/mail/.Other/tmp']) box.server.mkdir(dir, 0o700);
    box.server.writeFile(box.file(4), new SimRandom(5).bytes(6_000_000));
    box.server.append('/mail/dovecot-uidlist', box.line(4));
    await box.clock.runFor(500);
    // Another mailbox goes on meanwhile, and is closed.
    box.server.writeFile('/mail/.Other/cur/1700000000.M1P1.x,S=5:2,', 'other');
    box.server.writeFile('/mail/.Other/dovecot-uidlist', '3 V1700000001 N2 G0123456789abcdef0123456789abcdee\n1 :1700000000.M1P1.x,S=5\n');
    await box.clock.runFor(1000);
    expect(box.copy.readFile('/mail/.Other/dovecot-uidlist', 1e6)?.data.toString()).toContain('M1P1.x');
    expect(box.copy.readFile('/mail/dovecot-uidlist', 1e6)?.data.toString()).not.toContain('M4P1');
    for (let i = 0; i < 60; i++) {
      await box.clock.runFor(100);
      expect(missing(box.copy, '/mail')).toEqual([]);
    }
    await box.settle();
    expect(box.copy.readFile('/mail/dovecot-uidlist', 1e6)?.data.toString()).toContain('M4P1');
    expect(box.differences()).toEqual([]);
  });

  it('sends a large file of the set ahead, as one set with what was read beside it, also when mail comes all the time (I6)', async () => {
    const box = await largeMailbox(3, slow);
    await box.settle();
    const noise = new SimRandom(6);
    const keywords = Array.from({ length: 60_000 }, (_, i) => `${i} ${noise.bytes(20).toString('hex')}\n`).join('');
    box.server.writeFile('/mail/dovecot-keywords', keywords);
    let uid = 3;
    for (let i = 0; i < 40; i++) {
      uid++;
      box.server.writeFile(box.file(uid), `message ${uid}`);
      box.server.append('/mail/dovecot-uidlist', box.line(uid));
      await box.clock.runFor(100);
      expect(missing(box.copy, '/mail')).toEqual([]);
      // Messages do not wait for the file that goes ahead.
      if (i > 8) expect(box.copy.lstat(box.file(uid - 8))).not.toBe(null);
    }
    expect(box.copy.lstat('/mail/dovecot-keywords')?.size).toBe(keywords.length);
    await box.settle();
    expect(box.differences()).toEqual([]);
  });
});
