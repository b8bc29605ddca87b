import { exitCodes, type DoctorFinding, type Status } from '../../../protocol/control.ts';
import { asControlError } from '../command-error.ts';
import type { NicsReport } from '../../../protocol/nics.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { plural, printable } from '../format.ts';
import type { Paint } from '../paint.ts';
import { jsonText } from '../json.ts';

export async function doctor(context: Context, flags: CommonOptions): Promise<number> {
  const { terminal } = context;
  const agent = await context.loadAgent();
  const findings: DoctorFinding[] = [];
  const status = await orNull(async () => (await agentOf(context, flags.config)).ask('GET /status', null));
  for await (const finding of agent.doctor(flags.config, status, await nicsOf(context, flags.config, status))) {
    findings.push(finding);
    if (!flags.json) terminal.print(findingText(finding, terminal.paint));
  }
  const fails = findings.filter((finding) => finding.level === 'fail').length;
  const warns = findings.filter((finding) => finding.level === 'warn').length;
  if (flags.json) terminal.print(jsonText({ findings, fails, warns }));
  else terminal.print(`\n${plural(findings.length, 'check')}: ${plural(fails, 'failure')}, ${plural(warns, 'warning')}`);
  return fails > 0 ? exitCodes.failed : exitCodes.done;
}

/** The segments as the running agent asks them; only it knows what it does with the ports meanwhile. */
export function nicsOf(context: Context, configFile: string, status: Status | null): Promise<NicsReport | null> {
  if (!status?.appliance) return Promise.resolve(null);
  return orNull(async () => (await agentOf(context, configFile)).ask('GET /nics', null));
}

/** Null when no agent answers, or the configuration cannot be read: the doctor then says so itself. */
async function orNull<T>(question: () => Promise<T>): Promise<T | null> {
  try {
    return await question();
  } catch (error) {
    if (asControlError(error)) return null;
    throw error;
  }
}

export function findingText(finding: DoctorFinding, paint: Paint): string {
  const mark = { pass: paint.good('pass'), warn: paint.warn('warn'), fail: paint.bad('fail') }[finding.level];
  const lines = [`${mark}  ${finding.id.padEnd(20)} ${printable(finding.summary)}`];
  if (finding.level !== 'pass') {
    if (finding.evidence !== '') lines.push(`      ${paint.dim(`evidence: ${printable(finding.evidence)}`)}`);
    if (finding.remedy !== '') lines.push(`      what to do: ${printable(finding.remedy)}`);
  }
  return lines.join('\n');
}
