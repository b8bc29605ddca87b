import fs from 'node:fs';
import path from 'node:path';
import { allocate } from './native.ts';
import type { StoreRoom } from './waiting-kv.ts';

const lowBytesMax = 8 * 1024 ** 2;
const lowBytesMin = 64 * 1024;
/** On a small disk it is this part of it. */
const lowShare = 1 / 16;

/**
 * The room of a store in `dir`, with a reserve beside it: a file whose blocks are its own, and which is removed when the
 * disk is full, so that roles and journals of a takeover can be written all the same.
 */
export function storeRoom(dir: string, storeFile: string): StoreRoom {
  const file = path.join(dir, 'reserve');
  let opened: string | null = null;
  const lowBytes = lowBytesOf(totalBytes(dir));
  let hasReserve = (fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0;
  const remove = (): void => {
    hasReserve = false;
    fs.rmSync(file, { force: true });
  };
  return {
    where: dir,
    lowBytes,
    isInPlace() {
      const now = identityOf(storeFile);
      opened ??= now;
      return now === opened;
    },
    get hasReserve() {
      return hasReserve;
    },
    freeBytes() {
      try {
        const { bavail, bsize } = fs.statfsSync(dir);
        return bavail * bsize;
      } catch {
        // A disk that cannot even be asked says so when it is written.
        return null;
      }
    },
    keepReserve() {
      try {
        const fd = fs.openSync(file, 'w', 0o600);
        try {
          hasReserve = allocate(fd, lowBytes);
        } finally {
          fs.closeSync(fd);
        }
        if (!hasReserve) remove();
      } catch {
        // It is a comfort: without it a full disk is met a little earlier.
        hasReserve = false;
      }
      return hasReserve;
    },
    spendReserve() {
      if (!hasReserve) return false;
      try {
        remove();
        return true;
      } catch {
        // A disk that is read-only keeps it.
        return false;
      }
    },
  };
}

/** Null when there is no file, or none that can be looked at. */
function identityOf(file: string): string | null {
  try {
    const stat = fs.statSync(file, { bigint: true, throwIfNoEntry: false });
    return stat ? `${stat.dev} ${stat.ino}` : null;
  } catch {
    return null;
  }
}

function lowBytesOf(total: number): number {
  return Math.round(Math.min(lowBytesMax, Math.max(lowBytesMin, total * lowShare)));
}

function totalBytes(dir: string): number {
  try {
    const { blocks, bsize } = fs.statfsSync(dir);
    return blocks * bsize;
  } catch {
    return 0;
  }
}
