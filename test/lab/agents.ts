import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Status, StreamLine } from '../../protocol/control.ts';
import { controlClient, type ControlClient } from '../../tools/cli/control-client.ts';
import { LabProcess, run, type RunResult } from './processes.ts';
import { waitFor } from './waiting.ts';

/** The command line as it was built: what a user runs. */
const mainFile = fileURLToPath(new URL('../../dist/tools/cli/main.js', import.meta.url));
const startMs = 120_000;
const stopMs = 30_000;

/** A replicated root as it lies on one node. */
export interface RootPlace {
  name: string;
  path: string;
  format?: 'maildir' | 'plain';
}

export interface AgentOptions {
  /** Name of the node. */
  node: string;
  /** Holds the configuration and the state directory; made when missing. Its file system is the state's. */
  dir: string;
  roots: readonly RootPlace[];
  /** Network namespace it runs in; default: the test's own. */
  namespace?: string;
  /** HOST:PORT; default a port of loopback that the system chooses. */
  listen?: string;
  watcher?: 'auto' | 'chokidar' | 'fanotify';
  /** Of the agent. Default: the test's own. */
  environment?: NodeJS.ProcessEnv;
  /** Directory that comes first in the PATH of the agent and of commands: where programs of another release lie. */
  programs?: string | null;
  /** Lines of the configuration to replace, as text by text. */
  config?: readonly (readonly [from: string, to: string])[];
}

/** One agent as a process of its own: started, stopped and killed as often as a test likes. */
export class LabAgent {
  readonly role: 'primary' | 'standby';
  readonly node: string;
  readonly stateDir: string;
  readonly control: ControlClient;
  readonly #options: AgentOptions;
  readonly configFile: string;
  /** See AgentOptions; counts from the next start and command on. */
  programs: string | null;
  #process: LabProcess | null = null;
  #wanted = false;
  #earlierOutput = '';

  constructor(role: 'primary' | 'standby', options: AgentOptions) {
    this.role = role;
    this.node = options.node;
    this.#options = options;
    this.programs = options.programs ?? null;
    this.stateDir = join(options.dir, 'state');
    this.configFile = join(options.dir, 'mailtwin.yaml');
    this.control = controlClient(this.stateDir);
  }

  /** Runs one mailtwin command on this node. @throws with its output when it fails, unless `mayFail`. */
  cli(args: readonly string[], options: { mayFail?: boolean; timeoutMs?: number; input?: string } = {}): Promise<RunResult> {
    const [command = '', ...rest] = args;
    const { namespace } = this.#options;
    return run(process.execPath, [mainFile, command, ...rest, '--config', this.configFile], {
      namespace,
      env: this.#env(process.env),
      ...options,
    });
  }

  /**
   * Runs a command that asks the other node, whatever it ends with. A node that enters a role makes the connection anew a
   * moment after it tells the role: a command that falls in between is refused, with nothing changed, and given again.
   */
  cliOnceConnected(args: readonly string[], timeoutMs = 120_000): Promise<RunResult> {
    return waitFor(`the connection of ${this.node}`, startMs, async () => {
      const ran = await this.cli(args, { mayFail: true, timeoutMs });
      return ran.code !== 0 && /disconnected|the active node is not connected/.test(ran.stdout + ran.stderr) ? null : ran;
    });
  }

