import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exec } from '../../agent/platform/exec.ts';
import { waitFor } from '../lab/waiting.ts';

/** Long enough for a shell to begin and to say so, on any machine. */
const tooLongMs = 5000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-exec-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('exec', () => {
  it('gives exit code and both streams, and passes arguments as they are', async () => {
    expect(await exec('sh', ['-c', 'echo "$1"; echo err >&2; exit 3', 'sh', 'a b; $(id)'])).toEqual({
      code: 3,
      signal: null,
      timedOut: false,
      stdout: 'a b; $(id)\n',
      stderr: 'err\n',
      truncated: false,
    });
  });

  it('feeds standard input, also to a program that does not read it', async () => {
    expect((await exec('cat', [], { input: 'action=status\nip=10.0.0.1\n' })).stdout).toBe('action=status\nip=10.0.0.1\n');
    expect((await exec('true', [], { input: Buffer.alloc(1_000_000) })).code).toBe(0);
  });

  it('ends a program that takes too long, with all that it started', async () => {
    const result = await exec('sh', ['-c', 'sleep 600 & echo $!; wait'], { timeoutMs: tooLongMs });
    expect(result).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: true });
    const grandchild = pidIn(result.stdout);
    await expect.poll(() => isAlive(grandchild)).toBe(false);
  });

  it('does not wait for what escaped from it and holds its output open', async () => {
    const started = performance.now();
    const result = await exec('sh', ['-c', 'setsid sleep 60 & echo $!; wait'], { timeoutMs: tooLongMs });
    process.kill(pidIn(result.stdout), 'SIGKILL');
    expect(result).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: true });
    expect(performance.now() - started).toBeLessThan(40_000);
  });

  it('is ended by a signal, also by one that fired before', async () => {
    const abort = new AbortController();
    const mark = join(dir, 'begun');
    const running = exec('sh', ['-c', 'sleep 600 & echo $!; touch "$0"; wait', mark], { signal: abort.signal });
    await waitFor('the program to be at work', 30_000, () => existsSync(mark));
    abort.abort();
    const result = await running;
    expect(result).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: false });
    await expect.poll(() => isAlive(pidIn(result.stdout))).toBe(false);
    expect(await exec('sleep', ['600'], { signal: abort.signal })).toMatchObject({ signal: 'SIGKILL' });
  });

  it('returns with the end of a program that leaves a server behind, and lets that live', async () => {
    const result = await exec('sh', ['-c', 'setsid sleep 60 & echo $!'], { timeoutMs: 50_000, leavesServer: true });
    expect(result).toMatchObject({ code: 0, timedOut: false });
    expect(isAlive(pidIn(result.stdout))).toBe(true);
    process.kill(pidIn(result.stdout), 'SIGKILL');
  });

  it('keeps no more output than the bound', async () => {
    const result = await exec('sh', ['-c', 'head -c 3000000 /dev/zero; echo done >&2'], { outputBytesMax: 1000 });
    expect(result).toMatchObject({ code: 0, truncated: true, stderr: 'done\n' });
    expect(result.stdout).toHaveLength(1000);
  });

  it('says when there is no such program', async () => {
    await expect(exec('/no/such/program', [])).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

/** Never 0, which stands for the processes of this test when a signal is sent there. */
function pidIn(output: string): number {
  expect(output).toMatch(/^[1-9]\d*\n$/);
  return Number(output);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
