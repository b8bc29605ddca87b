import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { tables } from '../../agent/journal/keys.ts';
import type { MailstoreFormat } from '../../agent/mailstore/format.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import type { Message } from '../../protocol/messages.ts';
import { historyOptions, type Breakage } from './history-options.ts';
import { runHistory } from './pair.ts';

/** The first seed from `first` on, of `count`, in which the checks notice the breakage, and what they say. */
async function firstCaught(first: number, count: number, breakage: Breakage): Promise<{ seed: number; violations: string[] } | null> {
  for (let seed = first; seed < first + count; seed++) {
    const { violations } = await runHistory(seed, historyOptions(seed), breakage);
    if (violations.length > 0) return { seed, violations };
  }
  return null;
}

/** Says that it is durable before it is: the acknowledgement goes out too early. */
function acknowledgesEarly(kv: Kv): Kv {
  return {
    ...kv,
    flushed: () => {
      void kv.flushed();
      return Promise.resolve();
    },
  };
}

/** Knows of no batch that may have to be done again after a crash. */
function forgetsRedo(kv: Kv): Kv {
  return { ...kv, get: (key) => (key.length === 1 && key[0] === tables.redo ? undefined : kv.get(key)) };
}

/** Does not hold what names messages against the messages that are there: a uidlist goes ahead of its data. */
function closesNothing(format: MailstoreFormat): MailstoreFormat {
  return Object.assign(Object.create(format) as MailstoreFormat, { namedMessages: () => [] });
}

/** What a standby makes of corrupted content when it does not hold it against its SHA-256: the two agree. */
function looksProven(message: Message): Message {
  if (message.type !== 'ops') return message;
  const ops = message.ops.map((op) =>
    op.op === 'put' && 'bytes' in op ? { ...op, content: createHash('sha256').update(op.bytes).digest() } : op,
  );
  return { ...message, ops };
}

// Each begins at a seed that is known to show it; `SIM_BROKEN=1` searches from the first one on.
const fromStart = process.env['SIM_BROKEN'] !== undefined;
const breakages: { what: string; seed: number; sign: RegExp; breakage: Breakage }[] = [
  {
    what: 'the acknowledgement goes out before the commit is durable (I1)',
    seed: 24,
    sign: /I1|trees at rest/,
    breakage: { standbyKv: acknowledgesEarly },
  },
  { what: 'a uidlist goes ahead of the messages that it names (I6)', seed: 31, sign: /I6/, breakage: { primaryFormat: closesNothing } },
  { what: 'content is not held against its SHA-256 (I8)', seed: 34, sign: /body|I7|trees at rest/, breakage: { corrupted: looksProven } },
  { what: 'a batch is not done again after a crash (I6)', seed: 1, sign: /I1|I6|trees at rest/, breakage: { standbyKv: forgetsRedo } },
];

describe('broken on purpose, the simulation notices within 1,000 histories when', () => {
  it.each(breakages)('$what', async ({ what, seed, sign, breakage }) => {
    const caught = await firstCaught(fromStart ? 1 : seed, 1000, breakage);
    console.log(`${what}: seed ${caught?.seed}: ${caught?.violations[0]?.slice(0, 200)}`);
    expect(caught?.violations.some((line) => sign.test(line))).toBe(true);
  });
});
