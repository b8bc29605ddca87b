import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Config } from '../../agent/config/config.ts';
import { readRole, roleWrites } from '../../agent/failover/role-store.ts';
import { checkRecord } from '../../agent/journal/check-record.ts';
import { ownDiskKey } from '../../agent/journal/turn-round.ts';
import { openCheckedKv, openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { walkLmdbFile } from '../../agent/platform/lmdb-walk.ts';
import { repairStore } from '../../agent/wiring/repair-store.ts';
import { SimRandom } from '../sim/sim-random.ts';

const pageBytes = 4096;
const seed = Number(process.env['STORE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
let dir: string;
let file: string;

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-damage-'));
  fs.mkdirSync(path.join(dir, 'store'));
  file = path.join(dir, 'store', 'data.mdb');
});

afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

/** A store with a history: changed, shrunk, with large values and free pages. */
async function fill(random: SimRandom, keys = 4000): Promise<void> {
  const kv = openLmdbKv(path.join(dir, 'store'));
  const meta = (name: string) => Buffer.from(`\x01${name}`);
  for (let i = 0; i < 12; i++) {
    kv.commit(
      Array.from({ length: 400 }, () => [meta(`k${random.int(keys)}`), random.chance(0.3) ? null : random.bytes(random.int(120))] as const),
    );
    await kv.flushed();
    kv.commit([[meta(`big${i}`), random.bytes(random.int(30_000))]]);
    await kv.flushed();
  }
  kv.commit(roleWrites({ role: 'standby', epoch: 3, seenEpoch: 3 }));
  await kv.close();
}

async function records(): Promise<string[]> {
  const found: string[] = [];
  const entry = (key: Buffer, value: Buffer) => void found.push(`${key.toString('hex')} ${value.toString('hex')}`);
  await walkLmdbFile(file, { entry, clock: { monotonicMs: () => 0, yield: async () => {} } });
  return found;
}

describe(`a look at all of a store without LMDB (seed ${seed})`, () => {
  it('gives way by time, so that a slow disk holds up nobody else (I24)', async () => {
    await fill(new SimRandom(seed));
    let now = 0;
    let longest = 0;
    let began = 0;
    const clock = {
      // Each time that it is asked a page was read, from a disk that takes 15 ms for it.
      monotonicMs: () => {
        now += 15;
        longest = Math.max(longest, now - began);
        return now;
      },
      yield: async () => {
        began = now;
      },
    };
    await walkLmdbFile(file, { entry: () => {}, clock });
    expect(now).toBeGreaterThan(1000);
    expect(longest).toBeLessThan(100);
  });

  it('finds every record of a whole one, in order', async () => {
    for (let round = 0; round < 4; round++) {
      fs.rmSync(file, { force: true });
      await fill(new SimRandom(seed + round), [50, 4000, 1, 100_000][round]);
      const kv = openLmdbKv(path.join(dir, 'store'));
      const all = [...kv.range(Buffer.from([0]), Buffer.from([255]))].map(
        ([key, value]) => `${key.toString('hex')} ${value.toString('hex')}`,
      );
      await kv.close();
      expect((await records()).join() === all.join()).toBe(true);
    }
  });

  it('finds every page that is not what it was, unless nothing of it is in use', async () => {
    const random = new SimRandom(seed);
    await fill(random);
    const whole = fs.readFileSync(file);
    // The body of a large value has no form of its own; everything else has.
    const formOf = (record: string) => (record.length < 1000 ? record : `${record.split(' ')[0]} ${record.length}`);
    const all = (await records()).map(formOf).join();
    const pages = whole.length / pageBytes;
    let found = 0;
    for (let round = 0; round < 100; round++) {
      const damaged = Buffer.from(whole);
      const at = random.int(pages) * pageBytes;
      const what = round % 4;
      if (what === 0) random.bytes(pageBytes).copy(damaged, at);
      else if (what === 1) damaged.fill(0, at, Math.min(whole.length, at + pageBytes * (1 + random.int(3))));
      else if (what === 2) {
        const from = random.int(pages) * pageBytes;
        whole.copy(damaged, at, from, from + pageBytes);
      }
      const size = what === 3 ? random.int(whole.length) : whole.length;
      fs.writeFileSync(file, damaged.subarray(0, size));
      const seen = await records().catch(() => null);
      if (seen === null) found++;
      else expect(seen.map(formOf).join() === all, `seed ${seed}, round ${round}`).toBe(true);
    }
    expect(found).toBeGreaterThan(25);
  });

  it('finds a page that is in use and also in the list of free ones', async () => {
    await fill(new SimRandom(seed));
    const bytes = fs.readFileSync(file);
    const [first, second] = [0, pageBytes].map((at) => bytes.readBigUInt64LE(at + 152)) as [bigint, bigint];
    const meta = first > second ? 0 : pageBytes;
    const leaf = Number(bytes.readBigUInt64LE(meta + 88)) * pageBytes;
    const node = leaf + 24 + bytes.readUInt16LE(leaf + 24);
    const list = node + 8 + bytes.readUInt16LE(node + 6);
    bytes.writeBigUInt64LE(1n, list);
    bytes.writeBigUInt64LE(bytes.readBigUInt64LE(meta + 136), list + 8);
    fs.writeFileSync(file, bytes);
    await expect(records()).rejects.toThrow(/in use twice/);
  });

  it('survives any bit, and ends', async () => {
    const random = new SimRandom(seed);
    await fill(random);
    const whole = fs.readFileSync(file);
    for (let round = 0; round < 80; round++) {
      const damaged = Buffer.from(whole);
      // Heads of pages hold what leads elsewhere.
      const at = random.chance(0.5) ? random.int(whole.length) : random.int(whole.length / pageBytes) * pageBytes + random.int(160);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << random.int(8));
      fs.writeFileSync(file, damaged);
      await records().catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    }
  });
});

