import { exitCodes, type StreamLine } from '../../../protocol/control.ts';
import type { PutBackAnswer, PutBackAsk } from '../../../protocol/put-back.ts';
import type { Operator } from '../../../protocol/takeover.ts';
import type { Config } from '../../config/config.ts';
import type { MailboxMarks } from '../../mailstore/format.ts';
import { OperatorError } from '../../platform/errors.ts';
import { joinPath } from '../../platform/files.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';
import type { PeerAsks } from '../peer-asks.ts';
import { clearRaised, raisedText, raiseRoots } from '../takeover/raise.ts';

export interface KeepRequest {
  /** This node's name, typed or `--confirm`. */
  confirm: string;
  /** A person says that the mail server of this node, which the agent does not run, is stopped. */
  serverStopped: boolean;
  by: Operator;
}

export interface KeepParts {
  node: Node;
  config: Config;
  appliance: Appliance;
  asks: PeerAsks<PutBackAsk, PutBackAnswer>;
  audit: (what: string, facts: Record<string, unknown>, by: Operator) => Promise<void>;
}

const answerMs = 60_000;

/**
 * A person goes on with the state that this primary's store was put back to (I21). The numbers of all mailboxes are
 * raised above what the standby knows of, with the mail server down, so that no UID names a second message (I5); only then
 * the standby's newer mail is undone there, where it goes to history.
 */
export async function keepThisStore(
  { node, config, appliance, asks, audit }: KeepParts,
  request: KeepRequest,
  push: (line: StreamLine) => void,
  signal: AbortSignal,
): Promise<void> {
  const sender = node.running.primary?.sender;
  const found = sender?.putBack.found;
  if (!sender || !found)
    throw new OperatorError(
      'not-put-back',
      node.role === 'primary' ? 'the store of this node is no older state than its standby knows' : `this node is ${node.role}`,
      'see `mailtwin status` on both nodes: the command is for a primary that says put-back',
      exitCodes.refused,
    );
  if (request.confirm !== config.node)
    throw new OperatorError(
      'wrong-name',
      `this node is called ${config.node}, not ${JSON.stringify(request.confirm)}`,
      `type ${config.node}, or give --confirm ${config.node}`,
      exitCodes.refused,
    );
  const { services } = appliance;
  if (!services.configured && !request.serverStopped)
    throw new OperatorError(
      'server-runs',
      'the agent does not run the mail server of this node, and its numbers can only be raised while it is stopped',
      'stop the mail server, give --server-stopped, and start it again afterwards',
      exitCodes.refused,
    );
  const known = await marksOfStandby(asks, config.takeover.uidMarginMin, signal);
  await audit('keep-this-store', { ...sender.putBack.surplus, standby: found.peer }, request.by);
  const wasServing = services.configured && node.serving;
  if (services.configured) await services.stop();
  try {
    const reports = await raiseRoots(
      config,
      (root, mailbox) => known.marks.get(joinPath(root, mailbox)) ?? null,
      (root, mailbox) => {
        // What the standby told of a mailbox has its margin already.
        const margin = known.marks.has(joinPath(root, mailbox)) ? 0 : known.margin;
        return { uids: margin, modseqs: margin };
      },
    );
    const raised = raisedText(reports, config.takeover.uidMarginMin);
    await mark(asks);
    await sender.keepThisState();
    push({
      kind: 'done',
      summary: `${config.node} goes on with the state that it has: ${raised}. What the standby has more goes to its history: \`mailtwin salvage\` there shows it, \`mailtwin salvage --apply\` brings it back as new messages`,
      exitCode: exitCodes.done,
      facts: { mailboxes: reports.length, skipped: reports.filter(({ skipped }) => skipped !== null).length },
    });
  } finally {
    if (wasServing) await services.start();
  }
  await clearRaised(config);
}

/** Before anything is undone the standby knows that it is. */
async function mark(asks: KeepParts['asks']): Promise<void> {
  const answer = await asks.ask({ ask: 'undo' }, answerMs);
  if (answer === null)
    throw new OperatorError(
      'disconnected',
      'the standby does not answer any more',
      'see `mailtwin status` for why, then run the command again: numbers were raised, and nothing was undone',
    );
  if (answer.answer === 'refused') throw new OperatorError(answer.code, `the standby: ${answer.text}`, answer.remedy);
}

async function marksOfStandby(
  asks: KeepParts['asks'],
  marginMin: number,
  signal: AbortSignal,
): Promise<{ marks: Map<string, MailboxMarks>; margin: number }> {
  const marks = new Map<string, MailboxMarks>();
  let after: string | null = '';
  let margin = marginMin;
  while (after !== null) {
    const answer: PutBackAnswer | null = signal.aborted ? null : await asks.ask({ ask: 'marks', after, marginMin }, answerMs);
    if (answer === null)
      throw new OperatorError(
        'disconnected',
        'the standby does not answer, and only it knows which numbers were given',
        'see `mailtwin status` for why, then run the command again: nothing was changed',
      );
    if (answer.answer === 'refused') throw new OperatorError(answer.code, `the standby: ${answer.text}`, answer.remedy);
    if (answer.answer !== 'marks') throw new Error(`the standby answered ${answer.answer} to marks`);
    for (const [root, mailbox, uidValidity, uidNext, highestModseq] of answer.items)
      marks.set(joinPath(root, mailbox), { uidValidity, uidNext, highestModseq });
    after = answer.next;
    margin = answer.margin;
  }
  return { marks, margin };
}
