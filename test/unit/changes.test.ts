import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Changes } from '../../agent/journal/changes.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';

let dir: string;
let kv: Kv;

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-changes-'));
  kv = openLmdbKv(dir);
});

afterEach(async () => {
  await kv.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

describe('the list of changes', () => {
  it('keeps one record for a path that changed again while it was under way, also over a kill (I12)', () => {
    for (let life = 0; life < 3; life++) {
      const changes = new Changes(kv, 0);
      const [change] = [...changes.ready(0)];
      if (change) changes.take(change);
      else {
        changes.record('mail', 'box/dovecot-uidlist', 'path', 0);
        kv.commit(changes.save());
        changes.take([...changes.ready(0)][0]!);
      }
      changes.record('mail', 'box/dovecot-uidlist', 'scan', 0);
      kv.commit(changes.save());
      // Killed here.
    }
    const last = new Changes(kv, 0);
    expect([...last.ready(0)].map(({ path: at, kind, seq }) => [at, kind, seq])).toEqual([['box/dovecot-uidlist', 'scan', 1]]);
    const [change] = [...last.ready(0)];
    last.take(change!);
    last.settle(change!);
    kv.commit(last.save());
    expect(new Changes(kv, 0).openCount).toBe(0);
  });
});
