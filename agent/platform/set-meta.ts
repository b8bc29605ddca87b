import fs from 'node:fs';
import { errnoCode, type MetaChange, type Stat } from './files.ts';
import * as native from './native.ts';
import { fstat, lstatAt } from './stat.ts';
import { writeXattrs } from './xattrs.ts';

const { O_NOFOLLOW } = fs.constants;
/** Not in Node's constants, because libuv sets it by itself. */
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;

/** Two timespecs: the access time stays as it is (UTIME_OMIT). */
const times = new BigInt64Array(4);
times[1] = (1n << 30n) - 2n;
const timesBytes = new Uint8Array(times.buffer);

function fillTimes(mtimeNs: bigint): Uint8Array {
  let seconds = mtimeNs / 1_000_000_000n;
  let rest = mtimeNs % 1_000_000_000n;
  if (rest < 0n) {
    seconds -= 1n;
    rest += 1_000_000_000n;
  }
  times[2] = seconds;
  times[3] = rest;
  return timesBytes;
}

/** Without privilege an owner cannot be set, which is no fault when it is already the wanted one. */
function chown(act: () => void, look: () => Stat | null, change: MetaChange): void {
  try {
    act();
  } catch (error) {
    if (errnoCode(error) !== 'EPERM') throw error;
    const stat = look();
    if (stat === null || (change.uid !== undefined && stat.uid !== change.uid) || (change.gid !== undefined && stat.gid !== change.gid))
      throw error;
  }
}

/** -1 leaves an owner or group as it is; Node wants it unsigned. */
const KEEP = 0xffff_ffff;

/** `Files.setMeta` of a name in an open directory; `path` is what errors name. */
export function setMetaAt(dir: number, name: native.PathArg, path: string, change: MetaChange): void {
  const { uid = KEEP, gid = KEEP } = change;
  const failed = (operation: string) => native.errnoError(native.lastErrno(), operation, path);
  if (uid !== KEEP || gid !== KEEP)
    chown(
      () => {
        if (native.lchownat(dir, name, uid, gid) !== 0) throw failed('lchown');
      },
      () => lstatAt(dir, name),
      change,
    );
  if (change.mode !== undefined) chmodAt(dir, name, path, change.mode);
  if (change.xattrs !== undefined) writeXattrs({ path, cPath: native.pathOf(dir, name) }, change.xattrs);
  if (change.mtimeNs !== undefined && native.utimensat(dir, name, fillTimes(change.mtimeNs), native.AT_SYMLINK_NOFOLLOW) !== 0)
    throw failed('utimensat');
}

/** chmod(2) follows symbolic links; the descriptor of an O_PATH open names the very inode. A symbolic link's own mode cannot be set and means nothing. */
export function chmodAt(dir: number, name: native.PathArg, path: string, mode: number): void {
  const fd = native.openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) throw native.errnoError(native.lastErrno(), 'chmod', path);
  try {
    if (fstat(fd).kind !== 'symlink') fs.chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    fs.closeSync(fd);
  }
}

/** `Files.setMetaOpen`. */
export function setMetaOpen(fd: number, change: MetaChange): void {
  const { uid = KEEP, gid = KEEP } = change;
  if (uid !== KEEP || gid !== KEEP)
    chown(
      () => fs.fchownSync(fd, uid, gid),
      () => fstat(fd),
      change,
    );
  if (change.mode !== undefined) fs.fchmodSync(fd, change.mode);
  if (change.xattrs !== undefined) writeXattrs({ fd }, change.xattrs);
  if (change.mtimeNs !== undefined && native.futimens(fd, fillTimes(change.mtimeNs)) !== 0)
    throw native.errnoError(native.lastErrno(), 'futimens');
}
