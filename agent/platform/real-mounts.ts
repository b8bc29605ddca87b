import fs from 'node:fs';
import type { Beneath } from './beneath.ts';
import { fileSystemName, type DirectoryId } from './directory-id.ts';
import { errnoCode, type BytePath } from './files.ts';
import { mountPointsBelow, parseMountInfo, type Mount } from './mounts.ts';
import * as native from './native.ts';
import { readMark, writeMark } from './xattrs.ts';

const statxMask = native.STATX_BASIC_AND_BTIME | 0x1000;
/** STATX_MNT_ID_UNIQUE (Linux 6.8): a number that no other mount ever has. Older kernels pass over it. */
const uniqueMountMask = 0x4000;
const attributeMountRoot = 0x2000n;
/** linux/fs.h, xfs_fs.h. */
const FS_IOC_GETFSUUID = 0x8011_1500;
const FS_IOC_FSGETXATTR = 0x801c_581f;
const XFS_IOC_FSGEOMETRY_V1 = 0x8070_5864;
const xflagProjectInherit = 0x200;

/** Kept open, because only then the kernel tells of each change of the mounts. */
let watched = -1;
let changes = 0;
let mounts: { at: number; list: readonly Mount[] } | null = null;

/** Grows with every mount and unmount that this process has not been told of yet. */
export function mountChanges(): number {
  if (watched < 0) watched = fs.openSync('/proc/self/mountinfo', 'r');
  if (native.hasException(watched)) changes++;
  return changes;
}

function currentMounts(): readonly Mount[] {
  const at = mountChanges();
  if (mounts?.at !== at) mounts = { at, list: parseMountInfo(fs.readFileSync('/proc/self/mountinfo', 'latin1')) };
  return mounts.list;
}

/** struct statx with the number of the mount, at the offsets of linux/stat.h. */
function statx(dir: number, name: native.PathArg, mask = statxMask): Buffer | null {
  const into = Buffer.alloc(256);
  const flags = name === '' ? native.AT_EMPTY_PATH : native.AT_SYMLINK_NOFOLLOW;
  return native.statx(dir, name, flags, mask, into) === 0 ? into : null;
}

/** Null when there is no directory, or a link stands there that must not be followed. */
function openDirectory(beneath: Beneath, path: BytePath, operation: string): number | null {
  return orNull(() => beneath.openDirectory(path, operation));
}

function orNull<T>(open: () => T): T | null {
  try {
    return open();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoCode(error) ?? '')) return null;
    throw error;
  }
}

export function identity(beneath: Beneath, path: BytePath): DirectoryId | null {
  const fd = openDirectory(beneath, path, 'identity');
  if (fd === null) return null;
  try {
    const stat = statx(fd, '');
    if (stat === null) throw native.errnoError(native.lastErrno(), 'statx', path);
    const facts = Buffer.alloc(256);
    if (native.statfs(`/proc/self/fd/${fd}`, facts) !== 0) throw native.errnoError(native.lastErrno(), 'statfs', path);
    const device = `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)}`;
    const type = facts.readBigUInt64LE(0).toString(16);
    const hasBirth = (stat.readUInt32LE(0) & 0x800) !== 0;
    const btimeNs = hasBirth ? stat.readBigInt64LE(80) * 1_000_000_000n + BigInt(stat.readUInt32LE(88)) : 0n;
    const name = fileSystemName({ type, fsid: facts.readBigUInt64BE(56).toString(16) }, device, {
      uuid: () => storedUuid(fd),
      deviceUuid: () => uuidOfDevice(device),
      source: () => currentMounts().find(({ id }) => BigInt(id) === stat.readBigUInt64LE(144))?.source ?? null,
      bootId,
    });
    return { type, fs: name, device, ino: stat.readBigUInt64LE(32).toString(), btimeNs: btimeNs.toString(), mark: readMark(fd) };
  } finally {
    fs.closeSync(fd);
  }
}

