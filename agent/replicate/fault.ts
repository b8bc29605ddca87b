import { ChannelClosed } from '../link/channel.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode, type BytePath, type Files } from '../platform/files.ts';
import { NameTaken } from './one-name.ts';

/**
 * Whose fault an error is, and so who must wait for it (I20).
 *
 * - `gone`: something vanished between two calls: look again
 * - `path`: of this one path: it is in doubt, everything else goes on
 * - `room`: no space or quota; of the path when the file system as a whole has room (`hasRoom`), else of the root
 * - `root`: of the disk below a root: what writes there waits
 * - `host`: of this host or process (descriptors, memory): everything waits a little
 * - `link`: the connection ended
 * - `us`: a fault of the program, or of the store: nobody who handles files may catch it
 */
export type FaultOf = 'gone' | 'path' | 'room' | 'root' | 'host' | 'link' | 'us';

const hostCodes: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EAGAIN', 'EINTR']);
const diskCodes: ReadonlySet<string> = new Set(['EIO', 'EROFS']);

/**
 * The one place that decides what an error means. While `reading`, a disk's error is of the file that cannot be read:
 * the others are tried on their own. While `writing`, it is of the disk. An errno that nobody thought of is the path's.
 */
export function faultOf(error: unknown, doing: 'reading' | 'writing'): FaultOf {
  if (error instanceof ChannelClosed) return 'link';
  if (error instanceof NameTaken) return 'path';
  if (error instanceof OperatorError) return 'us';
  const code = errnoCode(error);
  if (code === undefined || code === 'EBADF' || code === 'EFAULT') return 'us';
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'gone';
  if (hostCodes.has(code)) return 'host';
  if (doing === 'reading') return 'path';
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'room';
  return diskCodes.has(code) ? 'root' : 'path';
}

/**
 * What a call that reads gives; undefined where the system refuses it for whatever reason, so that nothing is known.
 *
 * @throws what is no error of the system, or a fault of the program.
 */
export function ifKnown<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (faultOf(error, 'reading') === 'us') throw error;
    return undefined;
  }
}

/** A file system with this much room is not full: what does not fit is too large, or somebody's quota is used up. */
const roomBytesMin = 16 * 1024 * 1024;
const roomInodesMin = 16;

/** Whether the file system that holds `path` has room for others than the one who was just refused. */
export function hasRoom(files: Files, path: BytePath): boolean {
  const { freeBytes, freeInodes } = files.space(path);
  return freeBytes >= roomBytesMin && freeInodes >= roomInodesMin;
}

const words: Record<string, string> = {
  EPERM: 'it is not permitted; the file or its directory may be immutable',
  EACCES: 'access is denied',
  EIO: 'the disk reports an error',
  ENOSPC: 'there is no room for it',
  EDQUOT: 'a quota is used up',
  EINVAL: 'the file system does not take it',
  EOPNOTSUPP: 'the file system does not have this',
  ENOTSUP: 'the file system does not have this',
  ENAMETOOLONG: 'the name or the target is too long for this file system',
  EILSEQ: 'the name is not valid on this file system',
  ELOOP: 'a symbolic link stands where a directory belongs',
  ESTALE: 'the file server has lost it',
  EOVERFLOW: 'a number is too large for this system',
  EFBIG: 'it is larger than this file system takes',
  E2BIG: 'it is larger than is read at once',
  EROFS: 'the file system is read-only',
  EMLINK: 'the file has as many names as this file system takes',
  EXDEV: 'it is on another file system',
  EBUSY: 'it is in use',
  ETXTBSY: 'it is in use',
  ENOTEMPTY: 'the directory is not empty',
  EISDIR: 'a directory is in the way',
  EEXIST: 'something else is in the way',
  ERANGE: 'its attributes are larger than this file system takes',
};

/** Why, for people, with the errno name in parentheses. */
export function whyOf(error: unknown): string {
  const code = errnoCode(error);
  if (code === undefined) return error instanceof Error ? error.message : String(error);
  const text = words[code];
  return text === undefined ? `the system refuses it (${code})` : `${text} (${code})`;
}
