import type { AgentEntry } from '../../protocol/control.ts';
import type { Context } from '../../tools/cli/context.ts';
import { paintFor } from '../../tools/cli/paint.ts';
import { runCommandLine } from '../../tools/cli/program.ts';
import type { Terminal } from '../../tools/cli/terminal.ts';

export interface Ran {
  code: number;
  out: string;
  err: string;
}

/** A terminal that keeps what is written. */
export function recordingTerminal(change: Partial<Terminal> = {}): Terminal & { out: string[]; err: string[]; interrupt(): void } {
  const out: string[] = [];
  const err: string[] = [];
  const controller = new AbortController();
  return {
    out,
    err,
    interrupt: () => controller.abort(),
    print: (text) => void out.push(`${text}\n`),
    complain: (text) => void err.push(`${text}\n`),
    write: (text) => void out.push(text),
    isTTY: false,
    columns: () => 100,
    paint: paintFor(false, {}),
    ask: async () => null,
    tell: async () => null,
    interrupted: () => controller.signal,
    ...change,
  };
}

/** Runs one command line against an agent entry; what is not given must not be called. */
export async function runCli(
  args: string[],
  agent: Partial<AgentEntry>,
  change: Partial<Terminal> = {},
  more: Partial<Context> = {},
): Promise<Ran> {
  const terminal = recordingTerminal(change);
  const context: Context = {
    terminal,
    loadAgent: async () => agent as AgentEntry,
    wallMs: () => Date.parse('2026-01-02T03:04:05.000Z'),
    monotonicMs: () => performance.now(),
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) {
          resolve();
          return;
        }
        const timer = setTimeout(resolve, Math.min(ms, 10));
        signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
      }),
    ...more,
  };
  const code = await runCommandLine(args, context, '1.2.3');
  return { code, out: terminal.out.join(''), err: terminal.err.join('') };
}
