import type { Piece } from '../../../protocol/ops.ts';
import { chooseDelta, chunkFileBytesMin } from '../../delta/choose.ts';
import { decodeChunks } from '../../delta/chunk-code.ts';
import type { OldVersion, ScanResult } from '../../delta/scan.ts';
import type { Entry } from '../../journal/entry.ts';
import { joinPath, type BytePath, type Stat } from '../../platform/files.ts';
import type { Root } from '../root.ts';
import type { PrimaryParts } from './context.ts';

/** A file whose content has to reach the standby. */
export interface FileAt {
  root: Root;
  dir: BytePath;
  name: BytePath;
  /** Number of the directory in the index. */
  dirNumber: number;
  /** What the standby has under this name. */
  known: Entry | undefined;
  /** Content never changes under one name: no tail, no patch, no chunk list. */
  immutable: boolean;
  /** What the standby has under this name is damaged: it is sent whole, although the index says that it has it. */
  anew?: boolean;
}

/**
 * The least to send for content.
 *
 * - `same`: the standby has it under this name
 * - `copy`: the standby has it in another file, at `from` below the root
 * - `patch`: made from pieces of what the standby has under this name, and `literals`, ranges of the new content
 * - `whole`: all of it
 */
export type Choice =
  | { kind: 'same'; base: Buffer }
  | { kind: 'copy'; from: { dir: BytePath; name: BytePath }; base: Buffer }
  | {
      kind: 'patch';
      base: Buffer;
      pieces: Piece[];
      literals: { offset: number; length: number }[];
      literalBytes: number;
      tail: boolean;
    }
  | { kind: 'whole' };

/** Content at least this long is looked for on the standby before it is sent. */
const copyBytesMin = 16 * 1024;

/** The version that the standby has, as far as a delta needs it. */
export function oldVersion(p: PrimaryParts, at: FileAt): OldVersion | null {
  if (at.anew || at.known?.kind !== 'file' || at.known.content.length === 0) return null;
  const stored = at.known.size >= chunkFileBytesMin ? p.index.chunksOf(at.dirNumber, at.name) : undefined;
  return { size: at.known.size, content: at.known.content, chunks: stored ? decodeChunks(stored) : null };
}

/** Whether the standby has this very content under this name, as a file of its own. */
export function isSameContent(at: FileAt, stat: Stat, content: Buffer): boolean {
  const old = !at.anew && at.known?.kind === 'file' && at.known.content.length > 0 ? at.known : null;
  // Another file of the same content: on the standby the old one may have names that are not this one's.
  const isSameFile = old !== null && (old.ino === stat.ino || (!old.linked && stat.nlink === 1));
  return isSameFile && old.content.equals(content.subarray(0, old.content.length));
}

/** `idOf` is as in `makePatch`. With `whole` nothing that the standby has is relied on. */
export function chooseContent(
  p: PrimaryParts,
  at: FileAt,
  stat: Stat,
  scanned: ScanResult,
  idOf: (offset: number, length: number) => bigint,
  whole = false,
): Choice {
  const { content, size } = scanned;
  if (whole || at.anew) return { kind: 'whole' };
  const old = at.known?.kind === 'file' && at.known.content.length > 0 ? at.known : null;
  if (old && isSameContent(at, stat, content)) return { kind: 'same', base: old.content };
  if (size >= copyBytesMin) {
    const elsewhere = p.index.byContent(content.subarray(0, 16));
    const place = elsewhere ? p.index.pathOf(elsewhere.dir) : null;
    if (elsewhere && place?.root === p.index.root(at.root.name))
      return { kind: 'copy', from: { dir: place.path, name: elsewhere.name }, base: content.subarray(0, 16) };
  }
  if (!old || at.immutable) return { kind: 'whole' };
  const delta = chooseDelta(
    {
      oldSize: old.size,
      newSize: size,
      keepsPrefix: scanned.keepsPrefix,
      oldChunks: oldVersion(p, at)?.chunks ?? null,
      newChunks: scanned.comparable,
    },
    idOf,
  );
  if (delta.kind === 'whole') return delta;
  const { pieces, literals, literalBytes } = delta;
  return { kind: 'patch', base: old.content, pieces, literals, literalBytes, tail: delta.kind === 'tail' };
}

/** Bytes of content that a choice sends. */
export function sentBytes(choice: Choice, size: number): number {
  return choice.kind === 'whole' ? size : choice.kind === 'patch' ? choice.literalBytes : 0;
}

/** The path of a file, relative to its root. */
export function pathOf(at: FileAt): BytePath {
  return joinPath(at.dir, at.name);
}
