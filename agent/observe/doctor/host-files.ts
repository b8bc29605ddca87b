import { accessSync, constants, lstatSync, opendirSync, readFileSync, statSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { errnoCode, joinPath, type BytePath } from '../../platform/files.ts';
import type { DoctorProbe, SecretFile, Survey } from './probe.ts';

const entriesMax = 1_000_000;
const unreadableMax = 5;
const ownersEntriesMax = 2000;
/** Users' directories and what lies right in them. */
const ownersDepth = 2;
const secretBytesMax = 4096;

export function bytes(path: BytePath): Buffer {
  return Buffer.from(path, 'latin1');
}

/** Walks a tree breadth first within bounds of time and number. */
export function surveyTree(root: BytePath, ms: number): Survey {
  const survey: Survey = { dirs: 0, files: 0, complete: true, unreadable: [] };
  const blame = (path: BytePath) => void (survey.unreadable.length < unreadableMax && survey.unreadable.push(path));
  survey.complete = walk(
    root,
    { ms, entriesMax, depth: Infinity },
    {
      entry(path, isDirectory, isFile) {
        if (isDirectory) survey.dirs++;
        else survey.files++;
        if (isFile && !readable(path)) blame(path);
      },
      closed: blame,
    },
  );
  return survey;
}

/** How much the files of a tree hold, within bounds; null when it is missing. */
export function treeBytes(root: BytePath, ms: number): { bytes: number; complete: boolean } | null {
  if (statOf(root) === null) return null;
  let sum = 0;
  const complete = walk(
    root,
    { ms, entriesMax, depth: Infinity },
    {
      entry(path, isDirectory) {
        if (!isDirectory) sum += statOf(path)?.size ?? 0;
      },
      closed() {},
    },
  );
  return { bytes: sum, complete };
}

/** Owners of a root and of what lies at its top, each once. */
export function ownersOf(root: BytePath, ms: number): ReturnType<DoctorProbe['owners']> {
  const found = new Map<string, ReturnType<DoctorProbe['owners']>[number]>();
  const note = (path: BytePath) => {
    const stat = statOf(path);
    if (!stat) return;
    for (const owner of [
      { kind: 'user' as const, id: stat.uid, example: path },
      { kind: 'group' as const, id: stat.gid, example: path },
    ])
      if (!found.has(`${owner.kind} ${owner.id}`)) found.set(`${owner.kind} ${owner.id}`, owner);
  };
  note(root);
  walk(root, { ms, entriesMax: ownersEntriesMax, depth: ownersDepth }, { entry: note, closed() {} });
  return [...found.values()];
}

/** Breadth first; false when a bound ended it. */
function walk(
  root: BytePath,
  bounds: { ms: number; entriesMax: number; depth: number },
  seen: { entry(path: BytePath, isDirectory: boolean, isFile: boolean): void; closed(dir: BytePath): void },
): boolean {
  const deadline = performance.now() + bounds.ms;
  let entries = 0;
  const pending = [{ dir: root, depth: 1 }];
  for (let i = 0; i < pending.length; i++) {
    const { dir, depth } = pending[i] ?? { dir: root, depth: 1 };
    let handle;
    try {
      handle = opendirSync(bytes(dir), { encoding: 'latin1' });
    } catch (error) {
      if (errnoCode(error) !== 'ENOENT') seen.closed(dir);
      continue;
    }
    try {
      for (let entry = handle.readSync(); entry !== null; entry = handle.readSync()) {
        const path = joinPath(dir, entry.name);
        const isDirectory = entry.isDirectory();
        seen.entry(path, isDirectory, entry.isFile());
        if (isDirectory && depth < bounds.depth) pending.push({ dir: path, depth: depth + 1 });
        // One directory may hold a whole mail store, so the bounds hold within it, too.
        if (++entries >= bounds.entriesMax || performance.now() > deadline) return false;
      }
    } finally {
      handle.closeSync();
    }
  }
  return true;
}

function readable(path: BytePath): boolean {
  try {
    accessSync(bytes(path), constants.R_OK);
    return true;
  } catch (error) {
    return errnoCode(error) === 'ENOENT';
  }
}

function statOf(path: BytePath): Stats | null {
  try {
    return lstatSync(bytes(path), { throwIfNoEntry: false }) ?? null;
  } catch {
    return null;
  }
}

/** Looks at the file of a secret and tells nothing of what is in it. */
export function secretFile(path: string): SecretFile {
  const none = { mode: 0, uid: 0, gid: 0, inOpenDirectory: false };
  let stat: Stats | undefined;
  try {
    stat = statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    return { state: errnoCode(error) === 'EACCES' ? 'refused' : 'missing', ...none };
  }
  if (!stat) return { state: 'missing', ...none };
  const facts = { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid, inOpenDirectory: isOpen(statSync(dirname(path)).mode) };
  if (!stat.isFile()) return { state: 'not-a-file', ...facts };
  if (stat.size > secretBytesMax) return { state: 'more', ...facts };
  try {
    const text = readFileSync(path, 'latin1').replace(/\r?\n$/, '');
    return { state: text === '' ? 'empty' : /[\r\n\0]/.test(text) ? 'more' : 'one-line', ...facts };
  } catch {
    return { state: 'refused', ...facts };
  }
}

/** Everybody may put another file there. Where the sticky bit stands (/tmp) only an owner can replace a file. */
function isOpen(mode: number): boolean {
  return (mode & 0o002) !== 0 && (mode & 0o1000) === 0;
}
