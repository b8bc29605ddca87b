import { OperatorError } from '../platform/errors.ts';
import { displayPath, errnoCode, type BytePath, type Files } from '../platform/files.ts';

/** Name that is never replicated at the top of a root: where staging lives when nothing else is on the file system. */
export const stagingName = '.mailtwin';

/**
 * Finds a directory on the same file system as a root, from which a rename leads into it, and makes `stage/` and
 * `history/` there: the state directory when it can be, else a directory beside the root, else one inside it.
 *
 * @throws OperatorError `staging` when there is none.
 */
export function chooseStaging(files: Files, root: { name: string; path: BytePath }, stateDir: string, wanted: string | null): BytePath {
  const failures: string[] = [];
  for (const dir of stagingPlaces(root, stateDir, wanted)) {
    const failure = tryStaging(files, root.path, dir);
    if (failure === null) return dir;
    failures.push(`${displayPath(dir)}: ${failure}`);
  }
  throw new OperatorError(
    'staging',
    `no directory for staging on the file system of root ${root.name}: ${failures.join('; ')}`,
    `let the agent write to ${displayPath(root.path)}, or name a directory on its file system as \`staging\` of the root`,
  );
}

/** Where staging and history of a root may be, in the order in which they are tried. */
export function stagingPlaces(root: { name: string; path: BytePath }, stateDir: string, wanted: string | null): BytePath[] {
  if (wanted !== null) return [wanted];
  const slash = root.path.lastIndexOf('/');
  const beside = `${root.path.slice(0, slash)}/${stagingName}-${root.path.slice(slash + 1)}`;
  return [`${stateDir}/staging/${root.name}`, beside, `${root.path}/${stagingName}`];
}

function tryStaging(files: Files, root: BytePath, dir: BytePath): string | null {
  try {
    for (const path of [...parents(dir), dir, `${dir}/stage`, `${dir}/history`]) {
      if (!files.lstat(path)) files.mkdir(path, 0o700);
    }
    // Same device is not enough: a bind mount refuses the rename all the same.
    const from = `${dir}/stage/probe`;
    const to = `${root}/${stagingName}-probe`;
    if (files.lstat(from)) files.rmdir(from);
    files.mkdir(from, 0o700);
    try {
      files.rename(from, to);
      files.rename(to, from);
    } finally {
      if (files.lstat(from)) files.rmdir(from);
    }
    return null;
  } catch (error) {
    const code = errnoCode(error);
    // What passes must not move staging and history to another place.
    if (code !== undefined && passing.has(code)) {
      throw new OperatorError(
        'staging',
        `the directory for staging ${displayPath(dir)} cannot be used: ${code}`,
        'look at the disk and its free space, then start the agent again',
      );
    }
    return code ?? String(error);
  }
}

const passing: ReadonlySet<string> = new Set(['EIO', 'ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'ENOMEM']);

function parents(dir: BytePath): BytePath[] {
  const parts = dir.split('/').slice(1, -1);
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join('/')}`).slice(-2);
}
