import type { ServicesConfig } from '../../config/takeover-sections/services.ts';
import type { Exec } from '../../platform/exec.ts';
import type { QueuePlace } from './count-queue.ts';

/** Which queues are watched; none with the reason. */
export type QueuePlaces = { is: 'places'; places: QueuePlace[] } | { is: 'none'; why: string };

const askMs = 5000;
const postfixDefault = '/var/spool/postfix';
const eximDefault = '/var/spool/exim4';

/**
 * The queues of this node: those that `services.queue` names; with `auto` those of the MTA among `services.units`. Each MTA is asked
 * where its queue lies; one that does not answer has it where Debian puts it.
 */
export async function queuePlaces(services: Pick<ServicesConfig, 'queue' | 'units'> | null, exec: Exec): Promise<QueuePlaces> {
  if (services === null) return { is: 'none', why: 'the configuration has no section `services`' };
  const { queue, units } = services;
  if (queue === 'none') return { is: 'none', why: '`services.queue` is none' };
  if (queue !== 'auto') return { is: 'places', places: queue };
  const places: QueuePlace[] = [];
  if (units.some((unit) => /^postfix(@.*)?\.service$/.test(unit))) places.push(...(await postfixQueues(exec)));
  if (units.some((unit) => /^exim4?\.service$/.test(unit))) places.push(await eximSpool(exec));
  return places.length > 0
    ? { is: 'places', places }
    : { is: 'none', why: '`services.units` names neither Postfix nor Exim, and `services.queue` names no directory' };
}

/** Each instance of Postfix has a queue of its own; without several, `postmulti` knows the one. */
async function postfixQueues(exec: Exec): Promise<QueuePlace[]> {
  const calls: [string, string[]][] = [
    ['postmulti', ['-x', 'postconf', '-h', 'queue_directory']],
    ['postconf', ['-h', 'queue_directory']],
  ];
  for (const [program, args] of calls) {
    const dirs = [...new Set((await linesOf(exec, program, args)).filter(isPath))];
    if (dirs.length > 0) return dirs.slice(0, 8).map((dir) => ({ mta: 'postfix', dir, told: true }));
  }
  return [{ mta: 'postfix', dir: postfixDefault }];
}

async function eximSpool(exec: Exec): Promise<QueuePlace> {
  for (const program of ['exim4', 'exim']) {
    const lines = await linesOf(exec, program, ['-bP', 'spool_directory']);
    const dir = lines.map((line) => line.replace(/^spool_directory\s*=\s*/, '')).find(isPath);
    if (dir !== undefined) return { mta: 'exim', dir, told: true };
  }
  return { mta: 'exim', dir: eximDefault };
}

/** Empty when the program is missing or fails. */
async function linesOf(exec: Exec, program: string, args: string[]): Promise<string[]> {
  const ran = await exec(program, args, { timeoutMs: askMs }).catch(() => null);
  return ran?.code === 0 ? ran.stdout.split('\n').map((line) => line.trim()) : [];
}

const isPath = (text: string) => text.startsWith('/');
