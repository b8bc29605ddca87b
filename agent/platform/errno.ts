import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/**
 * Names that this system's C library has for its errors, as Node and koffi give them. libuv knows some that Node's
 * constants lack, such as EREMOTEIO; its names for failed look-ups of hosts are none of the system's.
 */
const names: ReadonlySet<string> = new Set([
  ...Object.keys(constants.errno),
  ...[...getSystemErrorMap().values()].map(([name]) => name).filter((name) => !/^(?:EAI_|EOF$|ECHARSET$)/.test(name)),
]);

/**
 * The errno name of an error of the operating system, or undefined for anything else.
 *
 * Only what the system itself said counts: errors of ours and of Node carry a `code`, too (`bad-message`,
 * `ERR_OUT_OF_RANGE`), and none of them is a fault of a file. A number that has no name here stays an errno: `errno 117`.
 */
export function errnoCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (typeof code !== 'string') return undefined;
  if (names.has(code)) return code;
  const number = /^(?:errno |Unknown system error -)(\d+)$/.exec(code)?.[1];
  return number === undefined ? undefined : `errno ${number}`;
}
