import type { RoleKeeper } from '../failover/role-keeper.ts';
import type { NetworkControl } from '../network/network.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';

export interface SettlingParts {
  clock: Clock;
  log: Log;
  keeper: () => RoleKeeper;
  network: NetworkControl;
  startAloneMs: number;
  /** Monotonic time since which this node listens and has heard nothing of the peer. */
  silentSince: () => number;
  /** This node's store is known to be an older state than the peer's copy of it. */
  isPutBack: () => boolean;
  /** Whether that could be found out yet. */
  isReady: () => boolean;
}

/** After the waiting time it is asked again this often: the reason to stay down may pass. */
const againMs = 5000;

/**
 * A primary that has started and waits for the word of the peer. When none comes it asks whether somebody answers for
 * the service addresses, and whether anybody at all can be heard; the role machine decides.
 */
export class Settling {
  readonly #p: SettlingParts;
  #timer: Timer | null = null;

  constructor(parts: SettlingParts) {
    this.#p = parts;
  }

  /** Begins to wait, or begins anew. */
  begin(): void {
    const { clock, startAloneMs, silentSince } = this.#p;
    const leftMs = Math.max(0, startAloneMs - (clock.monotonicMs() - silentSince()));
    this.#timer?.cancel();
    this.#timer = clock.after(leftMs, () => void this.#look());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const { clock, keeper, startAloneMs, silentSince, isPutBack, isReady, log } = this.#p;
    if (keeper().role.state !== 'settling') return;
    const waitedMs = clock.monotonicMs() - silentSince();
    // It was heard meanwhile, and its word was not enough.
    if (waitedMs < startAloneMs) return this.begin();
    if (!isReady()) {
      this.#timer = clock.after(againMs, () => void this.#look());
      return;
    }
    const answered = await this.#answered().catch((error: unknown) => {
      log.error(
        { error: error instanceof Error ? error.message : String(error) },
        'who answers for the service addresses cannot be found out',
      );
      return null;
    });
    const isolated = await this.#isolated().catch(() => 'unknown' as const);
    if (keeper().role.state !== 'settling') return;
    keeper().handle({ is: 'peerSilentTooLong', waitedMs, startAloneMs, answered, isolated, isPutBack: isPutBack() });
    this.#timer = clock.after(againMs, () => void this.#look());
  }

  async #answered(): Promise<{ address: string; by: string }[] | null> {
    const { network } = this.#p;
    if (!network.configured) return [];
    const probes = await network.probe();
    const found = probes.flatMap(({ address, answeredBy }) => (answeredBy === null ? [] : [{ address, by: answeredBy }]));
    return found.length === 0 && probes.some(({ error }) => error !== null) ? null : found;
  }

  async #isolated(): Promise<'yes' | 'no' | 'unknown'> {
    const { network } = this.#p;
    if (network.farAddresses.length === 0) return 'unknown';
    const reached = await network.reach(network.farAddresses);
    return reached.some(({ reachable }) => reachable) ? 'no' : 'yes';
  }
}
