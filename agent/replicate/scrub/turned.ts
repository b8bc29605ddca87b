import { lacks } from '../../../protocol/shortfall.ts';
import { tables } from '../../journal/keys.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import { ifKnown } from '../fault.ts';
import { Damage } from '../primary/damage.ts';
import type { PrimaryParts } from '../primary/context.ts';
import { absolute } from '../root.ts';
import type { Receiver, ReceiverParts } from '../standby/receiver.ts';
import { Shortfalls } from '../standby/shortfalls.ts';

/** What was damaged in a node's copy is damaged in its own store, once it is the primary. */
export function damageOfCopy(p: PrimaryParts): void {
  const { kv, clock, log, damage, index, files, roots } = p;
  if (isEmpty(kv, tables.shortfall)) return;
  const shortfalls = new Shortfalls(kv, clock, log);
  const writes: KvWrite[] = [];
  for (const { root: name, path, bits, text } of shortfalls.list()) {
    if (!(bits & lacks.content)) continue;
    shortfalls.clear(name, path, writes);
    const root = roots.find((each) => each.name === name);
    const entry = index.at(name, path)?.entry;
    const stat = root && ifKnown(() => files.lstat(absolute(root, path)));
    if (entry?.kind !== 'file' || !stat || stat.ino !== entry.ino || stat.size !== entry.size || stat.mtimeNs !== entry.mtimeNs) continue;
    damage.found(name, path, stat, entry.content, text, 'unknown');
  }
  if (writes.length > 0) kv.commit(writes);
}

/** What was damaged in a primary's store is damaged in its copy, once it is a standby: the new primary brings it. */
export function damageOfStore({ kv, clock, log, index }: ReceiverParts, receiver: Receiver): void {
  if (isEmpty(kv, tables.damage)) return;
  const damage = new Damage(kv, clock, log);
  const found = damage.list();
  for (const { root, path } of found) damage.isGood(root, path);
  receiver.noteDamage(
    found.filter(({ root, path, content, ino }) => {
      const entry = index.at(root, path)?.entry;
      return entry?.kind === 'file' && entry.ino === ino && entry.content.equals(content);
    }),
  );
}

function isEmpty(kv: Kv, table: number): boolean {
  return [...kv.range(Buffer.from([table]), Buffer.from([table + 1]), { limit: 1 })].length === 0;
}
