import { describe, expect, it } from 'vitest';
import { exec } from '../../agent/platform/exec.ts';

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
    const result = await exec('sh', ['-c', 'sleep 600 & echo $!; wait'], { timeoutMs: 200 });
    expect(result).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: true });
    const grandchild = Number(result.stdout);
    await expect.poll(() => isAlive(grandchild), { timeout: 5000 }).toBe(false);
  });

  it('does not wait for what escaped from it and holds its output open', async () => {
    const started = performance.now();
    const result = await exec('sh', ['-c', 'setsid sleep 30 & echo $!; wait'], { timeoutMs: 200 });
    process.kill(Number(result.stdout), 'SIGKILL');
    expect(result).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: true });
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('is ended by a signal, also by one that fired before', async () => {
    const abort = new AbortController();
    const running = exec('sh', ['-c', 'sleep 600 & echo $!; wait'], { signal: abort.signal });
    setTimeout(() => abort.abort(), 200);
    const result = await running;
    expect(result).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: false });
    await expect.poll(() => isAlive(Number(result.stdout)), { timeout: 5000 }).toBe(false);
    expect(await exec('sleep', ['600'], { signal: abort.signal })).toMatchObject({ signal: 'SIGKILL' });
  });

  it('returns with the end of a program that leaves a server behind, and lets that live', async () => {
    const result = await exec('sh', ['-c', 'setsid sleep 30 & echo $!'], { timeoutMs: 25_000, leavesServer: true });
    expect(result).toMatchObject({ code: 0, timedOut: false });
    expect(isAlive(Number(result.stdout))).toBe(true);
    process.kill(Number(result.stdout), 'SIGKILL');
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
