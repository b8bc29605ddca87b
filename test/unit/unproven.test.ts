import { expect, it } from 'vitest';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';
import { Unproven } from '../../agent/replicate/primary/unproven.ts';

function makeUnproven() {
  const clock = new SimClock();
  const host = clock.host(1_700_000_000_000);
  return { clock, unproven: new Unproven(new SimKvStore(() => 1).open(host), host) };
}

it('a comparison ends no doubt that came, or came again, after it began: it may have passed there before (I10)', () => {
  const { unproven } = makeUnproven();
  unproven.add('mail', 'before', 'hints were lost');
  unproven.add('mail', 'again', 'cannot be read');
  const mark = unproven.mark();
  unproven.add('mail', 'again', 'cannot be read');
  unproven.add('mail', 'after', 'cannot be read');
  unproven.proveBelow('mail', '', mark);
  expect(unproven.list().map(({ path }) => path)).toEqual(['again', 'after']);
  unproven.proveBelow('mail', '', unproven.mark());
  expect(unproven.count).toBe(0);
});

it('a doubt for which more waits than its own place is ended by comparing that, at once when it can be read', () => {
  const { clock, unproven } = makeUnproven();
  unproven.add('mail', 'Box/dovecot-uidlist', 'cannot be read', 'reading', 'Box');
  expect(unproven.due(10)).toEqual([]);
  unproven.prove('mail', 'Box/dovecot-uidlist');
  expect(unproven.count).toBe(1);
  expect(unproven.due(10).map(({ again }) => again)).toEqual(['Box']);
  expect(clock.now).toBe(0);
});

it('tells how many doubts have ended, and in which directories a name cannot be read', () => {
  const { unproven } = makeUnproven();
  unproven.add('mail', 'cur/a', 'cannot be read');
  unproven.add('plain', 'b', 'cannot be read');
  expect([...unproven.dirsWithUnread('mail')]).toEqual(['cur']);
  unproven.prove('mail', 'cur/a');
  expect(unproven.ended).toBe(1);
  expect([...unproven.dirsWithUnread('mail')]).toEqual([]);
});
