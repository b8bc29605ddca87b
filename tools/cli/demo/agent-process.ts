import { once } from 'node:events';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import type { Status } from '../../../protocol/control.ts';
import { asControlError, CommandError } from '../command-error.ts';
import { controlClient, type ControlClient } from '../control-client.ts';

/** This command line as a program of its own: TypeScript in a checkout, JavaScript when built. */
const mainFile = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : '../main.js', import.meta.url));
// Only what hangs is to be ended: a busy machine or an emulator takes its time.
const startMs = 120_000;
const commandMs = 120_000;
const stopMs = 5000;

/** Runs one mailtwin command to its end; its standard output. @throws CommandError when it fails. */
export async function runCommand(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [...process.execArgv, mainFile, ...args], { timeout: commandMs }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      reject(failure(`mailtwin ${args[0]} failed: ${stderr.trim() || stdout.trim() || error.message}`));
    });
  });
}

export function failure(message: string): CommandError {
  return new CommandError({
    code: 'demo-failed',
    message,
    remedy: 'run `mailtwin demo --keep` and look at the logs in its directory',
    exitCode: 1,
  });
}

/** One agent of the demo, as a process of its own. */
export class AgentProcess {
  readonly client: ControlClient;
  readonly #configFile: string;
  readonly #logFile: string;
  readonly #name: string;
  #child: ChildProcess | undefined;
  #wanted = false;

  constructor(options: { name: string; configFile: string; stateDir: string; logFile: string }) {
    this.#name = options.name;
    this.#configFile = options.configFile;
    this.#logFile = options.logFile;
    this.client = controlClient(options.stateDir);
  }

  /** Starts it and waits until it answers. */
  async start(signal: AbortSignal): Promise<void> {
    const log = openSync(this.#logFile, 'a');
    this.#child = spawn(process.execPath, [...process.execArgv, mainFile, 'run', '--config', this.#configFile], {
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#wanted = true;
    const deadline = performance.now() + startMs;
    for (;;) {
      this.check();
      signal.throwIfAborted();
      try {
        await this.client.ask('GET /status', null);
        return;
      } catch (error) {
        if (!asControlError(error) || performance.now() > deadline) throw error;
      }
      await delay(50);
    }
  }

  /** @throws CommandError when the agent has ended by itself. */
  check(): void {
    if (this.#wanted && this.#ended())
      throw failure(`the agent ${this.#name} ended by itself (exit code ${this.#child?.exitCode ?? this.#child?.signalCode})`);
  }

  async status(): Promise<Status> {
    this.check();
    return this.client.ask('GET /status', null);
  }

  /** kill -9, as a crash would. */
  async kill(): Promise<void> {
    this.#wanted = false;
    await this.#end('SIGKILL');
  }

  /** Ends it, by force when it does not go. */
  async stop(): Promise<void> {
    this.#wanted = false;
    if (!(await this.#end('SIGTERM', stopMs))) await this.#end('SIGKILL');
  }

  /** For the last moment of this process, when nothing can be awaited. */
  killNow(): void {
    if (!this.#ended()) this.#child?.kill('SIGKILL');
  }

  /** The last lines of its log. */
  logTail(lines: number): string {
    try {
      return readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
    } catch {
      return '';
    }
  }

  #ended(): boolean {
    return !this.#child || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL', withinMs = 10_000): Promise<boolean> {
    const child = this.#child;
    if (!child || this.#ended()) return true;
    const exited = once(child, 'exit').then(() => true);
    child.kill(signal);
    const timeout = new AbortController();
    try {
      return await Promise.race([exited, delay(withinMs, false, { signal: timeout.signal })]);
    } finally {
      timeout.abort();
    }
  }
}