  /** Writes configuration and key. */
  async init(): Promise<void> {
    const { dir, roots, node, watcher, config = [] } = this.#options;
    mkdirSync(dir, { recursive: true });
    for (const root of roots) mkdirSync(this.role === 'standby' ? root.path : dirname(root.path), { recursive: true });
    await this.cli([
      'init',
      ...['--role', this.role, '--node', node, '--state', this.stateDir, '--metrics', 'off'],
      ...['--listen', this.#options.listen ?? '127.0.0.1:0'],
      ...roots.flatMap((root) => ['--root', `${root.name}=${root.path}:${root.format ?? 'maildir'}`]),
    ]);
    const changes = [...(watcher === undefined ? [] : [['watcher: auto', `watcher: ${watcher}`] as const]), ...config];
    let text = readFileSync(this.configFile, 'utf8');
    for (const [from, to] of changes) {
      if (!text.includes(from)) throw new Error(`the configuration has no ${JSON.stringify(from)}`);
      text = text.replace(from, to);
    }
    writeFileSync(this.configFile, text);
  }

  /** Starts it, with these options of `mailtwin run`, and waits until it answers. */
  async start(...args: readonly string[]): Promise<void> {
    if (this.#process?.isRunning) throw new Error(`the agent ${this.node} runs already`);
    this.#earlierOutput = this.output;
    const { namespace, environment = process.env } = this.#options;
    const started = new LabProcess(process.execPath, [mainFile, 'run', ...args, '--config', this.configFile], {
      namespace,
      env: this.#env(environment),
    });
    this.#process = started;
    this.#wanted = true;
    await waitFor(`the agent ${this.node}`, startMs, async () => {
      this.check();
      await this.control.ask('GET /status', null);
      return true;
    });
  }

  #env(base: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
    return this.programs === null ? base : { ...base, PATH: `${this.programs}:${base['PATH'] ?? ''}` };
  }

  /** The port that the pair's connection is taken on, as the log tells it. */
  async port(): Promise<number> {
    const line = await waitFor(`the port of ${this.node}`, startMs, () => /"port":(\d+)[^\n]*the agent runs/.exec(this.output));
    return Number(line[1]);
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#process?.isRunning ?? false;
  }

  /** Everything that it printed over all its lives, the last megabyte or two. */
  get output(): string {
    return (this.#earlierOutput + (this.#process?.output ?? '')).slice(-2_000_000);
  }

  /** Lines of its log at level error. */
  errors(): string[] {
    return this.output.split('\n').filter((line) => /"level":(50|60|"error"|"fatal")/.test(line));
  }

  /** @throws with its log when it ended by itself. */
  check(): void {
    if (this.#wanted && this.#process?.isRunning === false)
      throw new Error(`the agent ${this.node} ended by itself; it printed:\n${this.output.slice(-4000)}`);
  }

  async status(): Promise<Status> {
    this.check();
    return this.control.ask('GET /status', null);
  }

  /** An orderly stop. Nothing when it does not run. */
  async stop(): Promise<void> {
    this.#wanted = false;
    await this.#process?.stop(stopMs);
  }

  async kill9(): Promise<void> {
    this.#wanted = false;
    await this.#process?.kill9();
  }

  /** kill -9 without waiting. */
  killNow(): void {
    this.#wanted = false;
    this.#process?.killNow();
  }
}

/** A primary and a standby. `await using pair = await AgentPair.create(...)`, or `dispose` in a `finally`. */
export class AgentPair implements AsyncDisposable {
  readonly primary: LabAgent;
  readonly standby: LabAgent;

  private constructor(primary: AgentOptions, standby: AgentOptions) {
    this.primary = new LabAgent('primary', primary);
    this.standby = new LabAgent('standby', standby);
  }

  /**
   * Writes both configurations, starts the primary and introduces the standby to it, which is not started yet.
   *
   * @param connect gives the address that the standby connects to, for the primary's port: a proxy may stand between.
   */
  static async create(options: {
    primary: AgentOptions;
    standby: AgentOptions;
    connect?: (port: number) => Promise<string> | string;
  }): Promise<AgentPair> {
    const pair = new AgentPair(options.primary, options.standby);
    const { primary, standby } = pair;
    try {
      await Promise.all([primary.init(), standby.init()]);
      await primary.start();
      const port = await primary.port();
      const host = options.primary.listen?.replace(/:\d+$/, '') ?? '127.0.0.1';
      const address = (await options.connect?.(port)) ?? `${host}:${port}`;
      const offer = await primary.control.ask('POST /pair', {});
      await standby.cli(['pair', address, '--yes'], { input: offer.code });
      return pair;
    } catch (error) {
      await pair.dispose();
      throw error;
    }
  }

  /** Resolves when all that changed before the call is durable on the standby. @throws what the agent answers otherwise. */
  async wait(timeoutSeconds = 120): Promise<void> {
    try {
      await lastLine(this.primary, 'wait', this.primary.control.stream('POST /wait', { timeoutSeconds }));
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${await this.#circumstances()}`, { cause: error });
    }
  }

  /** Differences that `verify` finds, as lines. @throws what the agent answers when it cannot verify. */
  async verify(deep: boolean): Promise<string[]> {
    const lines: string[] = [];
    await lastLine(this.primary, 'verify', this.primary.control.stream('POST /verify', { deep }), (line) =>
      lines.push(`${line.root}:${line.path}: ${line.what}`),
    );
    return lines;
  }

  /** Waits until the initial fill is complete by the word of both nodes: the standby learns of it by a heartbeat, later. */
  async filled(timeoutMs: number): Promise<void> {
    for (const agent of [this.primary, this.standby]) {
      await waitFor(`the initial fill, as ${agent.node} says`, timeoutMs, async () => {
        this.standby.check();
        return knowsToBeFilled(await agent.status());
      });
    }
  }

  /** What both agents say of themselves and the ends of their logs, for an error message. */
  async #circumstances(): Promise<string> {
    const parts = await Promise.all(
      [this.primary, this.standby].map(async (agent) => {
        const status = await agent.control.ask('GET /status', null).then(
          ({ peer, replication, warnings }) => JSON.stringify({ peer, replication, warnings }),
          (error: unknown) => String(error),
        );
        return `--- ${agent.node}: ${status}\n${agent.output.slice(-3000)}`;
      }),
    );
    return parts.join('\n');
  }

  /** Kills both. */
  async dispose(): Promise<void> {
    await Promise.all([this.primary.kill9(), this.standby.kill9()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** A standby calls its copy complete when it hears that the primary streams and is seconds behind at most. */
export function knowsToBeFilled({ replication: { phase, lagSeconds } }: Status): boolean {
  return phase === 'streaming' && lagSeconds !== null && lagSeconds <= 5;
}

async function lastLine(
  agent: LabAgent,
  what: string,
  lines: AsyncIterable<StreamLine>,
  onDifference: (line: Extract<StreamLine, { kind: 'difference' }>) => void = () => {},
): Promise<void> {
  for await (const line of lines) {
    if (line.kind === 'difference') onDifference(line);
    if (line.kind === 'error') throw new Error(`${what} on ${agent.node}: ${line.code}: ${line.message}`);
  }
}
