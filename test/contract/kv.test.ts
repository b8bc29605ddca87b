import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OperatorError } from '../../agent/platform/errors.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { KEY_BYTES_MAX, openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { mappableBytes } from '../../agent/platform/mapped-memory.ts';

const b = (text: string) => Buffer.from(text, 'latin1');
let dir: string;
let open: Kv[];

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-kv-'));
  open = [];
});

afterEach(async () => {
  for (const kv of open) await kv.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

function make(): Kv {
  const kv = openLmdbKv(dir);
  open.push(kv);
  return kv;
}

async function close(kv: Kv): Promise<void> {
  open.splice(open.indexOf(kv), 1);
  await kv.close();
}

const keysOf = (entries: Iterable<[Buffer, Buffer]>) => [...entries].map(([key]) => key.toString('latin1'));

describe('reading and writing', () => {
  it('shows a commit at once and after a reopening', async () => {
    const kv = make();
    kv.commit([
      [b('a'), b('1')],
      [b('b'), b('')],
      [b('c'), b('3')],
    ]);
    expect(kv.get(b('a'))).toEqual(b('1'));
    expect(kv.get(b('b'))).toEqual(b(''));
    kv.commit([
      [b('c'), null],
      [b('missing'), null],
      [b('a'), b('2')],
    ]);
    expect(kv.get(b('c'))).toBeUndefined();
    await kv.flushed();
    await close(kv);
    const again = make();
    expect(again.get(b('a'))).toEqual(b('2'));
    expect(keysOf(again.range(b(''), b('z')))).toEqual(['a', 'b']);
  });

  it('takes the last of two writes to one key', () => {
    const kv = make();
    kv.commit([
      [b('a'), b('1')],
      [b('a'), b('2')],
      [b('x'), b('1')],
      [b('x'), null],
    ]);
    expect(kv.get(b('a'))).toEqual(b('2'));
    expect(kv.get(b('x'))).toBeUndefined();
  });

  it('gives buffers that stay as they are when the store moves on', () => {
    const kv = make();
    kv.commit(Array.from({ length: 500 }, (_, i) => [b(`k${String(i).padStart(4, '0')}`), Buffer.alloc(100, i)] as const));
    const first = kv.get(b('k0007')) as Buffer;
    const all = [...kv.range(b('k'), b('l'))];
    for (let i = 0; i < 500; i++) kv.get(b(`k${String(i).padStart(4, '0')}`));
    kv.commit(Array.from({ length: 500 }, (_, i) => [b(`k${String(i).padStart(4, '0')}`), Buffer.alloc(100, 255)] as const));
    expect(Buffer.isBuffer(first)).toBe(true);
    expect(first).toEqual(Buffer.alloc(100, 7));
    expect(all).toHaveLength(500);
    for (const [i, [key, value]] of all.entries()) {
      expect(key.toString()).toBe(`k${String(i).padStart(4, '0')}`);
      expect(value.equals(Buffer.alloc(100, i))).toBe(true);
      expect(value.length).toBe(100);
    }
  });

  it('does not look at the caller’s buffers after commit returned', async () => {
    const kv = make();
    const [key, value] = [b('key'), b('value')];
    kv.commit([[key, value]]);
    key.fill(0x7a);
    value.fill(0x7a);
    expect(kv.get(b('key'))).toEqual(b('value'));
    await kv.flushed();
    expect(kv.get(b('key'))).toEqual(b('value'));
    expect(kv.get(b('zzz'))).toBeUndefined();
  });

  it('carries large values and the longest keys, and refuses longer ones whole', async () => {
    const kv = make();
    const large = Buffer.alloc(3_000_000, 'x');
    const longest = Buffer.alloc(KEY_BYTES_MAX, 1);
    kv.commit([[longest, large]]);
    expect(kv.get(longest)?.equals(large)).toBe(true);
    expect(() =>
      kv.commit([
        [b('with'), b('it')],
        [Buffer.alloc(KEY_BYTES_MAX + 1, 1), b('')],
      ]),
    ).toThrow();
    expect(kv.get(b('with'))).toBeUndefined();
    await kv.flushed();
    await close(kv);
    expect(make().get(longest)?.equals(large)).toBe(true);
  });
});

describe('ranges', () => {
  const names = Array.from({ length: 700 }, (_, i) => `k${String(i).padStart(4, '0')}`);

  function filled(): Kv {
    const kv = make();
    kv.commit(names.map((name) => [b(name), b(`v${name}`)] as const));
    return kv;
  }

  it('go from the start, inclusive, to the end, exclusive, in byte order', () => {
    const kv = filled();
    kv.commit([
      [Buffer.from([0]), b('')],
      [Buffer.from([0xff, 0xff]), b('')],
      [b('k0010\0'), b('')],
    ]);
    expect(keysOf(kv.range(b('k0009'), b('k0012')))).toEqual(['k0009', 'k0010', 'k0010\0', 'k0011']);
    expect(keysOf(kv.range(Buffer.alloc(0), b('k0001')))).toEqual(['\0', 'k0000']);
    expect(keysOf(kv.range(b('k0699'), Buffer.alloc(4, 0xff)))).toEqual(['k0699', '\xff\xff']);
    expect(keysOf(kv.range(b('x'), b('y')))).toEqual([]);
    expect(keysOf(kv.range(b('k0009'), b('k0009')))).toEqual([]);
  });

  it('walk down from the key before the end', () => {
    const kv = filled();
    expect(keysOf(kv.range(b('k0009'), b('k0012'), { reverse: true }))).toEqual(['k0011', 'k0010', 'k0009']);
    expect(keysOf(kv.range(b('k'), b('l'), { reverse: true }))).toEqual(names.toReversed());
    expect(keysOf(kv.range(Buffer.alloc(0), b('k0002'), { reverse: true }))).toEqual(['k0001', 'k0000']);
    expect(keysOf(kv.range(b('k0005'), b('z'), { reverse: true, limit: 2 }))).toEqual(['k0699', 'k0698']);
  });

  it('keep to the limit', () => {
    const kv = filled();
    for (const limit of [0, 1, 15, 16, 17, 48, 300, 700, 900]) {
      expect(keysOf(kv.range(b('k'), b('l'), { limit }))).toEqual(names.slice(0, limit));
    }
  });

  it('may be left early, nested, and gone on with after other reads', async () => {
    const kv = filled();
    for (let i = 0; i < 300; i++) {
      for (const [key] of kv.range(b('k'), b('l'))) {
        for (const [inner] of kv.range(key, b('l'), { limit: 3 })) if (inner.equals(b('k0001'))) break;
        if (key.equals(b('k0020'))) break;
      }
    }
    const seen: string[] = [];
    for (const [key] of kv.range(b('k'), b('l'))) {
      if (seen.length % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      seen.push(key.toString());
    }
    expect(seen).toEqual(names);
    // Abandoned iterators must not pin old pages: the file stays small although everything is rewritten many times.
    for (let i = 0; i < 50; i++) {
      kv.range(b('k'), b('l'))[Symbol.iterator]().next();
      kv.commit(names.map((name) => [b(name), Buffer.alloc(100, i)] as const));
      await kv.flushed();
    }
    expect(fs.statSync(path.join(dir, 'data.mdb')).size).toBeLessThan(4_000_000);
  });
});

describe('what is durable', () => {
  it('after flushed, a killed process has lost nothing of it, and no commit is there in part', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', path.join(import.meta.dirname, 'kv-writer.ts'), dir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let flushedUpTo = -1;
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    child.stdout.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString().split('\n')) if (line !== '') flushedUpTo = Math.max(flushedUpTo, Number(line));
      if (flushedUpTo >= 30) child.kill('SIGKILL');
    });
    await ended;
    expect(flushedUpTo).toBeGreaterThanOrEqual(30);
    const kv = make();
    const rounds = new Map<string, number>();
    for (const [key] of kv.range(b('r'), b('s'))) {
      const round = key.toString().slice(1, 7);
      rounds.set(round, (rounds.get(round) ?? 0) + 1);
    }
    for (const count of rounds.values()) expect(count).toBe(50);
    expect(rounds.size).toBeGreaterThan(flushedUpTo);
  });
});

