import type { Releases } from '../../protocol/releases.ts';
import type { ServicesConfig } from '../config/takeover-sections/services.ts';
import { sleep, type Clock } from '../platform/clock.ts';
import { doveconfFile, doveconfSettings } from '../platform/doveconf.ts';
import type { Exec } from '../platform/exec.ts';

export interface ReleaseParts {
  services: Pick<ServicesConfig, 'units' | 'configCheck'> | null;
  exec: Exec;
  /** What this host says of its release, as in os-release(5). */
  osRelease: () => string;
  /** Asks the mail server's own program. */
  mailServer: () => Promise<string | null>;
  clock: Clock;
}

const everyMs = 60_000;
const askMs = 5000;

/**
 * Which releases this node runs, read again and again: an upgrade changes them under a running agent.
 *
 * - `releases.last`: as they were last read; null before the first time.
 * - `releases.read()`: reads them now.
 * - `releases.run(signal)`: reads until then.
 */
export class ReleaseReader {
  readonly #p: ReleaseParts;
  #last: Releases | null = null;

  constructor(parts: ReleaseParts) {
    this.#p = parts;
  }

  get last(): Releases | null {
    return this.#last;
  }

  async read(): Promise<Releases> {
    const mailServer = await this.#p.mailServer();
    const system = systemOf(this.#p.osRelease());
    this.#last = { system, mailServer, storageVersion: mailServer === null ? null : await this.#storageVersion() };
    return this.#last;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.read();
      await sleep(this.#p.clock, everyMs, signal);
    }
  }

  /** A release that does not know the setting prints nothing. */
  async #storageVersion(): Promise<string | null> {
    const { services, exec } = this.#p;
    const file = (services && doveconfFile(services)) ?? [];
    const shown = await exec('doveconf', [...file, 'dovecot_storage_version'], { timeoutMs: askMs }).catch(() => null);
    if (shown?.code !== 0) return null;
    const value = doveconfSettings(shown.stdout).find(({ key }) => key === 'dovecot_storage_version')?.value ?? '';
    return value === '' ? null : value.slice(0, 100);
  }
}

/** Reads os-release(5): `debian 12`; null where it names no number, as a testing release does. Exported for tests. */
export function systemOf(text: string): string | null {
  const value = (key: string) =>
    new RegExp(`^${key}=(.*)$`, 'm')
      .exec(text)?.[1]
      ?.trim()
      .replace(/^(["'])(.*)\1$/, '$2') ?? '';
  const [id, version] = [value('ID'), value('VERSION_ID')];
  return id === '' || !/^\d[\d.]*$/.test(version) ? null : `${id} ${version}`.slice(0, 100);
}
