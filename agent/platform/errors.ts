/**
 * A mistake or a circumstance that an operator can mend: shown as one line with its remedy, never as a stack trace.
 */
export class OperatorError extends Error {
  /** Stable, kebab-case, for scripts and the runbook. */
  readonly code: string;
  /** What to do next. */
  readonly remedy: string;
  /** Exit code of the command line (protocol/control.ts). */
  readonly exitCode: number;

  constructor(code: string, message: string, remedy: string, exitCode = 1) {
    super(message);
    this.name = 'OperatorError';
    this.code = code;
    this.remedy = remedy;
    this.exitCode = exitCode;
  }
}
