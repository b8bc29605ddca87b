import type { NetworkConfig } from '../config/takeover-sections/network.ts';
import type { NetworkChange } from './rtnetlink.ts';

/** Of more the names would not be read. */
const namedMax = 8;

/**
 * Who removed service addresses, routes or links, by what the kernel tells of it.
 *
 * - `note(changes, ownRoutes)`: changes as they come; `ownRoutes`: the agent itself has set its routes anew meanwhile. Whether
 *   somebody removed something of ours.
 * - `take()`: for people, who it was since `take` or `forget` was called before.
 */
export class Removers {
  readonly #config: NetworkConfig;
  readonly #nameOf: (pid: number) => string | null;
  /** By the number of the process. */
  readonly #named = new Map<number, string>();
  #hasEnded = false;

  constructor(config: NetworkConfig, nameOf: (pid: number) => string | null) {
    this.#config = config;
    this.#nameOf = nameOf;
  }

  note(changes: readonly NetworkChange[], ownRoutes: boolean): boolean {
    let isSeen = false;
    for (const change of changes) {
      const { gone, by } = change;
      if (!gone || by === 0 || !this.#isOurs(change, ownRoutes)) continue;
      isSeen = true;
      const name = this.#nameOf(by);
      if (name === null) this.#hasEnded = true;
      // systemd itself opens the socket that its systemd-networkd goes on with.
      else if (this.#named.size < namedMax)
        this.#named.set(by, by === 1 && name === 'systemd' ? 'systemd-networkd by its socket from systemd' : name);
    }
    return isSeen;
  }

  take(): string[] {
    const named = [...this.#named].map(([pid, name]) => `${name} (process ${pid})`);
    const ended = this.#hasEnded ? ['a program that had ended before it could be named, such as `ip`'] : [];
    this.forget();
    return [...named, ...ended];
  }

  forget(): void {
    this.#named.clear();
    this.#hasEnded = false;
  }

  #isOurs(change: NetworkChange, ownRoutes: boolean): boolean {
    if (change.what === 'link') return true;
    // To set one route all of ours are set anew, and the kernel tells of that, too.
    if (change.what === 'route') return !ownRoutes;
    const { address } = change;
    return this.#config.roles.some(({ addresses }) => addresses.some((own) => address?.equals(own.address.bytes)));
  }
}
