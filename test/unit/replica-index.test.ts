import { beforeEach, describe, expect, it } from 'vitest';
import type { Entry } from '../../agent/journal/entry.ts';
import type { Layer } from '../../agent/journal/layer.ts';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import type { Kv } from '../../agent/platform/kv.ts';

/** A store without a disk: what the index needs of one. */
function memoryKv(): Kv & { gets: number } {
  const values = new Map<string, Buffer>();
  return {
    gets: 0,
    get(key) {
      this.gets++;
      return values.get(key.toString('latin1'));
    },
    *range(start, end, { limit = Infinity, reverse = false } = {}) {
      const keys = [...values.keys()].filter((key) => key >= start.toString('latin1') && key < end.toString('latin1')).toSorted();
      for (const key of (reverse ? keys.toReversed() : keys).slice(0, limit))
        yield [Buffer.from(key, 'latin1'), values.get(key) ?? Buffer.alloc(0)];
    },
    commit(writes) {
      for (const [key, value] of writes) {
        if (value === null) values.delete(key.toString('latin1'));
        else values.set(key.toString('latin1'), value);
      }
    },
    trouble: null,
    isBehind: false,
    writingMs: 0,
    flushed: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

const none = Buffer.alloc(0);
const common = { btimeNs: 1n, ctimeNs: 0n, mtimeNs: 1n, mode: 0o700, uid: 0, gid: 0, xattrs: none, dir: 0, racy: false, linked: false };
const dirEntry = (ino: bigint): Entry => ({ ...common, kind: 'dir', ino, size: 0, content: none });
const fileEntry = (ino: bigint, linked = false): Entry => ({
  ...common,
  kind: 'file',
  ino,
  size: 5,
  content: Buffer.alloc(16, Number(ino)),
  linked,
});

describe('the replica index', () => {
  let kv: ReturnType<typeof memoryKv>;
  let index: ReplicaIndex;
  let layer: Layer;
  let root: number;

  const settle = (): void => {
    kv.commit(index.writesOf(layer));
    index.settle(layer);
    layer = index.begin();
  };

  beforeEach(() => {
    kv = memoryKv();
    index = new ReplicaIndex(kv, { findByIdentity: true });
    layer = index.begin();
    root = index.addRoot(layer, 'mail');
    const box = index.put(layer, 'mail', root, 'box', dirEntry(10n));
    const cur = index.put(layer, 'mail', box, 'cur', dirEntry(11n));
    index.put(layer, 'mail', cur, 'one', fileEntry(12n));
  });

  it('finds a directory under its new name alone after a rename, whether or not it is stored', () => {
    for (const [from, to] of [
      ['box', 'moved'],
      ['moved', 'again'],
    ] as const) {
      const before = index.dirAt('mail', `${from}/cur`);
      expect(before).not.toBeNull();
      index.move(layer, 'mail', { dir: root, name: from }, { dir: root, name: to });
      expect(index.dirAt('mail', `${from}/cur`)).toBeNull();
      expect(index.dirAt('mail', `${to}/cur`)).toBe(before);
      expect(index.at('mail', `${to}/cur/one`)?.entry.ino).toBe(12n);
      settle();
    }
  });

  it('forgets directories that are removed, replaced by a file, or given up with their layer', () => {
    settle();
    const old = index.dirAt('mail', 'box/cur');
    index.remove(layer, 'mail', root, 'box');
    expect(index.dirAt('mail', 'box/cur')).toBeNull();
    index.put(layer, 'mail', root, 'box', dirEntry(20n));
    expect(index.dirAt('mail', 'box/cur')).toBeNull();
    index.drop(layer);
    expect(index.dirAt('mail', 'box/cur')).toBe(old);
    layer = index.begin();
    index.put(layer, 'mail', root, 'box', fileEntry(21n));
    expect(index.dirAt('mail', 'box')).toBeNull();
    index.discardLayers();
    expect(index.at('mail', 'box/cur/one')?.entry.ino).toBe(12n);
  });

  it('asks the store for nothing in a directory that cannot be stored yet, and finds it there once it is', () => {
    const cur = index.dirAt('mail', 'box/cur') ?? 0;
    kv.gets = 0;
    expect(index.get(cur, 'two')).toBeUndefined();
    expect([...index.entries(cur)].map(([name]) => name)).toEqual(['one']);
    expect(kv.gets).toBe(0);
    settle();
    expect(index.get(cur, 'one')?.ino).toBe(12n);
    expect([...index.entries(cur)].map(([name]) => name)).toEqual(['one']);
    const reopened = new ReplicaIndex(kv, { findByIdentity: true });
    expect(reopened.at('mail', 'box/cur/one')?.entry.ino).toBe(12n);
    expect([...reopened.entries(cur)].map(([name]) => name)).toEqual(['one']);
  });

  it('knows the names of a file with several, also after a restart', () => {
    const cur = index.dirAt('mail', 'box/cur') ?? 0;
    index.put(layer, 'mail', cur, 'two', fileEntry(12n, true));
    index.put(layer, 'mail', cur, 'one', fileEntry(12n, true));
    settle();
    index = new ReplicaIndex(kv, { findByIdentity: true });
    layer = index.begin();
    expect(
      index
        .namesOf(root, 12n)
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(['one', 'two']);
    for (const [gone, left] of [
      ['one', 'two'],
      ['two', 'one'],
    ] as const) {
      index.remove(layer, 'mail', cur, gone);
      expect(index.byInode(root, 12n)?.name).toBe(left);
      index.drop(layer);
      layer = index.begin();
    }
  });
});
