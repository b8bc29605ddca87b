import { connect } from 'node:net';
import { afterLook, heard, lookAt, unheard, type Look, type Silence, type Unheard } from '../../failover/silence.ts';
import { metaKey } from '../../journal/keys.ts';
import { sleep, systemClock } from '../../platform/clock.ts';
import { errnoCode } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { AddressProbe } from '../../network/network.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';

export interface PeerWatchParts {
  kv: Kv;
  node: Node;
  appliance: Appliance;
  /** Addresses of the peer where it may be reached. */
  peerAddresses: () => readonly { host: string; port: number }[];
  /** A takeover is under way, which asks the same questions and must not wait. */
  isBusy: () => boolean;
}

/** Whether anything answers at an address of the peer; says nothing about who. */
export interface PathTried {
  path: string;
  up: boolean;
  /** Its kernel answered, if only to refuse. */
  lives: boolean;
  error: string;
}

const lookEveryMs = 10_000;
const pollMs = 1000;
const pathMs = 1000;
const silenceKey = metaKey('silence');

/** Durable: the wall clock, because a monotonic one begins anew with a boot. */
interface Stored {
  heardWallMs: number;
  lookedWallMs: number;
  deadSinceWallMs: number | null;
  saw: Silence['saw'];
  what: string;
  unheardMs: number;
  looks: number;
}

/** Looks at a primary that is silent, so that it is known afterwards how long it can have lived unheard. */
export class PeerWatch {
  readonly #p: PeerWatchParts;
  #silence: { of: number; silence: Silence } | null = null;
  readonly #stop = new AbortController();

  constructor(parts: PeerWatchParts) {
    this.#p = parts;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** How long the peer can have lived unheard; null when it was never heard. */
  unheard(): Unheard | null {
    const silence = this.#current();
    const nowMs = systemClock.monotonicMs();
    return silence && unheard(silence, nowMs, (ms) => new Date(systemClock.wallMs() - (nowMs - ms)).toISOString());
  }

  /** Takes a look that was made; nothing while the peer is connected. */
  note(look: Look): void {
    const { kv, node } = this.#p;
    const before = this.#current();
    const reading = node.running.peer.reading;
    if (!before || !reading || node.running.peer.connected || node.role !== 'standby') return;
    const silence = afterLook(before, look, systemClock.wallMs());
    this.#silence = { of: reading.heardWallMs, silence };
    kv.commit([[silenceKey, Buffer.from(JSON.stringify(stored(reading.heardWallMs, silence)))]]);
  }

  /** Looks every ten seconds while the peer is silent, the first time at once, until `stop`. */
  async run(): Promise<void> {
    const { node, isBusy } = this.#p;
    const { signal } = this.#stop;
    let lookedMs = -Infinity;
    while (!signal.aborted) {
      const { connected, reading } = node.running.peer;
      if (connected) lookedMs = -Infinity;
      else if (reading && node.role === 'standby' && !isBusy() && systemClock.monotonicMs() - lookedMs >= lookEveryMs) {
        lookedMs = systemClock.monotonicMs();
        const look = await this.#look();
        if (!isBusy()) this.note(look);
      }
      await sleep(systemClock, pollMs, signal);
    }
  }

  async #look(): Promise<Look> {
    const { appliance, peerAddresses } = this.#p;
    const { network, fence } = appliance;
    const beganMs = systemClock.monotonicMs();
    const lookedMs = this.#current()?.lookedMs ?? beganMs;
    const [paths, services, witnesses] = await Promise.all([
      Promise.all(peerAddresses().map(tryPath)),
      network.configured ? network.probe().catch((error: unknown) => failedProbe(network.addresses, error)) : [],
      network.farAddresses.length === 0 ? null : network.reach(network.farAddresses).catch(() => null),
    ]);
    const signs = {
      paths,
      services: services.map(({ address, answeredBy, error, isProxy }) => ({ address, by: isProxy ? null : answeredBy, error })),
      witnesses: witnesses && witnesses.filter(({ reachable }) => reachable).map(({ address }) => address),
      power: powerOf(fence.probe.readings().filter(({ ageMs }) => ageMs <= beganMs - lookedMs)),
    };
    // What lives when it is asked may die while it answers.
    return lookAt(signs, beganMs);
  }

  #current(): Silence | null {
    const { reading } = this.#p.node.running.peer;
    if (!reading) return null;
    if (this.#silence?.of === reading.heardWallMs) return this.#silence.silence;
    const silence = this.#read(reading.heardWallMs) ?? heard(reading.heardMonotonicMs);
    this.#silence = { of: reading.heardWallMs, silence };
    return silence;
  }

  /** What an earlier process of this agent saw of the same silence. */
  #read(heardWallMs: number): Silence | null {
    const value = this.#p.kv.get(silenceKey);
    if (!value) return null;
    const found = JSON.parse(value.toString()) as Stored;
    if (found.heardWallMs !== heardWallMs) return null;
    const [wallMs, nowMs] = [systemClock.wallMs(), systemClock.monotonicMs()];
    const monotonic = (ms: number) => nowMs - Math.max(0, wallMs - ms);
    const { saw, what, unheardMs, looks, deadSinceWallMs } = found;
    return {
      heardMs: monotonic(heardWallMs),
      lookedMs: monotonic(found.lookedWallMs),
      deadSinceMs: deadSinceWallMs === null ? null : monotonic(deadSinceWallMs),
      saw,
      what,
      unheardMs,
      looks,
    };
  }
}

/** Levels that need neither the peer nor a person, where they could be read. */
export function powerOf(
  readings: readonly { type: string; name: string; state: 'on' | 'off' | 'unknown'; evidence: string; error: unknown }[],
): { name: string; state: 'on' | 'off' | 'unknown'; evidence: string }[] {
  return readings
    .filter(({ type, error }) => (type === 'agent' || type === 'command' || type === 'all') && error === null)
    .map(({ name, state, evidence }) => ({ name, state, evidence }));
}

function failedProbe(addresses: readonly string[], error: unknown): Pick<AddressProbe, 'address' | 'answeredBy' | 'error' | 'isProxy'>[] {
  const text = error instanceof Error ? error.message : String(error);
  return addresses.map((address) => ({ address, answeredBy: null, error: text }));
}

function stored(heardWallMs: number, { lookedMs, deadSinceMs, saw, what, unheardMs, looks }: Silence): Stored {
  const [wallMs, nowMs] = [systemClock.wallMs(), systemClock.monotonicMs()];
  const wall = (ms: number) => Math.round(wallMs - (nowMs - ms));
  return {
    heardWallMs,
    lookedWallMs: wall(lookedMs),
    deadSinceWallMs: deadSinceMs === null ? null : wall(deadSinceMs),
    saw,
    what,
    unheardMs,
    looks,
  };
}

export function tryPath({ host, port }: { host: string; port: number }): Promise<PathTried> {
  const path = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (up: boolean, error: string, lives = up) => {
      socket.destroy();
      resolve({ path, up, lives, error });
    };
    socket.setTimeout(pathMs, () => end(false, `no answer within ${pathMs / 1000} s`));
    socket.once('connect', () => end(true, ''));
    socket.once('error', (error) => end(false, error.message, errnoCode(error) === 'ECONNREFUSED'));
  });
}
