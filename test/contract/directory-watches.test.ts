import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryWatches, type DirectoryEvent } from '../../agent/capture/directory-watches.ts';
import { waitFor } from '../lab/waiting.ts';

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'mailtwin-watches-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

describe('watches on directories', () => {
  it.each(['disk', 'no UTF-8 \xff'])(
    'see what stands at a path when they are added, also beside older ones of the same path: %j',
    async (name) => {
      const dir = `${base}/${name}`;
      const bytes = (path: string) => Buffer.from(path, 'latin1');
      mkdirSync(bytes(dir));
      const older = new DirectoryWatches(() => {});
      expect(older.add(dir)).toBeNull();
      renameSync(bytes(dir), bytes(`${base}/away`));
      mkdirSync(bytes(dir));
      const seen: DirectoryEvent[] = [];
      const newer = new DirectoryWatches((event) => seen.push(event));
      try {
        expect(newer.add(dir)).toBeNull();
        writeFileSync(bytes(`${dir}/later`), 'x');
        await waitFor('the event', 30_000, () => seen.some((event) => event.dir === dir && event.name === 'later'));
        // The end of the older ones takes nothing away from the newer.
        await older.close();
        writeFileSync(bytes(`${dir}/last`), 'x');
        await waitFor('the event after that', 30_000, () => seen.some((event) => event.dir === dir && event.name === 'last'));
      } finally {
        await Promise.all([older.close(), newer.close()]);
      }
    },
  );
});
