import type { BytePath } from '../platform/files.ts';

/**
 * Whether a symbolic link at `link` (relative to its root) leads, as text, to a place inside the root or to the root
 * itself. No step of the way may leave it, not even to come back; what other links on the way do is not looked at.
 */
export function linkStaysInside(link: BytePath, target: BytePath): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false;
  let depth = link.split('/').length - 1;
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue;
    depth += part === '..' ? -1 : 1;
    if (depth < 0) return false;
  }
  return true;
}
