import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { mayWait, queueText } from '../../protocol/queue.ts';
import type { Exec } from '../../agent/platform/exec.ts';
import { queueFiles, type QueueFiles } from '../../agent/platform/queue-files.ts';
import { countQueue, NoQueue } from '../../agent/services/queue/count-queue.ts';
import { MailQueue, readQueues } from '../../agent/services/queue/mail-queue.ts';
import { eximMessage, postfixMessage } from '../../agent/services/queue/message-names.ts';
import { queuePlaces } from '../../agent/services/queue/queue-places.ts';
import { SimClock } from '../sim/sim-clock.ts';

const top = mkdtempSync(join(tmpdir(), 'mailtwin-queue-'));
afterAll(() => rmSync(top, { recursive: true, force: true }));

/** A directory with these files; names that end with `/` are empty directories. */
function tree(...paths: string[]): string {
  const dir = mkdtempSync(join(top, 'queue-'));
  const made = new Set<string>();
  for (const path of paths) {
    const at = join(dir, path);
    const above = path.endsWith('/') ? at : dirname(at);
    if (!made.has(above)) mkdirSync(above, { recursive: true });
    made.add(above);
    // Postfix makes a message executable when it is whole.
    if (!path.endsWith('/')) writeFileSync(at, '', { mode: 0o700 });
  }
  return dir;
}

const postfixDirs = ['maildrop/', 'incoming/', 'active/', 'deferred/', 'hold/', 'defer/', 'corrupt/'];
const postfix = (dir: string) => ({ mta: 'postfix' as const, dir });
const exim = (dir: string) => ({ mta: 'exim' as const, dir });
/** 2026-01-02T03:04:05Z as Postfix and Exim write it. */
const second = Date.parse('2026-01-02T03:04:05Z') / 1000;
const inBase = (value: number, alphabet: string): string =>
  value < alphabet.length
    ? (alphabet[value] ?? '')
    : inBase(Math.floor(value / alphabet.length), alphabet) + (alphabet[value % alphabet.length] ?? '');
const long = (at: number) => `${inBase(at, '0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz').padStart(6, '0')}2bQxz5kK1T`;
const eximId = (at: number) => inBase(at, '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz').padStart(6, '0');

describe('names of queued messages', () => {
  it('tells messages of Postfix, with short and long queue IDs, from everything else that lies there', () => {
    expect(postfixMessage('CA2DE19ECA')).toEqual({ timeMs: null });
    expect(postfixMessage(long(second))).toEqual({ timeMs: second * 1000 });
    for (const name of ['', 'A', '123456.789', 'ca2de19eca', 'CA2DE19ECA~', '.CA2DE19ECA', 'core', 'README', long(second).slice(0, 10)])
      expect(postfixMessage(name), name).toBeNull();
  });

  it('counts a message of Exim once, by its header file, before and since Exim 4.97', () => {
    expect(eximMessage(`${eximId(second)}-0003yH-Ab-H`)).toEqual({ timeMs: second * 1000 });
    expect(eximMessage(`${eximId(second)}-00000003QfM-0Kfs-H`)).toEqual({ timeMs: second * 1000 });
    for (const name of [`${eximId(second)}-0003yH-Ab-D`, `${eximId(second)}-0003yH-Ab-J`, 'hdr.12345', `${eximId(second)}-0003yH-Ab`])
      expect(eximMessage(name), name).toBeNull();
  });
});

