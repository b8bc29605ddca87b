import { metaKey } from '../../journal/keys.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { displayPath, errnoCode, type Files, type Stat } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { Root } from '../root.ts';

export interface RootTrouble {
  code: string;
  detail: string;
  remedy: string;
}

/** Identity of a root's directory as it was accepted. */
export function rootIdentityKey(name: string): Buffer {
  return metaKey(`root-ino:${name}`);
}

/**
 * Whether every root is still the directory that it was. A missing mount shows another, mostly empty directory in its
 * place; that must never look as if everything had been deleted. Null when all is well.
 */
export function checkRoots(roots: readonly Root[], files: Files, kv: Kv, index: ReplicaIndex): RootTrouble | null {
  for (const root of roots) {
    const where = displayPath(root.path);
    let stat;
    try {
      stat = files.lstat(`${root.path}/.`);
    } catch (error) {
      return {
        code: 'root-unreadable',
        detail: `root ${root.name} at ${where} cannot be read (${errnoCode(error) ?? 'error'})`,
        remedy: `let the agent read ${where}`,
      };
    }
    if (stat?.kind !== 'dir')
      return {
        code: 'root-missing',
        detail: `root ${root.name} is not there: ${where}`,
        remedy: `mount or restore ${where}; replication goes on by itself`,
      };
    const key = rootIdentityKey(root.name);
    const accepted = kv.get(key)?.toString();
    if (accepted === identityOf(stat)) continue;
    if (accepted === undefined || index.totals(root.name).files === 0) {
      kv.commit([[key, Buffer.from(identityOf(stat))]]);
      continue;
    }
    return {
      code: 'root-changed',
      detail: `${where} is another directory than the one that was replicated as root ${root.name}${(files.readdir(root.path) ?? []).length === 0 ? ', and it is empty' : ''}`,
      remedy: `mount the right file system at ${where}; if the store was put there anew on purpose, run \`mailtwin allow-delete\` on this node`,
    };
  }
  return null;
}

/** The device number is no part of it: it may be another one after each boot. */
function identityOf(stat: Stat): string {
  return `${stat.ino}:${stat.btimeNs}`;
}

/** A person says that the roots as they are now are the right ones. Returns the names of those that had changed. */
export function acceptRoots(roots: readonly Root[], files: Files, kv: Kv): string[] {
  const accepted: string[] = [];
  for (const root of roots) {
    const stat = files.lstat(`${root.path}/.`);
    if (!stat) continue;
    const key = rootIdentityKey(root.name);
    const before = kv.get(key)?.toString();
    if (before === identityOf(stat)) continue;
    kv.commit([[key, Buffer.from(identityOf(stat))]]);
    if (before !== undefined) accepted.push(root.name);
  }
  return accepted;
}
