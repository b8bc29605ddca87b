import type { ApplianceStatus } from '../../protocol/control.ts';
import type { TakeoverLast } from '../../protocol/takeover.ts';
import { sleep, type Clock } from '../platform/clock.ts';
import type { Appliance } from './appliance.ts';

const everyMs = 15_000;
/** A reading that was not renewed for so long is not repeated (I18). */
const readingMsMax = 60_000;

interface Reading<T> {
  value: T;
  atMs: number;
  at: string;
}

/** Reads now and then what cannot be told at once: whether the mail services run, and which service addresses are here. */
export class ApplianceReadings {
  readonly #appliance: Appliance;
  readonly #clock: Clock;
  readonly #takeover: () => TakeoverLast | null;
  readonly #stop = new AbortController();
  #services: Reading<'running' | 'stopped' | 'partial' | 'unknown'> | null = null;
  #held: Reading<string[]> | null = null;

  constructor(appliance: Appliance, clock: Clock, takeover: () => TakeoverLast | null) {
    this.#appliance = appliance;
    this.#clock = clock;
    this.#takeover = takeover;
  }

  stop(): void {
    this.#stop.abort();
  }

  status(): ApplianceStatus | null {
    const { gated, fence, network } = this.#appliance;
    const fencing = fence.probe.readings();
    if (!gated && fence.fencing.levels.length === 0) return null;
    const last = this.#takeover();
    const roles = network.state()?.roles ?? [];
    const ports = network.state()?.ports ?? [];
    const held = this.#fresh(this.#held);
    const services = this.#fresh(this.#services);
    return {
      services: services && { state: services.value, at: services.at },
      addresses: held && { configured: network.addresses.length, held: held.value, at: held.at },
      nics: roles.map(({ name, port }) => ({ role: name, port, carrier: ports.some(({ ifname, carrier }) => ifname === port && carrier) })),
      fencing: fencing.map(({ level, type, name, state, evidence, at, error }) => ({ level, type, name, state, evidence, at, error })),
      alarms: network.alarms().map(({ code, text, remedy }) => ({ code, text, remedy })),
      takeover: { running: last?.running ?? false, unfinished: last?.unfinished?.kind ?? null },
    };
  }

  #fresh<T>(reading: Reading<T> | null): Reading<T> | null {
    return reading && this.#clock.monotonicMs() - reading.atMs <= readingMsMax ? reading : null;
  }

  /** Reads until `stop`. */
  async run(): Promise<void> {
    const { services, network } = this.#appliance;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      // What cannot be read now keeps its last reading until that is too old.
      if (services.configured)
        this.#services =
          (await services.state().then(
            ({ state }) => this.#note(state),
            () => null,
          )) ?? this.#services;
      if (network.configured)
        this.#held =
          (await network.held().then(
            (held) => this.#note(held),
            () => null,
          )) ?? this.#held;
      await sleep(this.#clock, everyMs, signal);
    }
  }

  #note<T>(value: T): Reading<T> {
    return { value, atMs: this.#clock.monotonicMs(), at: new Date(this.#clock.wallMs()).toISOString() };
  }
}
