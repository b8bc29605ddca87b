import { existsSync } from 'node:fs';
import type { ControlClient } from '../control-client.ts';

/** More waits than this at once would measure the queue of the demo and not the pair. */
const underWayMax = 32;
const waitTimeoutSeconds = 120;

/** Times from a delivery's rename into new/ until `wait` says durable and the file is seen below the standby's root. */
export class LatencyProbe {
  readonly #client: ControlClient;
  readonly #roots: { primary: string; standby: string };
  readonly #underWay = new Set<Promise<void>>();
  /** Milliseconds, of deliveries while both agents ran. */
  readonly steadyMs: number[] = [];
  /** Milliseconds, of deliveries that met the standby's restart. */
  readonly interruptedMs: number[] = [];
  /** Deliveries that `wait` confirmed and the standby does not have: must stay empty (I1). */
  readonly missing: string[] = [];
  readonly failures: string[] = [];
  lastMs: number | null = null;

  constructor(client: ControlClient, roots: { primary: string; standby: string }) {
    this.#client = client;
    this.#roots = roots;
  }

  /** Follows one delivery. `standbyDown` is asked at the start and the end. `atMs` is `performance.now()` of the rename. */
  follow(path: string, atMs: number, disturbed: () => boolean): void {
    if (this.#underWay.size >= underWayMax) return;
    const work = this.#measure(path, atMs, disturbed)
      .catch((error: unknown) => void this.failures.push(error instanceof Error ? error.message : String(error)))
      .finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #measure(path: string, atMs: number, disturbed: () => boolean): Promise<void> {
    const before = disturbed();
    for await (const line of this.#client.stream('POST /wait', { timeoutSeconds: waitTimeoutSeconds })) {
      if (line.kind === 'error' || (line.kind === 'done' && line.exitCode !== 0))
        throw new Error(line.kind === 'error' ? line.message : line.summary);
    }
    const tookMs = performance.now() - atMs;
    // Looked for on the standby first: what moved on in between is gone from the primary's path too, and proves nothing.
    const seen = existsSync(this.#roots.standby + path.slice(this.#roots.primary.length));
    if (!seen && existsSync(path)) this.missing.push(path);
    this.lastMs = tookMs;
    (before || disturbed() ? this.interruptedMs : this.steadyMs).push(tookMs);
  }
}

/** The value below which `share` (0 to 1) of the values lie; null of none. Nearest rank. */
export function quantile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}
