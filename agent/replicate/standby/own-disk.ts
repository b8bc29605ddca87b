import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { audit, type AuditDifference } from '../audit.ts';
import { disown } from './disown.ts';
import { checkForeign, type StartupParts } from './startup.ts';

/**
 * A node that was primary begins as standby: its disk may hold what it never told, and lack what it told. The index is
 * made to say what is there; nothing on the disk changes.
 *
 * @returns How many names differ from what the other node was known to have; 0 after a takeover that lost nothing.
 */
export async function acceptOwnDisk(parts: StartupParts & { index: ReplicaIndex }): Promise<number> {
  const { adopted } = await checkForeign(parts, 'adopt');
  let changed = 0;
  const found: AuditDifference[] = [];
  for await (const difference of audit(parts, false, { files: 0, bytes: 0 }, new AbortController().signal)) {
    changed++;
    found.push(difference);
    if (found.length < 1000) continue;
    disown(parts, found.splice(0));
    await parts.kv.flushed();
  }
  disown(parts, found);
  return adopted + changed;
}
