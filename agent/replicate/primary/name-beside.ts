import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { joinPath, type BytePath } from '../../platform/files.ts';
import type { Unproven } from './unproven.ts';

/**
 * Another name than `path` of a file (`ino`), by which it is in the index and the standby can have it; null when there is none. What was
 * changed by a name that the standby cannot have is sent by this one, although the index may still claim the other one.
 */
export function nameBeside(
  { index, unproven }: { index: ReplicaIndex; unproven: Unproven },
  root: string,
  path: BytePath,
  ino: bigint,
): BytePath | null {
  const number = index.root(root);
  if (number === null) return null;
  for (const { dir, name } of index.eachNameOf(number, ino)) {
    const other = joinPath(index.pathOf(dir).path, name);
    if (other !== path && !unproven.isBlocked(root, other)) return other;
  }
  return null;
}
