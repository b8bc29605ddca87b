import { spawn, type ChildProcess } from 'node:child_process';
import { killPid } from './processes.ts';
import { waitFor } from './waiting.ts';

const open = new Set<TerminalSession>();
process.on('exit', () => {
  for (const session of open) session.killNow();
});

/** A command on a pseudo terminal that `script` (bsdutils) opens, and a person who reads it and types. */
export class TerminalSession implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number>;
  readonly #line: string;
  #output = '';
  #read = 0;

  constructor(command: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
    this.#line = args.at(-2) ?? command;
    const child = (this.#child = spawn(command, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] }));
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
    child.stdin.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      child.once('error', () => resolve(-1));
      child.once('close', (code) => {
        open.delete(this);
        resolve(code ?? -1);
      });
    });
    open.add(this);
  }

  /** Everything that was written on the terminal, as it came. */
  get raw(): string {
    return this.#output;
  }

  /** What stood on the terminal so far, without its colours and carriage returns. */
  get output(): string {
    return this.#output.replaceAll(/\u001B\[[0-9;?]*[A-Za-z]/g, '').replaceAll('\r', '');
  }

  /** Waits until this stands on the terminal, after what was waited for before. @throws with the output when it does not come. */
  async see(pattern: RegExp, timeoutMs = 120_000): Promise<RegExpExecArray> {
    const found = await waitFor(`${pattern} on the terminal of ${this.#line}`, timeoutMs, () => {
      const match = pattern.exec(this.output.slice(this.#read));
      return match ?? (open.has(this) ? null : 'ended');
    }).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
    if (typeof found === 'string') throw new Error(`${pattern} did not come (${found}); there stands:\n${this.output.slice(-4000)}`);
    this.#read += found.index + found[0].length;
    return found;
  }

  /** Types a line and Enter. */
  type(text: string): void {
    this.#child.stdin?.write(`${text}\n`);
  }

  /** Ctrl-C. */
  interrupt(): void {
    this.#child.stdin?.write('\u0003');
  }

  /** Ctrl-D on a line of its own: there is nothing more to read. */
  finish(): void {
    this.#child.stdin?.write('\u0004');
  }

  /** Waits for its end. @returns its exit code. */
  async end(timeoutMs = 300_000): Promise<number> {
    const timer = setTimeout(() => this.killNow(), timeoutMs);
    const code = await this.#ended;
    clearTimeout(timer);
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.killNow();
    await this.#ended;
  }

  killNow(): void {
    if (open.has(this) && this.#child.pid !== undefined) killPid(this.#child.pid);
  }
}
