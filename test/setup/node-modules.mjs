import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, top } from './run.mjs';

/** @typedef {Record<string, { version?: string, optional?: boolean }>} Packages */

/**
 * Installs the npm packages when node_modules is missing or is not what the lock file says.
 *
 * No install script runs: newer npm asks before it runs one, and none is needed, because lmdb, koffi and the tools
 * ship their binaries as optional packages.
 *
 * @returns {boolean} False when it failed; npm has said why.
 */
export function ensureNodeModules() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    process.stderr.write(`mailtwin needs Node 20.19 or newer; this is ${process.versions.node}\n`);
    return false;
  }
  const wanted = packages('package-lock.json') ?? {};
  const installed = packages('node_modules/.package-lock.json');
  if (installed && isInstalled(wanted, installed)) return true;
  process.stdout.write('Installing npm packages\n');
  return run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']) === 0;
}

/**
 * Optional packages are binaries for other systems, too: they may be missing, but not be another version.
 *
 * @param {Packages} wanted
 * @param {Packages} installed
 */
function isInstalled(wanted, installed) {
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    const there = installed[path];
    return there ? there.version === version : optional === true;
  });
}

/**
 * @param {string} file
 * @returns {Packages | null}
 */
function packages(file) {
  try {
    return JSON.parse(readFileSync(join(top, file), 'utf8')).packages;
  } catch {
    return null;
  }
}