describe('the start after an end', () => {
  const open = async (): Promise<number> => {
    let read = 0;
    const kv = await openCheckedKv(path.join(dir, 'store'), () => void read++);
    await kv.close();
    return read;
  };

  it('in order reads nothing first; after any other end, or a change by somebody else, everything', async () => {
    await fill(new SimRandom(seed));
    expect(await open()).toBe(0);
    fs.rmSync(path.join(dir, 'store', 'closed'));
    expect(await open()).toBeGreaterThan(400);
    expect(await open()).toBe(0);
    fs.utimesSync(file, new Date(), new Date());
    expect(await open()).toBeGreaterThan(400);
  });

  it('while a store is in use there is no seal on it', async () => {
    await fill(new SimRandom(seed));
    const kv = openLmdbKv(path.join(dir, 'store'));
    expect(fs.existsSync(path.join(dir, 'store', 'closed'))).toBe(false);
    await kv.close();
    expect(fs.existsSync(path.join(dir, 'store', 'closed'))).toBe(true);
  });

  it('on damage says what it is and what to do, with an exit code that is not started again', async () => {
    await fill(new SimRandom(seed));
    damage();
    const error = await openCheckedKv(path.join(dir, 'store'), checkRecord).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: 'store-damaged', exitCode: 5, remedy: expect.stringContaining('repair-store') });
    const unit = fs.readFileSync(path.join(import.meta.dirname, '../../deploy/systemd/mailtwin.service'), 'utf8');
    expect(/^RestartPreventExitStatus=(.*)$/m.exec(unit)?.[1]?.split(' ')).toContain('5');
  });

  it('a record that cannot be read is damage as well', () => {
    const entryKey = Buffer.from([2, 0, 0, 0, 0, 0, 1, 0x61]);
    expect(() => checkRecord(entryKey, Buffer.alloc(10))).toThrow();
    expect(() => checkRecord(Buffer.from([99, 1]), Buffer.alloc(10))).toThrow(/no kind/);
    expect(() => checkRecord(Buffer.from('\x01role'), Buffer.from('nobody'))).toThrow(/role/);
    expect(() => checkRecord(Buffer.from('\x01role'), Buffer.from('fenced'))).not.toThrow();
  });
});

function damage(): void {
  const bytes = fs.readFileSync(file);
  for (let page = 2; page < bytes.length / pageBytes; page++) bytes.fill(0x5a, page * pageBytes + 8, (page + 1) * pageBytes);
  fs.writeFileSync(file, bytes);
}

describe('a repair of the store', () => {
  const config = () => ({ state: dir }) as Config;
  const repair = (as: 'standby' | 'fenced' | null = null) => repairStore(config(), { configFile: '', as });
  const roleNow = async () => {
    const kv = openLmdbKv(path.join(dir, 'store'));
    try {
      return { role: readRole(kv), adopts: kv.get(ownDiskKey) !== undefined };
    } finally {
      await kv.close();
    }
  };

  it('keeps role and epoch, and the damaged file beside the new one (I3)', async () => {
    for (const [text, role] of [
      ['standby 7 9\n', { role: 'standby', epoch: 7, seenEpoch: 9 }],
      ['fenced 4\n', { role: 'fenced', epoch: 4, seenEpoch: 4 }],
      ['primary 5 5\n', { role: 'primary', epoch: 5, seenEpoch: 5 }],
    ] as const) {
      fs.rmSync(path.join(dir, 'store'), { recursive: true });
      fs.mkdirSync(path.join(dir, 'store'));
      await fill(new SimRandom(seed), 50);
      damage();
      const bytes = fs.readFileSync(file);
      fs.writeFileSync(path.join(dir, 'role'), text);
      const { aside } = await repair();
      expect(fs.readFileSync(aside).equals(bytes)).toBe(true);
      expect(await roleNow()).toEqual({ role, adopts: role.role === 'standby' });
    }
  });

  it('without knowing the role asks a person, and never makes a primary (I3)', async () => {
    await fill(new SimRandom(seed), 50);
    damage();
    const bytes = fs.readFileSync(file);
    for (const text of [null, '', 'primary', 'primary x\n', 'owner 3 3\n']) {
      if (text !== null) fs.writeFileSync(path.join(dir, 'role'), text);
      await expect(repair()).rejects.toMatchObject({ code: 'no-role', exitCode: 3 });
      expect(fs.readFileSync(file).equals(bytes)).toBe(true);
    }
    await repair('standby');
    expect((await roleNow()).role).toEqual({ role: 'standby', epoch: 1, seenEpoch: 1 });
  });

  it('does not bring a fenced node back, and leaves a whole store alone', async () => {
    await fill(new SimRandom(seed), 50);
    fs.writeFileSync(path.join(dir, 'role'), 'fenced 7 7\n');
    const bytes = fs.readFileSync(file);
    await expect(repair()).rejects.toMatchObject({ code: 'store-whole', exitCode: 3 });
    expect(fs.readFileSync(file).equals(bytes)).toBe(true);
    damage();
    await expect(repair('standby')).rejects.toMatchObject({ code: 'role', exitCode: 3 });
  });

  it('waits for an agent to stop', async () => {
    const kv = openLmdbKv(path.join(dir, 'store'));
    await expect(repair()).rejects.toMatchObject({ code: 'store-locked' });
    await kv.close();
  });
});
