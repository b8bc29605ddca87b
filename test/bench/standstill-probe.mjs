import { appendFileSync, openSync, readSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

/*
 * Loaded into an agent that is measured (`node --import`). It comes by every few milliseconds and notes how much later than that the
 * main thread let it: wall clock, gap, and the thread's own time on a processor in that gap, in milliseconds, in the file that
 * MAILTWIN_STANDSTILL_FILE names. So the agent is not
 * measured by what it says of itself, and an older release can be measured as well. Time for which the thread only waited for a
 * processor (proc_pid_schedstat) is left out: that is the machine's, on which other things run too.
 */
const everyMs = 5;
const notedMs = 10;

const file = process.env['MAILTWIN_STANDSTILL_FILE'];
if (isMainThread && file !== undefined && process.argv.includes('run')) {
  const schedstat = openSync('/proc/thread-self/schedstat', 'r');
  const text = Buffer.alloc(100);
  const used = () => {
    const [ran, queued] = text.toString('latin1', 0, readSync(schedstat, text, 0, text.length, 0)).split(' ');
    return { now: performance.now(), ran: Number(ran) / 1e6, queued: Number(queued) / 1e6 };
  };
  let last = used();
  setInterval(() => {
    const next = used();
    const gap = next.now - last.now - everyMs - (next.queued - last.queued);
    const ran = next.ran - last.ran;
    last = next;
    if (gap >= notedMs) appendFileSync(file, `${Date.now()} ${gap.toFixed(1)} ${ran.toFixed(1)}\n`);
  }, everyMs).unref();
}
