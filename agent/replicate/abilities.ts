import type { NodeAbilities, OwnerName, RootAbilities } from '../../protocol/abilities.ts';
import { errnoCode, joinPath, mtimeNsMax, type BytePath, type Files } from '../platform/files.ts';
import { removeTree } from '../platform/remove-tree.ts';

/** Something that the standby's file systems cannot keep as the primary's do, for people. */
export interface AbilityFinding {
  code:
    | 'time-step'
    | 'time-range'
    | 'acls'
    | 'attributes'
    | 'case'
    | 'normalisation'
    | 'name-length'
    | 'any-owner'
    | 'owner-names'
    | 'selinux';
  text: string;
  remedy: string;
}

const steps = [1, 100, 1000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];
const nsPerSecond = 1_000_000_000n;
const linuxNameBytesMax = 255;
/** eCryptfs. */
const shortNameBytesMax = 143;
const namesSampledMax = 200;
/** Times up to 2100 are what mail has. */
const usualTimeMaxSec = 4_102_444_800;
/** user::rw-, user:0:r--, group::---, mask::r--, other::---: one that does not fit into a mode. */
const someAcl = Buffer.from('0200000001000600ffffffff020004000000000004000000ffffffff10000400ffffffff20000000ffffffff', 'hex');

/** What the file system of a directory of ours can do, found by trying it there. Nothing stays behind. */
export function tryAbilities(files: Files, root: string, dir: BytePath): RootAbilities {
  const file = `${dir}/abilities`;
  const other = `${dir}/ab\xc3\xa9`;
  for (const path of [file, other]) removeTree(files, path);
  const fd = files.create(file);
  try {
    const keep = (mtimeNs: bigint) => {
      files.setMetaOpen(fd, { mtimeNs });
      return files.fstat(fd).mtimeNs;
    };
    const takes = (name: string, value: Buffer) => {
      try {
        files.setMetaOpen(fd, { xattrs: new Map([[name, value]]) });
        return true;
      } catch (error) {
        if (errnoCode(error) === undefined) throw error;
        return false;
      }
    };
    const odd = 1_000_000_001_987_654_321n;
    const kept = keep(odd);
    const abilities = {
      root,
      timeStepNs: steps.find((step) => odd - (odd % BigInt(step)) === kept) ?? null,
      timeMaxSec: Number(keep(mtimeNsMax) / nsPerSecond),
      timeMinSec: Number(keep(-mtimeNsMax) / nsPerSecond),
      attributes: takes('user.mailtwin-try', Buffer.from('x')),
      acls: takes('system.posix_acl_access', someAcl),
      foldsCase: files.lstat(`${dir}/ABILITIES`) !== null,
      nameBytesMax: isTooLong(files, `${dir}/${'x'.repeat(linuxNameBytesMax)}`) ? shortNameBytesMax : linuxNameBytesMax,
    };
    files.close(files.create(other));
    return { ...abilities, normalises: files.lstat(`${dir}/abe\xcc\x81`) !== null };
  } finally {
    files.close(fd);
    for (const path of [file, other]) removeTree(files, path);
  }
}

function isTooLong(files: Files, path: BytePath): boolean {
  try {
    files.lstat(path);
    return false;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return true;
  }
}

/** What can be known of a root without writing there, and who owns what lies at its top. */
export function seeAbilities(
  files: Files,
  root: { name: string; path: BytePath },
  keeps: Pick<RootAbilities, 'acls' | 'attributes'>,
): { abilities: RootAbilities; owners: Omit<OwnerName, 'name'>[] } {
  const names = (files.readdir(root.path) ?? []).slice(0, namesSampledMax).map(({ name }) => name);
  const stats = ['.', ...names].flatMap((name) => files.lstat(joinPath(root.path, name)) ?? []);
  const all = new Set(names);
  const cased = names.find((name) => swapCase(name) !== name && !all.has(swapCase(name)));
  const owners = new Map<string, Omit<OwnerName, 'name'>>();
  for (const { uid, gid } of stats) {
    owners.set(`u${uid}`, { kind: 'user', id: uid });
    owners.set(`g${gid}`, { kind: 'group', id: gid });
  }
  const abilities: RootAbilities = {
    root: root.name,
    timeStepNs: stats.some(({ mtimeNs, ctimeNs }) => mtimeNs % nsPerSecond !== 0n || ctimeNs % nsPerSecond !== 0n) ? 1 : null,
    timeMinSec: null,
    timeMaxSec: null,
    ...keeps,
    foldsCase: cased === undefined ? null : files.lstat(joinPath(root.path, swapCase(cased))) !== null,
    normalises: null,
    nameBytesMax: isTooLong(files, `${root.path}/${'x'.repeat(linuxNameBytesMax)}`) ? shortNameBytesMax : linuxNameBytesMax,
  };
  return { abilities, owners: [...owners.values()] };
}

