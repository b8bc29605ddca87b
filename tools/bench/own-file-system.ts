import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync } from 'node:fs';

/** statfs(2): f_type of a tmpfs. */
const tmpfsMagic = 0x01021994;

/**
 * Makes `dir` a tmpfs of its own where this may be done (root, and `dir` lies on a tmpfs), else a plain directory: as
 * on two hosts, neither node's watcher then hears what the other one, or anybody else on this machine, writes.
 *
 * @returns what removes it with all that is in it.
 */
export function ownFileSystem(dir: string): () => void {
  mkdirSync(dir, { recursive: true });
  const { type, bavail, bsize } = statfsSync(dir);
  let isMounted = false;
  if (process.getuid?.() === 0 && type === tmpfsMagic) {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=700,size=${bavail * bsize}`, 'mailtwin-bench', dir], { stdio: 'ignore' });
      isMounted = true;
    } catch {
      // A container without the right to mount: what both write is heard by the primary's watcher, and costs it a little.
    }
  }
  const release = (): void => {
    process.off('exit', release);
    if (isMounted) execFileSync('umount', ['-l', dir], { stdio: 'ignore' });
    isMounted = false;
    rmSync(dir, { recursive: true, force: true });
  };
  process.on('exit', release);
  return release;
}
