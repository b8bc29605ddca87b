import { exitCodes, type ControlError } from '../../protocol/control.ts';

/** What a command fails with: one line, a remedy, an exit code; never a stack trace. */
export class CommandError extends Error {
  readonly code: string;
  readonly remedy: string;
  readonly exitCode: number;

  constructor(error: ControlError) {
    super(error.message);
    this.name = 'CommandError';
    this.code = error.code;
    this.remedy = error.remedy;
    this.exitCode = error.exitCode;
  }
}

/**
 * The operator's view of any error. The agent's OperatorErrors are known by their fields, because tools import no
 * class of the agent; anything else is a fault of mailtwin and gives null.
 */
export function asControlError(error: unknown): ControlError | null {
  if (!(error instanceof Error)) return null;
  const { code, remedy, exitCode } = error as Partial<ControlError>;
  if (typeof code !== 'string' || typeof remedy !== 'string') return null;
  return { code, message: error.message, remedy, exitCode: typeof exitCode === 'number' ? exitCode : exitCodes.failed };
}

/** The form in which a person reads an error. */
export function errorText(error: ControlError): string {
  const remedy = error.remedy === '' ? '' : `\n  what to do: ${error.remedy}`;
  return `mailtwin: ${error.code}: ${error.message}${remedy}`;
}
