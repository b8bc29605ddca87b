import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';

export interface ExecOptions {
  /** Written to standard input, which is then closed. Without it standard input is empty. */
  input?: string | Buffer;
  /** The program and what it started are killed after this. Default 30 000. */
  timeoutMs?: number;
  /** More output than this, of each stream, is read and thrown away. Default 1 MiB. */
  outputBytesMax?: number;
  cwd?: string;
  /** Ends the program and what it started, like the timeout. */
  signal?: AbortSignal;
  /** The program may leave a server behind that keeps its output open: its own end is the end. */
  leavesServer?: boolean;
  /** The whole environment; the agent's own when left out. */
  env?: Readonly<Record<string, string>>;
}

export interface ExecResult {
  /** Exit code; null when a signal ended the program, the timeout and `signal` included. */
  code: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  stdout: string;
  stderr: string;
  /** True when output was thrown away. */
  truncated: boolean;
}

/** What escaped from the program's process group may hold its output open; nobody waits for that longer than this. */
const leftOverMs = 500;

/** Runs a program, handed in so that fencing and network code can be tried without the programs. */
export type Exec = (program: string, args: readonly string[], options?: ExecOptions) => Promise<ExecResult>;

/**
 * Runs a program without a shell and waits for its end. An exit code other than 0 is a result, not an error.
 *
 * @throws the error of Node when the program cannot be started (`code` ENOENT, EACCES ...).
 */
export const exec: Exec = (program, args, options = {}) => {
  const { input, timeoutMs = 30_000, outputBytesMax = 1024 * 1024 } = options;
  return new Promise((resolve, reject) => {
    // A process group of its own, so that the timeout also ends what the program started.
    const child = spawn(program, args, { detached: true, stdio: 'pipe', cwd: options.cwd, env: options.env ?? process.env });
    const stdout = collect(child.stdout, outputBytesMax);
    const stderr = collect(child.stderr, outputBytesMax);
    let timedOut = false;
    let leftOver: NodeJS.Timeout | undefined;
    const end = (code: number | null, signal: NodeJS.Signals | null) => {
      clearTimeout(timer);
      clearTimeout(leftOver);
      options.signal?.removeEventListener('abort', kill);
      // Where they are still open, they must not keep this process alive.
      for (const stream of [child.stdout, child.stderr]) (stream as Socket).unref();
      resolve({
        code,
        signal,
        timedOut,
        stdout: stdout.text(),
        stderr: stderr.text(),
        truncated: stdout.truncated() || stderr.truncated(),
      });
    };
    const kill = () => {
      killGroup(child.pid);
      leftOver ??= setTimeout(() => end(null, 'SIGKILL'), leftOverMs);
    };
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeoutMs);
    options.signal?.addEventListener('abort', kill);
    if (options.signal?.aborted) kill();
    // A program that does not read its input closes the pipe; its exit code tells more than EPIPE.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.once('error', (error) => {
      clearTimeout(timer);
      clearTimeout(leftOver);
      options.signal?.removeEventListener('abort', kill);
      reject(error);
    });
    if (options.leavesServer) {
      child.once('exit', (code, signal) => {
        // Its last words are still in the pipes. What the server writes later is read and thrown away.
        leftOver ??= setTimeout(() => end(code, signal), leftOverMs / 5);
      });
    }
    child.once('close', end);
  });
};

function collect(stream: NodeJS.ReadableStream, bytesMax: number): { text(): string; truncated(): boolean } {
  const chunks: Buffer[] = [];
  let length = 0;
  let truncated = false;
  stream.on('data', (chunk: Buffer) => {
    const kept = chunk.subarray(0, bytesMax - length);
    truncated ||= kept.length < chunk.length;
    length += kept.length;
    if (kept.length > 0) chunks.push(kept);
  });
  return { text: () => Buffer.concat(chunks).toString('utf8'), truncated: () => truncated };
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended in this very moment.
  }
}
