import { mkdirSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import type { Role } from '../../protocol/messages.ts';
import type { Config, RootConfig } from '../config/config.ts';
import { metaKey } from '../journal/keys.ts';
import { formatByName } from '../mailstore/format-by-name.ts';
import { parseDovecotVersion, showServerVersion } from '../mailstore/server-version.ts';
import { OperatorError } from '../platform/errors.ts';
import { exec } from '../platform/exec.ts';
import { displayPath } from '../platform/files.ts';
import type { Kv } from '../platform/kv.ts';
import { openLmdbKv } from '../platform/lmdb-kv.ts';
import { realFiles } from '../platform/real-files.ts';
import type { Root } from '../replicate/root.ts';
import { chooseStaging, stagingName } from '../replicate/staging.ts';

/** Opens the agent's store in the state directory; what is kept there is made anew only on a new node. */
export function openStore(config: Config): Kv {
  const dir = `${config.state}/store`;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return openLmdbKv(dir);
}

/** A random number of this node alone that seeds its chunk hashes: whoever writes mail cannot foresee them. */
export function hashSeed(kv: Kv): bigint {
  const key = metaKey('hash-seed');
  let seed = kv.get(key);
  if (!seed) {
    seed = randomBytes(8);
    kv.commit([[key, seed]]);
  }
  return seed.readBigUInt64BE();
}

/** The roots as they run. A standby needs a place for staging; a primary writes nothing below its roots. */
export function makeRoots(config: Config, role: Role): Root[] {
  return config.roots.map((root) => {
    checkRoot(root);
    const format = formatByName(root.format);
    const staging = role === 'standby' ? chooseStaging(realFiles, root, config.state, root.staging) : '';
    const own = new Set([stagingName, `${stagingName}-probe`]);
    return {
      name: root.name,
      path: root.path,
      staging,
      // Staging inside a root is the last resort, and never replicated.
      format: Object.assign(Object.create(format) as typeof format, {
        classify: (path: string, kind: Parameters<typeof format.classify>[1]) => {
          const slash = path.indexOf('/');
          const class_ = format.classify(path, kind);
          return own.has(slash < 0 ? path : path.slice(0, slash)) ? { ...class_, ignored: true } : class_;
        },
      }),
    };
  });
}

function checkRoot(root: RootConfig): void {
  const where = displayPath(root.path);
  // A root may be a symbolic link: the operator chose it.
  const stat = realFiles.lstat(`${root.path}/.`);
  if (stat === null)
    throw new OperatorError(
      'root-missing',
      `root ${root.name} is not there: ${where}`,
      `mount or make ${where}, or correct its path in the configuration`,
    );
  if (stat.kind !== 'dir')
    throw new OperatorError('root-missing', `root ${root.name} is no directory: ${where}`, 'correct its path in the configuration');
  try {
    realFiles.readdir(root.path);
  } catch (error) {
    throw new OperatorError(
      'root-unreadable',
      `root ${root.name} at ${where} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      `let the agent's user read ${where}`,
    );
  }
}

/** The mail server on this host, for example `dovecot 2.3.19.1`; null when none answers. */
export async function findServerVersion(): Promise<string | null> {
  try {
    const result = await exec('dovecot', ['--version'], { timeoutMs: 5000 });
    const version = parseDovecotVersion(result.stdout);
    return version && showServerVersion(version);
  } catch {
    // No mail server on this host is a fact, not a failure.
    return null;
  }
}
