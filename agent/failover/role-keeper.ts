import type { PeerWord } from '../../protocol/takeover.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import { claimsService, transition } from './role-machine.ts';
import { roleWrites, type DurableRole } from './role-store.ts';
import type { Effect, EffectName, NodeRole, RoleEvent } from './role-types.ts';

/**
 * Carries out what the role machine says.
 *
 * - `handle(event)`: takes an event at once; its effects follow in order.
 * - `ask(event)`: the same for an event that somebody waits for; the answer comes when it is so, and durable.
 * - `word()`: what the other node may be told: only what is durable, and `active` until all is known to be down.
 * - `role`, `durable`: the machine's state, and what of it is on disk.
 */

/** What the keeper does to the world. Each may be called again after it succeeded, and after it failed. */
export interface RoleActions {
  stopServices(): Promise<void>;
  releaseAddresses(): Promise<void>;
  takeAddresses(): Promise<void>;
  startServices(): Promise<void>;
  announce(): void;
  /** Begin to wait for the peer, and feed `peerSilentTooLong` when it stays silent. Called again: begin anew. */
  settle(): void;
  /** Nothing more of the takeover on this node may begin; resolves when what was under way has ended. */
  stopTakeover(because: string): void | Promise<void>;
  becomePrimary(): void;
  becomeStandby(): void;
  becomeFenced(): void;
  /** A lasting condition for status, and a line of the log. */
  say(line: { level: 'info' | 'warn' | 'error'; code: string; text: string; remedy: string }): void;
  /** The machine is wrong, or the store cannot be written: the agent must end. */
  failed(error: unknown): void;
}

export interface RoleAnswer {
  ok: boolean;
  code: string;
  text: string;
  remedy: string;
}

export interface RoleKeeperParts {
  kv: Kv;
  clock: Clock;
  log: Log;
  actions: RoleActions;
  /** True while a takeover of this node is under way: the other node must not go into service meanwhile. */
  takeoverRuns: () => boolean;
  quiesceMaxMs: number;
  retryMs?: number;
  /** Keeps a copy of what is durable outside of the store, for when that is damaged. Never throws. */
  tell?: (durable: DurableRole) => void;
}

interface QueuedEffect {
  effect: Effect;
  generation: number;
  event: number;
}

type WithoutAsk<T> = T extends { ask: number } ? Omit<T, 'ask'> : never;
export type RoleRequest = WithoutAsk<RoleEvent>;

const retryMs = 5000;
/** Effects that lead into service; those of a state that is over are left out. */
const overtaken: ReadonlySet<EffectName> = new Set(['takeAddresses', 'startServices', 'announce', 'becomePrimary', 'feed', 'settle']);

export class RoleKeeper {
  readonly #p: RoleKeeperParts;
  #role: NodeRole;
  #durable: DurableRole;
  /** True when stopping services and removing addresses succeeded and nothing was started since. */
  #down = false;
  #queue: QueuedEffect[] = [];
  /** Counts changes of state: effects of an older one may be overtaken. */
  #generation = 0;
  /** Counts events. */
  #events = 0;
  #working: Promise<void> | null = null;
  #asks = 0;
  readonly #waiting = new Map<number, (answer: RoleAnswer) => void>();
  #quiesceTimer: Timer | null = null;
  #retryTimer: Timer | null = null;
  #stopped = false;

  constructor(initial: NodeRole, parts: RoleKeeperParts) {
    this.#p = parts;
    this.#role = initial;
    this.#durable = { role: initial.role, epoch: initial.epoch, seenEpoch: initial.seenEpoch };
  }

  get role(): Readonly<NodeRole> {
    return this.#role;
  }

  get durable(): Readonly<DurableRole> {
    return this.#durable;
  }

