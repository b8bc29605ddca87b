import { describe, expect, it } from 'vitest';
import { SeenNumbers } from '../../agent/replicate/primary/seen-numbers.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

type Mark = [root: string, mailbox: string, uidValidity: number, uidNext: number, modseq: number];

/** Twenty users with an INBOX and a folder each, as they were seen last. */
const seen: Mark[] = Array.from({ length: 20 }, (_, i) => [`example.com/u${i}`, `example.com/u${i}/.Sent`]).flatMap((boxes) =>
  boxes.map((mailbox): Mark => ['mail', mailbox, 7, 100, 1]),
);

function numbers(): SeenNumbers {
  const clock = new SimClock();
  const kept = new SeenNumbers(new SimKvStore(() => 1).open(clock.host(0)));
  kept.see(seen);
  return kept;
}

/** What is there now: these mailboxes, from the next UID on that is given. */
const now = (change: Record<string, number>, uidValidity = 7): Mark[] =>
  seen.map(([root, mailbox, validity, uidNext, modseq]) =>
    change[mailbox] === undefined ? [root, mailbox, validity, uidNext, modseq] : [root, mailbox, uidValidity, change[mailbox], modseq],
  );

describe('numbers of mailboxes that fell (I21)', () => {
  it('are none when they rose, when a mailbox is new, made anew or gone', () => {
    expect(numbers().fallen(now({ 'example.com/u1': 120 }))).toBeNull();
    expect(numbers().fallen(now({ 'example.com/u1': 3 }, 8))).toBeNull();
    expect(numbers().fallen([...seen.slice(4), ['mail', 'example.com/new', 7, 1, 1]])).toBeNull();
  });

  it('are a restored user when one or two have them, with all folders', () => {
    const fallen = numbers().fallen(now({ 'example.com/u1': 50, 'example.com/u1/.Sent': 60, 'example.com/u2': 70 }));
    expect(fallen).toMatchObject({ mailboxes: 3, users: 2, isPutBack: false });
    expect(fallen?.examples[0]).toBe('mail/example.com/u1 (the next UID was 100 and is 50)');
  });

  it('are a volume that was put back when three users have them, or more than half of all', () => {
    expect(numbers().fallen(now({ 'example.com/u1': 50, 'example.com/u2': 60, 'example.com/u3/.Sent': 99 }))).toMatchObject({
      isPutBack: true,
    });
    const one = new SeenNumbers(new SimKvStore(() => 1).open(new SimClock().host(0)));
    one.see([['mail', 'u', 7, 100, 1]]);
    expect(one.fallen([['mail', 'u', 7, 99, 1]])).toMatchObject({ users: 1, isPutBack: true });
  });

  it('are kept as they are now once they were told, so that restored users do not add up over months', () => {
    const kept = numbers();
    expect(kept.see(now({ 'example.com/u1': 50 }))).toEqual(['mail/example.com/u1 (the next UID was 100 and is 50)']);
    expect(kept.fallen(now({ 'example.com/u1': 50 }))).toBeNull();
  });
});
