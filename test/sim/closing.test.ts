import { describe, expect, it } from 'vitest';
import { silentLog } from '../../agent/platform/log.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby, type SimProcess } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const header = '3 V1700000000 N1 G0123456789abcdef0123456789abcdef\n';
const message = (n: number) => `1700000000.M${n}P1.host`;

/** A pair over a store that the test changes by hand. */
function makePair(delayMs?: readonly [number, number]) {
  const clock = new SimClock();
  const random = new SimRandom(3);
  const roots = [{ name: 'mail', path: '/mail', format: 'maildir' }] as const;
  const host = (name: string) => ({ name, disk: new SimDisk(random.fork(name)), store: new SimKvStore(() => 1), roots });
  const [a, b] = [host('a'), host('b')];
  const server = a.disk.open(clock.host(wall));
  const copy = b.disk.open(clock.host(wall));
  server.mkdir('/mail', 0o700);
  copy.mkdir('/mail', 0o700);
  const options = { watcherRandom: random, overflowShare: 0, log: silentLog, ...(delayMs ? { delayMs } : {}) };
  const network = new SimNetwork(clock, random.fork('network'));
  const removed: unknown[] = [];
  network.tap = (sent) => {
    if (sent.type === 'ops') removed.push(...sent.ops.filter((op) => op.op === 'remove'));
    return sent;
  };
  let primary: SimProcess | null = null;
  let standby: SimProcess | null = null;
  const connect = () => {
    if (!primary || !standby) throw new Error('nobody to connect');
    const [left, right] = network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
    void standby.standby?.serve(right, primary.hello(), 'sim');
    void primary.primary?.serve(left, standby.hello(), 'sim');
  };
  const makeMailbox = (dir: string, messages: number) => {
    for (const each of [dir, `${dir}/cur`, `${dir}/new`, `${dir}/tmp`]) server.mkdir(each, 0o700);
    let list = header;
    for (let n = 1; n <= messages; n++) {
      server.writeFile(`${dir}/cur/${message(n)}:2,`, `message ${n}`);
      list += `${n} :${message(n)}\n`;
    }
    server.writeFile(`${dir}/dovecot-uidlist`, list);
  };
  return {
    clock,
    server,
    copy,
    removed,
    disk: a.disk,
    copyDisk: b.disk,
    makeMailbox,
    /** As a server writes a file anew: aside, then renamed. */
    replace(path: string, content: string) {
      server.writeFile('/aside', content);
      server.rename('/aside', path);
    },
    start() {
      primary = startPrimary(a, clock.host(wall + clock.now), options);
      standby = startStandby(b, clock.host(wall + clock.now), options);
      connect();
    },
    /** The primary's agent is killed; `meanwhile` happens while nobody watches. */
    async restart(meanwhile: () => void) {
      const process = primary;
      if (!process) throw new Error('nothing runs');
      process.clock.kill();
      network.cutProcess(process.clock);
      a.disk.kill(process.files);
      a.store.kill();
      await clock.runFor(1000);
      meanwhile();
      await clock.runFor(1000);
      primary = startPrimary(a, clock.host(wall + clock.now), options);
      connect();
    },
    doubts: () => primary?.primary?.unproven.list().map(({ path }) => path),
    settle: () => clock.settle(primary?.primary?.wait(300_000, new AbortController().signal) ?? Promise.resolve(), 300_000),
    differences: () => compareTrees(snapshotTree(server, '/mail', ignoresOfMaildir), snapshotTree(copy, '/mail', ignoresOfMaildir)),
  };
}

