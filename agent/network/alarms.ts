import type { NetworkAlarm } from './network.ts';
import type { NetworkContext } from './parts.ts';

/** Alarms that stand, by code and address. */
export class Alarms {
  readonly #standing = new Map<string, NetworkAlarm>();
  readonly #context: NetworkContext;

  constructor(context: NetworkContext) {
    this.#context = context;
  }

  get all(): NetworkAlarm[] {
    return [...this.#standing.values()];
  }

  /** Tells of it once, until it was cleared. */
  raise(alarm: Omit<NetworkAlarm, 'at'>): void {
    const key = `${alarm.code} ${alarm.address}`;
    const before = this.#standing.get(key);
    if (before?.text === alarm.text) return;
    const raised = { ...alarm, at: before?.at ?? new Date(this.#context.clock.wallMs()).toISOString() };
    this.#standing.set(key, raised);
    this.#context.log.error({ code: alarm.code, role: alarm.role, address: alarm.address }, alarm.text);
    this.#context.onAlarm?.(raised);
  }

  /** Takes alarms of this kind away from all addresses but these. */
  keepOnly(code: NetworkAlarm['code'], addresses: ReadonlySet<string>): void {
    for (const [key, alarm] of this.#standing) if (alarm.code === code && !addresses.has(alarm.address)) this.#standing.delete(key);
  }
}
