import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { BytePath } from '../../platform/files.ts';
import { leftOutTexts, type LeftOut } from './left-out.ts';

/** What the standby keeps of something that is left out here, until a person says that it may go. */
export interface KeptPlace {
  root: string;
  path: BytePath;
  /** Files that would go. */
  files: number;
  detail: string;
}

export function keptPlaces(leftOut: LeftOut, index: ReplicaIndex): KeptPlace[] {
  const filesBelow = (dir: number): number => {
    let files = 0;
    for (const [, entry] of index.entries(dir)) files += entry.kind === 'dir' ? filesBelow(entry.dir) : 1;
    return files;
  };
  return leftOut.kept().map(({ root, path, reason }) => {
    const entry = index.at(root, path)?.entry;
    const files = !entry ? 0 : entry.kind === 'dir' ? filesBelow(entry.dir) : 1;
    const why = reason === null ? 'what was left out here is gone, and nothing is in its place' : `a ${leftOutTexts[reason]} is here now`;
    return { root, path, files, detail: `${why}; the standby keeps the ${files} ${files === 1 ? 'file' : 'files'} that it has of it` };
  });
}