/** The UUID that the file system tells: the first call is that of xfs, the other one of newer kernels. */
function storedUuid(fd: number): string | null {
  const geometry = Buffer.alloc(112);
  if (native.ioctl(fd, XFS_IOC_FSGEOMETRY_V1, geometry) === 0) return geometry.toString('hex', 64, 80);
  const uuid = Buffer.alloc(17);
  return native.ioctl(fd, FS_IOC_GETFSUUID, uuid) === 0 && uuid[0] === 16 ? uuid.toString('hex', 1, 17) : null;
}

const byUuid = '/dev/disk/by-uuid';

function uuidOfDevice(device: string): string | null {
  if (device.startsWith('0:')) return null;
  for (const name of fs.existsSync(byUuid) ? fs.readdirSync(byUuid) : []) {
    const { rdev } = fs.statSync(`${byUuid}/${name}`, { throwIfNoEntry: false, bigint: true }) ?? { rdev: 0n };
    const major = ((rdev >> 32n) & 0xfffff000n) | ((rdev >> 8n) & 0xfffn);
    const minor = ((rdev >> 12n) & 0xffffff00n) | (rdev & 0xffn);
    if (device === `${major}:${minor}`) return name;
  }
  return null;
}

let boot: string | null = null;

function bootId(): string {
  return (boot ??= fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim());
}

/** False when the file system takes no mark, or not from this process. */
export function mark(beneath: Beneath, path: BytePath, value: string): boolean {
  const fd = openDirectory(beneath, path, 'mark');
  if (fd === null) return false;
  try {
    if (!writeMark(fd, value)) return false;
    fs.fsyncSync(fd);
    return true;
  } finally {
    fs.closeSync(fd);
  }
}

export function mountPoints(dir: BytePath): BytePath[] {
  let real: BytePath;
  try {
    real = fs.realpathSync.native(Buffer.from(dir, 'latin1'), 'latin1');
  } catch (error) {
    if (errnoCode(error) === 'ENOENT' || errnoCode(error) === 'ENOTDIR') return [];
    throw error;
  }
  return mountPointsBelow(currentMounts(), real).filter((path) => isMountPoint(`${real === '/' ? '' : real}/${path}`));
}

/** Another mount above it may hide a mount point; where the kernel does not tell (before 5.8) the list is believed. */
function isMountPoint(path: BytePath): boolean {
  const stat = statx(native.AT_FDCWD, native.cPath(path));
  if (stat === null || (stat.readUInt16LE(28) & fs.constants.S_IFMT) !== fs.constants.S_IFDIR) return false;
  return (stat.readBigUInt64LE(56) & attributeMountRoot) === 0n || (stat.readBigUInt64LE(8) & attributeMountRoot) !== 0n;
}

export function mountId(beneath: Beneath, dir: BytePath): string | null {
  return orNull(() =>
    beneath.use(`${dir}/.`, 'mountId', (above, name) => {
      const stat = statx(above, name, statxMask | uniqueMountMask);
      if (stat === null) throw native.errnoError(native.lastErrno(), 'mountId', dir);
      return `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)} ${stat.readBigUInt64LE(144)}`;
    }),
  );
}

/** Whether a directory cannot be written by this process alone, because of the mount by which it sees it; false when it is missing. */
export function isReadOnlyHere(dir: BytePath): boolean {
  const stat = statx(native.AT_FDCWD, native.cPath(`${dir}/.`));
  const id = stat?.readBigUInt64LE(144);
  return currentMounts().some((mount) => mount.readOnlyHere && BigInt(mount.id) === id);
}

export function renameRegion(beneath: Beneath, dir: BytePath): string | null {
  const fd = openDirectory(beneath, dir, 'renameRegion');
  if (fd === null) return null;
  try {
    const stat = statx(fd, '');
    if (stat === null) throw native.errnoError(native.lastErrno(), 'statx', dir);
    const attributes = Buffer.alloc(28);
    const inherits = native.ioctl(fd, FS_IOC_FSGETXATTR, attributes) === 0 && (attributes.readUInt32LE(0) & xflagProjectInherit) !== 0;
    const project = inherits ? attributes.readUInt32LE(12) : 'none';
    return `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)} ${stat.readBigUInt64LE(144)} ${project}`;
  } finally {
    fs.closeSync(fd);
  }
}
