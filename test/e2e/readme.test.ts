import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { readText, top } from '../lab/markdown-files.ts';
import { killPid } from '../lab/processes.ts';
import { TerminalSession } from '../lab/terminal-session.ts';

/** The command lines of a section, each as it is typed; those that end in a backslash are one. */
function linesOf(title: string): string[] {
  const [, section = ''] = readText('README.md').split(`\n## ${title}\n`);
  return (section.split('\n## ')[0] ?? '')
    .replaceAll(/\\\n\s+/g, '')
    .split('\n')
    .filter((line) => /^ {4}\S/.test(line))
    .map((line) => line.trim());
}

/** Where the checkout is seen when /tmp is another one: it may lie there. */
const checkout = '/mnt/checkout';
const mounts = `mount -t tmpfs none /mnt && mkdir ${checkout} && mount --bind "$0" ${checkout} && mount -t tmpfs none /tmp`;

/** A machine's network and /tmp of its own, so that ports and paths of the README are free. */
class OwnMachine implements AsyncDisposable {
  readonly #holder = spawn(
    'unshare',
    ['--net', '--mount', '--', 'sh', '-c', `${mounts} && ip link set lo up && echo ready && exec sleep 1800`, top],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );

  async ready(): Promise<this> {
    await once(this.#holder.stdout, 'data');
    return this;
  }

  /** A shell in the checkout, with the variable that the README sets in each terminal. */
  terminal(): TerminalSession {
    const args = [
      '--target',
      String(this.#holder.pid),
      '--net',
      '--mount',
      '--wd=/',
      'script',
      '-qec',
      'bash --norc --noprofile',
      '/dev/null',
    ];
    const shell = new TerminalSession('nsenter', args, { env: { ...process.env, TERM: 'dumb' } });
    shell.type(`cd ${checkout}; T=/tmp/mt-try`);
    return shell;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#holder.pid === undefined || this.#holder.exitCode !== null) return;
    const ended = once(this.#holder, 'exit');
    killPid(this.#holder.pid);
    await ended;
  }
}

describe.skipIf(process.getuid?.() !== 0)('the README', () => {
  it('makes a pair by the lines of "A pair in five minutes", as they stand', async () => {
    const [install = '', ...lines] = linesOf('A pair in five minutes');
    // Not run: it would build the very files under this and other tests. `npm test` begins with the same two.
    expect(install).toBe('npm ci --ignore-scripts && npm run build');
    const isLong = (line: string) => / (run|pair) /.test(line);
    const [before, long, after] = [
      lines.slice(0, lines.findIndex(isLong)),
      lines.filter(isLong),
      lines.slice(lines.findLastIndex(isLong) + 1),
    ];
    expect([before.length, long.length, after.length]).toEqual([4, 3, 3]);

    await using machine = await new OwnMachine().ready();
    await using shell = machine.terminal();
    const done = async (line: string) => {
      shell.type(`${line}\n echo "ended=$?."`);
      const [, code] = await shell.see(/ended=(\d+)\./);
      expect(code, line).toBe('0');
    };
    for (const line of before) await done(line);

    const [run = '', pair = '', join = ''] = long;
    await using primary = machine.terminal();
    primary.type(run);
    await primary.see(/the agent runs/);
    await using codes = machine.terminal();
    codes.type(pair);
    const [, code = ''] = await codes.see(/code\s+([A-Z0-9]{4}(?:-[A-Z0-9]{4}){3})/);
    await using standby = machine.terminal();
    standby.type(join);
    await standby.see(/Code that/);
    standby.type(code);
    await standby.see(/yes/i);
    standby.type('yes');
    await standby.see(/Paired with mail-a/);
    await codes.see(/paired with mail-b/);
    // `&&`: its agent runs in the same terminal.
    await standby.see(/the agent runs/);

    for (const line of after) await done(line);
    expect(shell.output).toContain('both nodes hold the same');
    expect(shell.output).toMatch(/phase\s+streaming/);
    for (const each of [primary, standby]) {
      each.interrupt();
      await each.see(/# $/);
    }
  });
});
