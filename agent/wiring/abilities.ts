import { readFileSync } from 'node:fs';
import { ownersToldMax, type NodeAbilities, type OwnerName } from '../../protocol/abilities.ts';
import { exec } from '../platform/exec.ts';
import { errnoCode, type Files } from '../platform/files.ts';
import { keepsAcls, keepsXattrs } from '../platform/xattrs.ts';
import { seeAbilities, tryAbilities } from '../replicate/abilities.ts';
import type { Root } from '../replicate/root.ts';

/** What this node's file systems can do. A standby tries it beside its roots; a primary looks, and writes nothing. */
export function ownAbilities(files: Files, roots: readonly Root[], role: 'primary' | 'standby'): NodeAbilities {
  const owners = new Map<string, OwnerName>();
  const abilities = roots.flatMap((root) => {
    try {
      const seen = seeAbilities(files, root, { acls: keepsAcls(root.path), attributes: keepsXattrs(root.path) });
      for (const owner of seen.owners) owners.set(`${owner.kind} ${owner.id}`, { ...owner, name: null });
      return [role === 'standby' ? tryAbilities(files, root.name, `${root.staging}/stage`) : seen.abilities];
    } catch (error) {
      // A disk that is missing or full says so elsewhere; what it can do is told with a later connection.
      if (errnoCode(error) === undefined) throw error;
      return [];
    }
  });
  return { roots: abilities, anyOwner: mayGiveAnyOwner(), selinux: selinux(), owners: [...owners.values()].slice(0, ownersToldMax) };
}

/** This host's names of users and groups, from wherever it takes them. */
export async function namesOf(owners: readonly Omit<OwnerName, 'name'>[]): Promise<OwnerName[]> {
  const found = new Map<string, string>();
  for (const [kind, database] of [
    ['user', 'passwd'],
    ['group', 'group'],
  ] as const) {
    const ids = owners.filter((owner) => owner.kind === kind).map(({ id }) => String(id));
    if (ids.length === 0) continue;
    try {
      const { stdout } = await exec('getent', [database, ...ids], { timeoutMs: 5000 });
      for (const line of stdout.split('\n')) {
        const [name = '', , id = ''] = line.split(':');
        if (name !== '') found.set(`${kind} ${id}`, name.slice(0, 255));
      }
    } catch (error) {
      // Without the program there are numbers alone.
      if (errnoCode(error) === undefined) throw error;
    }
  }
  return owners.map(({ kind, id }) => ({ kind, id, name: found.get(`${kind} ${id}`) ?? null }));
}

const capChown = 1n;
const allIds = 2 ** 32 - 1;

function mayGiveAnyOwner(): boolean {
  const capabilities = /^CapEff:\s*([0-9a-f]+)/m.exec(text('/proc/self/status'))?.[1] ?? '0';
  const isWhole = (map: string) => {
    const ranges = map
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number));
    return ranges.reduce((sum, [, , count = 0]) => sum + count, 0) >= allIds;
  };
  return (BigInt(`0x${capabilities}`) & capChown) !== 0n && isWhole(text('/proc/self/uid_map')) && isWhole(text('/proc/self/gid_map'));
}

function selinux(): NodeAbilities['selinux'] {
  const enforce = text('/sys/fs/selinux/enforce').trim();
  return enforce === '1' ? 'enforcing' : enforce === '0' ? 'permissive' : 'off';
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return '';
  }
}
