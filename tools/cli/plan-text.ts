import type { CheckResult } from '../../protocol/control.ts';
import { mayWait, queueText } from '../../protocol/queue.ts';
import type { GuardResult, Plan, PredictedLoss } from '../../protocol/takeover.ts';
import { printable } from './format.ts';
import type { Paint } from './paint.ts';

/** A plan for people: what was checked, what would be lost, what would be done in which order. */
export function planText(plan: Plan, paint: Paint): string {
  const lines = [
    paint.bold(`${plan.kind} of ${plan.target} to ${plan.node}, epoch ${plan.epoch}`),
    '',
    ...plan.guards.map((guard) => guardText(guard, plan.overrides.includes(guard.guard), paint)),
    '',
    `predicted loss   ${lossText(plan.predictedLoss)}`,
    ...queueLines(plan),
    '',
    ...plan.steps.map(
      ({ title, where, rollback, pointOfNoReturn }, i) =>
        `${String(i + 1).padStart(2)}  ${printable(title)}  ${paint.dim(`[${where}; ${rollbackText[rollback]}]`)}${
          pointOfNoReturn ? `\n    ${paint.warn('--- from here on only forward ---')}` : ''
        }`,
    ),
  ];
  return lines.join('\n');
}

/** What forbids a takeover first, each with the way around it, if there is one; then everything else that was checked. */
export function refusalText(plan: Plan, failed: readonly GuardResult[], paint: Paint): string {
  // What is offered must help: beside a check that cannot be overridden no override does.
  const isFinal = failed.some(({ overridable }) => !overridable);
  const lines = failed.map((result) => {
    const way = !result.overridable ? 'this check cannot be overridden' : isFinal ? '' : `if you know better: --override ${result.guard}`;
    return `${guardText(result, false, paint)}${way === '' ? '' : `\n      ${paint.warn(way)}`}`;
  });
  const rest = plan.guards.filter((result) => !failed.includes(result));
  return [
    paint.bold(`${plan.kind} of ${plan.target} to ${plan.node}`),
    '',
    ...lines,
    '',
    ...rest.map((result) => guardText(result, plan.overrides.includes(result.guard), paint)),
  ].join('\n');
}

/** A check of a command that is refused; `offers`: the option that overrides it, where that helps. */
export function checkText({ check, level, summary, evidence, remedy, override }: CheckResult, offers: string | null, paint: Paint): string {
  const mark = { pass: paint.good('pass'), warn: paint.warn('warn'), fail: paint.bad('fail') }[level];
  const way =
    level !== 'fail' ? '' : override === null ? 'this check cannot be overridden' : offers === null ? '' : `if you know better: ${offers}`;
  return [
    `${mark}  ${check.padEnd(20)} ${printable(summary)}`,
    ...[evidence && `evidence: ${evidence}`, remedy && `what to do: ${remedy}`]
      .filter((text) => text !== '')
      .map((text) => `      ${paint.dim(printable(text))}`),
    ...(way === '' ? [] : [`      ${paint.warn(way)}`]),
  ].join('\n');
}

const rollbackText = { undo: 'undone on failure', none: 'changes nothing that stays', forward: 'goes on until it is done' } as const;

export function guardText({ guard, level, summary, evidence, remedy }: GuardResult, overridden: boolean, paint: Paint): string {
  const mark = { pass: paint.good('pass'), warn: paint.warn('warn'), fail: paint.bad('fail') }[level];
  const first = `${mark}  ${guard.padEnd(20)} ${printable(summary)}${overridden && level === 'fail' ? paint.warn('  (overridden)') : ''}`;
  const more = [evidence && `evidence: ${evidence}`, level === 'pass' ? '' : remedy && `what to do: ${remedy}`].filter(
    (text) => text !== '',
  );
  return [first, ...more.map((text) => `      ${paint.dim(printable(text))}`)].join('\n');
}

function queueLines(plan: Plan): string[] {
  const waiting = waitingText(plan);
  return waiting === null ? [] : [`not replicated   ${printable(waiting)}`];
}

/** What waits in the queue of the node that goes out of service; null when nothing does, as far as is known. */
export function waitingText({ target, predictedLoss: { queue } }: Plan): string | null {
  return queue === undefined || !mayWait(queue)
    ? null
    : `${queueText(target, queue)}: they are on its disk, and are delivered when its MTA runs again`;
}

/** The predicted loss in one line. */
export function lossText({ messages, mailboxes, seconds, changes }: PredictedLoss): string {
  const say = (count: number | null, what: string) => `${count ?? 'an unknown number of'} ${what}`;
  const unheard = seconds === null ? 'what it took for an unknown time' : `what it took in at most ${Math.ceil(seconds)} s unheard`;
  return `${say(messages, 'messages')} in ${say(mailboxes, 'mailboxes')} and ${say(changes, 'changes')} known to be missing, and ${unheard}`;
}
