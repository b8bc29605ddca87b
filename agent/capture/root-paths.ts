import type { BytePath } from '../platform/files.ts';
import type { Hint } from './watcher.ts';

/** A root by its real path, as the kernel names it. */
export interface RealRoot {
  name: string;
  realPath: BytePath;
}

/** The path relative to the root, or null when it lies elsewhere. */
export function relativeTo(realPath: BytePath, path: BytePath): BytePath | null {
  if (path === realPath) return '';
  if (realPath === '/') return path.slice(1);
  return path.startsWith(realPath) && path.charCodeAt(realPath.length) === 0x2f ? path.slice(realPath.length + 1) : null;
}

/** True when `path` is the root or a directory above it. */
export function isAtOrAbove(path: BytePath, realPath: BytePath): boolean {
  return path === '/' || realPath === path || (realPath.startsWith(path) && realPath.charCodeAt(path.length) === 0x2f);
}

/** Collects hints in order, each once. */
export class HintBatch {
  readonly #seen = new Set<string>();
  #hints: Hint[] = [];

  get size(): number {
    return this.#hints.length;
  }

  add(hint: Hint): void {
    const key = `${hint.kind}\0${hint.root}\0${hint.path}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#hints.push(hint);
  }

  take(): Hint[] {
    const hints = this.#hints;
    this.#hints = [];
    this.#seen.clear();
    return hints;
  }
}
