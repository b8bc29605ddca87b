import { lstatSync, readdirSync, readFileSync, readlinkSync, type BigIntStats } from 'node:fs';

/** What is not replicated by design: deliveries under way, locks, files half written, and the cache of the index. */
const leftOut = /^tmp$|\.lock|\.tmp$|\.newlock$|^\.temp\.|^dovecot\.(list\.)?index\.cache|^\.mailtwin|^\.\.DOVECOT-TRASH/i;
const differencesMax = 40;

/**
 * Compares two trees: names, kinds, content, mode, owner, the mtime of files. The first differences, as text; empty when
 * they are the same. Knows nothing of what the agent thinks of names.
 */
export function differentTrees(left: string, right: string): string[] {
  return compare(left, right).found;
}

/**
 * Names that are one file on one side only. Not a difference to a mail server: it costs room.
 */
export function differentLinks(left: string, right: string): string[] {
  const { links } = compare(left, right);
  const groups = (map: Map<string, string[]>) =>
    new Set([...map.values()].filter((each) => each.length > 1).map((each) => each.sort().join(' = ')));
  const [a, b] = [groups(links.left), groups(links.right)];
  return [...[...a].filter((group) => !b.has(group)), ...[...b].filter((group) => !a.has(group))];
}

function compare(left: string, right: string): { found: string[]; links: Links } {
  const found: string[] = [];
  const links: Links = { left: new Map(), right: new Map() };
  compareDirs(Buffer.from(left), Buffer.from(right), Buffer.alloc(0), found, links);
  return { found, links };
}

interface Links {
  left: Map<string, string[]>;
  right: Map<string, string[]>;
}

function compareDirs(left: Buffer, right: Buffer, path: Buffer, found: string[], links: Links): void {
  const names = (dir: Buffer) => new Set(readdirSync(dir, { encoding: 'latin1' }).filter((name) => !leftOut.test(name)));
  const [a, b] = [names(left), names(right)];
  for (const name of new Set([...a, ...b])) {
    if (found.length >= differencesMax) return;
    const below = (dir: Buffer) => Buffer.concat([dir, Buffer.from(`/${name}`, 'latin1')]);
    const shown = below(path).toString();
    if (!a.has(name)) found.push(`only on the right: ${shown}`);
    else if (!b.has(name)) found.push(`only on the left: ${shown}`);
    else compareEntry(below(left), below(right), below(path), found, links);
  }
}

function compareEntry(left: Buffer, right: Buffer, path: Buffer, found: string[], links: Links): void {
  const [a, b] = [lstatSync(left, { bigint: true }), lstatSync(right, { bigint: true })];
  const what = entryDifference(a, b) ?? contentDifference(a, left, right);
  if (what !== null) found.push(`${what}: ${path.toString()}`);
  note(links.left, a, path);
  note(links.right, b, path);
  if (a.isDirectory() && b.isDirectory()) compareDirs(left, right, path, found, links);
}

function note(map: Map<string, string[]>, stat: BigIntStats, path: Buffer): void {
  if (!stat.isFile() || stat.nlink < 2n) return;
  const key = String(stat.ino);
  map.set(key, [...(map.get(key) ?? []), path.toString('latin1')]);
}

function entryDifference(a: BigIntStats, b: BigIntStats): string | null {
  if (a.mode !== b.mode) return `kind or mode differs (${a.mode.toString(8)}, ${b.mode.toString(8)})`;
  if (a.uid !== b.uid || a.gid !== b.gid) return 'owner differs';
  if (a.isFile() && a.size !== b.size) return `size differs (${a.size}, ${b.size})`;
  // A directory's mtime changes with whatever is left out, too.
  return a.isFile() && a.mtimeNs !== b.mtimeNs ? `mtime differs (${a.mtimeNs}, ${b.mtimeNs})` : null;
}

function contentDifference(a: BigIntStats, left: Buffer, right: Buffer): string | null {
  if (a.isSymbolicLink()) return readlinkSync(left) === readlinkSync(right) ? null : 'link differs';
  return a.isFile() && !readFileSync(left).equals(readFileSync(right)) ? 'content differs' : null;
}
