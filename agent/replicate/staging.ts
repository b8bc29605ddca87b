import type { MailstoreFormat } from '../mailstore/format.ts';
import { OperatorError } from '../platform/errors.ts';
import { displayPath, errnoCode, type BytePath, type Files } from '../platform/files.ts';
import { RootAway } from './file-systems.ts';

/** Name that is never replicated at the top of a root: where staging lives when nothing else is on the file system. */
export const stagingName = '.mailtwin';
/**
 * Name that is never replicated, at the top of a file system (or subvolume, or directory with a quota) inside a root. No mailbox has
 * it: a folder's name does not begin with the separator.
 */
export const innerStagingName = '..mailtwin';

/** Whether a path below a root is one of the agent's own. */
export function isOwnName(path: BytePath): boolean {
  const [top = ''] = path.split('/', 1);
  return top === stagingName || top === `${stagingName}-probe` || `/${path}/`.includes(`/${innerStagingName}/`);
}

/** A format that takes no notice of what the agent itself keeps inside a root. */
export function withoutOwnNames<F extends MailstoreFormat>(format: F): F {
  const classify: F['classify'] = (path, kind) => {
    const class_ = format.classify(path, kind);
    return isOwnName(path) ? { ...class_, ignored: true } : class_;
  };
  return Object.assign(Object.create(format) as F, { classify });
}

/**
 * Finds a directory on the same file system as a root, from which a rename leads into it, and makes `stage/` and
 * `history/` there: the state directory when it can be, else a directory beside the root, else one inside it.
 *
 * @param readOnlyHere what keeps this process alone from writing there, if anything does.
 * @throws OperatorError `staging` when there is none; RootAway when the file system is read-only for now, as a disk with errors is.
 */
export function chooseStaging(
  files: Files,
  root: { name: string; path: BytePath },
  stateDir: string,
  wanted: string | null,
  readOnlyHere: (path: BytePath) => { code: string; text: string; remedy: string } | null = () => null,
): BytePath {
  const failures: string[] = [];
  for (const dir of stagingPlaces(root, stateDir, wanted)) {
    const failure = tryStaging(files, root.path, dir);
    if (failure === null) return dir;
    failures.push(`${displayPath(dir)}: ${failure}`);
  }
  if (failures.some((failure) => failure.endsWith(': EROFS'))) {
    const here = readOnlyHere(root.path);
    if (here) throw new RootAway({ ...here, detail: here.text });
    throw new RootAway({
      code: 'root-read-only',
      detail: `the file system of root ${root.name} is read-only: nothing can be written to ${displayPath(root.path)}`,
      remedy: 'look at the disk (`dmesg`, `fsck`) and mount it writable; replication then goes on by itself',
    });
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