function swapCase(name: string): string {
  return name.replace(/[A-Za-z]/, (letter) => (letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()));
}

/** Pure: what the standby cannot keep as the primary has it. `names` are those of the two nodes. */
export function compareAbilities(
  primary: NodeAbilities,
  standby: NodeAbilities,
  names: { primary: string; standby: string },
): AbilityFinding[] {
  const { primary: here, standby: there } = names;
  const found: AbilityFinding[] = [];
  const add = (code: AbilityFinding['code'], text: string, remedy: string) => found.push({ code, text, remedy });
  const same = `use a file system on ${there} like the one on ${here}, for example ext4 or xfs with their defaults`;
  for (const own of primary.roots) {
    const its = standby.roots.find(({ root }) => root === own.root);
    if (!its) continue;
    const disk = `the disk of root ${own.root} on ${there}`;
    if ((its.timeStepNs ?? 1) > 1 && (own.timeStepNs ?? 1) < (its.timeStepNs ?? 1))
      add('time-step', `${disk} keeps times in steps of ${showStep(its.timeStepNs ?? 1)}; what is finer is lost there`, same);
    if (its.timeMaxSec !== null && its.timeMaxSec < usualTimeMaxSec)
      add('time-range', `${disk} keeps no time after ${new Date(its.timeMaxSec * 1000).getUTCFullYear()}`, same);
    if (own.acls && !its.acls)
      add('acls', `${disk} has no ACLs; files with one are there with narrower permissions`, `mount it with ACLs, or ${same}`);
    if (own.attributes && !its.attributes)
      add('attributes', `${disk} keeps no extended attributes; those of the mail are missing there`, same);
    if (its.foldsCase === true && own.foldsCase !== true)
      add('case', `${disk} takes names that differ in upper and lower case alone for one`, same);
    if (its.normalises === true && own.normalises !== true)
      add('normalisation', `${disk} takes names that differ in how accents are written for one`, same);
    if (its.nameBytesMax !== null && own.nameBytesMax !== null && its.nameBytesMax < own.nameBytesMax)
      add('name-length', `${disk} takes names of ${its.nameBytesMax} bytes at most; longer ones are not there`, same);
  }
  if (!standby.anyOwner)
    add(
      'any-owner',
      `the agent on ${there} cannot give files every owner (a user namespace, or no CAP_CHOWN); such files are there, in doubt by name`,
      `run the agent on ${there} as root outside of a user namespace, as its unit does`,
    );
  for (const { kind, id, name } of primary.owners) {
    const other = standby.owners.find((owner) => owner.kind === kind && owner.id === id);
    if (name === null || !other || other.name === name) continue;
    const called = other.name === null ? 'nobody' : other.name;
    add('owner-names', `${kind} ${id} is ${name} on ${here} and ${called} on ${there}`, `give ${name} the same number on both nodes`);
  }
  if (standby.selinux === 'enforcing')
    add(
      'selinux',
      `SELinux is enforcing on ${there}, and labels are not replicated`,
      `set the labels of the roots there before a takeover: restorecon -R, and let the policy name the roots (semanage fcontext)`,
    );
  return found;
}

function showStep(ns: number): string {
  if (ns >= 1e9) return `${ns / 1e9} s`;
  return ns >= 1e6 ? `${ns / 1e6} ms` : `${ns} ns`;
}
