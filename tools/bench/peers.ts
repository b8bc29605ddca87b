import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './pair.ts';

const daemonStartMs = 5000;

/** Runs a program to its end. @throws with what it said when it fails. */
async function runToEnd(command: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], signal });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-2000)));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${command} failed (${code ?? 'killed'}): ${said.trim()}`);
}

/** Seconds that `rsync -a` through an rsync daemon on loopback takes to copy `from` into the empty directory `to`. */
export async function copyByRsyncDaemon(from: string, to: string, scratch: string, signal: AbortSignal): Promise<number> {
  const port = await freePort();
  const configFile = join(scratch, 'rsyncd.conf');
  // Only root may be told to stay root; anybody else's daemon runs as who started it.
  const owner = process.getuid?.() === 0 ? 'uid = 0\ngid = 0\n' : '';
  writeFileSync(configFile, `use chroot = no\n${owner}[mail]\npath = ${to}\nread only = no\n`);
  const args = [
    '--daemon',
    '--no-detach',
    `--config=${configFile}`,
    `--port=${port}`,
    '--address=127.0.0.1',
    `--log-file=${join(scratch, 'rsyncd.log')}`,
  ];
  const daemon = spawn('rsync', args, { stdio: 'ignore' });
  const atExit = (): void => void daemon.kill('SIGKILL');
  process.on('exit', atExit);
  try {
    await listening(daemon, port, signal);
    const start = performance.now();
    await runToEnd('rsync', ['-a', `${from}/`, `rsync://127.0.0.1:${port}/mail/`], signal);
    return (performance.now() - start) / 1000;
  } finally {
    if (daemon.pid !== undefined && daemon.exitCode === null && daemon.signalCode === null) {
      const ended = once(daemon, 'close');
      daemon.kill('SIGTERM');
      await ended;
    }
    process.off('exit', atExit);
  }
}

/** Seconds that tar piped into tar takes for the same. */
export async function copyByTar(from: string, to: string, signal: AbortSignal): Promise<number> {
  const start = performance.now();
  // The paths are arguments of the shell, not part of its text.
  await runToEnd('bash', ['-c', 'set -o pipefail; tar -C "$1" -cf - . | tar -C "$2" -xf -', 'bash', from, to], signal);
  return (performance.now() - start) / 1000;
}

async function listening(daemon: ChildProcess, port: number, signal: AbortSignal): Promise<void> {
  let failure: Error | undefined;
  daemon.once('error', (error) => (failure = error));
  const deadline = performance.now() + daemonStartMs;
  while (!(await accepts(port))) {
    if (failure) throw failure;
    if (daemon.exitCode !== null) throw new Error(`the rsync daemon ended (exit code ${daemon.exitCode})`);
    if (performance.now() > deadline) throw new Error(`the rsync daemon did not listen within ${daemonStartMs / 1000} s`);
    await delay(20, undefined, { signal });
  }
}

async function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (isOpen: boolean): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
