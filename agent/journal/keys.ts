/**
 * Keys of the agent's store: one byte for the table, then the key proper. Numbers are big-endian so that byte order is
 * number order.
 */

export const tables = {
  /** Single values, by name. */
  meta: 0x01,
  /** directory number + name -> entry */
  entry: 0x02,
  /** directory number -> parent's number + own name */
  dir: 0x03,
  /** root number + inode -> directory number + name */
  inode: 0x04,
  /** first 8 bytes of the content's SHA-256 -> directory number + name; larger files only */
  content: 0x05,
  /** directory number + name -> chunk list of a large file */
  chunks: 0x06,
  /** sequence number -> a change that is not yet on the standby */
  journal: 0x07,
  /** the batch whose renames may have to be done again */
  redo: 0x08,
  /** root, path -> why it is in doubt */
  unproven: 0x09,
  /** root, mailbox -> UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ */
  watermark: 0x0a,
  /** number -> what was replaced or removed */
  history: 0x0b,
  /** root number + inode + directory number + name, for files with more than one name */
  links: 0x0c,
  /** root, path -> a directory that is left out here and kept on the standby */
  leftOut: 0x0d,
  /** root, path -> what the standby could not give it */
  shortfall: 0x0e,
  /** root, mailbox -> UIDVALIDITY, UIDNEXT as the primary saw them last */
  seenNumbers: 0x0f,
  /** hash of root, mailbox, name -> the message of this disk that the other node has there */
  originals: 0x10,
  /** root number + inode -> what a file of this disk held when it was read last, where the index does not say it any more */
  remembered: 0x11,
  /** root, path -> a file of this disk that gives back something else than it held */
  damage: 0x12,
} as const;

const dirBytes = 6;

export function metaKey(name: string): Buffer {
  return Buffer.concat([Buffer.from([tables.meta]), Buffer.from(name, 'utf8')]);
}

/** A key of `table` for a name in a numbered directory. */
export function namedKey(table: number, dir: number, name: string): Buffer {
  const key = Buffer.allocUnsafe(1 + dirBytes + name.length);
  key[0] = table;
  key.writeUIntBE(dir, 1, dirBytes);
  key.write(name, 1 + dirBytes, 'latin1');
  return key;
}

/** The name in a key made by `namedKey`. */
export function nameOfKey(key: Buffer): string {
  return key.toString('latin1', 1 + dirBytes);
}

export function numberKey(table: number, number: number): Buffer {
  const key = Buffer.allocUnsafe(1 + dirBytes);
  key[0] = table;
  key.writeUIntBE(number, 1, dirBytes);
  return key;
}

export function numberOfKey(key: Buffer): number {
  return key.readUIntBE(1, dirBytes);
}

export function inodeKey(root: number, ino: bigint): Buffer {
  const key = Buffer.allocUnsafe(1 + dirBytes + 8);
  key[0] = tables.inode;
  key.writeUIntBE(root, 1, dirBytes);
  key.writeBigUInt64BE(ino, 1 + dirBytes);
  return key;
}

/** Key of one name of a file with several; without a name the beginning that all of them share. */
export function linkKey(root: number, ino: bigint, ref?: { dir: number; name: string }): Buffer {
  const head = inodeKey(root, ino);
  head[0] = tables.links;
  return ref ? Buffer.concat([head, packRef(ref.dir, ref.name)]) : head;
}

export function refOfLinkKey(key: Buffer): { dir: number; name: string } {
  return unpackRef(key.subarray(1 + dirBytes + 8));
}

export function contentKey(content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([tables.content]), content.subarray(0, 8)]);
}

/** A directory number and a name, as a value. */
export function packRef(dir: number, name: string): Buffer {
  return namedKey(0, dir, name).subarray(1);
}

export function unpackRef(value: Buffer): { dir: number; name: string } {
  return { dir: value.readUIntBE(0, dirBytes), name: value.toString('latin1', dirBytes) };
}
