import { appendFileSync, openSync, readSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

/*
 * Loaded into an agent that is measured (`node --import`). It comes by every few milliseconds and notes how much later than that the
 * main thread let it: wall clock and gap in milliseconds, in the file that MAILTWIN_STANDSTILL_FILE names. So the agent is not
 * measured by what it says of itself, and an older release can be measured as well. Time for which the thread only waited for a
 * processor (proc_pid_schedstat) is left out: that is the machine's, on which other things run too.
 */
const everyMs = 5;
const notedMs = 10;

const file = process.env['MAILTWIN_STANDSTILL_FILE'];
if (isMainThread && file !== undefined && process.argv.includes('run')) {
  const schedstat = openSync('/proc/thread-self/schedstat', 'r');
  const text = Buffer.alloc(100);
  const queuedMs = () => Number(text.toString('latin1', 0, readSync(schedstat, text, 0, text.length, 0)).split(' ')[1]) / 1e6;
  let last = performance.now();
  let queued = queuedMs();
  setInterval(() => {
    const [now, queuedNow] = [performance.now(), queuedMs()];
    const gap = now - last - everyMs - (queuedNow - queued);
    [last, queued] = [now, queuedNow];
    if (gap >= notedMs) appendFileSync(file, `${Date.now()} ${gap.toFixed(1)}\n`);
  }, everyMs).unref();
}
