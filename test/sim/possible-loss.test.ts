import { describe, expect, it } from 'vitest';
import { GuardedPair, message } from './guarded-pair.ts';

describe('possible loss (I22)', () => {
  it('is all that is there before the copy is complete, then only what is on its way', async () => {
    const pair = new GuardedPair(3, false);
    pair.makeMailbox('/mail/u1', 200);
    pair.makeMailbox('/mail/u2', 100);
    for (let i = 0; i < 50; i++) pair.server.writeFile(`/plain/${i}`, 'x'.repeat(100));
    await pair.rest(3000);
    expect(pair.primary.sender.filled).toBe(false);
    const before = pair.primary.loss();
    expect(before.messages).toBe(300);
    expect(before.mailboxes).toBeGreaterThanOrEqual(2);
    expect(before.bytes).toBeGreaterThan(5000);
    pair.connect();
    const seen: number[] = [];
    await pair.clock.runWhile(() => {
      const { messages } = pair.primary.loss();
      if (!pair.primary.sender.filled && pair.primary.sender.phase === 'initial') seen.push(messages ?? -1);
      return !pair.primary.sender.filled;
    }, 60_000);
    expect(await pair.wait()).toBeNull();
    await pair.rest(1000);
    expect(pair.primary.loss()).toMatchObject({ changes: 0, messages: 0, mailboxes: 0, bytes: 0 });
    pair.cut();
    await pair.rest(1000);
    pair.server.writeFile(`/mail/u1/new/${message(900)}`, 'a letter');
    pair.server.writeFile(`/mail/u2/new/${message(901)}`, 'a letter');
    await pair.rest(2000);
    expect(pair.primary.loss()).toMatchObject({ changes: 2, messages: 2, mailboxes: 2, bytes: 16 });
    expect(pair.primary.loss().ms).toBeGreaterThan(1000);
  });

  it('of what nobody can look into is not known, and counts what is in doubt', async () => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/u1', 20);
    expect(await pair.wait()).toBeNull();
    await pair.rest(2000);
    pair.primary.unproven.add('mail', `u1/cur/${message(3)}:2,S`, 'cannot be read');
    await pair.rest(1000);
    expect(pair.primary.loss()).toMatchObject({ changes: 1, messages: 1, mailboxes: 1 });
    pair.primary.unproven.add('mail', 'u1', 'cannot be watched');
    await pair.rest(1000);
    expect(pair.primary.loss()).toMatchObject({ messages: null, mailboxes: null, bytes: null });
    for (const path of ['u1', `u1/cur/${message(3)}:2,S`]) pair.primary.unproven.prove('mail', path);
    pair.primary.holds.hold({ root: 'mail', path: 'u1', code: 'left-out', detail: '', remedy: '', sinceMs: 0 });
    await pair.rest(1000);
    expect(pair.primary.loss().messages).toBeNull();
  });

  it('is no file whose content is there and that lacks attributes alone, also while these are tried again', async () => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/u1', 20);
    expect(await pair.wait()).toBeNull();
    await pair.rest(2000);
    const { unproven } = pair.primary;
    const at = (n: number) => `u1/cur/${message(n)}:2,S`;
    unproven.add('mail', at(3), 'no such owner', 'attributes');
    unproven.add('mail', at(4), 'it has 4000 extended attributes', 'bounds');
    unproven.add('mail', 'u1', 'no such owner', 'attributes');
    await pair.rest(1000);
    expect(pair.primary.loss()).toMatchObject({ changes: 0, messages: 0, mailboxes: 0, bytes: 0 });
    expect([unproven.count, unproven.ofAttributes]).toEqual([3, 3]);
    pair.cut();
    await pair.rest(60_000);
    expect(pair.primary.loss()).toMatchObject({ messages: 0, mailboxes: 0, bytes: 0 });
    unproven.add('mail', at(5), 'cannot be had', 'place');
    await pair.rest(1000);
    expect(pair.primary.loss()).toMatchObject({ messages: 1, mailboxes: 1 });
  });

  it('counts a held deletion', async () => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/u1', 200);
    expect(await pair.wait()).toBeNull();
    for (let n = 1; n < 150; n++) pair.server.unlink(`/mail/u1/cur/${message(n)}:2,S`);
    pair.list('/mail/u1', 150, 201);
    await pair.rest(5000);
    expect(pair.held).toHaveLength(1);
    expect(pair.primary.loss()).toMatchObject({ changes: 1, messages: 0, mailboxes: 1 });
  });
});
