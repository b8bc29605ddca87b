import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { waitFor } from './waiting.ts';

export interface StartOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Name of a network namespace to run in; default: the test's own. */
  namespace?: string | undefined;
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** How much of a process's output is kept for error messages and `waitForLine`. */
const outputCharsMax = 1024 * 1024;
const started = new Set<LabProcess>();

process.on('exit', () => {
  for (const each of started) each.killNow();
});

/** A process of a test, with what it printed. Ended by pid, at the latest when the test process ends. */
export class LabProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves when the process has ended and its output is complete. Never rejects. */
  readonly ended: Promise<Ended>;
  #child: ChildProcess;
  #output = '';
  #result: Ended | null = null;

  constructor(command: string, args: readonly string[], options: StartOptions = {}) {
    const [file = command, ...rest] = inNamespace(options.namespace, [command, ...args]);
    this.name = [command, ...args].join(' ');
    this.#child = spawn(file, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    this.ended = new Promise((resolve) => {
      const end = (result: Ended) => {
        this.#result ??= result;
        started.delete(this);
        resolve(this.#result);
      };
      this.#child.once('close', (code, signal) => end({ code, signal }));
      this.#child.once('error', (error) => {
        this.#output += `\n${error.message}`;
        end({ code: null, signal: null });
      });
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-outputCharsMax);
      });
    }
    this.pid = this.#child.pid ?? -1;
    started.add(this);
  }

  /** Standard output and standard error, mixed as they came. */
  get output(): string {
    return this.#output;
  }

  get isRunning(): boolean {
    return this.#result === null;
  }

  /** Waits for a match in the output. @throws with the output when the process ends or the time is up first. */
  async waitForLine(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    try {
      return await waitFor(`${pattern} from ${this.name}`, timeoutMs, () => {
        const match = pattern.exec(this.#output);
        if (match === null && !this.isRunning) return 'ended' as const;
        return match;
      }).then((found) => {
        if (found === 'ended') throw new Error(`${this.name} ended before it printed ${pattern}`);
        return found;
      });
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}; it printed:\n${this.#output.slice(-4000)}`, {
        cause: error,
      });
    }
  }

  /** Sends a signal; nothing when the process has ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.#child.kill(signal);
  }

  /** SIGTERM, and SIGKILL when that was not heeded within `timeoutMs`: then it throws after all is dead. */
  async stop(timeoutMs = 30_000): Promise<Ended> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.killNow(), timeoutMs);
    const result = await this.ended;
    clearTimeout(timer);
    if (result.signal === 'SIGKILL')
      throw new Error(`${this.name} did not end within ${timeoutMs} ms of SIGTERM; it printed:\n${this.#output.slice(-4000)}`);
    return result;
  }

  /** kill -9, and waits for the end. */
  async kill9(): Promise<void> {
    this.killNow();
    await this.ended;
  }

  /** kill -9 without waiting. */
  killNow(): void {
    if (this.isRunning && this.pid > 0) killPid(this.pid);
  }
}

export interface RunResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command to its end; `input` is what it finds on standard input. @throws with its output when it fails, unless `mayFail`. */
export async function run(
  command: string,
  args: readonly string[],
  options: StartOptions & { timeoutMs?: number; mayFail?: boolean; input?: string } = {},
): Promise<RunResult> {
  const [file = command, ...rest] = inNamespace(options.namespace, [command, ...args]);
  const child = spawn(file, rest, {
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? 120_000,
    killSignal: 'SIGKILL',
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  child.stdin?.on('error', () => {});
  child.stdin?.end(options.input);
  const output = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve(status ?? -1));
  });
  if (code !== 0 && options.mayFail !== true) {
    throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${(output.stderr + output.stdout).slice(-4000)}`);
  }
  return { code, ...output };
}

/** Runs a short command at once. @throws with its output when it fails. */
export function runNow(command: string, args: readonly string[]): string {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000 });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${result.status}: ${result.stderr}${result.stdout}`);
  return result.stdout;
}

function inNamespace(namespace: string | undefined, command: string[]): string[] {
  return namespace === undefined ? command : ['nsenter', `--net=/run/netns/${namespace}`, '--', ...command];
}

/** kill -9; nothing when there is no such process. */
export function killPid(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** What /proc tells about a process; null when it has ended (a zombie has ended). */
export function processFacts(pid: number): { parent: number; startTicks: string } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the name in parentheses and may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return null;
    return { parent: Number(fields[1]), startTicks: fields[19] ?? '' };
  } catch {
    return null;
  }
}

export function isAlive(pid: number): boolean {
  return processFacts(pid) !== null;
}

/** Every process below this one, children before grandchildren. */
export function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = processFacts(Number(name))?.parent;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  for (let next: number[] = [pid]; next.length > 0;) {
    next = next.flatMap((each) => children.get(each) ?? []);
    found.push(...next);
  }
  return found;
}

/** Waits until none of these is alive. */
export async function waitForEnd(pids: readonly number[], timeoutMs: number): Promise<void> {
  await waitFor(`the end of processes ${pids.join(', ')}`, timeoutMs, () => pids.every((pid) => !isAlive(pid)));
}
