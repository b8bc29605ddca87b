import { basename } from 'node:path';
import { sleep, type Clock } from '../platform/clock.ts';
import type { Processes } from '../platform/processes.ts';

/**
 * Ends what a Dovecot that is being stopped has started, so that its master has nothing to wait for.
 *
 * A master that is told to end looks once who of its processes still lives. For any of them it sleeps a whole second, and
 * up to five more when one was just being started (`services_monitor_wait_and_kill` in src/master/service-monitor.c, 2.3
 * and 2.4; 2.3 counts its log, too, so it always sleeps). Only then systemd sends the sessions the SIGTERM that closes them.
 * While clients log in there is always one that lives. So the master is held (SIGSTOP) while its processes end by that same
 * SIGTERM: a session ends its command, closes its mailbox, and says BYE. A held master starts nothing and waits for nobody,
 * so the number of a process cannot become another one's. Then it goes on, finds nobody, and ends.
 *
 * Nothing is killed. Sessions go first, while all that they may need (authentication, dictionaries, statistics) is there;
 * the log goes last, because who cannot write to it ends at once, whatever it was doing.
 */

/** What serves others of Dovecot, in the order in which it ends; everything else ends before. */
const helpers = [['auth', 'dict'], ['stats', 'anvil', 'config'], ['log']];
const programs = new Map(helpers.flatMap((names, i) => names.map((name) => [name, i + 1] as const)));
const logRank = helpers.length;

/** Who has not ended by then is left to the master and systemd. */
export const patienceMs = 1000;
const lookEveryMs = 5;
/** A process is stopped the next time that it gets to a processor. */
const holdMs = 200;
/** A process that was just being started may have lost the signal with its start. */
const againMs = 50;
/** How many looks in a row the log has to wait for more lines. */
const quietLooks = 4;
const sliceOf = 500;

interface Parts {
  processes: Processes;
  clock: Clock;
}

/**
 * Holds a Dovecot's master, with nothing done to its processes yet. False, and nothing done, where the program is no Dovecot.
 * Only of a held process it can be seen that it has been told to end, so this comes before systemd is asked to stop it.
 * `endHeld` has to follow, or systemd's SIGTERM and SIGCONT.
 */
export async function holdDovecot(master: number, { processes, clock }: Parts): Promise<boolean> {
  const program = processes.program(master);
  if (program === null || basename(program) !== 'dovecot') return false;
  processes.signal(master, 'SIGSTOP');
  for (const untilMs = clock.monotonicMs() + holdMs; clock.monotonicMs() < untilMs; await sleep(clock, 1))
    if (processes.state(master) === 'stopped') break;
  return true;
}

/**
 * Ends the processes of a Dovecot that is held, beside the stop that tells its master, and lets the master go on.
 *
 * @param signal the stop is over.
 */
export async function endHeld(master: number, parts: Parts, signal: AbortSignal): Promise<void> {
  const { processes, clock } = parts;
  const untilMs = clock.monotonicMs() + patienceMs;
  const told = new Map<number, number>();
  const isOver = () => signal.aborted || clock.monotonicMs() >= untilMs;
  let allEnded = false;
  try {
    for (let quiet = 0; !isOver(); await sleep(clock, lookEveryMs, signal)) {
      const [rank, last] = lastOf(await living(master, parts));
      allEnded = rank === null;
      if (rank === null) break;
      // Who tells the master may need the helpers for it.
      if (rank > 0 && !processes.isPending(master, 'SIGTERM')) continue;
      if (rank === logRank) {
        quiet = last.every(([pid]) => processes.state(pid) === 'waits') ? quiet + 1 : 0;
        if (quiet < quietLooks) continue;
      }
      tell(last, told, parts);
    }
  } finally {
    processes.signal(master, 'SIGCONT');
  }
  // What it starts before it gets to its own signal.
  for (; allEnded && !isOver() && processes.state(master) !== 'ended'; await sleep(clock, lookEveryMs, signal))
    tell(await living(master, parts), told, parts);
}

/** A process, and its place in the order. */
type Living = [pid: number, rank: number];

/** A large server has thousands: they are looked at in slices, so that the agent does other work between them. */
async function living(master: number, { processes, clock }: Parts): Promise<Living[]> {
  const found: Living[] = [];
  for (const [i, pid] of processes.children(master).entries()) {
    if (i > 0 && i % sliceOf === 0) await clock.yield();
    if (processes.state(pid) !== 'ended') found.push([pid, programs.get(basename(processes.program(pid) ?? '')) ?? 0]);
  }
  return found;
}

/** Those whose turn it is. */
function lastOf(all: readonly Living[]): [rank: number | null, these: Living[]] {
  if (all.length === 0) return [null, []];
  const rank = Math.min(...all.map((each) => each[1]));
  return [rank, all.filter((each) => each[1] === rank)];
}

function tell(these: readonly Living[], told: Map<number, number>, { processes, clock }: Parts): void {
  const now = clock.monotonicMs();
  for (const [pid] of these) {
    if (now - (told.get(pid) ?? -Infinity) < againMs) continue;
    told.set(pid, now);
    processes.signal(pid, 'SIGTERM');
  }
}
