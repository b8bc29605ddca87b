import { lstatSync, readdirSync, readFileSync, readlinkSync, type BigIntStats } from 'node:fs';

/** Names that are never replicated: what a mail server has only while it works. */
const leftOut = /^tmp$|\.lock$|\.tmp$|\.newlock$|^\.temp\./;
const differencesMax = 20;

/**
 * Compares two trees byte by byte, apart from what the agents say about themselves: names, kinds, content, mode,
 * owner and mtime. The first differences, as text; empty when they are the same.
 */
export function treeDifferences(left: string, right: string): string[] {
  const found: string[] = [];
  compareDirs(Buffer.from(left), Buffer.from(right), found);
  return found;
}

function compareDirs(left: Buffer, right: Buffer, found: string[]): void {
  const names = (dir: Buffer) => new Set(readdirSync(dir, { encoding: 'latin1' }).filter((name) => !leftOut.test(name)));
  const [a, b] = [names(left), names(right)];
  for (const name of new Set([...a, ...b])) {
    if (found.length >= differencesMax) return;
    const at = Buffer.concat([left, Buffer.from(`/${name}`, 'latin1')]);
    const to = Buffer.concat([right, Buffer.from(`/${name}`, 'latin1')]);
    if (!a.has(name)) found.push(`only on the standby: ${to.toString()}`);
    else if (!b.has(name)) found.push(`missing on the standby: ${at.toString()}`);
    else compareEntry(at, to, found);
  }
}

function compareEntry(left: Buffer, right: Buffer, found: string[]): void {
  const [a, b] = [lstatSync(left, { bigint: true }), lstatSync(right, { bigint: true })];
  const what = entryDifference(a, b) ?? contentDifference(a, left, right);
  if (what !== null) found.push(`${what}: ${left.toString()}`);
  if (a.isDirectory() && b.isDirectory()) compareDirs(left, right, found);
}

function entryDifference(a: BigIntStats, b: BigIntStats): string | null {
  if (a.mode !== b.mode) return 'kind or mode differs';
  if (a.uid !== b.uid || a.gid !== b.gid) return 'owner differs';
  // A directory's mtime changes with whatever is left out, too.
  return a.isFile() && a.mtimeNs !== b.mtimeNs ? 'mtime differs' : null;
}

function contentDifference(a: BigIntStats, left: Buffer, right: Buffer): string | null {
  if (a.isSymbolicLink()) return readlinkSync(left) === readlinkSync(right) ? null : 'link differs';
  return a.isFile() && !readFileSync(left).equals(readFileSync(right)) ? 'content differs' : null;
}
