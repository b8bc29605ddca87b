import { chmodSync, cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ensureNodeModules } from './node-modules.mjs';
import { run, top } from './run.mjs';

const dist = join(top, 'dist');
const pageFiles = 'agent/observe/page/files';

/**
 * `npm run build`: compiles agent, protocol and tools to dist/.
 *
 * @returns {boolean} False when it failed.
 */
export function build() {
  if (run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.']) !== 0) return false;
  // What a browser loads is plain, and goes along as it is.
  cpSync(join(top, pageFiles), join(dist, pageFiles), { recursive: true });
  removeStale();
  const bin = join(dist, 'tools/cli/main.js');
  if (existsSync(bin)) chmodSync(bin, 0o755);
  return true;
}

/** What a source file that is gone left behind must not be packed, nor be imported by mistake. A running agent's files stay. */
function removeStale() {
  for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const copied = join(top, relative(dist, path));
    if (copied.startsWith(join(top, pageFiles)) && existsSync(copied)) continue;
    const source = copied.replace(/\.js(\.map)?$/, '.ts');
    if (!existsSync(source)) rmSync(path);
  }
}

if (process.argv[1] === import.meta.filename) process.exitCode = ensureNodeModules() && build() ? 0 : 1;
