import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { realProcesses } from '../../agent/platform/processes.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-processes-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('a process of this host', () => {
  it('is seen at work, stopped with a signal that waits for it, and ended', async () => {
    // A name as awkward as the kernel lets it be.
    const program = join(dir, 'a) S (b');
    copyFileSync('/bin/sleep', program);
    const child = spawn(program, ['300']);
    const exit = once(child, 'exit');
    const pid = child.pid ?? expect.unreachable();
    await expect.poll(() => [realProcesses.program(pid), realProcesses.state(pid)]).toEqual([program, 'waits']);
    expect(realProcesses.children(process.pid)).toContain(pid);
    realProcesses.signal(pid, 'SIGSTOP');
    await expect.poll(() => realProcesses.state(pid)).toBe('stopped');
    expect(realProcesses.isPending(pid, 'SIGTERM')).toBe(false);
    realProcesses.signal(pid, 'SIGTERM');
    expect([realProcesses.isPending(pid, 'SIGTERM'), realProcesses.state(pid)]).toEqual([true, 'stopped']);
    // As with a package that is upgraded while its program runs.
    rmSync(program);
    expect(realProcesses.program(pid)).toBe(program);
    realProcesses.signal(pid, 'SIGCONT');
    expect(await exit).toEqual([null, 'SIGTERM']);
    expect([realProcesses.program(pid), realProcesses.state(pid), realProcesses.children(pid)]).toEqual([null, 'ended', []]);
    realProcesses.signal(pid, 'SIGTERM');
  });

  it('has ended, too, when nobody has waited for it', async () => {
    // The shell becomes a program that never asks for its child.
    const parent = spawn('/bin/sh', ['-c', 'sleep 0 & exec sleep 300']);
    const pid = parent.pid ?? expect.unreachable();
    await expect.poll(() => realProcesses.children(pid).map((child) => realProcesses.state(child))).toEqual(['ended']);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  });
});
