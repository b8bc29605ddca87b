import { readlinkSync } from 'node:fs';
import { LabProcess, runNow } from './processes.ts';
import { waitFor } from './waiting.ts';

/**
 * A mount namespace of a test's own: what is mounted in it nobody else sees, and it is gone with its one process,
 * whatever becomes of the test. Needs root.
 */
export class MountRoom implements AsyncDisposable {
  readonly #holder: LabProcess;

  private constructor(holder: LabProcess) {
    this.#holder = holder;
  }

  static async create(): Promise<MountRoom> {
    // Ends by itself also when the test process was killed.
    const holder = new LabProcess('unshare', ['--mount', '--propagation', 'private', 'sleep', '900']);
    const outside = readlinkSync('/proc/self/ns/mnt');
    await waitFor('the mount namespace', 60_000, () => readlinkSync(`/proc/${holder.pid}/ns/mnt`) !== outside);
    return new MountRoom(holder);
  }

  /** What to put before a command line to run it in here. */
  get wrap(): string[] {
    return ['nsenter', '-t', String(this.#holder.pid), '-m', '--'];
  }

  /** Runs a short command in here. @throws when it fails. */
  run(command: string, ...args: string[]): string {
    return runNow('nsenter', [...this.wrap.slice(1), command, ...args]);
  }

  /** Where the test itself finds a path of this room. */
  path(path: string): string {
    return `/proc/${this.#holder.pid}/root${path}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder.kill9();
  }
}
