import { sleep, type Clock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import type { Services, ServicesState } from '../services/services.ts';
import type { Notice } from './node.ts';

export interface RestingParts {
  clock: Clock;
  log: Log;
  services: Pick<Services, 'configured' | 'state' | 'stop'>;
  /** This node is a standby or was replaced, and nothing brings it into service. */
  mustRest: () => boolean;
  /** How many places of the copy were changed by others. */
  foreign: () => number;
}

const everyMs = 5000;
/** So long the last time is told, and as long as what was changed is not mended. */
const toldMs = 3_600_000;

/** What was found running. */
interface Found {
  firstWallMs: number;
  lastMs: number;
  times: number;
  /** For people: which services. */
  what: string;
  atStart: boolean;
  /** Null when they were stopped. */
  failure: string | null;
}

/**
 * A standby's mail server that somebody else starts, an admin or a container engine, writes on the copy: it is brought to
 * rest first, and explained then.
 */
export class Resting {
  readonly #p: RestingParts;
  #found: Found | null = null;
  #stopping: Promise<void> = Promise.resolve();

  constructor(parts: RestingParts) {
    this.#p = parts;
  }

  /** Looks every five seconds until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, services } = this.#p;
    while (!signal.aborted && services.configured) {
      await this.look();
      await sleep(clock, everyMs, signal);
    }
  }

  /** Stops what should be at rest. */
  async look(): Promise<void> {
    const { services, mustRest } = this.#p;
    if (!mustRest()) return;
    // What cannot be read is told by others; nothing is stopped for it.
    const state = await services.state().catch((error: unknown) => {
      if (!(error instanceof OperatorError)) throw error;
      return null;
    });
    // Meanwhile somebody may have made this node the active one.
    if (!isUp(state) || !mustRest()) return;
    const stopping = this.#stop(state);
    this.#stopping = stopping.catch(() => {});
    await stopping;
  }

  /** Services are running as the agent starts on a node that is not active. They are stopped by the caller. */
  noteAtStart(state: ServicesState, failure: string | null): void {
    if (isUp(state)) this.#note(state, true, failure);
  }

  /** Resolves when no stop is under way: who starts the services must not be overtaken by one. */
  async settled(): Promise<void> {
    await this.#stopping;
  }

  notices(): Notice[] {
    const { clock, foreign } = this.#p;
    const found = this.#found;
    const changed = foreign();
    if (!found || (clock.monotonicMs() - found.lastMs > toldMs && changed === 0)) return [];
    const { firstWallMs, times, what, atStart, failure } = found;
    const at = new Date(firstWallMs).toISOString();
    const when = times === 1 ? (atStart ? 'when the agent started' : `at ${at}`) : `${times} times since ${at}`;
    const end = failure === null ? 'they were stopped' : `they cannot be stopped: ${failure}`;
    const wrote =
      changed === 0 ? '' : `; ${changed} ${changed === 1 ? 'place' : 'places'} of this copy ${changed === 1 ? 'was' : 'were'} changed`;
    return [
      {
        level: failure === null ? 'warn' : 'error',
        code: 'started-by-others',
        text: `mail services ran on this node, which is not active, ${when} (${what}); ${end}${wrote}`,
        remedy:
          'find who starts them, a person, a container engine with a restart policy, or another unit (`journalctl`, `docker ps`); `mailtwin gate install` lets systemd start them on the active node alone' +
          (changed === 0 ? '' : '; then run `mailtwin verify` on the primary, which has sent again what was changed'),
      },
    ];
  }

  async #stop(state: ServicesState): Promise<void> {
    const { services, log } = this.#p;
    let failure: string | null = null;
    try {
      await services.stop();
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      failure = error.message;
    }
    this.#note(state, false, failure);
    log.error({ code: 'started-by-others', units: state.units, failure }, this.notices()[0]?.text ?? '');
  }

  #note({ units }: ServicesState, atStart: boolean, failure: string | null): void {
    const { clock } = this.#p;
    const what = units
      .filter(({ state }) => state !== 'stopped')
      .map(({ name, detail }) => `${name} was ${detail}`)
      .join(', ');
    const before = this.#found;
    this.#found = {
      firstWallMs: before?.firstWallMs ?? clock.wallMs(),
      lastMs: clock.monotonicMs(),
      times: (before?.times ?? 0) + 1,
      what,
      atStart,
      failure,
    };
  }
}

function isUp(state: ServicesState | null): state is ServicesState {
  return state !== null && (state.state === 'running' || state.state === 'partial');
}
