import { describe, expect, it } from 'vitest';
import type { Status } from '../../protocol/control.ts';
import { digestOf } from '../../agent/observe/notices/digest.ts';
import { readiness } from '../../agent/observe/readiness.ts';
import { verdictOf } from '../../agent/replicate/verdict.ts';
import { sampleStatus } from './control-fixture.ts';

const base = sampleStatus();
const replication = (change: Partial<Status['replication']>): Partial<Status> => ({ replication: { ...base.replication, ...change } });
const incomplete: Partial<Status> = {
  ...replication({ phase: 'initial', fill: { filesDone: 127, filesTotal: 1000, bytesDone: 1, bytesTotal: null } }),
  possibleLoss: { ...base.possibleLoss, complete: false },
};
const place = { root: 'mail', path: 'u1', code: 'mass-delete', detail: 'held', remedy: 'allow-delete', seconds: 5 };
const warning = { code: 'clock-skew', text: 'clocks differ', remedy: 'NTP' };

describe('the verdict (I22)', () => {
  it.each<[string, Partial<Status>, string, string]>([
    ['all is well', {}, 'good', 'well'],
    ['fenced', { role: 'fenced' }, 'bad', 'fenced'],
    ['unpaired', { pair: null }, 'bad', 'unpaired'],
    ['peer lost', { peer: { ...base.peer, connected: false } }, 'bad', 'peer-lost'],
    ['sending held', replication({ held: { code: 'no-space', detail: '' } }), 'bad', 'held'],
    ['comparing', replication({ phase: 'comparing' }), 'warn', 'comparing'],
    ['not complete', incomplete, 'warn', 'incomplete'],
    ['a deletion held', replication({ heldPlaces: [place] }), 'bad', 'held-places'],
    ['in doubt', replication({ unproven: [{ root: 'mail', path: 'u1', reason: 'x' }] }), 'warn', 'in-doubt'],
    ['left out', { warnings: [{ ...warning, code: 'left-out' }] }, 'warn', 'left-out'],
    ['a warning', { warnings: [warning] }, 'warn', 'attention'],
  ])('%s', (_what, change, level, code) => {
    expect(verdictOf(sampleStatus(change))).toMatchObject({ level, code });
  });

  it('does not let a lacking owner look like lost mail', () => {
    const doubts = (doubtsOfAttributes: number) => verdictOf(sampleStatus(replication({ doubtCount: 3, doubtsOfAttributes }))).text;
    expect(doubts(3)).toBe('3 places are in doubt for attributes alone');
    expect(doubts(2)).toBe('3 places are in doubt');
  });

  it('is never good, nowhere, before the copy is complete', () => {
    for (const role of ['primary', 'standby'] as const) {
      const status = sampleStatus({ ...incomplete, role, warnings: [] });
      expect(status.verdict).toMatchObject({ level: 'warn', text: 'the copy is not complete (12 %)', percent: 12 });
      expect(digestOf({ status, services: null, fence: null, findings: null, told: 0 })).toMatchObject({
        isWell: false,
        headline: 'the copy is not complete (12 %)',
      });
      expect(readiness(status).verdict.level).toBe('warn');
    }
    expect(readiness(sampleStatus({ ...incomplete, role: 'standby' }))).toMatchObject({ ready: false, reasons: [{ code: 'incomplete' }] });
    const almost = { ...incomplete, ...replication({ fill: { filesDone: 1000, filesTotal: 1000, bytesDone: 1, bytesTotal: null } }) };
    expect(verdictOf(sampleStatus(almost)).percent).toBe(99);
    expect(verdictOf(sampleStatus({ ...incomplete, ...replication({ fill: null }) })).text).toBe('the copy is not complete');
  });
});
