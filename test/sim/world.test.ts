import { describe, expect, it } from 'vitest';
import { sleep } from '../../agent/platform/clock.ts';
import { limits } from '../../protocol/limits.ts';
import type { Message } from '../../protocol/messages.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork } from './sim-network.ts';
import { SimRandom } from './sim-random.ts';

const wall = 1_700_000_000_000;

function machine(seed: number, options: ConstructorParameters<typeof SimDisk>[1] = {}) {
  const clock = new SimClock();
  const host = clock.host(wall);
  const disk = new SimDisk(new SimRandom(seed), options);
  return { clock, host, disk, files: disk.open(host) };
}

describe('the simulated clock', () => {
  it('runs chains of promises of any length before time goes on', async () => {
    const clock = new SimClock();
    const seen: string[] = [];
    clock.after(1, () => {
      void (async () => {
        for (let i = 0; i < 5000; i++) await Promise.resolve();
        seen.push(`chain at ${clock.now}`);
      })();
    });
    clock.after(1.5, () => seen.push('later'));
    await clock.runUntil(10);
    expect(seen).toEqual(['chain at 1', 'later']);
  });

  it('sleeps in virtual time, and a dead process never wakes', async () => {
    const clock = new SimClock();
    const [a, b] = [clock.host(wall), clock.host(wall + 3_600_000)];
    const woke: string[] = [];
    void sleep(a, 1000).then(() => woke.push('a'));
    void sleep(b, 1000).then(() => woke.push('b'));
    b.kill();
    await clock.runFor(5000);
    expect(woke).toEqual(['a']);
    expect(b.wallMs() - a.wallMs()).toBe(3_600_000);
    a.jumpWall(-60_000);
    expect(a.wallMs()).toBe(wall + 5000 - 60_000);
    expect(a.monotonicMs()).toBe(5000);
  });
});

