import type { MetaChange } from './files.ts';
import * as native from './native.ts';
import { fstat } from './stat.ts';
import { writeXattrs } from './xattrs.ts';

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

/** -1 leaves an owner or group as it is; Node wants it unsigned. */
const KEEP = 0xffff_ffff;

/** `Files.setMetaOpen`: of an open file, or of anything that was opened with O_PATH, which most calls by descriptor refuse. */
export function setMetaOpen(fd: number, change: MetaChange): void {
  const { uid = KEEP, gid = KEEP } = change;
  if (uid !== KEEP || gid !== KEEP) chown(fd, change);
  if (change.mode !== undefined) chmodOpen(fd, change.mode);
  if (change.xattrs !== undefined) writeXattrs(fd, change.xattrs);
  if (change.mtimeNs !== undefined) setTime(fd, change.mtimeNs);
}

/** Without privilege an owner cannot be set, which is no fault when it is already the wanted one. */
function chown(fd: number, { uid, gid }: MetaChange): void {
  if (native.chownOpen(fd, uid ?? KEEP, gid ?? KEEP) === 0) return;
  const code = native.lastErrno();
  if (code === 'EPERM') {
    const stat = fstat(fd);
    if ((uid === undefined || stat.uid === uid) && (gid === undefined || stat.gid === gid)) return;
  }
  throw native.errnoError(code, 'chown');
}

/** A symbolic link's own mode cannot be set and means nothing. */
export function chmodOpen(fd: number, mode: number): void {
  if (native.fchmod(fd, mode) === 0) return;
  const code = native.lastErrno();
  if (code !== 'EBADF') throw native.errnoError(code, 'chmod');
  if (fstat(fd).kind === 'symlink') return;
  if (native.chmod(native.pathOfOpen(fd), mode) !== 0) throw native.errnoError(native.lastErrno(), 'chmod');
}

function setTime(fd: number, mtimeNs: bigint): void {
  if (native.futimens(fd, fillTimes(mtimeNs)) === 0) return;
  const code = native.lastErrno();
  if (code !== 'EBADF') throw native.errnoError(code, 'utimensat');
  if (native.utimensat(native.AT_FDCWD, native.pathOfOpen(fd), timesBytes, 0) !== 0)
    throw native.errnoError(native.lastErrno(), 'utimensat');
}
