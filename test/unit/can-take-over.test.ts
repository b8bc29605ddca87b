import { describe, expect, it } from 'vitest';
import type { CanTakeOver, Status } from '../../protocol/control.ts';
import type { GuardName, GuardResult } from '../../protocol/takeover.ts';
import { canTakeOver, replacedCannot } from '../../agent/failover/can-take-over.ts';
import { createMetrics } from '../../agent/observe/metrics.ts';
import { look, nothingPending } from '../../agent/observe/notices/watch.ts';
import { statusText } from '../../tools/cli/status-text.ts';
import { paintFor } from '../../tools/cli/paint.ts';
import { sampleStatus } from './control-fixture.ts';

const at = '2026-01-02T03:04:00.000Z';
const nowMs = Date.parse('2026-01-02T03:04:05.000Z');
const result = (guard: GuardName, level: GuardResult['level']): GuardResult => ({
  guard,
  level,
  summary: `${guard} says ${level}`,
  evidence: 'seen',
  remedy: level === 'pass' ? '' : `mend ${guard}`,
  overridable: true,
});
const no = canTakeOver('failover', [result('isolation', 'fail'), result('role', 'pass'), result('disk-space', 'fail')], at);

const standby = (answer: CanTakeOver | null, change: Partial<Status> = {}) =>
  sampleStatus({ role: 'standby', active: false, canTakeOver: answer, ...change });

describe('whether a node can take over now: one answer', () => {
  it('is yes when no guard fails, and names the way; warnings are no reason', () => {
    const results = [result('role', 'pass'), result('predicted-loss', 'warn')];
    expect(canTakeOver('failover', results, at)).toMatchObject({ can: true, reasons: [] });
    expect(canTakeOver('failover', results, at).text).toMatch(/^yes, .*mailtwin failover --dry-run/);
    expect(canTakeOver('switchover', results, at).text).toBe('yes, by `mailtwin switchover`');
  });

  it('is no because of each guard that fails, with what to do', () => {
    expect(no).toMatchObject({ can: false, text: 'no: isolation says fail, and 1 more' });
    expect(no.reasons.map(({ guard, remedy }) => [guard, remedy])).toEqual([
      ['isolation', 'mend isolation'],
      ['disk-space', 'mend disk-space'],
    ]);
  });

  it('is no on a node that was replaced', () => {
    expect(replacedCannot(at)).toMatchObject({ can: false, text: 'no: this node was replaced' });
  });

  it('is what status, verdict, metrics and notices say', async () => {
    const shown = statusText(standby(no), paintFor(false, {}), nowMs, 200);
    expect(shown).toContain('no: isolation says fail, and 1 more');
    expect(shown).toContain('disk-space: disk-space says fail; what to do: mend disk-space');
    expect(standby(no).verdict).toMatchObject({ level: 'warn', code: 'cannot-take-over' });
    expect(standby(canTakeOver('switchover', [], at)).verdict.level).toBe('good');
    const metrics = (status: Status) =>
      createMetrics({ status: () => status, wallMs: () => Date.parse(status.at), processMetrics: false }).render();
    expect(await metrics(standby(no))).toMatch(/^mailtwin_can_take_over 0$/m);
    expect(await metrics(standby(no))).toMatch(/^mailtwin_takeover_check_failing\{guard="isolation"\} 1$/m);
    expect(await metrics(standby(canTakeOver('switchover', [], at)))).toMatch(/^mailtwin_can_take_over 1$/m);
    expect(await metrics(standby(null))).not.toMatch(/^mailtwin_can_take_over /m);
    const reading = { status: standby(no), fence: null, takeover: null, alarms: [] };
    const begun = look(null, nothingPending, reading, { nowMs: 0, graceMs: 1000, freeBytesMin: 1 });
    const told = look(begun.memory, begun.pending, reading, { nowMs: 2000, graceMs: 1000, freeBytesMin: 1 });
    expect(told.notices).toMatchObject([{ code: 'cannot-take-over', level: 'bad', remedy: 'mend isolation; mend disk-space' }]);
  });

  it('is told of a fill by the fill itself', () => {
    const status = standby(no, { possibleLoss: { ...sampleStatus().possibleLoss, complete: false } });
    const reading = { status, fence: null, takeover: null, alarms: [] };
    const begun = look(null, nothingPending, reading, { nowMs: 0, graceMs: 1000, freeBytesMin: 1 });
    expect(look(begun.memory, begun.pending, reading, { nowMs: 2000, graceMs: 1000, freeBytesMin: 1 }).notices).toEqual([]);
  });
});
