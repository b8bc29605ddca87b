import { replicatedMode } from '../../journal/entry.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { baseName, parentPath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { AuditDifference } from '../audit.ts';
import { isUnlisted, unlisted } from './shortfalls.ts';

/** A place where the disk is not as the index says; `stays`: a directory is there that the index let go with all in it. */
export type Disowned = Pick<AuditDifference, 'root' | 'path' | 'stat'> & { stays?: boolean };

/**
 * Makes the index claim only what the disk has: what an audit found to differ is entered as it is there, with content
 * that is not known. The comparison that follows then brings again what the primary has in its place. Of a directory that
 * the index did not have what lies in it stays unknown (`unlisted`).
 */
export function disown({ kv, index }: { kv: Kv; index: ReplicaIndex }, differences: readonly Disowned[]): void {
  if (differences.length === 0) return;
  const layer = index.begin();
  for (const { root, path, stat, stays } of differences) {
    const parent = index.dirAt(root, parentPath(path));
    if (parent === null) continue;
    const name = baseName(path);
    if (!stat || stat.kind === 'other') index.remove(layer, root, parent, name);
    else {
      const known = index.get(parent, name);
      const isListed = stat.kind !== 'dir' || (known?.kind === 'dir' && stays !== true && !isUnlisted(known));
      index.put(layer, root, parent, name, {
        kind: stat.kind,
        ino: stat.kind === 'dir' ? 0n : stat.ino,
        btimeNs: 0n,
        size: stat.kind === 'dir' ? 0 : stat.size,
        mtimeNs: stat.kind === 'dir' ? 0n : stat.mtimeNs,
        mode: replicatedMode(stat.kind, stat.mode),
        uid: stat.uid,
        gid: stat.gid,
        content: Buffer.alloc(0),
        xattrs: Buffer.alloc(0),
        dir: 0,
        ctimeNs: 0n,
        racy: false,
        linked: false,
        ...(isListed ? {} : { lacks: unlisted }),
      });
    }
  }
  kv.commit(index.writesOf(layer));
  index.settle(layer);
}
