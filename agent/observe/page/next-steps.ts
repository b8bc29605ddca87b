import type { DoctorFinding, Status } from '../../../protocol/control.ts';
import type { TakeoverLast } from '../../../protocol/takeover.ts';

/** What a person should do next, the most urgent first. Pure. */
export interface NextStep {
  level: 'bad' | 'warn';
  /** What the page has a headline for; the text says it anyway. */
  code: string;
  text: string;
  /** Words in `backticks` are commands. */
  remedy: string;
}

export interface NextFacts {
  status: Status;
  takeover: TakeoverLast;
  findings: readonly DoctorFinding[];
  ways: readonly { way: string; waiting: number; lastError: string | null }[];
}

const stepsMax = 20;
/** Told in words of their own, or by the agent's warning of the same name. */
const toldByStatus = new Set(['warnings', 'peer', 'held', 'unproven', 'clock-skew', 'agent', 'verify']);
const urgent = new Set([
  'mass-delete',
  'no-space',
  'root-missing',
  'root-changed',
  'stuck',
  'not-down',
  'rival',
  'activation-failed',
  'address-conflict',
]);

export function nextSteps({ status, takeover, findings, ways }: NextFacts): NextStep[] {
  const { node, role, peer, warnings, lastVerify } = status;
  const other = peer.node ?? 'the other node';
  const steps: NextStep[] = [];
  const add = (level: NextStep['level'], code: string, text: string, remedy: string) => void steps.push({ level, code, text, remedy });
  if (takeover.unfinished)
    add(
      'bad',
      'unfinished',
      `The ${takeover.unfinished.kind} of this node did not come to its end.`,
      `run \`mailtwin ${takeover.unfinished.kind}\` on ${node} again: it continues or rolls back, and says which`,
    );
  if (role === 'fenced')
    add(
      'bad',
      'fenced',
      `${other} has taken over; ${node} stays down.`,
      `\`mailtwin rejoin\` on ${node}, when it may come back as the standby`,
    );
  if (status.pair !== null && !peer.connected && role === 'standby')
    add(
      'bad',
      'peer-lost-standby',
      `${other} is not connected${since(peer.lastHeardAt)}${peer.lastError ? ` (${peer.lastError})` : ''}.`,
      `see whether ${other} is really gone. If it is: open the failover checklist, and \`mailtwin failover --dry-run\` on ${node}. If it lives: mend its network or agent`,
    );
  if (status.pair !== null && !peer.connected && role === 'primary')
    add(
      'bad',
      'peer-lost-primary',
      `${other} is not connected${since(peer.lastHeardAt)}${peer.lastError ? `: ${peer.lastError}` : ''}. Mail is served; what arrives now exists on ${node} alone.`,
      `\`mailtwin status\` and \`mailtwin doctor\` on ${other}`,
    );
  for (const { code, text, remedy } of warnings)
    if (code !== 'peer-lost' && !(code === 'fenced' && role === 'fenced')) add(urgent.has(code) ? 'bad' : 'warn', code, text, remedy);
  if (lastVerify && lastVerify.result !== 'clean')
    add(
      'bad',
      'verify',
      lastVerify.result === 'different'
        ? `The last comparison found ${lastVerify.differences} differences.`
        : 'The last comparison did not come to its end.',
      'run `mailtwin verify` on the primary; what differs is sent anew',
    );
  for (const { level, id, summary, evidence, remedy } of findings)
    if (level !== 'pass' && !toldByStatus.has(id))
      add(level === 'fail' ? 'bad' : 'warn', `doctor-${id}`, evidence === '' ? summary : `${summary} (${evidence})`, remedy);
  if (lastVerify === null && role === 'primary' && peer.connected && status.replication.phase === 'streaming')
    add('warn', 'verify', 'It was never proven that both nodes hold the same.', 'run `mailtwin verify` on the primary');
  for (const { way, waiting, lastError } of ways)
    if (lastError !== null)
      add('warn', 'notices', `${waiting} letters wait for ${way}: ${lastError}`, 'mend what is named, then `mailtwin notify test`');
  return steps.toSorted((a, b) => Number(b.level === 'bad') - Number(a.level === 'bad')).slice(0, stepsMax);
}

function since(at: string | null): string {
  return at === null ? ', and was never heard since the agent started' : `, last heard ${at}`;
}
