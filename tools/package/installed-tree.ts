import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodeCpu, type Architecture } from './node-runtime.ts';

/** What only a developer, another C library or another release of Node would need. */
const unneeded =
  /\.(map|d\.ts|d\.mts|d\.cts|ts|mts|cts|c|cc|cpp|h|gyp|gypi|html|css|svg|png|lib)$|(^|\/)\.[^/]+$|^node_modules\/lmdb\/dependencies$|(^|\/)(\.github|\.vscode|test|tests|__tests__|benchmark|benchmarks|coverage|docs|examples)(\/|$)|\.musl\.node$|\/musl_[a-z0-9]+(\/|$)|\.abi\d+\.(glibc|musl)\.node$/;

/** Copies the program and installs its dependencies for an architecture into `to`: what /usr/lib/mailtwin holds beside the runtime. */
export function installTree(top: string, arch: Architecture, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of ['package.json', 'package-lock.json', 'dist', 'deploy']) cpSync(join(top, name), join(to, name), { recursive: true });
  const cpu = nodeCpu[arch];
  // Native parts come built inside their packages; no script has to run, and none should.
  execFileSync(
    'npm',
    ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--os=linux', `--cpu=${cpu}`, '--libc=glibc', '--loglevel=error'],
    {
      cwd: to,
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  for (const name of ['package-lock.json', 'node_modules/.bin', 'dist/tools/package', 'dist/tools/bench'])
    rmSync(join(to, name), { recursive: true, force: true });
  // Of deploy the program itself reads the drop-in alone; the rest is documentation and goes elsewhere.
  for (const name of readdirSync(join(to, 'deploy'))) if (name !== 'systemd') rmSync(join(to, 'deploy', name), { recursive: true });
  prune(to, 'node_modules');
  dropInterpreters(join(to, 'dist'));
}

/** The wrapper in /usr/bin names the runtime; the scripts themselves must not point at one that may not be there. */
function dropInterpreters(dir: string): void {
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && entry.name.endsWith('.map')) rmSync(path);
    else if (entry.isFile() && entry.name === 'main.js') writeFileSync(path, readFileSync(path, 'utf8').replace(/^#!.*\n/, ''));
  }
}

function prune(base: string, path: string): void {
  for (const entry of readdirSync(join(base, path), { withFileTypes: true })) {
    const below = `${path}/${entry.name}`;
    if (unneeded.test(below)) rmSync(join(base, below), { recursive: true });
    else if (entry.isDirectory()) {
      prune(base, below);
      if (readdirSync(join(base, below)).length === 0) rmSync(join(base, below), { recursive: true });
    }
  }
}

/** Copies a file to a place whose directories may be missing. */
export function place(from: string, to: string): void {
  if (!existsSync(from)) throw new Error(`${from} is missing`);
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}
