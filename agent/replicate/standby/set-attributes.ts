import { lacks, shortfallTextMax } from '../../../protocol/shortfall.ts';
import { errnoCode, type BytePath, type FileKind, type Files, type MetaChange, type Xattrs } from '../../platform/files.ts';
import { faultOf, hasRoom, whyOf } from '../fault.ts';
import { timesAgree } from '../times.ts';
import { untold, type Shortfall } from './shortfalls.ts';

const accessAcl = 'system.posix_acl_access';
const beyondTime = 'its modification time is out of the range of this file system';
const groupBits = 0o070;
const otherBits = 0o007;

/**
 * Gives a file, directory or link that is open or held its attributes, as far as this file system takes them: content counts more than what
 * surrounds it. Where an owner or an ACL cannot be had, the permissions are never wider than asked. `staging` is a place
 * on the same file system that tells whether that is full.
 *
 * @returns what could not be set; null when nothing is lacking. Without a text it is what this file system has for no file.
 * @throws an error that is not of this one place, as `faultOf` has it.
 */
export function setAttributes(files: Files, fd: number, kind: FileKind, wanted: MetaChange, staging: BytePath): Shortfall | null {
  const set = (change: MetaChange) => files.setMetaOpen(fd, change);
  const time = () => (isKept(files, fd, wanted.mtimeNs) ? null : { bits: lacks.time, text: beyondTime });
  try {
    set(wanted);
    return time();
  } catch (error) {
    if (!isPathsOwn(files, error, staging)) throw error;
  }
  let bits = 0;
  const reasons: string[] = [];
  /** False when it cannot be set. */
  const tried = (change: MetaChange): unknown => {
    try {
      set(change);
      return null;
    } catch (error) {
      if (!isPathsOwn(files, error, staging)) throw error;
      return error;
    }
  };
  const lack = (bit: number, what: string, error: unknown) => {
    bits |= bit;
    // A whole file system that has no such thing is told of once, and not with each of its files.
    if (bit === lacks.attributes && isUnsupported(error)) return;
    reasons.push(`${what} cannot be set: ${whyOf(error)}`);
  };
  let hasGroup = true;
  const { uid, gid } = wanted;
  if (uid !== undefined || gid !== undefined) {
    const error = tried({ ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) });
    if (error !== null) {
      hasGroup = gid === undefined || tried({ gid }) === null;
      if (uid !== undefined) tried({ uid });
      lack(lacks.owner, `owner ${uid ?? ''}:${gid ?? ''}`, error);
    }
  }
  let mode = wanted.mode;
  if (mode !== undefined && kind !== 'symlink') {
    if (!hasGroup) mode = withoutGroup(mode);
    // Before the ACL is there, its mask would count for the group that owns the file.
    const acl = wanted.xattrs?.get(accessAcl);
    const first = acl ? withoutAcl(mode, acl) : mode;
    const error = tried({ mode: first });
    if (error !== null) lack(lacks.mode, `mode ${octal(mode)}`, error);
    else if (first !== wanted.mode) bits |= lacks.mode;
  }
  if (wanted.xattrs !== undefined) {
    const missing = setEach(tried, wanted.xattrs);
    const acls = missing.find(({ name }) => !name.startsWith('user.'));
    const [other, ...others] = missing.filter(({ name }) => name.startsWith('user.'));
    if (acls) lack(lacks.attributes, 'its ACL', acls.error);
    if (other) lack(lacks.attributes, `attribute ${other.name}${others.length > 0 ? ` and ${others.length} more` : ''}`, other.error);
    const acl = wanted.xattrs.get(accessAcl);
    const hasAcl = acl !== undefined && !missing.some(({ name }) => name === accessAcl);
    // With its ACL the mode means what it did on the other node; where the group is another one nobody gets its part.
    if (hasAcl && mode !== undefined && tried({ mode }) === null && mode === wanted.mode) bits &= ~lacks.mode;
  }
  if (wanted.mtimeNs !== undefined) {
    const error = tried({ mtimeNs: wanted.mtimeNs });
    if (error !== null) lack(lacks.time, 'its modification time', error);
    else if (time() !== null) {
      bits |= lacks.time;
      reasons.push(beyondTime);
    }
  }
  if (bits === 0) return null;
  return reasons.length > 0 ? { bits, text: reasons.join('; ').slice(0, shortfallTextMax) } : { bits: bits | untold, text: '' };
}

function isUnsupported(error: unknown): boolean {
  return ['ENOTSUP', 'EOPNOTSUPP'].includes(errnoCode(error) ?? '');
}

/** Times that every file system can keep need no second look: 1970 to 2038. */
const everywhereNs = [0n, 2n ** 31n * 1_000_000_000n] as const;

/** Whether the file system keeps this time: the kernel cuts what is out of its range, and says nothing. */
function isKept(files: Files, fd: number, mtimeNs: bigint | undefined): boolean {
  if (mtimeNs === undefined || (mtimeNs >= everywhereNs[0] && mtimeNs < everywhereNs[1])) return true;
  return timesAgree(mtimeNs, files.fstat(fd));
}

/** Whether an error of setting one thing is this place's own. */
export function isPathsOwn(files: Files, error: unknown, staging: BytePath): boolean {
  const of = faultOf(error, 'writing');
  return of === 'path' || (of === 'room' && hasRoom(files, staging));
}

/** Sets as many attributes as can be had, ACLs first. */
function setEach(tried: (change: MetaChange) => unknown, wanted: Xattrs): { name: string; error: unknown }[] {
  if (tried({ xattrs: wanted }) === null) return [];
  const missing: { name: string; error: unknown }[] = [];
  const names = [...wanted.keys()].toSorted((a, b) => Number(a.startsWith('user.')) - Number(b.startsWith('user.')) || (a < b ? -1 : 1));
  let kept = new Map<string, Buffer>();
  tried({ xattrs: kept });
  for (const name of names) {
    const value = wanted.get(name);
    if (value === undefined) continue;
    const more = new Map(kept).set(name, value);
    const error = tried({ xattrs: more });
    if (error === null) kept = more;
    else missing.push({ name, error });
  }
  return missing;
}

/** Another group would get what was meant for the one that cannot be set. */
function withoutGroup(mode: number): number {
  return mode & ~groupBits & ~0o2000;
}

const aclHeaderBytes = 4;
const aclEntryBytes = 8;
const aclTags = { user: 0x02, groupObj: 0x04, group: 0x08, mask: 0x10 } as const;

/**
 * A mode that gives nobody more than an ACL and its mask do (acl(5); the value's form is linux/posix_acl_xattr.h): what the
 * file's own group has, and for the others no more than any user or group that is named.
 */
export function withoutAcl(mode: number, acl: Buffer): number {
  let mask = 7;
  let group = (mode & groupBits) >> 3;
  let named = 7;
  for (let at = aclHeaderBytes; at + aclEntryBytes <= acl.length; at += aclEntryBytes) {
    const [tag, permissions] = [acl.readUInt16LE(at), acl.readUInt16LE(at + 2) & 7];
    if (tag === aclTags.mask) mask = permissions;
    else if (tag === aclTags.groupObj) group = permissions;
    else if (tag === aclTags.user || tag === aclTags.group) named &= permissions;
  }
  const owning = group & mask & named;
  return (mode & ~groupBits & ~otherBits) | (owning << 3) | (mode & otherBits & named & 7);
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}
