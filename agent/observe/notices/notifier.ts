import type { NotifyTest } from '../../../protocol/control.ts';
import type { NoticesConfig } from '../../config/notices.ts';
import { sleep, type Clock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { Log } from '../../platform/log.ts';
import { digestOf, firstDay, isDigestDue, localTime, type DigestFacts } from './digest.ts';
import type { Notice } from './notice.ts';
import { deliver, Outbox, type Drawer, type Way } from './outbox.ts';
import { look, nothingPending, type Memory, type Pending, type Reading } from './watch.ts';

export interface NotifierParts {
  node: string;
  /** Null: events are kept for the status page, and nobody is told. */
  config: NoticesConfig | null;
  freeBytesMin: number;
  ways: readonly Way[];
  reading: () => Reading;
  digestFacts: () => Omit<DigestFacts, 'told'>;
  /** What survives a restart, by name. */
  drawer: (name: string) => Drawer;
  clock: Clock;
  log: Log;
}

interface Kept {
  memory: Memory;
  events: Notice[];
  lastDigestDay: string | null;
  toldSinceDigest: number;
}

const everyMs = 2000;
const eventsMax = 100;
const graceDefaultMs = 60_000;
const testMs = 20_000;

/** Looks at the agent every two seconds, keeps what happened, and tells it on every way. Nothing waits for it. */
export class Notifier {
  readonly #p: NotifierParts;
  readonly #outboxes: Outbox[];
  readonly #drawer: Drawer;
  readonly #stop = new AbortController();
  #kept: Kept | null;
  #pending: Pending = nothingPending;
  #running: Promise<void> | null = null;

  constructor(parts: NotifierParts) {
    this.#p = parts;
    this.#drawer = parts.drawer('events');
    const kept = this.#drawer.read();
    this.#kept = kept === null ? null : (JSON.parse(kept) as Kept);
    const { node, clock, log } = parts;
    this.#outboxes = parts.ways.map((way) => new Outbox({ way, node, drawer: parts.drawer(`outbox-${way.name}`), clock, log }));
  }

  /** What happened on this node, the newest first. */
  get events(): readonly Notice[] {
    return this.#kept?.events ?? [];
  }

  /** Letters that wait, and why they could not be delivered. */
  get ways(): { way: string; waiting: number; lastError: string | null }[] {
    return this.#outboxes.map(({ name, waiting, lastError }) => ({ way: name, waiting, lastError }));
  }

  /** Looks and tells until `stop`. Rejects only for a fault of mailtwin itself; it may be called again then. */
  run(): Promise<void> {
    for (const outbox of this.#outboxes) outbox.start();
    const running = this.#run();
    this.#running = running.catch(() => {});
    return running;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.#running, ...this.#outboxes.map((outbox) => outbox.stop())]);
  }

  async test(): Promise<NotifyTest> {
    const { config, ways, clock, node } = this.#p;
    if (!config)
      throw new OperatorError(
        'no-notices',
        'the configuration has no section `notices`: nobody is told of anything',
        'add the section `notices` and start the agent again',
        1,
      );
    const letter = { kind: 'test', node, at: new Date(clock.wallMs()).toISOString() } as const;
    return {
      ways: await Promise.all(
        ways.map(async (way) => {
          const to =
            way.name === 'smtp'
              ? `${config.smtp?.to.join(', ')} through ${config.smtp?.host}:${config.smtp?.port}`
              : new URL(config.webhook?.url ?? 'http://-').host;
          try {
            await deliver(way, letter, clock, this.#stop.signal, testMs);
            return { way: way.name, to, ok: true, detail: 'taken by the other side' };
          } catch (error) {
            return { way: way.name, to, ok: false, detail: error instanceof Error ? error.message : String(error) };
          }
        }),
      ),
    };
  }

  async #run(): Promise<void> {
    const { clock } = this.#p;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#look();
      this.#tellDaily();
      await sleep(clock, everyMs, signal);
    }
  }

  #look(): void {
    const { reading, clock, config, freeBytesMin, log } = this.#p;
    const graceMs = config ? config.graceSeconds * 1000 : graceDefaultMs;
    const { memory, pending, notices } = look(this.#kept?.memory ?? null, this.#pending, reading(), {
      nowMs: clock.monotonicMs(),
      graceMs,
      freeBytesMin,
    });
    this.#pending = pending;
    const before = this.#kept;
    if (notices.length === 0 && before && JSON.stringify(before.memory) === JSON.stringify(memory)) return;
    for (const { code, text } of notices) log.info({ code }, `notice: ${text}`);
    this.#keep({
      memory,
      events: [...notices.toReversed(), ...(before?.events ?? [])].slice(0, eventsMax),
      lastDigestDay: before?.lastDigestDay ?? null,
      toldSinceDigest: (before?.toldSinceDigest ?? 0) + notices.length,
    });
    for (const outbox of this.#outboxes) outbox.add(notices);
  }

  #tellDaily(): void {
    const { config, clock, digestFacts } = this.#p;
    const kept = this.#kept;
    if (!kept || config?.digestMinute === null || !config) return;
    const now = localTime(clock.wallMs());
    if (kept.lastDigestDay === null) return this.#keep({ ...kept, lastDigestDay: firstDay(now, config.digestMinute) });
    if (!isDigestDue(kept.lastDigestDay, now, config.digestMinute)) return;
    const told = kept.toldSinceDigest;
    this.#keep({ ...kept, lastDigestDay: now.day, toldSinceDigest: 0 });
    const digest = digestOf({ ...digestFacts(), told });
    for (const outbox of this.#outboxes) outbox.addDigest(new Date(clock.wallMs()).toISOString(), digest);
  }

  #keep(kept: Kept): void {
    this.#kept = kept;
    this.#drawer.write(JSON.stringify(kept));
  }
}
