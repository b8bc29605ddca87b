import fs from 'node:fs';
import path from 'node:path';
import { writeDurable } from './durable-file.ts';

/** Which file it was, and when it was written last. */
function identityOf(file: string): string | null {
  const stat = fs.statSync(file, { bigint: true, throwIfNoEntry: false });
  return stat ? `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs}\n` : null;
}

const sealName = 'closed';

/** Whether the store's file is the one that an agent closed in order, untouched since. Anything else is read whole before it is used. */
export function wasClosed(dir: string, file: string): boolean {
  try {
    return fs.readFileSync(path.join(dir, sealName), 'utf8') === identityOf(file);
  } catch {
    return false;
  }
}

/** From now on the store is in use: when the process ends in another way than by closing it, the next one finds no seal. */
export function breakSeal(dir: string): void {
  fs.rmSync(path.join(dir, sealName), { force: true });
}

/** The store is closed in order. Without a seal, as on a full disk, the next start only takes longer. */
export function seal(dir: string, file: string): void {
  try {
    writeDurable(path.join(dir, sealName), identityOf(file) ?? '');
  } catch {
    breakSeal(dir);
  }
}