describe('counting a queue', () => {
  it('finds the messages of Postfix where they wait, in hashed directories, and nothing else', async () => {
    const dir = tree(
      ...postfixDirs,
      'maildrop/A0000001',
      'incoming/B0000002',
      'incoming/123456.789',
      'active/C0000003',
      'deferred/D/D0000004',
      'deferred/D/E/DE000005',
      'deferred/D/README',
      'deferred/lost+found/F0000006',
      'hold/F0000007',
      'defer/D/D0000004',
      'corrupt/F0000008',
    );
    expect(await countQueue(postfix(dir), queueFiles)).toMatchObject({ messages: 6, more: false });
  });

  it('leaves out what Postfix still writes: it is accepted only when it is whole', async () => {
    const dir = tree(...postfixDirs, 'incoming/B0000002', 'incoming/B0000003', `incoming/${long(second)}`, 'deferred/B0000004');
    for (const name of ['incoming/B0000003', `incoming/${long(second)}`, 'deferred/B0000004']) chmodSync(join(dir, name), 0o600);
    expect((await countQueue(postfix(dir), queueFiles)).messages).toBe(2);
  });

  it('knows when the oldest came in: by its name, else by the birth of its file, which a retry does not move', async () => {
    const named = tree(...postfixDirs, `deferred/1/${long(second)}`, `active/${long(second + 60)}`);
    expect(await countQueue(postfix(named), queueFiles)).toEqual({ messages: 2, more: false, oldestMs: second * 1000 });
    const beganMs = Date.now();
    const short = tree(...postfixDirs, 'deferred/D/D0000004');
    // Postfix writes the time of the next try there.
    utimesSync(join(short, 'deferred/D/D0000004'), second, second);
    renameSync(join(short, 'deferred/D/D0000004'), join(short, 'active/D0000004'));
    const { oldestMs } = await countQueue(postfix(short), queueFiles);
    expect(Math.abs((oldestMs ?? 0) - beganMs)).toBeLessThan(10_000);
    const born = (bornMs: number | null): QueueFiles => ({ ...queueFiles, stat: async () => ({ mode: 0o700, bornMs }) });
    expect((await countQueue(postfix(short), born(null))).oldestMs).toBeNull();
    expect((await countQueue(postfix(tree(...postfixDirs)), queueFiles)).oldestMs).toBeNull();
  });

  it('ends at its bounds and says that there are more', async () => {
    const names = Array.from({ length: 30 }, (_, i) => `deferred/${i % 10}/D00000${String(i).padStart(2, '0')}`);
    const dir = tree(...postfixDirs, ...names, 'hold/F0000007');
    expect(await countQueue(postfix(dir), queueFiles, { messagesMax: 31, statsMax: 100 })).toMatchObject({ messages: 31, more: false });
    expect(await countQueue(postfix(dir), queueFiles, { messagesMax: 20, statsMax: 100 })).toEqual({
      messages: 20,
      more: true,
      oldestMs: null,
    });
    // The others may be older than those of which the attributes were read.
    let stats = 0;
    const counted: QueueFiles = { ...queueFiles, stat: (path) => (stats++, queueFiles.stat(path)) };
    expect(await countQueue(postfix(dir), counted, { messagesMax: 100, statsMax: 5 })).toEqual({
      messages: 31,
      more: false,
      oldestMs: null,
    });
    expect(stats).toBe(5);
  });

  it('reads a large directory in parts, between which everything else goes on', async () => {
    const dir = tree(...postfixDirs, ...Array.from({ length: 2000 }, (_, i) => `deferred/${long(second + i)}`));
    let atOnce = 0;
    let mostAtOnce = 0;
    let isDone = false;
    const tick = () => {
      atOnce = 0;
      if (!isDone) setImmediate(tick);
    };
    const files: QueueFiles = {
      ...queueFiles,
      async list(path) {
        const entries = await queueFiles.list(path);
        return (
          entries &&
          (async function* () {
            for await (const entry of entries) {
              mostAtOnce = Math.max(mostAtOnce, ++atOnce);
              yield entry;
            }
          })()
        );
      },
    };
    tick();
    expect((await countQueue(postfix(dir), files)).messages).toBe(2000);
    isDone = true;
    expect(mostAtOnce).toBeLessThan(600);
  });

  it('counts the spool of Exim, split or not', async () => {
    const id = eximId(second);
    const dir = tree(`input/${id}-0003yH-Ab-H`, `input/${id}-0003yH-Ab-D`, `input/k/${id}-0003yk-Ac-H`, `msglog/${id}-0003yH-Ab`);
    expect(await countQueue(exim(dir), queueFiles)).toEqual({ messages: 2, more: false, oldestMs: second * 1000 });
  });

  it('never takes for empty what it cannot read, or what is no queue', async () => {
    await expect(countQueue(postfix(tree('lib/')), queueFiles)).rejects.toThrow(NoQueue);
    await expect(countQueue(exim(join(top, 'missing')), queueFiles)).rejects.toThrow(NoQueue);
    expect(await countQueue(postfix(tree('deferred/')), queueFiles)).toMatchObject({ messages: 0 });
    // As Debian 13 leaves it before the first start; an empty one is perhaps not mounted.
    expect(await countQueue({ ...postfix(tree('dev/')), told: true }, queueFiles)).toMatchObject({ messages: 0 });
    await expect(countQueue({ ...postfix(tree()), told: true }, queueFiles)).rejects.toThrow(NoQueue);
    await expect(countQueue({ ...postfix(join(top, 'missing')), told: true }, queueFiles)).rejects.toThrow(NoQueue);
    const refused: QueueFiles = {
      ...queueFiles,
      list: (dir) =>
        dir.endsWith('/hold')
          ? Promise.reject(Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' }))
          : queueFiles.list(dir),
    };
    const dir = tree(...postfixDirs, 'active/C0000003');
    await expect(countQueue(postfix(dir), refused)).rejects.toThrow('EACCES');
    const places = { is: 'places' as const, places: [postfix(dir), postfix(tree(...postfixDirs, 'active/C0000004'))] };
    expect(await readQueues(places, refused, 5000.5)).toEqual({
      mta: 'postfix',
      messages: null,
      more: false,
      oldestMs: null,
      readMs: 5000,
      why: 'EACCES: permission denied',
    });
    expect(await readQueues(places, queueFiles, 5000)).toMatchObject({ messages: 2, why: '' });
    // Whether the oldest is among those that tell no time, nobody knows.
    const named = postfix(tree(...postfixDirs, `active/${long(second)}`));
    const ageless: QueueFiles = { ...queueFiles, stat: async () => ({ mode: 0o700, bornMs: null }) };
    expect((await readQueues({ is: 'places', places: [named] }, ageless, 5000)).oldestMs).toBe(second * 1000);
    expect((await readQueues({ is: 'places', places: [named, postfix(dir)] }, ageless, 5000)).oldestMs).toBeNull();
  });
});

describe('which queue is watched', () => {
  const answers =
    (known: Record<string, string>): Exec =>
    async (program, args) => {
      const stdout = known[[program, ...args].join(' ')];
      if (stdout === undefined) throw Object.assign(new Error('not found'), { code: 'ENOENT' });
      return { code: 0, signal: null, timedOut: false, stdout, stderr: '', truncated: false };
    };
  const places = (units: string[], known: Record<string, string> = {}) => queuePlaces({ units, queue: 'auto' }, answers(known));

  it('asks Postfix where its queues lie, one an instance, and takes the usual place when it does not answer', async () => {
    const multi = { 'postmulti -x postconf -h queue_directory': '/var/spool/postfix\n/var/spool/postfix-in\n' };
    expect(await places(['dovecot.service', 'postfix@-.service'], multi)).toEqual({
      is: 'places',
      places: [
        { ...postfix('/var/spool/postfix'), told: true },
        { ...postfix('/var/spool/postfix-in'), told: true },
      ],
    });
    expect(await places(['postfix.service'], { 'postconf -h queue_directory': '/srv/queue\n' })).toMatchObject({
      places: [{ ...postfix('/srv/queue'), told: true }],
    });
    expect(await places(['postfix.service'])).toEqual({ is: 'places', places: [postfix('/var/spool/postfix')] });
  });

  it('asks Exim likewise', async () => {
    expect(await places(['exim4.service'], { 'exim4 -bP spool_directory': 'spool_directory = /srv/exim\n' })).toMatchObject({
      places: [{ ...exim('/srv/exim'), told: true }],
    });
    expect(await places(['exim4.service'])).toMatchObject({ places: [exim('/var/spool/exim4')] });
  });

  it('takes those that the configuration names, or none, and says why there is none', async () => {
    const named = [exim('/srv/chroot/spool')];
    expect(await queuePlaces({ units: ['postfix.service'], queue: named }, answers({}))).toEqual({ is: 'places', places: named });
    expect(await queuePlaces({ units: ['postfix.service'], queue: 'none' }, answers({}))).toMatchObject({ is: 'none' });
    expect(await places(['dovecot.service', 'postfix-policyd.service'])).toMatchObject({
      is: 'none',
      why: expect.stringContaining('neither Postfix nor Exim') as string,
    });
    expect(await queuePlaces(null, answers({}))).toMatchObject({ is: 'none' });
  });
});

describe('the mail that waits on this node', () => {
  it('is counted again every half minute, and not known any more when counting hangs (I18)', async () => {
    const dir = tree(...postfixDirs, 'active/C0000003');
    const sim = new SimClock();
    const clock = sim.host(0);
    let hangs = false;
    const files: QueueFiles = { ...queueFiles, list: (path) => (hangs ? new Promise<never>(() => {}) : queueFiles.list(path)) };
    const exec: Exec = () => Promise.reject(new Error('nothing is asked'));
    const queue = new MailQueue({ services: { units: [], queue: [postfix(dir)] }, exec, files, clock });
    const stop = new AbortController();
    expect(queue.reading()).toBeNull();
    const running = queue.run(stop.signal);
    /** Lets time pass by the clock; what is read meanwhile comes from a real disk. */
    const pass = async (ms: number, isRead: () => boolean = () => true) => {
      await sim.runFor(ms);
      do await new Promise((resolve) => setTimeout(resolve, 20));
      while (!isRead());
    };
    await pass(0, () => queue.reading() !== null);
    expect(queue.reading()).toMatchObject({ messages: 1, why: '' });
    writeFileSync(join(dir, 'hold/F0000007'), '');
    await pass(30_000, () => queue.reading()?.messages !== 1);
    expect(queue.reading()).toMatchObject({ messages: 2 });
    hangs = true;
    await pass(30_000);
    expect(queue.reading()).toMatchObject({ messages: 2 });
    await pass(120_000, () => queue.reading()?.messages === null);
    expect(queue.reading()).toMatchObject({ messages: null, why: expect.stringContaining('does not come to its end') as string });
    stop.abort();
    // The same when it never came to its end.
    const stuck = new MailQueue({ services: { units: [], queue: [postfix(dir)] }, exec, files, clock });
    void stuck.run(new AbortController().signal);
    await pass(120_000, () => queue.reading()?.messages === null);
    expect(stuck.reading()).toBeNull();
    await pass(1);
    expect(stuck.reading()).toMatchObject({ mta: 'postfix', messages: null, why: expect.stringContaining('does not come') as string });
    hangs = false;
    void running;
  });
});

describe('what is said of a queue', () => {
  const known = { more: false, why: '' };

  it('is a number, at least a number, or that it is not known; never that there is none', () => {
    expect(queueText('mail-a', { ...known, messages: 42 })).toBe('42 messages wait in the queue of mail-a, which is not replicated');
    expect(queueText('mail-a', { ...known, messages: 1 })).toBe('1 message waits in the queue of mail-a, which is not replicated');
    expect(queueText('mail-a', { ...known, messages: 100_000, more: true })).toContain('at least 100000 messages wait');
    expect(queueText('mail-a', { ...known, messages: 0 })).toBe('no messages wait in the queue of mail-a');
    expect(queueText('mail-a', { messages: null, more: false, why: 'EACCES' })).toContain('is not known (EACCES)');
    expect([0, 1, null].map((messages) => mayWait({ messages }))).toEqual([false, true, true]);
  });
});
