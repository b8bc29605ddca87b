import type { Status } from '../../../protocol/control.ts';
import { asControlError, errorText } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { statusText } from '../status-text.ts';
import { jsonText } from '../json.ts';

const watchIntervalMs = 500;

export async function status(context: Context, flags: CommonOptions & { watch?: boolean }): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const show = (now: Status) => (flags.json ? jsonText(now) : statusText(now, terminal.paint, context.wallMs(), terminal.columns()));
  if (!flags.watch) {
    terminal.print(show(await agent.ask('GET /status', null)));
    return 0;
  }
  const interrupted = terminal.interrupted();
  const redraw = terminal.isTTY && !flags.json;
  let drawnLines = 0;
  while (!interrupted.aborted) {
    let text: string;
    try {
      text = show(await agent.ask('GET /status', null));
    } catch (error) {
      // An agent that restarts comes back: that is what somebody watches for.
      const known = asControlError(error);
      if (!known) throw error;
      text = flags.json ? jsonText({ error: known }) : errorText(known);
    }
    if (!redraw) terminal.print(text);
    else {
      // Up to where the last picture began, then each line wiped as it is written: nothing flickers.
      const up = drawnLines > 0 ? `\u001b[${drawnLines}A\r` : '';
      const lines = text.split('\n').map((line) => cut(line, terminal.columns()));
      terminal.write(`${up}${lines.map((line) => `\u001b[K${line}\n`).join('')}\u001b[J`);
      drawnLines = lines.length;
    }
    await context.sleep(watchIntervalMs, interrupted);
  }
  return 0;
}

/** Cuts a line to what fits, because a wrapped line would break the redrawing; colour codes take no room. */
export function cut(line: string, columns: number): string {
  let shown = 0;
  let text = '';
  for (const [part] of line.matchAll(/\u001b\[[0-9;]*m|[^]/gu)) {
    if (part.startsWith('\u001b')) text += part;
    else if (shown < columns - 1) {
      text += part;
      shown++;
    }
  }
  return text;
}
