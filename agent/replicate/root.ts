import type { MessageOf } from '../../protocol/messages.ts';
import type { BytePath } from '../platform/files.ts';
import type { MailstoreFormat } from '../mailstore/format.ts';

/** A replicated directory tree as the running agent knows it. */
export interface Root {
  name: string;
  /** Absolute path. */
  path: BytePath;
  format: MailstoreFormat;
  /** Directory on the same file system for what arrives (`stage/`) and what was replaced (`history/`). Absolute. */
  staging: BytePath;
}

/** What this node's configuration leaves out, for the other node, whose configuration should say the same. */
export function excludesOf(roots: readonly Root[]): MessageOf<'excludes'> {
  return { type: 'excludes', roots: roots.map(({ name, format }) => [name, [...(format.excludes ?? [])]]) };
}

/** Absolute path of a place below a root. */
export function absolute(root: Root, path: BytePath): BytePath {
  return path === '' ? root.path : `${root.path}/${path}`;
}
