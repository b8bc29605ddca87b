import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** What is not replicated by design: deliveries under way, locks, files half written, caches, marks and staging of ours. */
const byDesign =
  /^tmp$|\.lock|\.tmp$|\.newlock$|^\.temp\.|^dovecot\.(list\.)?index\.cache|^\.mailtwin|^\.\.mailtwin$|^\.\.DOVECOT-TRASH|^lost\+found$/i;
const differencesMax = 20;

/**
 * What two trees differ in: names, kinds, content, mode, owner, whole seconds of the mtime of files (one of the file
 * systems knows no more). `except` names paths below the roots that are judged elsewhere.
 */
export function treesDiffer(left: string, right: string, except: (path: string) => boolean): string[] {
  const found: string[] = [];
  const walk = (path: string): void => {
    const [a, b] = [names(join(left, path)), names(join(right, path))];
    for (const name of new Set([...a, ...b])) {
      if (found.length >= differencesMax) return;
      const child = join(path, name);
      if (except(child)) continue;
      if (!a.has(name)) found.push(`${child}: only on the standby`);
      else if (!b.has(name)) found.push(`${child}: only on the primary`);
      else {
        const [one, other] = [shown(left, child), shown(right, child)];
        if (one.text !== other.text) found.push(`${child}: ${one.text} | ${other.text}`);
        else if (one.isDir) walk(child);
      }
    }
  };
  walk('');
  return found;
}

/** Names are bytes: one character each keeps those that are not UTF-8. */
function bytes(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

function names(dir: string): Set<string> {
  return new Set(readdirSync(bytes(dir), 'latin1').filter((name) => !byDesign.test(name)));
}

function shown(root: string, below: string): { text: string; isDir: boolean } {
  const path = bytes(join(root, below));
  const stat = lstatSync(path);
  // No node gives a copy the rights of somebody else (I11).
  const kept = stat.isDirectory() ? 0o3777 : 0o1777;
  const owner = `${stat.uid}:${stat.gid} ${(stat.mode & kept).toString(8)}`;
  if (stat.isDirectory()) return { text: `directory ${owner}`, isDir: true };
  // A link to an absolute path inside its root leads to the same place below the root of the other node.
  if (stat.isSymbolicLink()) return { text: `link to ${readlinkSync(path, 'latin1').replace(root, 'the root')}`, isDir: false };
  if (!stat.isFile()) return { text: 'neither file nor directory', isDir: false };
  const content = createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);
  return { text: `file ${owner} ${stat.size} ${content} ${Math.floor(stat.mtimeMs / 1000)}`, isDir: false };
}
