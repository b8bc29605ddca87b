import { errnoCode, parentPath, type Files } from '../platform/files.ts';

/**
 * The file that stands while this node is active (`services.gate`). systemd starts the gated mail units only where it is
 * (ConditionPathExists in 10-mailtwin.conf), whatever asks for them: a person, a package's script, or the boot. It lies
 * in /run, so after a boot it is not there, and nothing starts before the agent has settled the role.
 *
 * It is the first thing to go when the services stop and the last thing to come before they start.
 */
export class Gate {
  /** Byte path. */
  readonly path: string;
  readonly #files: Files;

  constructor(files: Files, path: string) {
    this.#files = files;
    this.path = path;
  }

  get isOpen(): boolean {
    return this.#files.lstat(this.path) !== null;
  }

  /** Lets the services start. */
  open(): void {
    if (this.isOpen) return;
    this.#makeDir(parentPath(this.path));
    try {
      this.#files.close(this.#files.create(this.path));
    } catch (error) {
      // Somebody else was faster; it stands.
      if (errnoCode(error) !== 'EEXIST') throw error;
    }
  }

  /** From now on nothing starts them. What runs goes on running. */
  close(): void {
    try {
      this.#files.unlink(this.path);
    } catch (error) {
      if (errnoCode(error) !== 'ENOENT' && errnoCode(error) !== 'ENOTDIR') throw error;
    }
  }

  #makeDir(dir: string): void {
    if (dir === '' || this.#files.lstat(`${dir}/.`) !== null) return;
    this.#makeDir(parentPath(dir));
    try {
      this.#files.mkdir(dir, 0o755);
    } catch (error) {
      if (errnoCode(error) !== 'EEXIST') throw error;
    }
  }
}