describe('a disk', () => {
  it.skipIf(process.getuid?.() !== 0)('that stands still holds up nobody (I24)', async () => {
    const [image, at] = [path.join(dir, 'image'), path.join(dir, 'disk')];
    fs.writeFileSync(image, '');
    fs.truncateSync(image, 64 * 1024 ** 2);
    fs.mkdirSync(at);
    execFileSync('mkfs.ext4', ['-q', '-F', image]);
    execFileSync('mount', ['-o', 'loop', image, at]);
    // Were this thread to wait for the disk, nobody would end that: then the helper does, and says so.
    const helper = spawn('bash', ['-c', 'read -r -t 60 && echo told || echo late; fsfreeze -u "$0"', at], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    helper.stdout.on('data', (text: Buffer) => (said += text.toString()));
    const ended = new Promise<void>((resolve) => helper.once('close', () => resolve()));
    try {
      const kv = openLmdbKv(path.join(at, 'store'));
      kv.commit([[b('before'), b('1')]]);
      await kv.flushed();
      execFileSync('fsfreeze', ['-f', at]);
      let isFlushed = false;
      kv.commit([[b('a'), b('1')]]);
      const flushed = kv.flushed().then(() => (isFlushed = true));
      // Others get their turn, again and again, and read what was committed.
      for (let turn = 0; turn < 20; turn++) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        kv.commit([[b(`turn${turn}`), b('1')]]);
        expect([kv.get(b('a')), kv.get(b('before')), kv.get(b(`turn${turn}`))]).toEqual([b('1'), b('1'), b('1')]);
      }
      expect([isFlushed, said, kv.writingMs > 0]).toEqual([false, '', true]);
      helper.stdin.write('\n');
      await flushed;
      await ended;
      expect(said).toBe('told\n');
      await kv.close();
      const again = openLmdbKv(path.join(at, 'store'));
      expect(keysOf(again.range(b('turn'), b('turo')))).toHaveLength(20);
      await again.close();
    } finally {
      helper.stdin.end('\n');
      await ended;
      // Also where the store is still open, because something failed.
      execFileSync('umount', ['-l', at]);
    }
  });
});

