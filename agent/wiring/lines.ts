import { exitCodes, type StreamLine } from '../../protocol/control.ts';
import { OperatorError } from '../platform/errors.ts';

const linesMax = 5000;

/** Turns work that reports as it goes into a stream of lines; a slow reader loses progress, never results. */
export class Lines {
  static async *of(signal: AbortSignal, work: (push: (line: StreamLine) => void) => Promise<void>): AsyncGenerator<StreamLine> {
    const lines: StreamLine[] = [];
    let wake: (() => void) | null = null;
    let over = false;
    const push = (line: StreamLine) => {
      const last = lines.at(-1);
      if (line.kind === 'progress' && last?.kind === 'progress') lines.pop();
      if (lines.length < linesMax) lines.push(line);
      wake?.();
    };
    work(push)
      .catch((error: unknown) => {
        const known =
          error instanceof OperatorError
            ? error
            : new OperatorError(
                'internal',
                error instanceof Error ? (error.stack ?? error.message) : String(error),
                'report this with the log of the agent',
                exitCodes.failed,
              );
        push({ kind: 'error', code: known.code, message: known.message, remedy: known.remedy, exitCode: known.exitCode });
      })
      .finally(() => {
        over = true;
        wake?.();
      });
    signal.addEventListener('abort', () => wake?.());
    while (!signal.aborted) {
      const line = lines.shift();
      if (line) yield line;
      else if (over) return;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  }
}
