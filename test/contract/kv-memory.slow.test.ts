import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';

const b = (text: string) => Buffer.from(text, 'latin1');

it('keeps little of a large file resident, whatever is read', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-kv-'));
  const kv = openLmdbKv(dir);
  try {
    const key = (i: number) => b(`k${String(i).padStart(7, '0')}`);
    for (let i = 0; i < 600_000; i += 2000) {
      kv.commit(Array.from({ length: 2000 }, (_, k) => [key(i + k), Buffer.alloc(200, i)] as const));
      await kv.flushed();
    }
    const shared = () => Number(fs.readFileSync('/proc/self/statm', 'latin1').split(' ')[2]) * 4096;
    let most = 0;
    const before = shared();
    for (let i = 0; i < 60_000; i++) {
      if (kv.get(key((i * 7919) % 600_000))?.length !== 200) throw new Error(`entry ${i} is missing`);
      if (i % 100 === 0) most = Math.max(most, shared() - before);
    }
    expect(fs.statSync(path.join(dir, 'data.mdb')).size).toBeGreaterThan(140_000_000);
    expect(most).toBeLessThan(110_000_000);
  } finally {
    await kv.close();
    fs.rmSync(dir, { recursive: true, force: true });
  }
});
