import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unpackNode } from '../../tools/package/node-runtime.ts';
import { makeDebian } from '../lab/debian-host.ts';
import { step } from '../lab/step.ts';
import { ownerMark, removeAbandoned } from '../lab/ownership.ts';
import { run as command, type RunResult } from '../lab/processes.ts';
import type { Soak } from './options.ts';

const top = fileURLToPath(new URL('../..', import.meta.url));

/** What a person does who has only npm: a pair of agents, each with a configuration and a state of its own. */
const pairOfAgents = `set -e
mkdir -p /srv/a/mail/anna/new /srv/a/mail/anna/cur /srv/a/mail/anna/tmp /srv/b/mail
for i in $(seq 200); do printf 'Subject: %s\\n\\ntext\\n' $i > /srv/a/mail/anna/new/$i.M1P1.host; done
mailtwin init --config /srv/a/mailtwin.yaml --role primary --node mail-a --root mail=/srv/a/mail:maildir --listen 127.0.0.1:7420 --state /srv/a/state --metrics 127.0.0.1:9720
mailtwin init --config /srv/b/mailtwin.yaml --role standby --node mail-b --root mail=/srv/b/mail:maildir --listen 127.0.0.1:7421 --state /srv/b/state --metrics 127.0.0.1:9721
mailtwin run --config /srv/a/mailtwin.yaml > /srv/a/log 2>&1 &
until mailtwin status --config /srv/a/mailtwin.yaml > /dev/null 2>&1; do sleep 1; done
code=$(mailtwin pair --json --config /srv/a/mailtwin.yaml | sed -n 's/.*"code":"\\([^"]*\\)".*/\\1/p')
mailtwin pair 127.0.0.1:7420 "$code" --yes --config /srv/b/mailtwin.yaml
mailtwin run --config /srv/b/mailtwin.yaml > /srv/b/log 2>&1 &
until mailtwin wait --timeout 5 --config /srv/a/mailtwin.yaml > /dev/null 2>&1; do sleep 1; done
mailtwin wait --config /srv/a/mailtwin.yaml
mailtwin verify --deep --config /srv/a/mailtwin.yaml
diff -r /srv/a/mail /srv/b/mail && echo same trees
`;

/**
 * The npm tarball as its users have it: `npm install -g` into clean Debian roots with no compiler, with install scripts
 * and without, the dependencies fetched by npm; then a demo and a pair of two agents.
 */