describe('the simulated disk', () => {
  it('loses an unsynced rename at a power cut, and keeps a synced one', async () => {
    const fates = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const { clock, host, disk, files } = machine(seed);
      files.writeFile('/a', 'old');
      files.writeFile('/kept', 'old');
      files.rename('/kept', '/b');
      await clock.settle(files.syncfs('/'), 1000);
      files.rename('/a', '/c');
      disk.crash({ chaos: seed % 2 === 0 });
      const after = disk.open(host);
      expect(after.readFile('/b', 100)?.data.toString()).toBe('old');
      const names = after
        .readdir('/')!
        .map((e) => e.name)
        .sort();
      expect([
        ['a', 'b'],
        ['b', 'c'],
      ]).toContainEqual(names);
      fates.add(names.join());
    }
    expect(fates.size).toBe(2);
  });

  it('may show a renamed file without its content when nothing was synced', () => {
    const contents = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const { host, disk, files } = machine(seed);
      files.writeFile('/tmp', 'content');
      files.rename('/tmp', '/final');
      disk.crash({ chaos: true });
      contents.add(disk.open(host).readFile('/final', 100)?.data.toString() ?? 'missing');
    }
    expect(contents).toContain('missing');
    expect(contents).toContain('');
    expect(contents).toContain('content');
    expect([...contents].some((c) => c.includes('\0') || (c.length > 0 && c.length < 7))).toBe(true);
  });

  it('a sync covers what was there when it began, not what came while it ran', async () => {
    let lost = 0;
    for (let seed = 0; seed < 30; seed++) {
      const { clock, host, disk, files } = machine(seed, { syncMs: [10, 10] });
      files.writeFile('/early', 'x');
      const synced = files.syncfs('/');
      await clock.runFor(5);
      files.writeFile('/late', 'y');
      await clock.settle(synced, 1000);
      disk.crash();
      const after = disk.open(host);
      expect(after.readFile('/early', 10)?.data.toString()).toBe('x');
      if (after.readFile('/late', 10)?.data.toString() !== 'y') lost++;
    }
    expect(lost).toBeGreaterThan(5);
  });

  it('a sync in flight at the power cut is never heard of', async () => {
    const { clock, host, disk, files } = machine(1, { syncMs: [10, 10] });
    let heard = false;
    void files.syncfs('/').then(() => (heard = true));
    await clock.runFor(5);
    host.kill();
    disk.crash();
    await clock.runFor(1000);
    expect(heard).toBe(false);
  });

  it('in a tangle of renames a power cut never loses a synced file or shows one twice', async () => {
    for (let seed = 0; seed < 200; seed++) {
      const { clock, host, disk, files } = machine(seed, { reuseInos: seed % 2 === 0 });
      const random = new SimRandom(seed);
      for (let d = 0; d < 4; d++) files.mkdir(`/d${d}`, 0o700);
      const where: string[] = [];
      for (let f = 0; f < 8; f++) {
        where.push(`/d${f % 4}/f${f}`);
        files.writeFile(where[f]!, `body ${f}`);
      }
      await clock.settle(files.syncfs('/'), 1000);
      for (let step = 0; step < 30; step++) {
        const f = random.int(8);
        const to = `/d${random.int(4)}/g${step}`;
        files.rename(where[f]!, to);
        where[f] = to;
        if (random.chance(0.3)) {
          files.writeFile(`/d0/new${step}`, 'n');
          if (random.chance(0.5)) files.unlink(`/d0/new${step}`);
        }
      }
      disk.crash({ chaos: true });
      const after = disk.open(host);
      const bodies = [0, 1, 2, 3].flatMap((d) =>
        after.readdir(`/d${d}`)!.map((e) => after.readFile(`/d${d}/${e.name}`, 100)!.data.toString()),
      );
      expect(bodies.filter((b) => b.startsWith('body')).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((f) => `body ${f}`));
    }
  });

  it('keeps what a killed process wrote, and nothing that it does after its death', async () => {
    const { clock, host, disk, files } = machine(3);
    const other = disk.open(clock.host(wall));
    const fd = files.create('/half');
    files.write(fd, Buffer.from('ab'), 0);
    files.interruptAfter(1, () => disk.kill(files));
    files.write(fd, Buffer.from('cd'), 2);
    files.write(fd, Buffer.from('ef'), 4);
    files.rename('/half', '/never');
    expect(other.readFile('/half', 100)?.data.toString()).toBe('abcd');
    expect(other.lstat('/never')).toBeNull();
    other.append('/half', 'gh');
    expect(disk.open(host).readFile('/half', 100)?.data.toString()).toBe('abcdgh');
  });

  it('gives a freed inode number to the next file when told to', () => {
    const reused = machine(1, { reuseInos: true }).files;
    const fresh = machine(1).files;
    for (const [files, same] of [
      [reused, true],
      [fresh, false],
    ] as const) {
      files.writeFile('/a', 'x');
      const before = files.lstat('/a')!.ino;
      files.unlink('/a');
      files.writeFile('/b', 'y');
      expect(files.lstat('/b')!.ino === before).toBe(same);
    }
  });

  it('keeps an unlinked file for whoever has it open', () => {
    const { files } = machine(1, { reuseInos: true });
    files.writeFile('/a', 'still here');
    const fd = files.openRead('/a')!;
    files.unlink('/a');
    const into = Buffer.alloc(20);
    expect(files.read(fd, into, 0, 20, 0)).toBe(10);
    expect(files.fstat(fd).nlink).toBe(0);
    files.close(fd);
    expect(files.openFiles).toBe(0);
  });

  it('stamps with a coarse clock, links, follows links on the way only, and fails when told', async () => {
    const { clock, disk, files } = machine(1, { capacityBytes: 100 });
    files.mkdir('/dir', 0o755);
    files.symlink('dir', '/way');
    files.writeFile('/way/f', 'x');
    const first = files.lstat('/dir/f')!;
    expect(files.lstat('/way')!.kind).toBe('symlink');
    expect(files.readdir('/way')).toBeNull();
    await clock.runFor(1);
    files.overwrite('/dir/f', 'y', 0);
    expect(files.lstat('/dir/f')!.mtimeNs).toBe(first.mtimeNs);
    await clock.runFor(4);
    files.overwrite('/dir/f', 'z', 0);
    expect(files.lstat('/dir/f')!.mtimeNs).toBeGreaterThan(first.mtimeNs);
    files.link('/dir/f', '/g');
    expect(files.lstat('/g')).toMatchObject({ ino: first.ino, nlink: 2 });
    files.setMeta('/g', { mode: 0o640, uid: 8, mtimeNs: 5n });
    expect(files.lstat('/dir/f')).toMatchObject({ mode: 0o640, uid: 8, mtimeNs: 5n });
    expect(() => files.writeFile('/big', Buffer.alloc(200))).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    disk.fail({ operation: 'rename', code: 'EIO' });
    expect(() => files.rename('/g', '/h')).toThrow(expect.objectContaining({ code: 'EIO' }));
    files.rename('/g', '/h');
    expect(() => files.rmdir('/dir')).toThrow(expect.objectContaining({ code: 'ENOTEMPTY' }));
    expect(() => files.create('/h')).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(() => files.rename('/dir', '/dir/below')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});

describe('the simulated key-value store', () => {
  const key = (text: string) => Buffer.from(text);

  it('loses unflushed commits at a power cut, last ones first, each whole', async () => {
    const kept = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const clock = new SimClock();
      const store = new SimKvStore(() => 5);
      const kv = store.open(clock.host(wall));
      kv.commit([[key('flushed'), key('1')]]);
      await clock.settle(kv.flushed(), 100);
      for (let i = 0; i < 4; i++)
        kv.commit([
          [key(`a${i}`), key('x')],
          [key(`b${i}`), key('x')],
        ]);
      store.crash(new SimRandom(seed));
      const after = store.open(clock.host(wall));
      expect(after.get(key('flushed'))?.toString()).toBe('1');
      const alive = [0, 1, 2, 3].map((i) => [`a${i}`, `b${i}`].filter((k) => after.get(key(k))).length);
      expect([0, 1, 2, 3, 4].map((n) => [0, 1, 2, 3].map((i) => (i < n ? 2 : 0)))).toContainEqual(alive);
      kept.add(alive.filter((n) => n === 2).length);
    }
    expect(kept.size).toBe(5);
  });

  it('walks in byte order both ways, and forbids a commit meanwhile', () => {
    const store = new SimKvStore(() => 5);
    const kv = store.open(new SimClock().host(wall));
    kv.commit(['b', 'a', '\xff', 'aa'].map((k) => [Buffer.from(k, 'latin1'), key('v')]));
    const names = (o?: { limit?: number; reverse?: boolean }) =>
      [...kv.range(key('a'), Buffer.from([0xff]), o)].map(([k]) => k.toString('latin1'));
    expect(names()).toEqual(['a', 'aa', 'b']);
    expect(names({ reverse: true, limit: 2 })).toEqual(['b', 'aa']);
    expect(() => {
      for (const [k] of kv.range(key('a'), key('c'))) kv.commit([[k, null]]);
    }).toThrow(/walked/);
  });

  it('shows nothing of what a killed process commits, and may lose its last commits', async () => {
    const store = new SimKvStore(() => 5);
    const clock = new SimClock();
    const old = store.open(clock.host(wall));
    old.commit([[key('a'), key('1')]]);
    await clock.runFor(1000);
    store.kill();
    old.commit([[key('b'), key('1')]]);
    const next = store.open(clock.host(wall));
    expect([next.get(key('a'))?.toString(), next.get(key('b'))]).toEqual(['1', undefined]);
    const lost = new Set<number>();
    for (let n = 0; n < 12; n++) {
      await clock.runFor(1000);
      const [kv, commits] = [store.open(clock.host(wall)), 4 + n];
      for (let i = 0; i < commits; i++) kv.commit([[key(`${n} ${i}`), key('1')]]);
      store.kill();
      const after = store.open(clock.host(wall));
      const there = Array.from({ length: commits }, (_each, i) => after.get(key(`${n} ${i}`)) !== undefined);
      expect(there.toSorted((one, other) => Number(other) - Number(one))).toEqual(there);
      lost.add(commits - there.filter(Boolean).length);
    }
    expect(lost.size).toBeGreaterThan(2);
    expect(store.open(clock.host(wall)).get(key('a'))?.toString()).toBe('1');
  });
});

