import { describe, expect, it, vi } from 'vitest';
import { silentLog } from '../../agent/platform/log.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimFiles } from './sim-files.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const roots = [{ name: 'mail', path: '/mail', format: 'maildir' }] as const;

/** A mailbox whose uidlist is large enough for its beginning to be taken as checked. */
async function largeMailbox(messages: number) {
  const clock = new SimClock();
  const random = new SimRandom(7);
  const host = (name: string) => ({ name, disk: new SimDisk(random.fork(name)), store: new SimKvStore(() => 1), roots });
  const a = host('a');
  const b = host('b');
  const server = a.disk.open(clock.host(wall));
  for (const dir of ['/mail', '/mail/cur', '/mail/new', '/mail/tmp']) server.mkdir(dir, 0o700);
  const line = (uid: number) => `${uid} :1700000000.M${uid}P1.a-rather-long-host-name.example.org,S=100\n`;
  const file = (uid: number) => `/mail/cur/1700000000.M${uid}P1.a-rather-long-host-name.example.org,S=100:2,`;
  let list = `3 V1700000000 N1 G0123456789abcdef0123456789abcdef\n`;
  for (let uid = 1; uid <= messages; uid++) {
    server.writeFile(file(uid), `message ${uid}`);
    list += line(uid);
  }
  server.writeFile('/mail/dovecot-uidlist', list);
  b.disk.open(clock.host(wall)).mkdir('/mail', 0o700);
  const options = { watcherRandom: random, overflowShare: 0, log: silentLog };
  const primary = startPrimary(a, clock.host(wall), options);
  const standby = startStandby(b, clock.host(wall), options);
  const network = new SimNetwork(clock, random.fork('network'));
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
  return { clock, server, settle, differences, line, file, marks };
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
});
