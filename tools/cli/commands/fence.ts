import type { LevelReading } from '../../../protocol/control.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { printable } from '../format.ts';
import type { Paint } from '../paint.ts';
import { jsonText } from '../json.ts';

export async function fenceTest(context: Context, flags: CommonOptions): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const outcome = await follow(context, 'fence test', agent.stream('POST /fence/test', {}), { quiet: flags.json === true, unit: 'levels' });
  const readings = outcome.facts['readings'] as LevelReading[];
  if (flags.json) {
    terminal.print(jsonText({ summary: outcome.summary, readings, exitCode: outcome.exitCode }));
    return outcome.exitCode;
  }
  for (const reading of readings) terminal.print(readingText(reading, terminal.paint));
  const summary = printable(outcome.summary);
  terminal.print(`\n${outcome.exitCode === 0 ? terminal.paint.good(summary) : terminal.paint.bad(summary)}`);
  return outcome.exitCode;
}

export function readingText({ level, name, state, evidence, ms, error }: LevelReading, paint: Paint): string {
  const shown = { on: paint.good('on     '), off: paint.warn('off    '), unknown: error ? paint.bad('unknown') : paint.dim('later  ') }[
    state
  ];
  const first = `${level}  ${shown}  ${printable(name)}  ${paint.dim(`${(ms / 1000).toFixed(1)} s`)}`;
  const why = error ? `${error.code}: ${error.detail}` : evidence;
  return why === '' ? first : `${first}\n            ${printable(why)}`;
}
