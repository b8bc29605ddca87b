import { exitCodes } from '../../protocol/control.ts';
import { OperatorError } from './errors.ts';
import { WriteFailed } from './waiting-kv.ts';

/*
 * What LMDB says, as numbers: errno, or one of its own (lmdb.h). The lmdb package puts them into `code`.
 */
const ENOSPC = 28;
const EDQUOT = 122;
const EIO = 5;
/** Disks that cannot be written at the moment: EPERM, EACCES, EBUSY, EFBIG, EROFS, and memory that is short. */
const unwritable = new Map([
  [1, 'the system refuses it (EPERM)'],
  [EIO, 'the disk reports an error (EIO)'],
  [11, 'the system is short of something (EAGAIN)'],
  [12, 'memory is short (ENOMEM)'],
  [13, 'permission is denied (EACCES)'],
  [16, 'it is busy (EBUSY)'],
  [27, 'the file would be larger than is allowed (EFBIG)'],
  [30, 'it is read-only (EROFS)'],
]);
/** MDB_PANIC: the page of meta could not be written earlier; the environment must be opened again. */
const MDB_PANIC = -30795;
/** MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_INVALID, MDB_CURSOR_FULL, MDB_PAGE_FULL, MDB_BAD_TXN, MDB_PROBLEM. */
const damage = new Set([-30797, -30796, -30793, -30787, -30786, -30782, -30779]);
const damageText = /MDB_(PAGE_NOTFOUND|CORRUPTED|INVALID|CURSOR_FULL|PAGE_FULL|BAD_TXN|PROBLEM)/;
/** A write that came short is reported as EIO; with less free than this the disk was full. */
const shortWriteBytes = 1024 ** 2;

/** What to do with a store that cannot be trusted. */
export function damagedStore(file: string, what: string): OperatorError {
  return new OperatorError(
    'store-damaged',
    `the agent's store ${file} is damaged: ${what}`,
    'check the disk; then run `mailtwin repair-store`, which puts the damaged file aside and keeps role and epoch, and start the agent: it compares both nodes anew',
    exitCodes.incomplete,
  );
}

/** Codes of a disk that may take what is written later, without anybody having changed a permission. */
const passing = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE', 'ENOMEM']);
const passingNumbers = new Set([ENOSPC, EDQUOT, EIO, 12, 30, 24, 23]);

/** For a store that cannot be opened for writing. */
export function unwritableStore(file: string, error: unknown): OperatorError {
  const number = numberOf(error);
  const isPassing = number === null ? passing.has(String((error as { code?: unknown }).code)) : passingNumbers.has(number);
  return new OperatorError(
    isPassing ? 'state-unwritable' : 'store-unwritable',
    `cannot write ${file}: ${textOf(error)}`,
    isPassing
      ? 'make room on the disk of the state directory, or mend it; the agent tries again by itself'
      : 'make the state directory writable for the user that runs the agent',
  );
}

/** What a read's error is: `store-damaged`, or the error itself. */
export function readFailure(file: string, error: unknown): unknown {
  return isDamage(error) ? damagedStore(file, textOf(error)) : error;
}

/** What a commit's error is: WriteFailed, `store-damaged`, or the error itself. */
export function writeFailure(file: string, error: unknown, freeBytes: number | null): unknown {
  if (isDamage(error)) return damagedStore(file, textOf(error));
  const code = numberOf(error);
  if (code === ENOSPC || code === EDQUOT) return new WriteFailed(textOf(error), true);
  if (code === EIO && freeBytes !== null && freeBytes < shortWriteBytes) return new WriteFailed(textOf(error), true);
  if (code === MDB_PANIC) return new WriteFailed('an earlier write failed', false, true);
  const reason = code === null ? undefined : unwritable.get(code);
  return reason === undefined ? error : new WriteFailed(reason, false);
}

function isDamage(error: unknown): boolean {
  const code = numberOf(error);
  return (code !== null && damage.has(code)) || (error instanceof Error && damageText.test(error.message));
}

function numberOf(error: unknown): number | null {
  const code: unknown = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'number' ? code : null;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
