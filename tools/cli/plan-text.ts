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

const rollbackText = { undo: 'undone on failure', none: 'changes nothing that stays', forward: 'goes on until it is done' } as const;

export function guardText({ guard, level, summary, evidence, remedy }: GuardResult, overridden: boolean, paint: Paint): string {
  const mark = { pass: paint.good('pass'), warn: paint.warn('warn'), fail: paint.bad('fail') }[level];
  const first = `${mark}  ${guard.padEnd(20)} ${printable(summary)}${overridden && level === 'fail' ? paint.warn('  (overridden)') : ''}`;
  const more = [evidence && `evidence: ${evidence}`, level === 'pass' ? '' : remedy && `what to do: ${remedy}`].filter(
    (text) => text !== '',
  );
  return [first, ...more.map((text) => `      ${paint.dim(printable(text))}`)].join('\n');
}

/** Short enough to be typed again by the person who accepts it. */
export function lossText({ messages, mailboxes, seconds, changes }: PredictedLoss): string {
  const say = (count: number | null, what: string) => `${count ?? 'unknown'} ${what}`;
  return [say(messages, 'messages'), say(mailboxes, 'mailboxes'), say(seconds, 'seconds'), say(changes, 'changes')].join(', ');
}
