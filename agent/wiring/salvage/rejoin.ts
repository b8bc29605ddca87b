import { exitCodes, type RejoinBody, type StreamLine } from '../../../protocol/control.ts';
import { mayWait, queueText, type QueueReading } from '../../../protocol/queue.ts';
import type { Operator } from '../../../protocol/takeover.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { Appliance } from '../appliance.ts';
import { judged, refuseFailing, type Judged } from '../checks.ts';
import type { Node } from '../node.ts';
import type { Salvage } from './salvage.ts';

export type RejoinRequest = RejoinBody;

export interface RejoinParts {
  node: Node;
  name: string;
  appliance: Appliance;
  salvage: Salvage;
  /** Mail that waits in the MTA's queue here; null when no queue is watched. */
  queue: () => QueueReading | null;
  audit: (what: string, facts: Record<string, unknown>, by: Operator) => Promise<void>;
}

const answerMs = 30_000;

/**
 * Makes a node that was replaced the standby (I16): only when the active node has what only this one had, and nothing
 * runs here. What differs is then replaced by a comparison, and what it replaces goes to history (I15).
 */
export async function rejoin(
  parts: RejoinParts,
  request: RejoinRequest,
  push: (line: StreamLine) => void,
  signal: AbortSignal,
): Promise<void> {
  const { node, name, salvage, audit } = parts;
  const before = [...salvage.checks(), await down(parts.appliance)];
  refuseFailing(before, push);
  if (request.judge) {
    // Nothing changes, and the person is told before being asked.
    const { missing } = await salvage.run(false, request.by, push, signal);
    refuseFailing([...before, salvaged(missing, request)], push);
    push({ kind: 'done', summary: 'nothing stands in the way', exitCode: exitCodes.done, facts: { missing } });
    return;
  }
  if (request.confirm !== name)
    throw new OperatorError(
      'wrong-name',
      `this node is called ${name}, not ${JSON.stringify(request.confirm)}`,
      `type ${name}, or give --confirm ${name}`,
      exitCodes.refused,
    );
  const counts = await salvage.run(request.salvage, request.by, push, signal);
  refuseFailing([...before, salvaged(counts.missing, { ...request, salvage: false })], push);
  await audit('rejoin', { ...counts, unsalvaged: request.unsalvaged && counts.missing > 0 }, request.by);
  const answer = await node.keeper.ask({ is: 'rejoin' }, answerMs);
  if (!answer.ok) throw new OperatorError(answer.code, answer.text, answer.remedy);
  await node.turned();
  push({
    kind: 'done',
    summary: `${name} is a standby now; the comparison with the active node runs: mailtwin status --watch${waiting(name, parts.queue())}`,
    exitCode: exitCodes.done,
    facts: { ...counts },
  });
}

/** Salvage looks at the mail store alone. */
function waiting(name: string, queue: QueueReading | null): string {
  return queue === null || !mayWait(queue)
    ? ''
    : `; ${queueText(name, queue)}, and nobody delivers them while ${name} is a standby: the runbook says how to bring them to the active node`;
}

async function down({ services, network }: Appliance): Promise<Judged> {
  const state = services.configured ? (await services.state()).state : 'stopped';
  const held = network.configured ? await network.held() : [];
  if (state === 'stopped' && held.length === 0)
    return judged('down', '', 'pass', { summary: 'this node runs no mail service and holds no service address' });
  return judged('down', 'not-down', 'fail', {
    summary: `this node is not down: its services are ${state}${held.length > 0 ? `, and it holds ${held.join(', ')}` : ''}`,
    remedy: 'stop the services and remove the service addresses by hand',
  });
}

/** Whether something that only this node has would be replaced unseen. */
function salvaged(missing: number, { salvage, unsalvaged }: Pick<RejoinRequest, 'salvage' | 'unsalvaged'>): Judged {
  const check = 'salvaged';
  if (missing === 0) return judged(check, '', 'pass', { summary: 'nothing is only here' });
  const what = `${missing} ${missing === 1 ? 'message or file is' : 'messages and files are'} only here`;
  if (salvage) return judged(check, '', 'warn', { summary: `${what}: brought to the active node first` });
  if (unsalvaged) return judged(check, '', 'warn', { summary: `${what} (overridden): they go to history` });
  return judged(check, 'unsalvaged', 'fail', {
    summary: what,
    remedy: 'run `mailtwin salvage --apply`, or give --salvage; overridden, they go to history when the active node does not have them',
    override: '--override unsalvaged',
  });
}
