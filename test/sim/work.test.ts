import { describe, expect, it } from 'vitest';
import type { Hint } from '../../agent/capture/watcher.ts';
import { MailHistory } from './mail-history.ts';
import { checkReplicaClosed } from './replica-closed.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import type { SimFiles } from './sim-files.ts';
import { SimMailServer } from './sim-mailserver.ts';
import { SimPlainWork } from './sim-plainwork.ts';
import { SimRandom } from './sim-random.ts';
import { SimWatcher } from './sim-watcher.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const root = '/mail';

async function mailHost(seed: number) {
  const clock = new SimClock();
  const random = new SimRandom(seed);
  const host = clock.host(wall);
  const disk = new SimDisk(random.fork('disk'), { reuseInos: seed % 2 === 0 });
  const files = disk.open(host);
  const history = new MailHistory();
  const server = new SimMailServer({ files, clock: host, random: random.fork('mail'), history }, root);
  await clock.settle(server.setUp(3), 10_000);
  return { clock, random, host, disk, files, history, server };
}

/** Copies a live store as a replicator without any care would: in `order`, with time passing between two files. */
async function carelessCopy(clock: SimClock, files: SimFiles, to: SimFiles, order: (name: string) => number): Promise<void> {
  const todo: { path: string; rank: number }[] = [];
  const walk = (dir: string): void => {
    to.mkdir(dir, 0o700);
    for (const { name, kind } of files.readdir(dir) ?? []) {
      const path = `${dir}/${name}`;
      if (ignoresOfMaildir(name)) continue;
      if (kind === 'dir') walk(path);
      else todo.push({ path, rank: order(name) });
    }
  };
  walk(root);
  todo.sort((a, b) => a.rank - b.rank);
  for (const { path } of todo) {
    await clock.runFor(2);
    const file = files.readFile(path, Infinity);
    if (file) to.writeFile(path, file.data);
  }
}

const isIndex = (name: string) => name.startsWith('dovecot');

describe('the simulated mail server', () => {
  it('does everything a real one does, and its own store is closed at every moment', async () => {
    const { clock, files, history, server } = await mailHost(1);
    server.start();
    for (let i = 0; i < 400; i++) {
      await clock.runFor(37);
      const wrong = checkReplicaClosed(files, root, history).filter((line) => !line.endsWith('was replicated'));
      expect(wrong).toEqual([]);
    }
    await clock.settle(server.stop(), 60_000);
    expect(checkReplicaClosed(files, root, history)).toEqual([]);
    expect([...server.done.keys()].sort()).toEqual([
      'copy',
      'create',
      'delete',
      'deliver',
      'expunge',
      'flags',
      'keywords',
      'look',
      'move',
      'rename',
      'rotate',
      'subscribe',
    ]);
    expect(history.issuedCount).toBeGreaterThan(100);
  });

  it('makes a store that a careless copy gets wrong, and the checks see it', async () => {
    const seen = new Map<string, number>();
    for (let seed = 0; seed < 12; seed++) {
      const { clock, files, history, server } = await mailHost(seed);
      server.start();
      await clock.runFor(2000);
      const copy = new SimDisk(new SimRandom(seed)).open(clock.host(wall));
      await carelessCopy(clock, files, copy, (name) => (seed % 2 === 0 ? Number(!isIndex(name)) : Number(isIndex(name))));
      for (const line of checkReplicaClosed(copy, root, history)) {
        const kind = /newer than the data|which is not there|twice|not the body/.exec(line)?.[0] ?? line;
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      }
    }
    expect([...seen.keys()]).toContain('which is not there');
  });

  it('goes on after a power cut without giving a UID twice', async () => {
    for (let seed = 0; seed < 15; seed++) {
      const world = await mailHost(seed);
      world.server.start();
      await world.clock.runFor(3000);
      world.host.kill();
      world.disk.crash({ chaos: seed % 3 === 0 });
      const host = world.clock.host(wall + world.clock.now);
      const files = world.disk.open(host);
      world.server.restart({ files, clock: host, random: world.random.fork('again'), history: world.history });
      expect(checkReplicaClosed(files, root, world.history)).toEqual([]);
      world.server.start();
      await world.clock.runFor(3000);
      await world.clock.settle(world.server.stop(), 60_000);
      expect(checkReplicaClosed(files, root, world.history)).toEqual([]);
    }
  });

  it('has the same history for the same seed, and another for another', async () => {
    const run = async (seed: number): Promise<string> => {
      const { clock, files, server } = await mailHost(seed);
      files.mkdir('/plain', 0o755);
      const work = new SimPlainWork(files, clock.host(wall), new SimRandom(seed), '/plain');
      server.start();
      work.start(10);
      await clock.runFor(5000);
      await clock.settle(Promise.all([server.stop(), work.stop()]), 60_000);
      return JSON.stringify([...snapshotTree(files, '', () => false)]);
    };
    expect(await run(7)).toBe(await run(7));
    expect(await run(7)).not.toBe(await run(8));
  });
});

