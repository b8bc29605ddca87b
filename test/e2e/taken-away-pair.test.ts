import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { Pinger } from '../lab/pinger.ts';
import { LabProcess, runNow } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';

const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
/** The kernel's word is answered within a second where nothing else runs; without it the next look is up to a minute away. */
const outageMsMax = 5000;
const waitMs = 60_000;
/** The first ten rounds of announcements look by themselves. */
const slowAfterMs = 17_000;

test.skipIf(process.getuid?.() !== 0)(
  'the node that serves has its address back at once, the standby never takes one, before and after a switchover (I3)',
  async () => {
    await using pair = new AppliancePair({ base });
    await pair.start();
    const { a, b } = pair;
    const watch = (node: Appliance) => new LabProcess('ip', ['-o', 'monitor', 'address'], { namespace: node.namespace });
    const ip = (node: Appliance, ...args: string[]) => runNow('ip', ['-n', node.namespace, ...args]);
    const adds = (watcher: LabProcess) =>
      watcher.output.split('\n').filter((line) => line.includes(`${pair.address}/`) && !line.startsWith('Deleted'));
    const pinger = new Pinger(pair.address);
    const goes = async (node: Appliance) => {
      const since = Date.now();
      ip(node, 'address', 'delete', `${pair.address}/24`, 'dev', 'eth0');
      await waitFor('the address to be back', waitMs, () => node.held().length === 1);
      await pinger.answers(waitMs);
      const outageMs = Math.round(pinger.longestOutage(since));
      console.log(`mail-${node.name}: without answer for ${outageMs} ms`);
      expect(outageMs).toBeLessThan(outageMsMax);
    };
    try {
      await pinger.answers(waitMs);
      const onStandby = watch(b);
      await pause(slowAfterMs);
      await goes(a);
      // Whatever happens to the standby's port, it takes nothing.
      ip(b, 'link', 'set', 'eth0', 'down');
      ip(b, 'link', 'set', 'eth0', 'up');
      await goes(a);
      await pair.settled(a);
      expect(adds(onStandby)).toEqual([]);
      await onStandby.stop();

      const switched = await b.agent.cli(['switchover', '--confirm', 'mail-a'], { mayFail: true, timeoutMs: 120_000 });
      expect([switched.code, switched.stderr]).toEqual([0, '']);
      const onOldPrimary = watch(a);
      await pair.settled(b);
      await pause(slowAfterMs);
      await goes(b);
      ip(a, 'link', 'set', 'eth0', 'down');
      ip(a, 'link', 'set', 'eth0', 'up');
      await pause(3000);
      expect([a.held(), adds(onOldPrimary)]).toEqual([[], []]);
      await onOldPrimary.stop();
      await waitFor(
        'no alarm to stand',
        waitMs,
        async () => !(await b.agent.status()).warnings.some(({ code }) => code.startsWith('address-')),
      );
    } finally {
      await pinger.stop();
    }
  },
);
