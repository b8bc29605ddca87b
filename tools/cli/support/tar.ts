/** One file of an archive. */
export interface TarEntry {
  /** At most 100 bytes of ASCII. */
  name: string;
  content: Buffer;
}

const blockBytes = 512;

/** A tar archive in the ustar format (POSIX.1-1988): regular files, mode 0600, owned by root. */
export function tar(entries: readonly TarEntry[], seconds: number): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content } of entries) {
    parts.push(header(name, content.length, seconds), content, Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes));
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)]);
}

function header(name: string, size: number, seconds: number): Buffer {
  if (!/^[\x21-\x7e]{1,100}$/.test(name)) throw new Error(`not a name for an archive: ${name}`);
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, length: number) => block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'ascii');
  block.write(name, 0, 'ascii');
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(seconds, 136, 12);
  block.write('        ', 148, 'ascii');
  block.write('0', 156, 'ascii');
  block.write('ustar\0', 257, 'ascii');
  block.write('00', 263, 'ascii');
  block.write('root', 265, 'ascii');
  block.write('root', 297, 'ascii');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'ascii');
  return block;
}
