import { createServer, type AddressInfo } from 'node:net';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Status, StreamLine } from '../../protocol/control.ts';
import { controlClient, type ControlClient } from '../../tools/cli/control-client.ts';
import { knowsToBeFilled } from './agents.ts';
import { LabProcess, run, runNow, type Ended, type RunResult } from './processes.ts';
import { waitFor } from './waiting.ts';

/** The built command line: what a user runs. MAILTWIN_DIST names another build than dist/, such as an unpacked package. */
export const mailtwin = join(process.env['MAILTWIN_DIST'] ?? fileURLToPath(new URL('../../dist', import.meta.url)), 'tools/cli/main.js');

export interface SmallPairOptions {
  /** Below which directory the pair's own is made. Default: the system's temporary directory. */
  base?: string;
  format?: 'maildir' | 'plain';
  /** Lines of the configuration to change on both nodes, by key: `{ massDelete: '50%' }`. Keys are unique in the template. */
  set?: Record<string, string>;
  /** Put before every agent's command line, for example `['nsenter', '-t', '123', '-m', '--']`. */
  wrap?: readonly string[];
  /** Serve metrics; the port is in the log. */
  metrics?: boolean;
}

/** What an agent may take until it answers, and a status until it is as a test waits for it: the machine may be slow, or stand still for a while. */
const answerMs = 60_000;

/** A line of a stack trace, in whatever a command or an agent printed. */
const stackLine = /^\s+at .+[:(]\d+:\d+\)?$/m;

/** One node of a pair on this machine: its files, its agent as a process of its own, its commands. */
export class SmallNode {
  readonly name: string;
  readonly role: 'primary' | 'standby';
  readonly dir: string;
  /** Where a test may mount a file system of its own; the root is inside. */
  readonly volume: string;
  readonly root: string;
  readonly state: string;
  readonly configFile: string;
  client: ControlClient;
  #isSeenInside = false;
  readonly options: SmallPairOptions;
  wrap: readonly string[];
  /** More environment for the agent. */
  env: Record<string, string> = {};
  port = 0;
  #agent: LabProcess | null = null;
  #logs = '';

  constructor(role: 'primary' | 'standby', dir: string, options: SmallPairOptions) {
    this.role = role;
    this.name = role === 'primary' ? 'mail-a' : 'mail-b';
    this.dir = join(dir, this.name);
    this.volume = join(this.dir, 'volume');
    this.root = join(this.volume, 'mail');
    this.state = join(this.dir, 'state');
    this.configFile = join(this.dir, 'mailtwin.yaml');
    this.client = controlClient(this.state);
    this.options = options;
    this.wrap = options.wrap ?? [];
    mkdirSync(this.root, { recursive: true });
  }

  /** The test finds the state directory here: it is mounted where only the agent sees it. */
  seenAt(state: string): void {
    this.client = controlClient(state);
    this.#isSeenInside = true;
  }

  /** Runs `mailtwin` with this node's configuration to its end. A stack trace in what it prints is an error. */
  async cli(...args: string[]): Promise<RunResult> {
    return this.#run(args);
  }

  /** Joins the primary at an address by a code, as `mailtwin pair HOST:PORT` does when the code comes on standard input. */
  async pair(address: string, code: string, ...args: string[]): Promise<RunResult> {
    return this.#run(['pair', address, ...args], `${code}\n`);
  }

