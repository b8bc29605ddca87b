import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { run } from './processes.ts';
import { Prometheus } from './prometheus.ts';
import { freePort } from './small-pair.ts';
import { waitFor } from './waiting.ts';

const rulesFile = fileURLToPath(new URL('../../deploy/prometheus/rules.yml', import.meta.url));

/** Windows of rules that a test shortens: what stands still for so long is taken to stand still. */
const windows: Record<string, [string, string]> = {
  MailtwinPositionStuck: ['[10m]', '[20s]'],
  MailtwinFillStalled: ['[30m]', '[20s]'],
  MailtwinDiskWillFill: ['[6h]', '[1m]'],
};

/**
 * The expressions of the shipped alert rules, asked of a real Prometheus that reads the metrics of each host from inside
 * its network namespace, where they are served on loopback. What a rule waits for (`for`) is not waited for.
 */
export class RuleWatch implements AsyncDisposable {
  readonly #server: Server;
  readonly #prometheus: Prometheus;
  readonly #rules: Map<string, string>;

  private constructor(server: Server, prometheus: Prometheus) {
    this.#server = server;
    this.#prometheus = prometheus;
    const { groups } = parse(readFileSync(rulesFile, 'utf8')) as { groups: { rules: { alert: string; expr: string }[] }[] };
    this.#rules = new Map(groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr])));
  }

  /** @param namespaces of the hosts, by their name. */
  static async start(dir: string, namespaces: Readonly<Record<string, string>>): Promise<RuleWatch> {
    const port = await freePort();
    const server = createServer((request, response) => {
      const namespace = namespaces[request.url?.slice(1) ?? ''];
      void run('curl', ['-sf', '--max-time', '5', 'http://127.0.0.1:9720/metrics'], { namespace, mayFail: true }).then(
        ({ code, stdout }) => {
          response.writeHead(code === 0 ? 200 : 503, { 'content-type': 'text/plain; version=0.0.4' });
          response.end(stdout);
        },
      );
    });
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const jobs = Object.keys(namespaces).map((name) => ({ name }));
    const config = {
      global: { scrape_interval: '2s', scrape_timeout: '2s' },
      scrape_configs: jobs.map(({ name }) => ({
        job_name: `mailtwin-${name}`,
        metrics_path: `/${name}`,
        static_configs: [{ targets: [`127.0.0.1:${port}`] }],
        relabel_configs: [
          { target_label: 'instance', replacement: name },
          { target_label: 'job', replacement: 'mailtwin' },
        ],
      })),
    };
    return new RuleWatch(server, await Prometheus.start(dir, JSON.stringify(config)));
  }

  get names(): string[] {
    return [...this.#rules.keys()];
  }

  /** Hosts for which the rule's expression holds now; one without a host counts as `pair`. */
  async holding(alert: string): Promise<string[]> {
    return (await this.#found(alert)).map((labels) => labels['instance'] ?? 'pair');
  }

  /** Of what it holds for this host, in order: values of the rule's label `what`. */
  async whatOf(alert: string, on: string): Promise<string[]> {
    return (await this.#found(alert))
      .filter((labels) => labels['instance'] === on)
      .map((labels) => labels['what'] ?? '')
      .toSorted();
  }

  async #found(alert: string): Promise<Record<string, string>[]> {
    let expression = this.#rules.get(alert);
    if (expression === undefined) throw new Error(`no rule ${alert}`);
    const shorter = windows[alert];
    if (shorter) expression = expression.replaceAll(shorter[0], shorter[1]);
    return (await this.#prometheus.query(expression)).map(({ metric }) => metric);
  }

  shows(alert: string, on: string, timeoutMs = 90_000): Promise<unknown> {
    return waitFor(`${alert} on ${on}`, timeoutMs, async () => (await this.holding(alert)).includes(on));
  }

  gone(alert: string, on: string, timeoutMs = 90_000): Promise<unknown> {
    return waitFor(`${alert} on ${on} to be over`, timeoutMs, async () => !(await this.holding(alert)).includes(on));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#prometheus[Symbol.asyncDispose]();
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
