import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/platform/clock.ts';
import { realProcesses, type Processes } from '../../agent/platform/processes.ts';
import { endHeld, holdDovecot } from '../../agent/services/dovecot-stop.ts';
import { checkRecord } from '../lab/check-record.ts';
import { runLoad } from '../lab/imap-load.ts';
import { createLab, labObstacle } from '../lab/lab.ts';
import { LoadRecord } from '../lab/load-record.ts';
import { releaseObstacle, type Release } from '../lab/release.ts';
import { waitFor } from '../lab/waiting.ts';

const rounds = 4;
const acknowledgedEach = 60;
const releases: Release[] = ['bookworm', 'trixie'];

describe.skipIf(labObstacle() !== null).each(releases)('a Dovecot of %s that is stopped while clients work', (release) => {
  it('has ended what it started before its master looks, and nothing that it confirmed is lost or cut', async ({ skip }) => {
    const obstacle = await releaseObstacle(release);
    if (obstacle !== null) return skip(obstacle);
    await using lab = await createLab({ hosts: 1, mail: { release } });
    const { dovecot } = lab.hosts[0] ?? expect.unreachable();
    const record = new LoadRecord();
    for (let round = 0; round < rounds; round++) {
      await dovecot.start();
      const before = record.acknowledged.length;
      const load = runLoad({ dovecot, seed: `stop ${round}`, seconds: 300, record, serverMayDie: true });
      load.catch(() => {});
      // A login that is half done: only its end makes the login process end.
      const half = connect(dovecot.imap).on('error', () => {});
      const closed = new Promise((resolve) => half.resume().once('close', resolve));
      await waitFor('work', 120_000, () => record.acknowledged.length >= before + acknowledgedEach);
      const master = dovecot.masterPid ?? expect.unreachable();
      let living: string[] | null = null;
      const parts = { processes: watched(master, (names) => (living = names)), clock: systemClock };
      expect(await holdDovecot(master, parts)).toBe(true);
      const ending = endHeld(master, parts, new AbortController().signal);
      await dovecot.stop();
      await ending;
      // With anybody left the master sleeps a second, on each of the rounds; test/bench/takeover.ts measures it.
      expect(living).toEqual([]);
      await Promise.all([load, closed]);
    }
    await dovecot.start();
    expect(await checkRecord(record, dovecot)).toEqual([]);
    // Who was just being started ends by the signal itself, which the master counts among the crashes.
    expect(dovecot.alarmingLogLines().filter((line) => !line.includes('killed with signal 15'))).toEqual([]);
    await dovecot.stop();
  });
});

/** The processes of this host; `onGoingOn` is told who of the master's lives when it is let go on. */
function watched(master: number, onGoingOn: (living: string[]) => void): Processes {
  return {
    ...realProcesses,
    signal(pid, signal) {
      const isAlive = (child: number) => realProcesses.state(child) !== 'ended';
      const nameOf = (child: number) => readFileSync(`/proc/${child}/comm`, 'utf8').trim();
      if (pid === master && signal === 'SIGCONT') onGoingOn(realProcesses.children(pid).filter(isAlive).map(nameOf));
      realProcesses.signal(pid, signal);
    },
  };
}
