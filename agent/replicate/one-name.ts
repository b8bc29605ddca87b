import { baseName, parentPath, type BytePath, type Files } from '../platform/files.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const ascii = /^[\x20-\x7e]*$/;
const privateUse = 0xf700;
const unseen = /\p{Default_Ignorable_Code_Point}/gu;

/**
 * Pure: names that any file system takes for one have the same key (case, ways to write an accent, characters without width,
 * dots and spaces at the end). Names with the same key may be two all the same: only the disk knows.
 */
export function foldKey(name: BytePath): string {
  return folded(ascii.test(name) ? name : textOf(name)).replace(/[ .]+$/, '');
}

function folded(text: string): string {
  if (ascii.test(text)) return text.toLowerCase();
  return text.normalize('NFKD').replace(unseen, '').toUpperCase().toLowerCase().normalize('NFKD');
}

function textOf(name: BytePath): string {
  try {
    return utf8.decode(Buffer.from(name, 'latin1'));
  } catch {
    // Bytes that are no text are themselves, beside whatever case a file system knows of ASCII.
    return name.replace(/[\x80-\xff]/g, (byte) => String.fromCharCode(privateUse + byte.charCodeAt(0)));
  }
}

/**
 * Whether a directory holds a name as it is written. A file system that folds names finds a file under others, too; what it
 * shows then is not what the name stands for on the other node. Reads the whole directory.
 *
 * @throws an errno error when the directory cannot be read.
 */
export function isNamed(files: Files, path: BytePath): boolean {
  const name = baseName(path);
  return (files.readdir(parentPath(path)) ?? []).some((entry) => entry.name === name);
}

/** The file system takes a name for that of something else that is there, which stays. */
export class NameTaken extends Error {
  readonly path: BytePath;
  constructor(path: BytePath) {
    super('this file system takes its name for another one that is there');
    this.path = path;
  }
}
