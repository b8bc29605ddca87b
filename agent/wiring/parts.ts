import { mkdirSync, realpathSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import type { Config } from '../config/config.ts';
import { checkRecord } from '../journal/check-record.ts';
import { metaKey, tables } from '../journal/keys.ts';
import { excluding } from '../mailstore/exclude.ts';
import { formatByName } from '../mailstore/format-by-name.ts';
import { parseDovecotVersion, showServerVersion } from '../mailstore/server-version.ts';
import { exec } from '../platform/exec.ts';
import type { Kv } from '../platform/kv.ts';
import { openCheckedKv, type OpenOptions } from '../platform/lmdb-kv.ts';
import { unwritableStore } from '../platform/store-errors.ts';
import type { BytePath, Files } from '../platform/files.ts';
import { filesBelow } from '../platform/real-files.ts';
import type { Root } from '../replicate/root.ts';
import { chooseStaging, stagingPlaces, withoutOwnNames } from '../replicate/staging.ts';
import { decodeSteps } from '../replicate/standby/steps.ts';
import { readOnlyHere } from './read-only-here.ts';

/** Opens the agent's store in the state directory; what is kept there is made anew only on a new node. */
export async function openStore(config: Config, options: OpenOptions): Promise<Kv> {
  const dir = `${config.state}/store`;
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unwritableStore(dir, error);
  }
  return openCheckedKv(dir, checkStored, options);
}

/** @throws Error when a record cannot be read for what it is. */
export function checkStored(key: Buffer, value: Buffer): void {
  checkRecord(key, value);
  if (key[0] === tables.redo) decodeSteps(value);
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

/** The roots as they run, whether or not they are there now; without a place for staging. */
export function makeRoots(config: Config): Root[] {
  return config.roots.map((root) => {
    let path: string | null = null;
    return {
      name: root.name,
      // A link whose volume was not mounted when the configuration was read leads somewhere later.
      get path() {
        return (path ??= leadsTo(root.path)) ?? root.path;
      },
      staging: '',
      // Staging inside a root is the last resort, and never replicated.
      format: withoutOwnNames(excluding(formatByName(root.format), root.exclude)),
    };
  });
}

function leadsTo(path: string): string | null {
  try {
    return realpathSync.native(Buffer.from(path, 'latin1'), 'latin1');
  } catch {
    // It is not there; whoever looks at it says so.
    return null;
  }
}

/**
 * The files of this host for all work in roots and in their directories for staging and history: nobody who owns a directory
 * there leads it elsewhere (I11).
 */
export function filesOf(config: Config, roots: () => readonly Root[] = () => []): Files {
  let paths: BytePath[] = [];
  let places: BytePath[] = [];
  return filesBelow(() => {
    const all = [...roots(), ...config.roots];
    if (all.length !== paths.length || all.some(({ path }, i) => path !== paths[i])) {
      paths = all.map(({ path }) => path);
      places = [...new Set([...paths, ...all.flatMap((root) => stagingPlaces(root, config.state, wantedStaging(config, root.name)))])];
    }
    return places;
  });
}

function wantedStaging(config: Config, root: string): BytePath | null {
  return config.roots.find(({ name }) => name === root)?.staging ?? null;
}

/** Gives each root of a standby its place for staging; only when the right file system stands there, or it would be made on another one. */
export function stageRoots(files: Files, config: Config, roots: readonly Root[]): void {
  for (const root of roots) root.staging = stagingOf(files, config, root);
}

/** A root's place for staging, found anew: an agent that is primary stages nothing as a rule. Errors as of `chooseStaging`. */
export function stagingOf(files: Files, config: Config, root: { name: string; path: BytePath }): BytePath {
  const wanted = wantedStaging(config, root.name);
  return chooseStaging(files, root, config.state, wanted, (path) => readOnlyHere(`root ${root.name}`, path));
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
