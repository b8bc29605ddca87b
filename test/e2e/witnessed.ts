import { setTimeout as pause } from 'node:timers/promises';
import { servicePassword } from '../lab/appliance.ts';
import type { AppliancePair } from '../lab/appliance-pair.ts';
import { waitFor } from '../lab/waiting.ts';
import { Witness } from '../lab/witness.ts';

const waitMs = 120_000;
/** Letters that must have been accepted, and numbers seen, for the claims to mean something. */
const enough = 100;

/**
 * Does `work` while mail comes and is read at the service address. Afterwards what was accepted is there once, no UID
 * named two messages, and no Dovecot complains; what is not so goes to `problems`.
 *
 * @param pauseMs is the witness's: how hard it presses.
 */
export async function witnessed(
  pair: AppliancePair,
  problems: string[],
  pauseMs: number | undefined,
  work: (witness: Witness) => Promise<void>,
): Promise<{ accepted: number; seen: number }> {
  const witness = new Witness({
    host: pair.address,
    password: servicePassword,
    users: ['anna', 'bert'],
    ...(pauseMs !== undefined && { pauseMs }),
  });
  witness.start();
  try {
    await waitFor('the first mail', waitMs, () => witness.accepted.size > 20 && witness.seen > 20);
    await work(witness);
    await waitFor('mail enough', waitMs, () => witness.accepted.size > enough && witness.seen > enough);
  } finally {
    await witness.stop();
  }
  await pause(500);
  await witness.check();
  problems.push(
    ...witness.problems,
    ...[pair.a, pair.b].flatMap((each) => each.alarmingLogLines().map((line) => `log of mail-${each.name}: ${line}`)),
  );
  return { accepted: witness.accepted.size, seen: witness.seen };
}
