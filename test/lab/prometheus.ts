import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabProcess } from './processes.ts';
import { freePort } from './small-pair.ts';
import { waitFor } from './waiting.ts';

export interface Sample {
  metric: Record<string, string>;
  value: [number, string];
}

/** A real Prometheus with a configuration of the test. */
export class Prometheus implements AsyncDisposable {
  readonly #process: LabProcess;
  readonly #url: string;

  private constructor(process: LabProcess, url: string) {
    this.#process = process;
    this.#url = url;
  }

  static async start(dir: string, config: string): Promise<Prometheus> {
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'prometheus.yml'), config);
    const port = await freePort();
    const process = new LabProcess('prometheus', [
      `--config.file=${join(dir, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    const url = `http://127.0.0.1:${port}`;
    await waitFor('Prometheus', 60_000, async () => (await fetch(`${url}/-/ready`)).ok);
    return new Prometheus(process, url);
  }

  /** What an instant query gives. @throws with what Prometheus says when it is none. */
  async query(expression: string): Promise<Sample[]> {
    const answer = (await (await fetch(`${this.#url}/api/v1/query?query=${encodeURIComponent(expression)}`)).json()) as {
      status: string;
      error?: string;
      data: { result: Sample[] };
    };
    if (answer.status !== 'success') throw new Error(`${expression}: ${answer.error}`);
    return answer.data.result;
  }

  /** Names of the alerts that fire now. */
  async firing(): Promise<string[]> {
    const answer = (await (await fetch(`${this.#url}/api/v1/alerts`)).json()) as {
      data: { alerts: { labels: Record<string, string>; state: string }[] };
    };
    return [
      ...new Set(answer.data.alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels['alertname'] ?? '')),
    ].toSorted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop(60_000);
  }
}
