import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Architecture } from './node-runtime.ts';

/** `e_machine` of an ELF file (elf(5)). */
const machines: Record<Architecture, number> = { amd64: 62, arm64: 183 };

/** Release of GCC whose libstdc++ brought a version of its symbols (GCC's "ABI Policy and Guidelines"). */
const gccOf: Record<string, string> = {
  '3.4.21': '5',
  '3.4.22': '6',
  '3.4.23': '7',
  '3.4.24': '7',
  '3.4.25': '8',
  '3.4.26': '9',
  '3.4.27': '9',
  '3.4.28': '10',
  '3.4.29': '11',
  '3.4.30': '12',
  '3.4.31': '13',
  '3.4.32': '13',
  '3.4.33': '14',
};

export interface NativeNeeds {
  /** Oldest release of libc6 and of libstdc++6 that has every symbol. */
  libc: string;
  libstdcxx: string;
  files: number;
}

/**
 * Reads from the native files below `root` how new Debian's libraries must be.
 *
 * @throws Error when a file is for another processor, or needs a libstdc++ that is not known here.
 */
export function nativeNeeds(root: string, arch: Architecture): NativeNeeds {
  const needs = { libc: '2.17', symbols: '3.4.21', files: 0 };
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || lstatSync(path).size < 64) continue;
    const content = readFileSync(path);
    if (content.readUInt32BE(0) !== 0x7f45_4c46) continue;
    const machine = content.readUInt16LE(18);
    if (machine !== machines[arch]) throw new Error(`${path} is for machine ${machine} (elf(5)), not for ${arch}`);
    needs.files++;
    // Names of symbol versions stand as they are in the file's strings.
    const text = content.toString('latin1');
    needs.libc = newest([needs.libc, ...versions(text, /\0GLIBC_(2\.\d+)(?:\.\d+)?(?=\0)/g)]);
    needs.symbols = newest([needs.symbols, ...versions(text, /\0GLIBCXX_(3\.4\.\d+)(?=\0)/g)]);
  }
  const libstdcxx = gccOf[needs.symbols];
  if (libstdcxx === undefined) throw new Error(`GLIBCXX_${needs.symbols} is newer than the table in native-files.ts`);
  return { libc: needs.libc, libstdcxx, files: needs.files };
}

function versions(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, version = '']) => version);
}

function newest(all: readonly string[]): string {
  return all.reduce((one, other) => (one.localeCompare(other, 'en', { numeric: true }) < 0 ? other : one));
}
