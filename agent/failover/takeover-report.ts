import { exitCodes } from '../../protocol/control.ts';
import { mayWait, queueText } from '../../protocol/queue.ts';
import type { Plan, TakeoverOutcome, TakeoverReport } from '../../protocol/takeover.ts';
import { OperatorError } from '../platform/errors.ts';
import { stateOf, type StepRecord, type TakeoverJournal } from './takeover-journal.ts';

/** How a takeover ends, in words that are true in that moment; pure. */
export interface End {
  outcome: TakeoverOutcome;
  code: string | null;
  summary: string;
  remedy: string;
  /** False: the command goes on with it, or rolls it back, when it is run again. */
  isOver: boolean;
}

const exitCodeOf: Record<TakeoverOutcome, number> = {
  done: exitCodes.done,
  refused: exitCodes.refused,
  'rolled-back': exitCodes.rolledBack,
  incomplete: exitCodes.incomplete,
  failed: exitCodes.failed,
};

export function makeReport(journal: TakeoverJournal, end: End, resumed: TakeoverReport['resumed'], wallMs: number): TakeoverReport {
  const { plan, steps, startedMs } = journal;
  const iso = (ms: number) => new Date(ms).toISOString();
  return {
    id: plan.id,
    kind: plan.kind,
    node: plan.node,
    target: plan.target,
    epoch: plan.epoch,
    outcome: end.outcome,
    exitCode: exitCodeOf[end.outcome],
    startedAt: iso(startedMs),
    endedAt: iso(wallMs),
    code: end.code,
    summary: end.summary,
    remedy: end.remedy,
    resumed,
    steps: steps.map(({ id, state, startedMs: at, ms, evidence, skipped }) => ({
      id,
      state: state === 'done' && skipped === true ? 'skipped' : state,
      startedAt: at === null ? null : iso(at),
      ms,
      evidence,
    })),
    overrides: plan.overrides,
    predictedLoss: plan.predictedLoss,
  };
}

/** `afterwards`: what the mail server of this node has to make anew; null when nothing. */
export function doneEnd({ kind, node, target, epoch, predictedLoss: { queue } }: Plan, afterwards: string | null): End {
  const waiting =
    queue === undefined || !mayWait(queue)
      ? null
      : `${queueText(target, queue)}: they stay on its disk, where nobody delivers them while ${target} is out of service; the runbook says how to bring them here`;
  const rejoin =
    kind === 'switchover' ? null : `before ${target} serves again, run \`mailtwin rejoin\` there: it salvages what only ${target} has`;
  const remedy = [rejoin, afterwards, waiting].filter((text) => text !== null).join('; ');
  return { outcome: 'done', code: null, summary: `${node} is active in epoch ${epoch}`, remedy, isOver: true };
}

/** Past the commit point a step does not succeed. */
export function stuckEnd(journal: TakeoverJournal, step: StepRecord, error: Error): End {
  const { plan } = journal;
  const { code, remedy } = wordsOf(error, '');
  const serves = stateOf(journal, 'services') === 'done';
  const how = serves
    ? `the services of ${plan.node} were started, but nothing proves that they serve`
    : `${plan.node} is to be the primary and does not serve yet`;
  const again = `mend what is named and run \`mailtwin ${plan.kind}\` here again: it goes on with "${step.id}"`;
  return {
    outcome: 'incomplete',
    code,
    summary: `${how}: ${error.message}`,
    remedy: remedy === '' ? again : `${remedy}; ${again}`,
    isOver: false,
  };
}

/** The primary could not be put back into service from here. */
export function notUndoneEnd({ plan }: TakeoverJournal, cause: Error, failure: Error, quiesceMaxMs: number): End {
  const wait = `${plan.target} could not be told; if it lives it serves again by itself within ${Math.round(quiesceMaxMs / 1000)} s`;
  return {
    outcome: 'incomplete',
    code: 'not-undone',
    summary: `${cause.message}. ${wait} (${failure.message})`,
    remedy: `look at ${plan.target}; running the command again rolls back again`,
    isOver: false,
  };
}

/** Given up before the commit point, and everything undone that can be. */
export function givenUpEnd(journal: TakeoverJournal, cause: Error, undone: number): End {
  const { plan } = journal;
  const { code, remedy } = wordsOf(cause, 'see the log of the agent');
  if (stateOf(journal, 'fence') === 'done')
    return {
      outcome: 'incomplete',
      code,
      summary: `${plan.target} was proven off by fencing, and ${plan.node} has not taken over: ${cause.message}`,
      remedy: `${remedy === '' ? '' : `${remedy}; `}then run \`mailtwin failover\` again`,
      isOver: true,
    };
  const refused = cause instanceof OperatorError && cause.exitCode === exitCodes.refused;
  const outcome: TakeoverOutcome = undone > 0 ? 'rolled-back' : refused ? 'refused' : 'failed';
  const how = undone > 0 ? `${plan.target} serves again` : 'nothing was changed';
  return { outcome, code, summary: `${cause.message}; ${how}`, remedy, isOver: true };
}

export function voidEnd(because: string): End {
  return { outcome: 'failed', code: 'void', summary: because, remedy: 'see `mailtwin status` on both nodes', isOver: true };
}

/** `isOver`: a failover takes its place, which proves the other node off, whatever it is. */
export function doubtEnd({ because, remedy }: { because: string; remedy: string }, isOver: boolean): End {
  return { outcome: 'incomplete', code: 'in-doubt', summary: because, remedy, isOver };
}

function wordsOf(error: Error, otherwise: string): { code: string; remedy: string } {
  return error instanceof OperatorError ? error : { code: 'step-failed', remedy: otherwise };
}