describe('a folder that is renamed', () => {
  it('is renamed on the standby: never removed and sent again, whichever name is told first (I1, I9)', async () => {
    const pair = makePair();
    for (let n = 0; n < 20; n++) pair.makeMailbox(`/mail/.Old ${n}`, 3);
    pair.start();
    await pair.settle();
    const inode = (path: string) => pair.copy.lstat(path)?.ino;
    const before = Array.from({ length: 20 }, (_, n) => inode(`/mail/.Old ${n}/cur/${message(2)}:2,`));
    for (let n = 0; n < 20; n++) {
      pair.server.rename(`/mail/.Old ${n}`, `/mail/.New ${n}`);
      if (n % 3 === 0) await pair.clock.runFor(10);
    }
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(pair.removed).toEqual([]);
    expect(Array.from({ length: 20 }, (_, n) => inode(`/mail/.New ${n}/cur/${message(2)}:2,`))).toEqual(before);
  });

  it('is not removed while the hint of its newest name is still on its way (I1)', async () => {
    const pair = makePair([340, 340.1]);
    pair.makeMailbox('/mail/.Old', 3);
    pair.start();
    await pair.settle();
    const before = pair.copy.lstat('/mail/.Old')?.ino;
    pair.server.rename('/mail/.Old', '/mail/.Mid');
    // The hints of the first renaming have come, nobody has looked yet, and those of the second take as long again.
    await pair.clock.runFor(342);
    pair.server.rename('/mail/.Mid', '/mail/.New');
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(pair.removed).toEqual([]);
    expect(pair.copy.lstat('/mail/.New')?.ino).toBe(before);
  });

  it('to another parent while nobody watched is not removed before it is found there (I1)', async () => {
    const pair = makePair();
    for (const user of ['b', 'c']) pair.server.mkdir(`/mail/${user}`, 0o700);
    pair.makeMailbox('/mail/b/.Box', 3);
    pair.start();
    await pair.settle();
    const before = pair.copy.lstat('/mail/b/.Box')?.ino;
    await pair.restart(() => pair.server.rename('/mail/b/.Box', '/mail/c/.Box'));
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(pair.removed).toEqual([]);
    expect(pair.copy.lstat('/mail/c/.Box')?.ino).toBe(before);
  });

  it('does not keep other mailboxes from being closed', async () => {
    const pair = makePair();
    for (let n = 0; n < 10; n++) pair.makeMailbox(`/mail/.Box ${n}`, 2);
    pair.start();
    await pair.settle();
    for (let n = 0; n < 10; n++) {
      pair.server.writeFile(`/mail/.Box ${n}/new/${message(9)}`, 'one more');
      pair.server.append(`/mail/.Box ${n}/dovecot-uidlist`, `9 :${message(9)}\n`);
      if (n % 2 === 0) pair.server.rename(`/mail/.Box ${n}`, `/mail/.Moved ${n}`);
    }
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });
});

