import { expect, it } from 'vitest';
import { judgeServed, type CopiedInbox } from '../../agent/services/served-inbox.ts';

const disk: CopiedInbox = { path: '/var/vmail/u/Maildir', root: 'mail', uidValidity: 17, uidNext: 2401, messages: 2400 };
const served = { uidValidity: 17, uidNext: 2401, messages: 2400 };

it('what a client sees is the copy, also while letters come', () => {
  expect(judgeServed(served, disk, disk)).toMatchObject({ ok: true, evidence: expect.stringContaining('2400 messages') as string });
  const later = { ...disk, uidNext: 2404, messages: 2403 };
  expect(judgeServed({ ...served, messages: 2402, uidNext: 2403 }, disk, later).ok).toBe(true);
  // A mailbox that nobody opened before gets its UIDVALIDITY now.
  expect(judgeServed(served, { ...disk, uidValidity: null, uidNext: null }, disk).ok).toBe(true);
  expect(judgeServed({ ...served, messages: 0 }, { ...disk, messages: 0 }, { ...disk, messages: 0 }).ok).toBe(true);
});

it.each([
  [
    'every INBOX empty under a new UIDVALIDITY',
    { uidValidity: 99, uidNext: 1, messages: 0 },
    disk,
    /UIDVALIDITY 17 there and 99.*2400 messages there and 0/,
  ],
  ['numbers that fell behind', { ...served, uidNext: 12 }, disk, /UIDNEXT 2401 there and 12/],
  ['most of the messages missing', { ...served, messages: 30 }, disk, /2400 messages there and 30/],
  ['one message of one missing', { ...served, messages: 0 }, { ...disk, messages: 1 }, /1 messages there and 0/],
  ['a place outside of the roots', served, { path: '/var/mail/u', root: null }, /\/var\/mail\/u, outside of all roots/],
])('%s is not the copy', (_what, seen, there, evidence) => {
  expect(judgeServed(seen, there, there)).toMatchObject({ ok: false, evidence: expect.stringMatching(evidence) as string });
});