describe('the check of a replica', () => {
  async function atRest() {
    const world = await mailHost(3);
    world.server.start();
    await world.clock.runFor(3000);
    await world.clock.settle(world.server.stop(), 60_000);
    const box = world.server.mailboxes.find((b) => b.messages.some((m) => m.uid !== null))!;
    const message = box.messages.find((m) => m.uid !== null)!;
    return { ...world, box, message, check: () => checkReplicaClosed(world.files, root, world.history).join('\n') };
  }

  it.each<[string, RegExp, (w: Awaited<ReturnType<typeof atRest>>) => void]>([
    ['a missing message', /which is not there/, ({ files, box, message }) => files.unlink(`${box.dir}/${message.file}`)],
    ['a torn message', /not the body/, ({ files, box, message }) => files.truncate(`${box.dir}/${message.file}`, 10)],
    [
      'a doubled message',
      /there twice/,
      ({ files, box, message }) => files.link(`${box.dir}/${message.file}`, `${box.dir}/cur/${message.base}:2,X`),
    ],
    ['a torn uidlist', /ends inside a line/, ({ files, box }) => files.append(`${box.dir}/dovecot-uidlist`, '99 :12')],
    ['a foreign UID', /never given/, ({ files, box }) => files.append(`${box.dir}/dovecot-uidlist`, '9999 :x\n')],
    [
      'a UID for another message',
      /but a client saw/,
      ({ files, box, message, history }) => {
        files.append(`${box.dir}/dovecot-uidlist`, `${message.uid} :other\n`);
        history.arrived('other', Buffer.alloc(0));
      },
    ],
    [
      'another UIDVALIDITY',
      /UIDVALIDITY 17 was never given/,
      ({ files, box }) => files.writeFile(`${box.dir}/dovecot-uidlist`, '3 V17 N1 Gx\n'),
    ],
    ['an index without uidlist', /there is no uidlist/, ({ files, box }) => files.unlink(`${box.dir}/dovecot-uidlist`)],
    [
      'an index newer than the uidlist',
      /newer than the data/,
      ({ files, box }) => files.writeFile(`${box.dir}/dovecot-uidlist`, `3 V${box.uidValidity} N1 Gx\n`),
    ],
    ['a torn index', /inside a record/, ({ files, box }) => files.append(`${box.dir}/dovecot.index.log`, '+ 5')],
    ['a lock', /lock or temporary/, ({ files, box }) => files.writeFile(`${box.dir}/dovecot-uidlist.lock`, '')],
    ['a temporary file', /temporary file/, ({ files, box }) => files.writeFile(`${box.dir}/tmp/x`, '')],
  ])('sees %s', async (_, line, damage) => {
    const world = await atRest();
    expect(world.check()).toBe('');
    damage(world);
    expect(world.check()).toMatch(line);
  });
});

describe('the comparison of two trees', () => {
  it('sees each kind of difference, and none where there is none', () => {
    const clock = new SimClock();
    const make = (): SimFiles => {
      const files = new SimDisk(new SimRandom(1)).open(clock.host(wall));
      files.mkdir('/d', 0o755);
      files.writeFile('/d/f', 'content');
      files.link('/d/f', '/g');
      files.symlink('d', '/s');
      files.writeFile('/h', 'h');
      return files;
    };
    const take = (files: SimFiles) => snapshotTree(files, '', () => false);
    const original = take(make());
    expect(compareTrees(original, take(make()))).toEqual([]);
    const changes: ((files: SimFiles) => void)[] = [
      (f) => f.setMeta('/h', { mtimeNs: 1n }),
      (f) => f.setMeta('/h', { mode: 0o644 }),
      (f) => f.setMeta('/d', { uid: 3 }),
      (f) => f.setMeta('/h', { xattrs: new Map([['user.a', Buffer.from('b')]]) }),
      (f) => f.overwrite('/h', 'i', 0),
      (f) => f.unlink('/h'),
      (f) => f.writeFile('/new', ''),
      (f) => {
        f.unlink('/g');
        f.copyFile('/d/f', '/g');
      },
      (f) => {
        f.unlink('/s');
        f.symlink('e', '/s');
      },
    ];
    for (const change of changes) {
      const files = make();
      change(files);
      expect(compareTrees(original, take(files))).not.toEqual([]);
    }
  });
});

describe('the simulated watcher', () => {
  it('tells of every change of another process, in order before a barrier, and says when it lost some', async () => {
    for (const overflowShare of [0, 0.05]) {
      const { clock, random, host, disk, files, server } = await mailHost(5);
      const agentClock = clock.host(wall);
      const own = disk.open(agentClock);
      const hints: Hint[] = [];
      const watcher = new SimWatcher(
        disk,
        own,
        agentClock,
        random.fork('watch'),
        {
          roots: [{ name: 'mail', path: root }],
          barrierDir: '/state',
          ignores: (_, path) => ignoresOfMaildir(path),
          onHints: (more) => hints.push(...more),
          onFailure: (error) => {
            throw error;
          },
        },
        { overflowShare },
      );
      await watcher.start();
      const before = snapshotTree(files, root, ignoresOfMaildir);
      own.writeFile(`${root}/mine`, '');
      server.start();
      await clock.runFor(2000);
      await clock.settle(server.stop(), 60_000);
      await clock.settle(watcher.barrier(1000), 1000);
      expect(hints.some((h) => h.path === 'mine' || ignoresOfMaildir(h.path))).toBe(false);
      expect(hints.some((h) => h.kind === 'lost')).toBe(overflowShare > 0);
      const covered = (path: string) =>
        hints.some((h) => h.path === path || (h.kind !== 'path' && (h.path === '' || path.startsWith(`${h.path}/`))));
      for (const [path, facts] of snapshotTree(files, root, ignoresOfMaildir)) {
        if (path !== 'mine' && before.get(path) !== facts && !facts.includes('same as'))
          expect([path, covered(path)]).toEqual([path, true]);
      }
      host.kill();
    }
  });
});
