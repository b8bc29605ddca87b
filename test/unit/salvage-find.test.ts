import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { entryOf } from '../../agent/journal/entry.ts';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import { maildirFormat } from '../../agent/mailstore/maildir.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { findTail, type Tail } from '../../agent/replicate/salvage/find.ts';

const messages = 3000;
const portionMax = 256;
const name = (i: number) => `1700000000.M${i}P1.host:2,S`;

describe('what only a node that was primary has', () => {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-find-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('is found in a large mailbox a few names at a time, whoever waits in between (I24)', async () => {
    for (const place of ['cur', 'new', 'tmp']) mkdirSync(join(dir, 'root/user', place), { recursive: true });
    // The disk has all but the first, the index all but the last.
    for (let i = 1; i < messages; i++) writeFileSync(join(dir, 'root/user/cur', name(i)), '');
    const kv = openLmdbKv(join(dir, 'store'));
    try {
      const index = new ReplicaIndex(kv, { findByIdentity: false });
      const layer = index.begin();
      const stat = realFiles.lstat(join(dir, 'root/user'));
      if (!stat) throw new Error('no directory');
      const entry = entryOf(stat, Buffer.alloc(0), Buffer.alloc(0), 0);
      const user = index.put(layer, 'mail', index.addRoot(layer, 'mail'), 'user', { ...entry, kind: 'dir', dir: 0 });
      const cur = index.put(layer, 'mail', user, 'cur', { ...entry, kind: 'dir', dir: 0 });
      for (let i = 0; i < messages - 1; i++) index.put(layer, 'mail', cur, name(i), { ...entry, kind: 'file', dir: 0 });
      let portions = 0;
      const files = {
        ...realFiles,
        readdir: (path: string) => {
          throw new Error(`${path} is read in one go`);
        },
        *list(path: string) {
          for (const portion of realFiles.list(path) ?? []) {
            expect(portion.length).toBeLessThanOrEqual(portionMax);
            portions++;
            yield portion;
          }
        },
      };
      let named = 0;
      const entriesOf = index.entries.bind(index);
      index.entries = function* (number) {
        for (const each of entriesOf(number)) {
          named++;
          yield each;
        }
      };
      const found: Tail[] = [];
      let last = { portions, named };
      for (const step of findTail(files, index, { name: 'mail', path: join(dir, 'root'), staging: '', format: maildirFormat })) {
        expect(portions - last.portions).toBeLessThanOrEqual(1);
        expect(named - last.named).toBeLessThanOrEqual(portionMax);
        last = { portions, named };
        if (typeof step !== 'string') found.push(step);
      }
      expect(portions).toBeGreaterThan(messages / portionMax);
      expect(named).toBeGreaterThan(messages - 2);
      expect(found).toEqual([
        { what: 'message', mailbox: 'user', place: 'cur', name: name(messages - 1), base: name(messages - 1).slice(0, -4) },
        { what: 'expunged', mailbox: 'user', base: name(0).slice(0, -4) },
      ]);
    } finally {
      await kv.close();
    }
  });
});
