import { sleep } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { parseIp } from '../platform/ip-address.ts';
import type { Alarms } from './alarms.ts';
import { ask, silenceMs, type Question } from './asking.ts';
import { readDevices } from './ip-facts.ts';
import type { NetworkContext } from './parts.ts';
import { ownMacs } from './proving.ts';
import { TakingAgain } from './taking-again.ts';
import { announceHeld } from './taking.ts';
import { watchChanges } from './watching.ts';

const fastRounds = 10;
const fastMs = 1000;
const slowMs = 60_000;
const alarmCodes = ['address-conflict', 'address-missing', 'address-flapping'] as const;

/**
 * See NetworkControl.announce. At any moment `isTaken` says whether this node has taken the addresses, and `may` whether it
 * may take them again.
 */
export async function announceUntil(
  context: NetworkContext,
  alarms: Alarms,
  isTaken: () => boolean,
  may: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const failed = new AbortController();
  const over = AbortSignal.any([signal, failed.signal]);
  const isOver = () => over.aborted || !isTaken();
  const takingAgain = new TakingAgain(context, alarms, () => !isOver() && may());
  const works = [watchChanges(context, takingAgain, over), announceRounds(context, alarms, takingAgain, isOver, over)];
  // What fails in a way that nobody foresaw ends both: whoever called begins anew.
  for (const work of works) work.catch(() => failed.abort());
  const ends = await Promise.allSettled(works);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  for (const code of alarmCodes) alarms.keepOnly(code, new Set());
}

async function announceRounds(
  context: NetworkContext,
  alarms: Alarms,
  takingAgain: TakingAgain,
  isOver: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  for (let round = 0; !signal.aborted; round++) {
    if (!isOver()) await oneRound(context, alarms, takingAgain, isOver);
    await sleep(context.clock, round < fastRounds ? fastMs : slowMs, signal);
  }
}

async function oneRound(context: NetworkContext, alarms: Alarms, takingAgain: TakingAgain, isOver: () => boolean): Promise<void> {
  try {
    // Where the kernel's messages cannot be had, this is all that finds what is missing.
    await takingAgain.look();
    if (isOver()) return;
    const devices = await readDevices(context.exec);
    const held = announceHeld(context, devices);
    await lookForOthers(context, alarms, held, ownMacs(devices), isOver);
  } catch (error) {
    // `ip` failed once: the next round tries again, for as long as this node is active.
    if (!(error instanceof OperatorError)) throw error;
    context.log.error({ code: error.code }, `announcing: ${error.message}`);
  }
}

async function lookForOthers(
  context: NetworkContext,
  alarms: Alarms,
  held: readonly { address: string; role: string; device: string }[],
  own: ReadonlySet<string>,
  isOver: () => boolean,
): Promise<void> {
  const questions = held.flatMap(({ address, device }): Question[] => {
    const parsed = parseIp(address);
    return parsed ? [{ address: parsed, device, source: null, waitMs: silenceMs }] : [];
  });
  const answers = await ask(context, questions, own);
  if (isOver()) return;
  const conflicts = held.flatMap((each, i) => {
    const mac = answers[i]?.mac ?? null;
    return mac === null ? [] : [{ ...each, mac }];
  });
  alarms.keepOnly('address-conflict', new Set(conflicts.map(({ address }) => address)));
  for (const { address, role, device, mac } of conflicts)
    alarms.raise({
      code: 'address-conflict',
      role,
      address,
      text: `${mac} answers for service address ${address} of this node as well, seen on ${device}`,
      remedy: 'find that host (it may be the old primary) and take the address from it, or switch it off',
    });
  // Clients may have believed the other one meanwhile.
  if (conflicts.length > 0) announceHeld(context, await readDevices(context.exec));
}