describe('opening', () => {
  const codeOf = (act: () => unknown): string => {
    try {
      act();
    } catch (error) {
      if (error instanceof OperatorError) return error.code;
      throw error;
    }
    return 'no error';
  };

  it('refuses a second owner, and lets the next one in after the first', async () => {
    const kv = make();
    expect(codeOf(() => openLmdbKv(dir))).toBe('store-locked');
    await close(kv);
    make();
  });

  it('names a damaged file', async () => {
    const kv = make();
    kv.commit(Array.from({ length: 2000 }, (_, i) => [b(`k${i}`), Buffer.alloc(100)] as const));
    await kv.flushed();
    await close(kv);
    const file = path.join(dir, 'data.mdb');
    fs.truncateSync(file, fs.statSync(file).size / 2);
    expect(codeOf(() => openLmdbKv(dir))).toBe('store-damaged');
    fs.writeFileSync(file, Buffer.alloc(100_000, 'garbage'));
    expect(codeOf(() => openLmdbKv(dir))).toBe('store-damaged');
    fs.rmSync(file);
    make();
  });

  it('takes a smaller map where the address space is limited', () => {
    const writer = path.join(import.meta.dirname, 'kv-writer.ts');
    // 96 GiB are less than twice the map that is set aside elsewhere, and enough for two threads that load TypeScript.
    const limited = spawnSync('sh', ['-c', 'ulimit -v 100663296; exec "$@"', 'sh', process.execPath, '--import', 'tsx', writer, dir, '6'], {
      encoding: 'utf8',
    });
    expect(limited).toMatchObject({ status: 0, signal: null, stdout: '2\n5\n' });
    make();
    expect(mappableBytes(path.join(dir, 'data.mdb'), 2 ** 52, 2 ** 51)).toBeNull();
    expect(mappableBytes(path.join(dir, 'data.mdb'), 2 ** 31, 2 ** 30)).toBe(2 ** 31);
  });

  it('names a directory that cannot be written', () => {
    const file = path.join(dir, 'file');
    fs.writeFileSync(file, '');
    expect(codeOf(() => openLmdbKv(path.join(file, 'below')))).toBe('store-unwritable');
  });
});
