import { exitCodes, type StreamLine } from '../../protocol/control.ts';
import type { PortEvent } from '../../protocol/nics.ts';
import type { TailItem } from '../../protocol/salvage.ts';
import { CommandError } from './command-error.ts';
import type { Context } from './context.ts';
import { printable } from './format.ts';
import { ProgressReporter } from './progress.ts';

/** How the work of a stream ended. */
export interface Outcome {
  summary: string;
  exitCode: number;
  facts: Record<string, unknown>;
}

/**
 * Follows a stream of the agent to its end, showing progress unless `quiet`.
 *
 * @throws CommandError of an `error` line.
 */
export async function follow(
  context: Context,
  label: string,
  lines: AsyncIterable<StreamLine>,
  options: {
    quiet: boolean;
    unit: string;
    onDifference?(line: StreamLine & { kind: 'difference' }, reporter: ProgressReporter): void;
    onPort?(event: PortEvent): void;
    onTail?(item: TailItem, reporter: ProgressReporter): void;
    onCheck?(line: StreamLine & { kind: 'check' }, reporter: ProgressReporter): void;
  },
): Promise<Outcome> {
  const reporter = new ProgressReporter(context.terminal, context.monotonicMs);
  try {
    for await (const line of lines) {
      switch (line.kind) {
        case 'progress':
          if (!options.quiet)
            reporter.show({ label, files: { done: line.done, total: line.total }, unit: options.unit, text: printable(line.text) });
          break;
        case 'difference':
          options.onDifference?.(line, reporter);
          break;
        case 'port':
          options.onPort?.(line.event);
          break;
        case 'tail':
          options.onTail?.(line.item, reporter);
          break;
        case 'check':
          options.onCheck?.(line, reporter);
          break;
        case 'guard':
        case 'step':
        case 'note':
          // Of a takeover, which shows its lines itself.
          break;
        case 'done':
          return line;
        case 'error':
          throw new CommandError(line);
      }
    }
  } finally {
    reporter.end(false);
  }
  throw new CommandError({
    code: 'agent-ended',
    message: 'the agent gave no result',
    remedy: 'look at its log and repeat the command',
    exitCode: exitCodes.failed,
  });
}
