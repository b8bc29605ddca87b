/**
 * What tells a directory, and the file system that it lies on, from others: also after a restart of the host, where the
 * kernel gives that much. A file system that is missing shows another directory in its place.
 *
 * Device numbers are no proof: they may be others after a restart, and the same for another file system.
 */
export interface DirectoryId {
  /** Magic number of the file system, in hexadecimal (statfs(2)). */
  type: string;
  /**
   * What names the file system, as `kind:value`; only values of one kind can be compared. `fsid` and `uuid` last as long
   * as the file system, `source` is the server's and path's name, `boot` ends with the mount. Empty where nothing names it.
   */
  fs: string;
  /** `major:minor`. */
  device: string;
  ino: string;
  /** Birth time of the directory in nanoseconds; `0` where the file system tells none. */
  btimeNs: string;
  /** A mark that a standby put on the directory; null when there is none. */
  mark: string | null;
}

/** Whether what is seen now is the directory that was known. */
export function sameDirectory(known: DirectoryId, now: DirectoryId): boolean {
  if (known.type !== now.type || known.ino !== now.ino) return false;
  const hasBirth = known.btimeNs !== '0' && now.btimeNs !== '0';
  if (hasBirth && known.btimeNs !== now.btimeNs) return false;
  if (known.mark !== null && known.mark !== now.mark) return false;
  const hasName = known.fs !== '' && kindOf(known) === kindOf(now);
  if (hasName) return known.fs === now.fs;
  // Two empty file systems of one type have the same inode number at their top: then the device has to do.
  return hasBirth || known.mark !== null || known.device === now.device;
}

/** Whether two directories lie on one file system, as far as that can be told. */
export function sameFileSystem(one: DirectoryId, other: DirectoryId): boolean {
  const hasName = one.fs !== '' && kindOf(one) === kindOf(other);
  return one.type === other.type && (hasName ? one.fs === other.fs : one.device === other.device);
}

function kindOf({ fs }: DirectoryId): string {
  return fs.slice(0, fs.indexOf(':'));
}

/** statfs(2), as far as it tells which file system it is. */
export interface FileSystemFacts {
  /** Magic number in hexadecimal. */
  type: string;
  /** f_fsid in hexadecimal. */
  fsid: string;
}

/** File systems whose f_fsid comes from what is stored in them. Of xfs and many others it comes from the device number. */
const lastingFsid = new Set(['ef53', '9123683e', '2fc12fc1', 'ca451a4e', 'c36400']);
/** They live in memory, and what is mounted next is another one. */
const inMemory = new Set(['1021994', '858458f6']);
/** Known by the name under which they are mounted: NFS, SMB, FUSE, 9p. */
const byName = new Set(['6969', 'ff534d42', 'fe534d42', '517b', '65735546', '1021997']);

export interface NameSources {
  /** From the file system itself; null when it tells none. */
  uuid: () => string | null;
  /** From the names that udev gives to block devices; null when there is none. */
  deviceUuid: () => string | null;
  /** What was mounted; null when that is not known. */
  source: () => string | null;
  bootId: () => string;
}

/** What names a file system, in the form of `DirectoryId.fs`. */
export function fileSystemName(facts: FileSystemFacts, device: string, from: NameSources): string {
  const { type, fsid } = facts;
  if (inMemory.has(type)) return `boot:${from.bootId()}/${device}/${fsid}`;
  if (lastingFsid.has(type) && !/^0*$/.test(fsid)) return `fsid:${fsid}`;
  const named = (kind: string, value: string | null) => (value === null ? '' : `${kind}:${value}`);
  const stored = named('uuid', from.uuid()) || named('device-uuid', from.deviceUuid());
  if (stored !== '') return stored;
  return byName.has(type) ? named('source', from.source()) : '';
}
