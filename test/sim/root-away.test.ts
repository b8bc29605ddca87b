import { describe, expect, it } from 'vitest';
import { GuardedPair, message } from './guarded-pair.ts';

const arrives = async (pair: GuardedPair, path: string): Promise<boolean> => {
  await pair.clock.runWhile(() => pair.read(path) === undefined, 2000);
  return pair.read(path) !== undefined;
};

describe('a root of several that is not there (I19)', () => {
  it.each(['is missing', 'is another one'])('waits alone when it %s: the others go on, and so does it when it is back', async (what) => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/u1', 20);
    for (let i = 0; i < 30; i++) pair.server.writeFile(`/plain/${i}`, `file ${i}`);
    expect(await pair.wait()).toBeNull();
    pair.server.rename('/plain', '/away');
    if (what === 'is another one') {
      // For a moment it is missing.
      await pair.rest(1500);
      pair.server.mkdir('/plain', 0o700);
    }
    await pair.rest(3000);
    pair.server.writeFile(`/mail/u1/new/${message(100)}`, 'a letter');
    expect(await arrives(pair, `/mail/u1/new/${message(100)}`)).toBe(true);
    pair.server.unlink(`/mail/u1/cur/${message(3)}:2,S`);
    pair.list('/mail/u1', 4, 21, [1, 2, 100]);
    await pair.rest(3000);
    expect(pair.names('/mail/u1/cur')).not.toContain(`${message(3)}:2,S`);
    // What is on the standby of the missing root stays, and nothing is said of it.
    expect(pair.names('/plain')).toHaveLength(30);
    expect(pair.primary.sender.held).toBeNull();
    const code = what === 'is missing' ? 'root-missing' : 'root-changed';
    expect(pair.primary.holds.list()).toMatchObject([{ root: 'plain', path: '', code }]);
    expect(await pair.wait(20_000)).toBe('held-place');
    await pair.rest(1000);
    expect(pair.primary.loss().messages).toBeNull();
    if (what === 'is another one') pair.server.rename('/plain', '/other');
    pair.server.writeFile('/away/new', 'came meanwhile');
    pair.server.rename('/away', '/plain');
    await pair.rest(3000);
    expect(pair.primary.holds.count).toBe(0);
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('waits alone also when it is missing at the start, and the fill is not complete without it', async () => {
    const pair = new GuardedPair(3, false);
    pair.makeMailbox('/mail/u1', 20);
    pair.server.writeFile('/plain/1', 'file');
    pair.server.rename('/plain', '/away');
    await pair.rest(2000);
    pair.connect();
    expect(await arrives(pair, '/mail/u1/dovecot-uidlist')).toBe(true);
    await pair.rest(20_000);
    expect([pair.primary.sender.filled, pair.isFilledThere]).toEqual([false, false]);
    pair.server.rename('/away', '/plain');
    expect(await pair.wait()).toBeNull();
    await pair.rest(2000);
    expect([pair.primary.sender.filled, pair.isFilledThere]).toEqual([true, true]);
    expect(pair.differences()).toEqual([]);
  });

  it('holds all when no root is there', async () => {
    const pair = new GuardedPair();
    pair.makeMailbox('/mail/u1', 20);
    expect(await pair.wait()).toBeNull();
    pair.server.rename('/plain', '/away-p');
    await pair.rest(2000);
    pair.server.rename('/mail', '/away-m');
    await pair.rest(2000);
    expect(pair.primary.sender.held?.code).toBe('root-missing');
    expect(await pair.wait(20_000)).toBe('held');
    pair.server.rename('/away-m', '/mail');
    await pair.rest(3000);
    expect(pair.primary.sender.held).toBeNull();
    expect(pair.primary.holds.list()).toMatchObject([{ root: 'plain', path: '', code: 'root-missing' }]);
    pair.server.writeFile(`/mail/u1/new/${message(100)}`, 'a letter');
    expect(await arrives(pair, `/mail/u1/new/${message(100)}`)).toBe(true);
    pair.server.rename('/away-p', '/plain');
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });
});
