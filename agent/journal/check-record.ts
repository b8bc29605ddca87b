import { decodeEntry } from './entry.ts';
import { metaKey, tables } from './keys.ts';

const shortestKey = 1;
const known: ReadonlySet<number> = new Set(Object.values(tables));
/** Values of fixed size, or of a least one, by table: what is shorter cannot be read. */
const leastBytes: Readonly<Record<number, number>> = {
  [tables.dir]: 6,
  [tables.inode]: 6,
  [tables.content]: 6,
};
const leastKeyBytes: Readonly<Record<number, number>> = {
  [tables.entry]: 7,
  [tables.dir]: 7,
  [tables.inode]: 15,
  [tables.content]: 9,
  [tables.chunks]: 7,
  [tables.links]: 21,
};
const roles = ['primary', 'standby', 'fenced'];
const roleKey = metaKey('role');

/**
 * Whether a record of the store can be read for what it is. Values bear no checksum: a number that changed to another one is
 * found by the comparison of both nodes, not here.
 *
 * @throws Error that says what cannot be read.
 */
export function checkRecord(key: Buffer, value: Buffer): void {
  const table = key[0] ?? 0;
  if (key.length < shortestKey || !known.has(table)) throw new Error('a record is of no kind that is known');
  if (key.length < (leastKeyBytes[table] ?? 1) || value.length < (leastBytes[table] ?? 0)) throw new Error('a record is too short');
  if (table === tables.entry) decodeEntry(value);
  if (key.equals(roleKey) && !roles.includes(value.toString('latin1'))) throw new Error('the role cannot be read');
}