export const run: Soak = async () => {
  const memory = '/dev/shm';
  removeAbandoned(memory);
  const dir = mkdtempSync(join(memory, `${ownerMark()}-npm-`));
  try {
    const tarball = pack(dir);
    const base = process.env['MAILTWIN_DEBIAN'] ?? join(dir, 'base');
    if (!existsSync(base)) await makeDebian(base, []);
    for (const scripts of [true, false]) await prove(dir, base, tarball, scripts);
    console.log('the npm tarball works in clean roots');
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};

function pack(dir: string): string {
  const name = execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', dir], { cwd: top, encoding: 'utf8' });
  return join(dir, name.trim());
}

async function prove(dir: string, base: string, tarball: string, scripts: boolean): Promise<void> {
  const tree = join(dir, scripts ? 'scripts' : 'no-scripts');
  await command('cp', ['-a', base, tree], { timeoutMs: 600_000 });
  const root = new CleanRoot(tree);
  root.addNode(join(dir, 'runtime'), join(dir, 'cache'));
  cpSync(tarball, join(tree, 'root', tarball.slice(dir.length + 1)));
  step(
    'the clean root has no compiler and no mailtwin',
    ['gcc', 'cc', 'make', 'mailtwin'].every((name) => !existsSync(join(tree, 'usr/bin', name))),
  );

  const installed = await root.install([
    'npm',
    'install',
    '-g',
    ...(scripts ? [] : ['--ignore-scripts']),
    `/root/${tarball.slice(dir.length + 1)}`,
  ]);
  step(`npm install -g${scripts ? '' : ' --ignore-scripts'}`, installed.code === 0);
  const version = await root.run(['mailtwin', '--version']);
  step(
    'mailtwin --version',
    version.stdout.trim() === (JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')) as { version: string }).version,
  );
  const native = await root.run([
    'sh',
    '-c',
    "cd $(npm root -g)/mailtwin && node -e \"for (const name of ['lmdb', 'koffi', 'msgpackr-extract']) require(name)\"",
  ]);
  step('lmdb, koffi and msgpackr-extract load their prebuilt parts', native.code === 0);
  const demo = await root.run(['mailtwin', 'demo', '--seconds', '5', '--messages', '500']);
  step('mailtwin demo', demo.code === 0 && demo.stdout.includes('All went well.'));
  writeFileSync(join(tree, 'root/pair.sh'), pairOfAgents);
  const pair = await root.run(['sh', '/root/pair.sh']);
  step(
    'two agents are paired, and hold the same',
    pair.code === 0 && pair.stdout.includes('both nodes hold the same') && pair.stdout.includes('same trees'),
  );
  rmSync(tree, { recursive: true, force: true });
}

/** A Debian that is not booted, in which one program after the other runs. */
class CleanRoot {
  readonly #tree: string;

  constructor(tree: string) {
    this.#tree = tree;
  }

  /** The release of Node.js that the Debian package brings, and this machine's npm. */
  addNode(runtime: string, cache: string): void {
    const { bin } = unpackNode('amd64', cache, runtime);
    cpSync(bin, join(this.#tree, 'usr/local/bin/node'));
    chmodSync(join(this.#tree, 'usr/local/bin/node'), 0o755);
    const npm = join(execFileSync('npm', ['root', '-g'], { encoding: 'utf8' }).trim(), 'npm');
    cpSync(npm, join(this.#tree, 'usr/local/lib/node_modules/npm'), { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(this.#tree, 'usr/local/bin/npm'), '#!/bin/sh\nexec node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n', {
      mode: 0o755,
    });
  }

  /** With this machine's network and what its npm is told. */
  async install(argv: readonly string[]): Promise<RunResult> {
    const given: string[] = [];
    for (const file of ['/etc/resolv.conf', '/etc/hosts', process.env['NODE_EXTRA_CA_CERTS'], ...npmrcFiles()]) {
      if (file === undefined || !existsSync(file)) continue;
      const to = join(this.#tree, npmrcFiles()[0] === file ? '/root/.npmrc' : file);
      cpSync(file, to, { dereference: true, recursive: true });
      given.push(to);
    }
    const passed = Object.entries(process.env).filter(([name]) => /^npm_config_|_proxy$|^NODE_EXTRA_CA_CERTS$/i.test(name));
    try {
      return await this.#nspawn(
        argv,
        [],
        passed.map(([name, value]) => `--setenv=${name}=${value}`),
      );
    } finally {
      for (const file of given) rmSync(file, { force: true });
    }
  }

  /** Without any network but its own loopback. */
  run(argv: readonly string[]): Promise<RunResult> {
    return this.#nspawn(argv, ['--private-network'], []);
  }

  async #nspawn(argv: readonly string[], network: string[], env: string[]): Promise<RunResult> {
    const args = [
      '--quiet',
      '--register=no',
      '--keep-unit',
      '--pipe',
      '--as-pid2',
      '--resolv-conf=off',
      '--timezone=off',
      '-D',
      this.#tree,
    ];
    const result = await command('systemd-nspawn', [...args, ...network, ...env, '--setenv=HOME=/root', '--chdir=/root', '--', ...argv], {
      mayFail: true,
      timeoutMs: 600_000,
    });
    if (result.code !== 0) console.log(result.stdout + result.stderr);
    return result;
  }
}

/** The files that npm reads here: the user's first. */
function npmrcFiles(): string[] {
  return ['userconfig', 'globalconfig'].map((name) => execFileSync('npm', ['config', 'get', name], { encoding: 'utf8' }).trim());
}