  word(): PeerWord {
    const { node, state } = this.#role;
    const { role, epoch } = this.#durable;
    return { node, role, epoch, active: claimsService(this.#role) || !this.#down || this.#p.takeoverRuns(), state };
  }

  handle(event: RoleEvent): void {
    if (this.#stopped) return;
    const before = this.#role;
    let effects: Effect[];
    try {
      ({ next: this.#role, effects } = transition(before, event));
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (before.state !== this.#role.state) {
      this.#generation++;
      this.#p.log.info({ event: event.is, from: before.state, to: this.#role.state, epoch: this.#role.epoch }, this.#role.because);
      // Addresses or services may come up from here on, whatever becomes of it.
      if (claimsService(this.#role)) this.#down = false;
    }
    if (event.is === 'activationDone') this.#down = false;
    const from = ++this.#events;
    for (const effect of effects) this.#queue.push({ effect, generation: this.#generation, event: from });
    if (this.#queue.length > 0) this.#working ??= this.#work();
  }

  /** An answer that never comes ends with `timeoutMs`: code `no-answer`. */
  ask(request: RoleRequest, timeoutMs: number): Promise<RoleAnswer> {
    const ask = ++this.#asks;
    return new Promise((resolve) => {
      const give = (answer: RoleAnswer) => {
        timer.cancel();
        this.#waiting.delete(ask);
        resolve(answer);
      };
      const timer = this.#p.clock.after(timeoutMs, () =>
        give({ ok: false, code: 'no-answer', text: `this node is ${this.#role.state}: ${this.#role.because}`, remedy: 'ask again' }),
      );
      this.#waiting.set(ask, give);
      this.handle({ ...request, ask });
    });
  }

  /** Resolves when every effect so far is carried out. */
  async idle(): Promise<void> {
    while (this.#working) await this.#working;
  }

  /** Takes no event any more; what runs comes to its end. */
  stop(): void {
    this.#stopped = true;
    this.#quiesceTimer?.cancel();
    this.#retryTimer?.cancel();
  }

  async #work(): Promise<void> {
    for (let item = this.#queue.shift(); item && !this.#stopped; item = this.#queue.shift()) {
      const { effect, generation, event } = item;
      if (generation !== this.#generation && overtaken.has(effect.do)) continue;
      try {
        await this.#carryOut(effect, generation !== this.#generation);
      } catch (error) {
        if (effect.do === 'persist' || effect.do === 'feed') {
          this.#fail(error);
          break;
        }
        // What should have followed is left out: it counted on this.
        this.#queue = this.#queue.filter((later) => later.event !== event || later.effect.do === 'say');
        if (generation === this.#generation)
          this.handle({ is: 'effectFailed', effect: effect.do, reason: error instanceof Error ? error.message : String(error) });
      }
    }
    this.#working = null;
  }

  async #carryOut(effect: Effect, isOver: boolean): Promise<void> {
    const { actions, kv, clock } = this.#p;
    switch (effect.do) {
      case 'persist': {
        const { role, epoch, seenEpoch } = effect;
        // The copy never claims more than the store: going down is told first, coming up last.
        if (role !== 'primary') this.#p.tell?.({ role, epoch, seenEpoch });
        kv.commit(roleWrites({ role, epoch, seenEpoch }));
        await kv.flushed();
        if (role === 'primary') this.#p.tell?.({ role, epoch, seenEpoch });
        this.#durable = { role, epoch, seenEpoch };
        return;
      }
      case 'stopServices':
        return actions.stopServices();
      case 'releaseAddresses':
        await actions.releaseAddresses();
        // Services were stopped just before: the table has them in this order, always.
        this.#down = true;
        return;
      case 'takeAddresses':
        this.#down = false;
        return actions.takeAddresses();
      case 'startServices':
        this.#down = false;
        return actions.startServices();
      case 'feed':
        this.handle(effect.event);
        return;
      case 'startQuiesceTimer':
        this.#quiesceTimer?.cancel();
        this.#quiesceTimer = clock.after(this.#p.quiesceMaxMs, () => this.handle({ is: 'quiesceExpired' }));
        return;
      case 'stopQuiesceTimer':
        this.#quiesceTimer?.cancel();
        return;
      case 'retryLater':
        this.#retryTimer?.cancel();
        this.#retryTimer = clock.after(this.#p.retryMs ?? retryMs, () => this.handle({ is: 'retry' }));
        return;
      case 'answer':
        this.#waiting.get(effect.ask)?.(
          effect.ok && isOver
            ? {
                ok: false,
                code: 'overtaken',
                text: `meanwhile this node is ${this.#role.state}: ${this.#role.because}`,
                remedy: 'see `mailtwin status`',
              }
            : { ok: effect.ok, code: effect.code, text: effect.text, remedy: effect.remedy },
        );
        return;
      case 'say':
        return actions.say(effect);
      case 'stopTakeover':
        return actions.stopTakeover(effect.because);
      case 'announce':
      case 'settle':
      case 'becomePrimary':
      case 'becomeStandby':
      case 'becomeFenced':
        return actions[effect.do]();
    }
  }

  #fail(error: unknown): void {
    this.stop();
    this.#p.actions.failed(error);
  }
}
