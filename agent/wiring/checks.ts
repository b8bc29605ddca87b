import { exitCodes, type CheckResult, type StreamLine } from '../../protocol/control.ts';
import { OperatorError } from '../platform/errors.ts';

/** What is judged before a command changes anything or asks anybody; the code is for the error when it fails. */
export type Judged = CheckResult & { code: string };

type Words = Pick<CheckResult, 'summary'> & Partial<Pick<CheckResult, 'evidence' | 'remedy' | 'override'>>;

export function judged(check: string, code: string, level: CheckResult['level'], words: Words): Judged {
  return { check, code, level, evidence: '', remedy: '', override: null, ...words };
}

/**
 * Ends a command of which a check fails: every check is told, those that fail first, and the error counts them.
 *
 * @throws OperatorError with the code of the first one that fails, exit code 3; nothing when none does.
 */
export function refuseFailing(results: readonly Judged[], push: (line: StreamLine) => void): void {
  const failing = results.filter(({ level }) => level === 'fail');
  const [first] = failing;
  if (!first) return;
  const rest = results.filter((each) => !failing.includes(each));
  // What is offered must help: beside a check that cannot be overridden no override does.
  const isFinal = failing.some(({ override }) => override === null);
  for (const { code: _, ...result } of [...failing, ...rest])
    push({ kind: 'check', result, offers: result.level === 'fail' && !isFinal ? result.override : null });
  const names = failing.map(({ check }) => check).join(', ');
  const count = `${failing.length} of ${results.length} ${results.length === 1 ? 'check' : 'checks'}`;
  throw new OperatorError(
    first.code,
    `REFUSED: ${count} ${failing.length === 1 ? 'fails' : 'fail'}: ${names}. Nothing was changed.`,
    '',
    exitCodes.refused,
  );
}
