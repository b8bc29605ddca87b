import { joinPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Root } from '../root.ts';
import type { Tail } from './find.ts';

/** Something that left a standby when a person kept the older state that the primary was put back to (I21). */
export interface UndonePlace {
  root: Root;
  /** Where it was, below the root. */
  path: BytePath;
  /** Where it lies now, in the history; absolute. */
  source: BytePath;
}

export interface UndoneTail {
  root: Root;
  tail: Extract<Tail, { what: 'message' | 'file' }>;
  source: BytePath;
}

/** As deep as folder names are long; this only keeps a damaged tree from being endless. */
const depthMax = 512;

/**
 * The messages and files in what was undone, one at a time. Numbers of mailboxes and what is derived from them are the
 * kept state's own by now.
 */
export function* findUndone(files: Files, { root, path, source }: UndonePlace, depth = 0): Generator<UndoneTail> {
  const kind = files.lstat(source)?.kind;
  if (kind === 'dir' && depth <= depthMax) {
    for (const portion of files.list(source) ?? [])
      for (const { name } of portion)
        yield* findUndone(files, { root, path: joinPath(path, name), source: `${source}/${name}` }, depth + 1);
  }
  if (kind !== 'file') return;
  const found = root.format.classify(path, 'file');
  if (found.ignored) return;
  if (found.class === 'plain') yield { root, tail: { what: 'file', path }, source };
  if (found.class !== 'message') return;
  const [, mailbox = '', place, name = ''] = /^(?:(.*)\/)?(cur|new)\/([^/]+)$/s.exec(path) ?? [];
  if (place === 'cur' || place === 'new')
    yield { root, tail: { what: 'message', mailbox, place, name, base: root.format.baseOf(name) }, source };
}
