import { ContentScan, type ScanResult } from '../../delta/scan.ts';
import type { BytePath, Files, Stat } from '../../platform/files.ts';
import { absolute } from '../root.ts';
import { chooseContent, oldVersion, type Choice, type FileAt } from './choose-content.ts';
import { isRacy, type PrimaryParts } from './context.ts';

/** A large file as it was read: what it is, and the least that makes the standby's copy the same. */
export interface ReadContent {
  /** What the content belongs to. The file itself may have changed since, when `isOfOneMoment`. */
  stat: Stat;
  scanned: ScanResult;
  choice: Choice;
  bytes: ContentBytes;
  /** Wall clock at the beginning of the reading, milliseconds. */
  readWallMs: number;
}

/** Where the bytes that are sent come from. */
export interface ContentBytes {
  size: number;
  /** Up to `length` bytes at `offset`; fewer only at the end. */
  read(offset: number, length: number): Buffer;
  /** Nobody can change them any more. */
  isFixed: boolean;
  /** Of what is not fixed: the file as it is now. */
  stat(): Stat;
  close(): void;
}

/** Would not hold still: try again. */
export class Restless extends Error {}

const stepBytes = 1024 * 1024;
/** A file up to this size is taken into memory, so that it is read once. */
const memoryBytesMax = 512 * 1024;
/** The same for a file that would not hold still before: it is read so fast that whoever writes it may pause for as long. */
const restlessBytesMax = 16 * 1024 * 1024;
const restlessReadings = 8;

/**
 * Reads a large file and decides how it travels. `tries`: how often this failed before. Null when the file is gone.
 *
 * @throws Restless when it changed while it was read; the operating system's error when it cannot be read.
 */
export async function readContent(
  p: PrimaryParts,
  at: FileAt,
  tries: number,
  whole: boolean,
  pause: () => Promise<void>,
): Promise<ReadContent | null> {
  const path = absolute(at.root, at.dir === '' ? at.name : `${at.dir}/${at.name}`);
  const readWallMs = p.clock.wallMs();
  const opened = await openContent(p, path, tries, pause);
  if (opened === null) return null;
  const { bytes, stat } = opened;
  try {
    const scan = new ContentScan(stat.size, at.immutable || whole ? null : oldVersion(p, at), p.hash);
    for (let offset = 0; offset < stat.size; offset += stepBytes) {
      const part = bytes.read(offset, Math.min(stepBytes, stat.size - offset));
      if (part.length < Math.min(stepBytes, stat.size - offset)) throw new Restless('it became shorter while it was read');
      scan.update(part);
      if (offset + stepBytes < stat.size) await pause();
    }
    const scanned = scan.finish();
    const idOf = (offset: number, length: number) => p.hash.of(bytes.read(offset, length));
    const choice = chooseContent(p, at, stat, scanned, idOf, whole);
    return { stat, scanned: at.immutable ? { ...scanned, chunks: null } : scanned, choice, bytes, readWallMs };
  } catch (error) {
    bytes.close();
    throw error;
  }
}

async function openContent(
  p: PrimaryParts,
  path: BytePath,
  tries: number,
  pause: () => Promise<void>,
): Promise<{ bytes: ContentBytes; stat: Stat } | null> {
  const { files } = p;
  const fd = files.openRead(path);
  if (fd === null) return null;
  let isOpen = true;
  const close = () => {
    if (isOpen) files.close(fd);
    isOpen = false;
  };
  try {
    const stat = files.fstat(fd);
    if (stat.size <= (tries > 0 ? restlessBytesMax : memoryBytesMax)) {
      const data = await readAtOnce(p, fd, stat, tries > 0 ? restlessReadings : 2, pause);
      if (data) {
        close();
        return { bytes: inMemory(data.data), stat: data.stat };
      }
    }
    // A copy of one moment costs its writer a pause, so it is made only where it is needed.
    const snapshot = tries > 0 ? files.openSnapshot(path) : null;
    if (snapshot !== null) {
      close();
      const { size } = files.fstat(snapshot);
      return { bytes: openFile(files, snapshot, size, true), stat: { ...stat, size } };
    }
    if (stat.size <= memoryBytesMax) throw new Restless('it is written all the time');
    isOpen = false;
    return { bytes: openFile(files, fd, stat.size, false), stat };
  } finally {
    close();
  }
}

/** Content that was the same twice in a row was there at one moment, between the two readings. */
async function readAtOnce(
  p: PrimaryParts,
  fd: number,
  first: Stat,
  readings: number,
  pause: () => Promise<void>,
): Promise<{ data: Buffer; stat: Stat } | null> {
  const { files, clock } = p;
  let stat = first;
  let before: Buffer | null = null;
  for (let i = 0; i < readings; i++) {
    const isQuiet = !isRacy(stat.mtimeNs, clock.wallMs());
    const data = readAll(files, fd, 0, stat.size);
    const now = files.fstat(fd);
    const isSame = now.size === stat.size && now.mtimeNs === stat.mtimeNs && now.ctimeNs === stat.ctimeNs;
    if (data.length === stat.size && ((isSame && isQuiet) || before?.equals(data))) return { data, stat };
    before = data;
    if (now.size !== stat.size) before = null;
    stat = now;
    if (i % 2 === 1) await pause();
  }
  return null;
}

export function inMemory(data: Buffer): ContentBytes {
  return {
    size: data.length,
    read: (offset, length) => data.subarray(offset, offset + length),
    isFixed: true,
    stat: () => {
      throw new Error('content in memory has no file');
    },
    close: () => {},
  };
}

function openFile(files: Files, fd: number, size: number, isFixed: boolean): ContentBytes {
  let isOpen = true;
  return {
    size,
    read: (offset, length) => readAll(files, fd, offset, Math.max(0, Math.min(length, size - offset))),
    isFixed,
    stat: () => files.fstat(fd),
    close: () => {
      if (isOpen) files.close(fd);
      isOpen = false;
    },
  };
}

function readAll(files: Files, fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  let got = 0;
  while (got < length) {
    const n = files.read(fd, buffer, got, Math.min(stepBytes, length - got), offset + got);
    if (n === 0) break;
    got += n;
  }
  return buffer.subarray(0, got);
}