describe('a message', () => {
  const list = (...numbers: number[]) => `${header}${numbers.map((n) => `${n} :${message(n)}\n`).join('')}`;

  it('that moved to another mailbox while nobody watched is there before it goes (I1)', async () => {
    const pair = makePair();
    for (const name of ['A', 'B']) pair.makeMailbox(`/mail/.${name}`, 3);
    pair.start();
    await pair.settle();
    await pair.restart(() => {
      pair.server.rename(`/mail/.A/cur/${message(2)}:2,`, `/mail/.B/cur/${message(7)}:2,`);
      pair.replace('/mail/.A/dovecot-uidlist', list(1, 3));
      pair.server.append('/mail/.B/dovecot-uidlist', `7 :${message(7)}\n`);
      // More than a batch between the two.
      pair.makeMailbox('/mail/.AA', 2500);
    });
    const isThere = (path: string) => pair.copy.lstat(path) !== null;
    await pair.clock.runWhile(() => {
      expect(isThere(`/mail/.A/cur/${message(2)}:2,`) || isThere(`/mail/.B/cur/${message(7)}:2,`)).toBe(true);
      return pair.differences().length > 0;
    }, 60_000);
    expect(pair.differences()).toEqual([]);
  });

  it('with another name goes with the uidlist that no longer names it, although that name would not hold still (I6)', async () => {
    const pair = makePair();
    for (const name of ['A', 'B']) pair.makeMailbox(`/mail/.${name}`, 3);
    pair.server.link(`/mail/.A/cur/${message(2)}:2,`, `/mail/.B/cur/${message(7)}:2,`);
    pair.start();
    await pair.settle();
    pair.disk.fail({ operation: 'xattrs', code: 'ENOENT', times: 2, path: /^\/mail\/\.B\/cur\// });
    pair.server.unlink(`/mail/.A/cur/${message(2)}:2,`);
    pair.replace('/mail/.A/dovecot-uidlist', list(1, 3));
    const end = pair.clock.now + 5000;
    await pair.clock.runWhile(() => {
      const names = pair.copy.readFile('/mail/.A/dovecot-uidlist', 1000)?.data.toString() ?? '';
      if (!names.includes(message(2))) expect(pair.copy.lstat(`/mail/.A/cur/${message(2)}:2,`)).toBeNull();
      return pair.clock.now < end;
    }, 60_000);
    expect(pair.differences()).toEqual([]);
  });

  it.each(['cannot be read here', 'cannot be had there'])('that %s does not keep the rest of its mailbox waiting (I20)', async (why) => {
    const pair = makePair();
    pair.makeMailbox('/mail/.Box', 3);
    pair.start();
    await pair.settle();
    const bad = { path: /\/mail\/\.Box\/new\/1700000000\.M5P1/, times: 1e6 };
    if (why === 'cannot be read here') pair.disk.fail({ operation: 'readFile', code: 'EIO', ...bad });
    else pair.copyDisk.fail({ operation: 'rename', code: 'EPERM', ...bad });
    for (const n of [5, 6]) pair.server.writeFile(`/mail/.Box/new/${message(n)}`, `message ${n}`);
    pair.replace('/mail/.Box/dovecot-uidlist', list(1, 3, 5, 6));
    pair.server.unlink(`/mail/.Box/cur/${message(2)}:2,`);
    await pair.clock.runFor(15_000);
    expect(pair.copy.lstat(`/mail/.Box/new/${message(6)}`)).not.toBeNull();
    expect(pair.copy.lstat(`/mail/.Box/new/${message(5)}`)).toBeNull();
    expect(pair.copy.lstat(`/mail/.Box/cur/${message(2)}:2,`)).toBeNull();
    expect(pair.copy.readFile('/mail/.Box/dovecot-uidlist', 1000)?.data.toString()).toBe(list(1, 3, 5, 6));
    pair.disk.mend();
    pair.copyDisk.mend();
    await pair.clock.runFor(100_000);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it.each(['dovecot-uidlist', 'dovecot.index'])(
    'comes although %s of its mailbox cannot be read, which is in doubt by name (I20)',
    async (name) => {
      const pair = makePair();
      pair.makeMailbox('/mail/.Box', 3);
      pair.server.writeFile('/mail/.Box/dovecot.index', 'names 1 2 3');
      pair.makeMailbox('/mail/.Other', 1);
      pair.start();
      await pair.settle();
      pair.disk.fail({ operation: 'readFile', code: 'EIO', times: 1e6, path: new RegExp(`Box/${name}$`) });
      pair.server.writeFile(`/mail/.Box/new/${message(5)}`, 'message 5');
      pair.replace('/mail/.Box/dovecot-uidlist', list(1, 2, 3, 5));
      pair.server.writeFile(`/mail/.Other/new/${message(5)}`, 'message 5');
      pair.replace('/mail/.Other/dovecot-uidlist', list(1, 5));
      await pair.clock.runFor(5000);
      expect(pair.copy.lstat(`/mail/.Box/new/${message(5)}`)).not.toBeNull();
      expect(pair.copy.readFile('/mail/.Other/dovecot-uidlist', 1000)?.data.toString()).toBe(list(1, 5));
      expect(pair.doubts()).toEqual([`.Box/${name}`]);
      pair.disk.mend();
      await pair.clock.runFor(100_000);
      await pair.settle();
      expect(pair.differences()).toEqual([]);
    },
  );

  it('stays in the uidlist while the index that names it cannot follow, and new ones still come (I6)', async () => {
    const pair = makePair();
    pair.makeMailbox('/mail/.Box', 3);
    pair.server.writeFile('/mail/.Box/dovecot.index', 'names 1 2 3');
    pair.start();
    await pair.settle();
    pair.server.writeFile('/mail/.Box/dovecot-uidlist.lock', '');
    pair.server.unlink(`/mail/.Box/cur/${message(2)}:2,`);
    pair.replace('/mail/.Box/dovecot-uidlist', list(1, 3, 4));
    pair.server.writeFile(`/mail/.Box/cur/${message(4)}:2,`, 'message 4');
    await pair.clock.runFor(8000);
    expect(pair.copy.lstat(`/mail/.Box/cur/${message(4)}:2,`)).not.toBeNull();
    expect(pair.copy.readFile('/mail/.Box/dovecot-uidlist', 1000)?.data.toString()).toBe(list(1, 2, 3));
    pair.replace('/mail/.Box/dovecot.index', 'names 1 3 4');
    pair.server.unlink('/mail/.Box/dovecot-uidlist.lock');
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });
});

describe('a lock', () => {
  it('that a dead server left counts for two minutes', async () => {
    const pair = makePair();
    pair.makeMailbox('/mail/.Box', 2);
    pair.start();
    await pair.settle();
    pair.server.writeFile('/mail/.Box/dovecot-uidlist.lock', '');
    pair.server.writeFile('/mail/.Box/dovecot.index.log', 'a transaction\n');
    await pair.clock.runFor(100_000);
    expect(pair.copy.lstat('/mail/.Box/dovecot.index.log')).toBeNull();
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });
});

describe('a user called new', () => {
  it('has mailboxes that a restart looks into, although the directory of that name did not change', async () => {
    const pair = makePair();
    pair.server.mkdir('/mail/new', 0o700);
    pair.makeMailbox('/mail/new/.Box', 2);
    pair.start();
    await pair.settle();
    await pair.clock.runFor(5000);
    // The first restart finds the directory old enough to trust its mtime.
    await pair.restart(() => {});
    await pair.settle();
    await pair.restart(() => pair.server.writeFile(`/mail/new/.Box/new/${message(5)}`, 'while nobody watched'));
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });
});
