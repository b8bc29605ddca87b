import { LabProcess } from './processes.ts';
import { waitFor } from './waiting.ts';

const everySeconds = 0.2;

/** Pings an address every 0.2 s from a namespace, and tells how long it had no answer. */
export class Pinger {
  readonly address: string;
  readonly #process: LabProcess;

  constructor(address: string, namespace?: string) {
    this.address = address;
    this.#process = new LabProcess('ping', ['-n', '-D', '-i', String(everySeconds), address], { namespace });
  }

  /** Wall times of the answers, in milliseconds. */
  get #answers(): number[] {
    return [...this.#process.output.matchAll(/^\[(\d+\.\d+)\] \d+ bytes from/gm)].map((match) => Number(match[1]) * 1000);
  }

  /** Resolves when the address answers to a ping of now. @throws when it does not within the time. */
  async answers(timeoutMs: number): Promise<void> {
    const since = Date.now();
    await waitFor(`${this.address} to answer`, timeoutMs, () => this.#answers.some((at) => at > since));
  }

  /** The longest time between two answers since then, less the time between two pings; in milliseconds. */
  longestOutage(sinceWallMs: number): number {
    const answers = this.#answers;
    const first = answers.findLastIndex((at) => at <= sinceWallMs);
    const counted = answers.slice(Math.max(0, first));
    const gaps = counted.slice(1).map((at, i) => at - (counted[i] ?? at) - everySeconds * 1000);
    return Math.max(0, ...gaps);
  }

  async stop(): Promise<void> {
    await this.#process.stop();
  }
}
