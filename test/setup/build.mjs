import { chmodSync, cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ensureNodeModules } from './node-modules.mjs';
import { run, top } from './run.mjs';

const dist = join(top, 'dist');

/**
 * `npm run build`: compiles agent, protocol and tools to dist/.
 *
 * @returns {boolean} False when it failed.
 */
export function build() {
  if (run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.']) !== 0) return false;
  cpSync(join(top, 'agent/observe/page'), join(dist, 'agent/observe/page'), { recursive: true });
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
    const source = join(top, relative(dist, path)).replace(/\.js(\.map)?$/, '.ts');
    if (!existsSync(source) && !existsSync(join(top, relative(dist, path)))) rmSync(path);
  }
}

if (process.argv[1] === import.meta.filename) process.exitCode = ensureNodeModules() && build() ? 0 : 1;
