import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OwnCgroup } from './own-cgroup.ts';
import { descendants, killPid, LabProcess, run, type RunResult } from './processes.ts';
import { TerminalSession } from './terminal-session.ts';
import type { Release } from './release.ts';
import { waitFor } from './waiting.ts';

const bootMs = 300_000;

/** Inits of containers that run: when nspawn alone is killed, as at an exit, its container goes on. */
const leaders = new Set<number>();
process.on('exit', () => leaders.forEach(killPid));

/** Makes a Debian that boots, with these packages in it. Takes minutes; needs debootstrap and the package archive. */
export async function makeDebian(tree: string, packages: readonly string[], release: Release = 'bookworm'): Promise<void> {
  await debootstrap(tree, ['systemd', 'systemd-sysv', 'dbus', 'udev', 'iproute2', 'iputils-ping', 'procps'], release);
  if (packages.length === 0) return;
  // The tree needs the machine's own way to the archive.
  for (const file of ['/etc/resolv.conf', '/etc/hosts']) if (existsSync(file)) cpSync(file, join(tree, file), { dereference: true });
  const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-y', '-q'];
  await run('chroot', [tree, ...apt, 'install', '--no-install-recommends', ...packages], { timeoutMs: 3_600_000 });
  await run('chroot', [tree, 'apt-get', 'clean']);
}

/** The least of a Debian, and these packages with what they depend on. */
export async function debootstrap(tree: string, packages: readonly string[], release: Release = 'bookworm'): Promise<void> {
  await run('debootstrap', ['--variant=minbase', `--include=${packages.join(',')}`, release, tree], { timeoutMs: 3_600_000 });
}

/** A Debian of its own with a real systemd, in a network namespace that the test made. */
export class DebianHost {
  readonly name: string;
  /** Its root directory, seen from here. */
  readonly tree: string;
  readonly #namespace: string;
  readonly #memoryDirs: Record<string, string>;
  #nspawn: LabProcess | null = null;
  #cgroup: OwnCgroup | null = null;
  #leader = 0;

  constructor(options: { name: string; tree: string; namespace: string; memoryDirs?: Record<string, string> | undefined }) {
    this.name = options.name;
    this.tree = options.tree;
    this.#namespace = options.namespace;
    this.#memoryDirs = options.memoryDirs ?? {};
    writeFileSync(join(this.tree, 'etc/hostname'), `${this.name}\n`);
  }

  /** Its init, seen from here. */
  get leader(): number {
    return this.#leader;
  }

  get isRunning(): boolean {
    return this.#nspawn !== null;
  }

  /** Boots it and waits until systemd has nothing left to start. */
  async boot(): Promise<void> {
    const args = [
      '--register=no',
      '--keep-unit',
      '-b',
      '-D',
      this.tree,
      '-M',
      `mt${process.pid}${this.name}`,
      // Its network is its own, and so is the right to change it.
      '--capability=CAP_NET_ADMIN',
      // A real machine has what watches whole file systems; nspawn forbids it when nobody asks for it.
      '--system-call-filter=fanotify_init fanotify_mark open_by_handle_at',
      `--network-namespace-path=/run/netns/${this.#namespace}`,
      ...Object.entries(this.#memoryDirs).map(([path, options]) => `--tmpfs=${path}:${options}`),
    ];
    // Only the second version of control groups tells a systemd inside that the last process of a unit has ended.
    const env = { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' };
    this.#cgroup ??= new OwnCgroup(`mt${process.pid}${this.name}`);
    const [wrapper = '', ...wrap] = this.#cgroup.wrap;
    const nspawn = new LabProcess(wrapper, [...wrap, 'systemd-nspawn', ...args], { env });
    this.#nspawn = nspawn;
    this.#leader = await waitFor('the init of the container', bootMs, () =>
      nspawn.isRunning ? descendants(nspawn.pid).find((pid) => readComm(pid) === 'systemd') : -1,
    );
    if (this.#leader < 0) throw new Error(`systemd-nspawn ended: ${nspawn.output}`);
    leaders.add(this.#leader);
    await waitFor(`${this.name} to boot`, bootMs, async () =>
      ['running', 'degraded'].includes((await this.run(['systemctl', 'is-system-running'], { mayFail: true })).stdout.trim()),
    );
  }

  /** Runs a program in it. */
  run(argv: readonly string[], options: { mayFail?: boolean; timeoutMs?: number; input?: string } = {}): Promise<RunResult> {
    return run('nsenter', this.#inside(argv), { timeoutMs: 120_000, ...options });
  }

  #inside(argv: readonly string[]): string[] {
    return ['-t', String(this.#leader), '-m', '-u', '-i', '-n', '-p', '-r', '-w', '--', ...argv];
  }

  /** What a process of it is called, by its number there; null when it has ended. */
  processName(pid: number): string | null {
    try {
      return readFileSync(`/proc/${this.#leader}/root/proc/${pid}/comm`, 'utf8').trim();
    } catch {
      return null;
    }
  }

  /** A program that goes on running in it. */
  start(argv: readonly string[]): LabProcess {
    return new LabProcess('nsenter', this.#inside(argv));
  }

  /** A person before a terminal of it, so wide that no line is folded, who types a command line. */
  terminal(line: string): TerminalSession {
    const wide = `stty cols 400 rows 50; ${line}`;
    return new TerminalSession('nsenter', this.#inside(['script', '--quiet', '--return', '--flush', '--command', wide, '/dev/null']));
  }

  async isActive(unit: string): Promise<boolean> {
    return (await this.run(['systemctl', 'is-active', unit], { mayFail: true })).stdout.trim() === 'active';
  }

  write(path: string, content: string, mode = 0o644): void {
    const file = join(this.tree, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content, { mode });
  }

  read(path: string): string {
    return readFileSync(join(this.tree, path), 'utf8');
  }

  /** An orderly end, as `poweroff` makes it. */
  async shutDown(): Promise<void> {
    if (!this.#nspawn) return;
    await this.run(['systemctl', 'poweroff'], { mayFail: true });
    await this.goesDown();
  }

  /** Waits for the end that a command in it brings about, `systemctl reboot` too: then `boot` is what comes next. */
  async goesDown(): Promise<void> {
    await waitFor(`${this.name} to shut down`, bootMs, () => this.#nspawn?.isRunning !== true);
    await this.#gone();
  }

  /** The leader's end is the end of all in it, at once. */
  async cutPower(): Promise<void> {
    if (!this.#nspawn) return;
    killPid(this.#leader);
    await this.#nspawn.kill9();
    await this.#gone();
  }

  async #gone(): Promise<void> {
    this.#nspawn = null;
    leaders.delete(this.#leader);
    await this.#cgroup?.remove();
    this.#cgroup = null;
  }
}

function readComm(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
