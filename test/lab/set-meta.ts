import { holding, type BytePath, type Files, type MetaChange } from '../../agent/platform/files.ts';

/** Sets attributes of what has a name. */
export function setMeta(files: Files, path: BytePath, change: MetaChange): void {
  const done = holding(files, path, (fd) => {
    files.setMetaOpen(fd, change);
    return true;
  });
  if (done === null) throw Object.assign(new Error(`ENOENT: setMeta '${path}'`), { code: 'ENOENT' });
}
