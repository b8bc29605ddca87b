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

/** Absolute path of a place below a root. */
export function absolute(root: Root, path: BytePath): BytePath {
  return path === '' ? root.path : `${root.path}/${path}`;
}