  async #run(args: readonly string[], input?: string): Promise<RunResult> {
    const words = [...(this.#isSeenInside ? this.wrap : []), process.execPath, mailtwin, ...args, '--config', this.configFile];
    const result = await run(words[0] ?? '', words.slice(1), {
      mayFail: true,
      timeoutMs: 120_000,
      ...(input === undefined ? {} : { input }),
    });
    if (stackLine.test(result.stdout + result.stderr))
      throw new Error(`mailtwin ${args.join(' ')} printed a stack trace:\n${result.stdout}${result.stderr}`);
    return result;
  }

  /** Like `cli`. @throws when the exit code is not 0. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.cli(...args);
    if (code !== 0)
      throw new Error(
        `mailtwin ${args.join(' ')} on ${this.name} ended with ${code}: ${stderr}${stdout}\n--- its agent's log:\n${this.log.slice(-3000)}`,
      );
    return stdout;
  }

  async init(): Promise<void> {
    this.port ||= await freePort();
    const { format = 'plain', metrics = false, set = {} } = this.options;
    await this.ok(
      'init',
      '--role',
      this.role,
      '--node',
      this.name,
      '--root',
      `mail=${this.root}:${format}`,
      '--listen',
      `127.0.0.1:${this.port}`,
      '--state',
      this.state,
      '--metrics',
      metrics ? '127.0.0.1:0' : 'off',
    );
    for (const [key, value] of Object.entries(set)) this.set(key, value);
  }

  /** Changes the one line of the configuration that has this key. */
  set(key: string, value: string): void {
    const text = readFileSync(this.configFile, 'utf8');
    const line = new RegExp(`^( *)${key}:.*$`, 'm');
    if (!line.test(text)) throw new Error(`the configuration has no line for ${key}`);
    writeFileSync(
      this.configFile,
      text.replace(line, (_all, indent: string) => `${indent}${key}: ${value}`),
    );
  }

  /** Starts the agent and waits until it answers. */
  async start(...args: string[]): Promise<void> {
    const agent = this.spawn(...args);
    await waitFor(`the agent of ${this.name}`, answerMs, async () => {
      if (!agent.isRunning) return 'ended' as const;
      await this.client.ask('GET /status', null);
      return 'answers' as const;
    }).then((what) => {
      if (what === 'ended') throw new Error(`the agent of ${this.name} ended by itself: ${agent.output.slice(-4000)}`);
    });
  }

  /** Starts the agent without waiting for anything. */
  spawn(...args: string[]): LabProcess {
    const words = [...this.wrap, process.execPath, mailtwin, 'run', ...args, '--config', this.configFile];
    this.#logs = this.log;
    this.#agent = new LabProcess(words[0] ?? process.execPath, words.slice(1), { env: { ...process.env, ...this.env } });
    return this.#agent;
  }

  /** Runs the agent until it ends by itself, as it does when something is wrong. */
  async runToEnd(...args: string[]): Promise<Ended & { output: string }> {
    const agent = this.spawn(...args);
    const timer = setTimeout(() => agent.killNow(), answerMs);
    const ended = await agent.ended;
    clearTimeout(timer);
    return { ...ended, output: agent.output };
  }

  get agent(): LabProcess {
    if (!this.#agent) throw new Error(`the agent of ${this.name} was not started`);
    return this.#agent;
  }

  /** What all agents of this node have logged. */
  get log(): string {
    return this.#logs + (this.#agent?.output ?? '');
  }

  async stop(): Promise<void> {
    if (this.#agent?.isRunning) await this.#agent.stop();
  }

  async kill(): Promise<void> {
    if (this.#agent?.isRunning) await this.#agent.kill9();
  }

  killNow(): void {
    this.#agent?.killNow();
  }

  /** What the agent that runs now serves beside its control socket, which comes first. */
  async scrape(path = '/metrics'): Promise<{ status: number; text: string }> {
    const [, port] = await this.agent.waitForLine(/"port":(\d+),"msg":"metrics are served"/, answerMs);
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: response.status, text: await response.text() };
  }

  /** What is done in `work`, which must be short, the agent finds as one change: it stands still meanwhile. */
  atOnce(work: () => void): void {
    this.agent.signal('SIGSTOP');
    try {
      work();
    } finally {
      this.agent.signal('SIGCONT');
    }
  }

  status(): Promise<Status> {
    return this.client.ask('GET /status', null);
  }

  /** Waits until the status is as the condition wants it. @throws with the last status. */
  async until(what: string, condition: (status: Status) => boolean, timeoutMs = answerMs): Promise<Status> {
    let last: Status | null = null;
    try {
      return await waitFor(`${what} on ${this.name}`, timeoutMs, async () => {
        last = await this.status();
        return condition(last) ? last : null;
      });
    } catch (error) {
      throw new Error(
        `${error instanceof Error ? error.message : String(error)}\nlast status: ${JSON.stringify(last)}\nlog:\n${this.log.slice(-4000)}`,
        { cause: error },
      );
    }
  }

  /** All lines of `mailtwin wait` or `verify`, as the agent gives them. */
  async lines(what: 'POST /wait', body: { timeoutSeconds: number }): Promise<StreamLine[]>;
  async lines(what: 'POST /verify', body: { deep: boolean }): Promise<StreamLine[]>;
  async lines(what: 'POST /wait' | 'POST /verify', body: never): Promise<StreamLine[]> {
    const lines: StreamLine[] = [];
    for await (const line of this.client.stream(what, body)) lines.push(line);
    return lines;
  }
}

const pairs = new Set<SmallPair>();
process.on('exit', () => {
  for (const pair of pairs) pair.removeNow();
});

/** Two built agents on loopback, each with a root `mail`. `await using pair = await SmallPair.create()`. */
export class SmallPair implements AsyncDisposable {
  readonly dir: string;
  readonly primary: SmallNode;
  readonly standby: SmallNode;

  private constructor(dir: string, options: SmallPairOptions) {
    this.dir = dir;
    this.primary = new SmallNode('primary', dir, options);
    this.standby = new SmallNode('standby', dir, options);
    pairs.add(this);
  }

  /** A pair that is initialised; nothing runs. */
  static async create(options: SmallPairOptions = {}): Promise<SmallPair> {
    const dir = mkdtempSync(join(options.base ?? tmpdir(), 'mailtwin-pair-'));
    // An agent of another user must get through.
    chmodSync(dir, 0o755);
    const pair = new SmallPair(dir, options);
    try {
      await Promise.all([pair.primary.init(), pair.standby.init()]);
      return pair;
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A pair that is paired and runs; the first fill is done. */
  static async running(options: SmallPairOptions = {}): Promise<SmallPair> {
    const pair = await SmallPair.create(options);
    try {
      await pair.primary.start();
      await pair.introduce();
      await pair.standby.start();
      await pair.settled();
      return pair;
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Pairs the nodes by a code; the primary must run. */
  async introduce(): Promise<void> {
    const { code } = await this.primary.client.ask('POST /pair', {});
    const joined = await this.standby.pair(`127.0.0.1:${this.primary.port}`, code, '--yes');
    if (joined.code !== 0) throw new Error(`the standby did not pair: ${joined.stderr}`);
  }

  /** Both are connected, everything is durable on the standby, and the standby knows that its copy is complete. */
  async settled(timeoutMs = 2 * answerMs): Promise<void> {
    await this.primary.until('streaming', (s) => s.replication.phase === 'streaming', timeoutMs);
    const last = (await this.primary.lines('POST /wait', { timeoutSeconds: timeoutMs / 1000 })).at(-1);
    if (last?.kind !== 'done')
      throw new Error(
        `wait failed: ${JSON.stringify(last)}\n${this.primary.log.slice(-3000)}\n--- standby:\n${this.standby.log.slice(-3000)}`,
      );
    await this.standby.until('a copy that calls itself complete', knowsToBeFilled, timeoutMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of [this.primary, this.standby]) await node.kill();
    removeTree(this.dir);
    pairs.delete(this);
  }

  /** For the last moment of the test process, when nothing can be awaited. */
  removeNow(): void {
    for (const node of [this.primary, this.standby]) node.killNow();
    removeTree(this.dir);
  }
}

/** Removes a tree whatever its paths are: those longer than PATH_MAX are beyond Node's own. */
function removeTree(dir: string): void {
  // A process that was killed just now may still make a file between two steps of the first try.
  runNow('sh', [
    '-c',
    'for i in 1 2 3 4 5; do rm -rf --one-file-system "$0" 2>/dev/null && exit 0; sleep 0.1; done; exec rm -rf --one-file-system "$0"',
    dir,
  ]);
}

/** A port of loopback that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  return port;
}