describe('the simulated network', () => {
  const data = (id: number, bytes = 1000): Message => ({ type: 'slice', id, pieces: [], bytes: Buffer.alloc(bytes) });
  const credit: Message = { type: 'credit', bytes: 1 };

  function pair(seed: number, options: ConstructorParameters<typeof SimNetwork>[2] = {}) {
    const clock = new SimClock();
    const network = new SimNetwork(clock, new SimRandom(seed), options);
    const [a, b] = [clock.host(wall), clock.host(wall)];
    const [left, right] = network.connect({ name: 'a', clock: a }, { name: 'b', clock: b });
    return { clock, network, a, b, left, right };
  }

  it('carries in order, and control overtakes bulk that waits', async () => {
    const { clock, left, right } = pair(1, { bytesPerMs: 100 });
    const got: string[] = [];
    right.onMessage((message, done) => {
      got.push(message.type === 'slice' ? String(message.id) : message.type);
      done();
    });
    for (let i = 0; i < 4; i++) void left.sendBulk(data(i));
    left.sendControl(credit);
    await clock.runFor(1000);
    expect(got).toEqual(['0', 'credit', '1', '2', '3']);
  });

  it('holds bulk back until the peer has consumed', async () => {
    const { clock, left, right } = pair(1);
    const waiting: (() => void)[] = [];
    right.onMessage((_, done) => waiting.push(done));
    let handed = 0;
    const count = Math.ceil(limits.creditBytes / 200_000) + 20;
    for (let i = 0; i < count; i++) void left.sendBulk(data(i, 200_000)).then(() => handed++);
    await clock.runFor(10_000);
    expect(handed).toBe(Math.ceil(limits.creditBytes / 200_009));
    for (const done of waiting.splice(0)) done();
    await clock.runFor(10_000);
    expect(handed).toBe(count);
  });

  it('loses what is under way when cut, and both ends notice in their own time', async () => {
    const { clock, network, left, right } = pair(5, { latencyMs: [10, 10] });
    const got: number[] = [];
    right.onMessage((message, done) => {
      if (message.type === 'slice') got.push(message.id);
      done();
    });
    const ends: [string, number][] = [];
    void left.ended.then(() => ends.push(['left', clock.now]));
    void right.ended.then(() => ends.push(['right', clock.now]));
    await left.sendBulk(data(1));
    await clock.runFor(20);
    await left.sendBulk(data(2));
    await clock.runFor(5);
    network.cut();
    await clock.runFor(10_000);
    expect(got).toEqual([1]);
    expect(ends.map(([name]) => name).sort()).toEqual(['left', 'right']);
    expect(ends[0]![1]).not.toBe(ends[1]![1]);
    await expect(left.sendBulk(data(3))).rejects.toThrow('ended');
  });

  it('tells the peer why it was closed, and refuses a message that is not well-formed', async () => {
    const { clock, network, left, right } = pair(2);
    network.tap = () => {
      throw new Error('not a message');
    };
    left.sendControl(credit);
    expect(await clock.settle(left.ended, 1000)).toEqual({ code: 'bad-message', detail: 'not a message' });
    expect(await clock.settle(right.ended, 1000)).toEqual({ code: 'bad-message', detail: 'not a message' });
    expect(network.protocolErrors).toEqual(['not a message']);
  });

  it('lets a dead process say nothing', async () => {
    const { clock, network, a, left, right } = pair(2);
    const got: string[] = [];
    right.onMessage((message) => got.push(message.type));
    a.kill();
    network.cutProcess(a);
    left.sendControl(credit);
    await clock.settle(right.ended, 10_000);
    expect(got).toEqual([]);
  });
});
