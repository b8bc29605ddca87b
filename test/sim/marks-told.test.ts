import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Message } from '../../protocol/messages.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { readMarks, readMarksTold } from '../../agent/replicate/standby/marks.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimFiles } from './sim-files.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';

const wall = 1_700_000_000_000;
const roots = [{ name: 'mail', path: '/mail', format: 'maildir' }] as const;

/** Two mailboxes of a primary whose standby connects for the first time: what it is told, in order. */
async function connect() {
  const clock = new SimClock();
  const random = new SimRandom(7);
  const host = (name: string) => ({ name, disk: new SimDisk(random.fork(name)), store: new SimKvStore(() => 1), roots });
  const [a, b] = [host('a'), host('b')];
  const server = a.disk.open(clock.host(wall));
  server.mkdir('/mail', 0o700);
  for (const [user, uidNext] of [
    ['anna', 10],
    ['bert', 20],
  ] as const) {
    for (const dir of ['', '/cur', '/new', '/tmp']) server.mkdir(`/mail/${user}${dir}`, 0o700);
    server.writeFile(`/mail/${user}/dovecot-uidlist`, `3 V1700000000 N${uidNext} G0123456789abcdef0123456789abcdef\n`);
  }
  b.disk.open(clock.host(wall)).mkdir('/mail', 0o700);
  const options = { watcherRandom: random, overflowShare: 0, log: silentLog };
  const primary = startPrimary(a, clock.host(wall), options);
  const standbyClock = clock.host(wall);
  const standby = startStandby(b, standbyClock, options);
  const network = new SimNetwork(clock, random.fork('network'));
  const sent: Message[] = [];
  network.tap = (message) => {
    sent.push(message);
    return message;
  };
  const [left, right] = network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
  void standby.standby?.serve(right, primary.hello(), 'sim');
  void primary.primary?.serve(left, standby.hello(), 'sim');
  await clock.runFor(20_000);
  const kv = b.store.open(standbyClock);
  const before = sent.findIndex(({ type }) => type === 'ops');
  const told = sent.slice(0, before < 0 ? undefined : before).flatMap((message) => (message.type === 'watermarks' ? [message.items] : []));
  return { told, kv, errors: primary.errors };
}

describe('the marks of all mailboxes (I5)', () => {
  afterEach(() => void vi.restoreAllMocks());

  it('are told at the beginning of a connection, before any data, and then that these were all', async () => {
    const { told, kv } = await connect();
    expect(told.at(-1)).toEqual([]);
    expect(told.flat().map(([, mailbox, , uidNext]) => [mailbox, uidNext])).toEqual([
      ['anna', 10],
      ['bert', 20],
    ]);
    expect(readMarksTold(kv)).toMatchObject({ epoch: 1 });
    expect(readMarks(kv)).toHaveLength(2);
  });

  it.each([
    ['a directory', 'readdir', '/mail/bert'],
    ['a file', 'readFile', '/mail/bert/dovecot-uidlist'],
  ] as const)('are not called complete when %s cannot be read, and the agent goes on', async (_, call, bad) => {
    const real = SimFiles.prototype[call] as (this: SimFiles, ...args: unknown[]) => unknown;
    vi.spyOn(SimFiles.prototype, call).mockImplementation(function (this: SimFiles, ...args: unknown[]) {
      if (args[0] === bad) throw Object.assign(new Error(`EIO: ${bad}`), { code: 'EIO', errno: -5, path: bad });
      return real.apply(this, args) as never;
    });
    const { told, kv, errors } = await connect();
    expect(told.flat().map(([, mailbox]) => mailbox)).toContain('anna');
    expect(told).not.toContainEqual([]);
    expect(readMarksTold(kv)).toBeNull();
    expect(errors).toEqual([]);
  });
});
