import { exitCodes, type StreamLine } from '../../../protocol/control.ts';
import type { Operator } from '../../../protocol/takeover.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';
import type { Salvage } from './salvage.ts';

export interface RejoinRequest {
  /** This node's name, typed or `--confirm`. */
  confirm: string;
  /** Bring the lost tail back first. */
  salvage: boolean;
  /** Go on although something of it is not brought back. */
  unsalvaged: boolean;
  by: Operator;
}

export interface RejoinParts {
  node: Node;
  name: string;
  appliance: Appliance;
  salvage: Salvage;
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
  const { node, name, appliance, salvage, audit } = parts;
  salvage.check();
  if (request.confirm !== name)
    throw new OperatorError(
      'wrong-name',
      `this node is called ${name}, not ${JSON.stringify(request.confirm)}`,
      `type ${name}, or give --confirm ${name}`,
      exitCodes.refused,
    );
  const services = appliance.services.configured ? (await appliance.services.state()).state : 'stopped';
  const held = appliance.network.configured ? await appliance.network.held() : [];
  if (services !== 'stopped' || held.length > 0)
    throw new OperatorError(
      'not-down',
      `this node is not down: its services are ${services}${held.length > 0 ? `, and it holds ${held.join(', ')}` : ''}`,
      'stop the services and remove the service addresses by hand',
      exitCodes.refused,
    );
  const counts = await salvage.run(request.salvage, request.by, push, signal);
  if (counts.missing > 0 && !request.unsalvaged)
    throw new OperatorError(
      'unsalvaged',
      `${counts.missing} ${counts.missing === 1 ? 'message or file is' : 'messages and files are'} only here`,
      'run `mailtwin salvage --apply`, or give --salvage; or --override unsalvaged: they then go to history when the active node does not have them',
      exitCodes.refused,
    );
  await audit('rejoin', { ...counts, unsalvaged: request.unsalvaged && counts.missing > 0 }, request.by);
  const answer = await node.keeper.ask({ is: 'rejoin' }, answerMs);
  if (!answer.ok) throw new OperatorError(answer.code, answer.text, answer.remedy);
  await node.turned();
  push({
    kind: 'done',
    summary: `${name} is a standby now; the comparison with the active node runs: mailtwin status --watch`,
    exitCode: exitCodes.done,
    facts: { ...counts },
  });
}
