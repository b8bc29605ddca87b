import fs from 'node:fs';
import { mtimeNsMax, type FileKind, type Stat } from './files.ts';
import * as native from './native.ts';

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = fs.constants;

/** struct statx, read through views of one buffer: calls are synchronous, so that one is enough. */
const statxBuffer = Buffer.alloc(256);
const u16 = new Uint16Array(statxBuffer.buffer, statxBuffer.byteOffset, 128);
const u32 = new Uint32Array(statxBuffer.buffer, statxBuffer.byteOffset, 64);
const u64 = new BigUint64Array(statxBuffer.buffer, statxBuffer.byteOffset, 32);
const i64 = new BigInt64Array(statxBuffer.buffer, statxBuffer.byteOffset, 32);
const STATX_BTIME = 0x800;

function kindOfMode(mode: number): FileKind {
  const type = mode & S_IFMT;
  return type === S_IFREG ? 'file' : type === S_IFDIR ? 'dir' : type === S_IFLNK ? 'symlink' : 'other';
}

let lastMajor = -1;
let lastMinor = -1;
let lastDev = 0n;

/** glibc's makedev, kept for the one or two file systems in use. */
function deviceNumber(major: number, minor: number): bigint {
  if (major !== lastMajor || minor !== lastMinor) {
    const [hi, lo] = [BigInt(major), BigInt(minor)];
    lastDev = ((hi & 0xfffff000n) << 32n) | ((hi & 0xfffn) << 8n) | ((lo & 0xffffff00n) << 12n) | (lo & 0xffn);
    [lastMajor, lastMinor] = [major, minor];
  }
  return lastDev;
}

function nanoseconds(offset: number): bigint {
  return (i64[offset >> 3] as bigint) * 1_000_000_000n + BigInt(u32[(offset >> 2) + 2] as number);
}

function modificationTime(offset: number): bigint {
  const timeNs = nanoseconds(offset);
  return timeNs > mtimeNsMax ? mtimeNsMax : timeNs < -mtimeNsMax ? -mtimeNsMax : timeNs;
}

/** A damaged file system may give any number for a time that nobody can set. */
function identityTime(offset: number): bigint {
  return BigInt.asIntN(64, nanoseconds(offset));
}

/** Field offsets: linux/stat.h, struct statx. */
function statFromBuffer(): Stat {
  const mode = u16[14] as number;
  return {
    kind: kindOfMode(mode),
    dev: deviceNumber(u32[34] as number, u32[35] as number),
    ino: u64[4] as bigint,
    nlink: u32[4] as number,
    size: Number(u64[5]),
    mode: mode & 0o7777,
    uid: u32[5] as number,
    gid: u32[6] as number,
    mtimeNs: modificationTime(112),
    ctimeNs: identityTime(96),
    btimeNs: (u32[0] as number) & STATX_BTIME ? identityTime(80) : 0n,
  };
}

/** Null when it fails; `lastErrno` then says why. */
export function lstatAt(dir: number, name: native.PathArg): Stat | null {
  return native.statx(dir, name, native.AT_SYMLINK_NOFOLLOW, native.STATX_BASIC_AND_BTIME, statxBuffer) === 0 ? statFromBuffer() : null;
}

export function fstat(fd: number): Stat {
  if (native.statx(fd, '', native.AT_EMPTY_PATH, native.STATX_BASIC_AND_BTIME, statxBuffer) === 0) return statFromBuffer();
  throw native.errnoError(native.lastErrno(), 'fstat');
}
