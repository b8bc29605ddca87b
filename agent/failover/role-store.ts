import type { Role } from '../../protocol/messages.ts';
import { metaKey } from '../journal/keys.ts';
import { packNumber, readNumber } from '../journal/replica-index.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';

/** Role and epochs in the agent's store. */
export interface DurableRole {
  role: Role;
  epoch: number;
  /** Highest epoch that this node has heard of. */
  seenEpoch: number;
}

/** Null on a node that has none yet. */
export function readRole(kv: Kv): DurableRole | null {
  const role = kv.get(metaKey('role'))?.toString();
  if (role === undefined) return null;
  if (role !== 'primary' && role !== 'standby' && role !== 'fenced') throw new Error(`the store holds the role ${JSON.stringify(role)}`);
  const epoch = readNumber(kv.get(metaKey('epoch'))) ?? 1;
  return { role, epoch, seenEpoch: Math.max(epoch, readNumber(kv.get(metaKey('seen-epoch'))) ?? 0) };
}

/** One commit: role and epoch never come apart. */
export function roleWrites({ role, epoch, seenEpoch }: DurableRole): KvWrite[] {
  return [
    [metaKey('role'), Buffer.from(role)],
    [metaKey('epoch'), packNumber(epoch)],
    [metaKey('seen-epoch'), packNumber(seenEpoch)],
  ];
}
