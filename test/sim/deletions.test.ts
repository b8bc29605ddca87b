import { describe, expect, it } from 'vitest';
import { GuardedPair, message } from './guarded-pair.ts';

async function filled(prepare: (pair: GuardedPair) => void): Promise<GuardedPair> {
  const pair = new GuardedPair();
  prepare(pair);
  expect(await pair.wait()).toBeNull();
  return pair;
}

const mailboxes = (pair: GuardedPair) => {
  pair.makeMailbox('/mail/u1', 200);
  pair.makeMailbox('/mail/u1/.Archive', 0);
  pair.makeMailbox('/mail/u2', 20);
};
const many = (pair: GuardedPair) => {
  for (let i = 0; i < 200; i++) {
    if (i % 20 === 0) pair.server.mkdir(`/plain/d${i / 20}`, 0o700);
    pair.server.writeFile(`/plain/d${Math.floor(i / 20)}/f${i}`, `content ${i}`);
  }
};
const expunge = (pair: GuardedPair, from: number, to: number) => {
  for (let n = from; n < to; n++) pair.server.unlink(`/mail/u1/cur/${message(n)}:2,S`);
};

describe('what is moved', () => {
  it('to another folder of the same or another user is no deletion, and is never there twice or missing', async () => {
    const pair = await filled(mailboxes);
    for (let n = 1; n <= 120; n++) {
      const to = n % 2 === 0 ? 'u1/.Archive' : 'u2';
      pair.server.rename(`/mail/u1/cur/${message(n)}:2,S`, `/mail/${to}/cur/${message(n)}:2,S`);
      if (n % 30 === 0) await pair.clock.runFor(20);
    }
    pair.list('/mail/u1', 121, 201);
    expect(await pair.wait()).toBeNull();
    expect(pair.held).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('by link and unlink, with the unlink told first, is no deletion', async () => {
    const pair = await filled(mailboxes);
    for (let n = 1; n <= 120; n++) {
      pair.server.link(`/mail/u1/cur/${message(n)}:2,S`, `/mail/u1/.Archive/cur/${message(n + 1000)}:2,S`);
      pair.server.unlink(`/mail/u1/cur/${message(n)}:2,S`);
    }
    pair.list('/mail/u1', 121, 201);
    expect(await pair.wait()).toBeNull();
    expect(pair.held).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('while nobody watched is no deletion', async () => {
    const pair = await filled(mailboxes);
    await pair.restart(() => {
      for (let n = 1; n <= 120; n++) pair.server.rename(`/mail/u1/cur/${message(n)}:2,S`, `/mail/u1/.Archive/cur/${message(n)}:2,S`);
      pair.list('/mail/u1', 121, 201);
    });
    expect(await pair.wait()).toBeNull();
    expect(pair.held).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('by copies of the same content under new names, as dsync writes them, is no deletion', async () => {
    const pair = await filled(mailboxes);
    for (let n = 1; n <= 200; n++) {
      pair.server.writeFile(`/mail/u1/cur/${message(n + 5000)}:2,S`, `message ${n}`);
      pair.server.unlink(`/mail/u1/cur/${message(n)}:2,S`);
    }
    pair.list('/mail/u1', 5001, 5201);
    expect(await pair.wait()).toBeNull();
    expect(pair.held).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('and arrives only after its removal was counted makes room for the next', async () => {
    const pair = await filled(mailboxes);
    for (let from = 1; from < 181; from += 30) {
      expunge(pair, from, from + 30);
      pair.list('/mail/u1', from + 30, 201);
      await pair.rest(2000);
      for (let n = from; n < from + 30; n++) pair.server.writeFile(`/mail/u2/cur/${message(n + 100)}:2,S`, `message ${n}`);
      await pair.rest(2000);
      expect(pair.held).toEqual([]);
    }
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('with its domain is one rename', async () => {
    const pair = await filled((each) => {
      each.server.mkdir('/mail/example.com', 0o700);
      for (let u = 0; u < 5; u++) each.makeMailbox(`/mail/example.com/u${u}`, 40);
    });
    pair.server.rename('/mail/example.com', '/mail/example.net');
    expect(await pair.wait()).toBeNull();
    expect(pair.removed).toEqual([]);
    expect(pair.held).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });

  it('in and removed again is a deletion: its own arrival does not excuse it', async () => {
    const pair = await filled(mailboxes);
    pair.makeMailbox('/mail/u3', 100, 7000);
    expect(await pair.wait()).toBeNull();
    for (let n = 7000; n < 7100; n++) pair.server.unlink(`/mail/u3/cur/${message(n)}:2,S`);
    pair.list('/mail/u3', 0, 0);
    await pair.rest();
    expect(pair.held).toEqual([{ place: 'mail/u3', files: 100 }]);
  });
});

describe('a mass deletion', () => {
  it('is held at its mailbox alone: deliveries and flags go on there and elsewhere, and wait says held', async () => {
    const pair = await filled(mailboxes);
    const uidlist = pair.read('/mail/u1/dovecot-uidlist');
    expunge(pair, 1, 151);
    pair.list('/mail/u1', 151, 201);
    await pair.rest();
    expect(pair.held).toEqual([{ place: 'mail/u1', files: 150 }]);
    expect(pair.primary.holds.list()).toMatchObject([
      {
        code: 'mass-delete',
        path: 'u1',
        detail: expect.stringMatching(
          /150 files is held: 150 of 22\d files of root mail would be lost within 10 minutes \(limit 20 %\)/,
        ) as string,
        remedy: expect.stringContaining('mailtwin allow-delete mail/u1') as string,
      },
    ]);
    expect(pair.primary.sender.held).toBeNull();
    for (const box of ['u1', 'u2']) pair.server.writeFile(`/mail/${box}/new/${message(900)}`, 'a letter');
    pair.list('/mail/u1', 151, 201, [900]);
    pair.server.rename(`/mail/u1/cur/${message(160)}:2,S`, `/mail/u1/cur/${message(160)}:2,FS`);
    await pair.rest(500);
    for (const box of ['u1', 'u2']) expect(pair.names(`/mail/${box}/new`)).toEqual([message(900)]);
    expect(pair.names('/mail/u1/cur')).toContain(`${message(160)}:2,FS`);
    expect(pair.names('/mail/u1/cur')).not.toContain(`${message(160)}:2,S`);
    // What names the messages goes with their removal, or they would come back as new ones.
    expect(pair.read('/mail/u1/dovecot-uidlist')).toBe(uidlist);
    expect(pair.names('/mail/u1/cur')).toHaveLength(200);
    const began = pair.clock.now;
    expect(await pair.wait()).toBe('held');
    expect(pair.clock.now - began).toBeLessThan(5000);
    // Others still delete a letter.
    pair.server.unlink(`/mail/u2/new/${message(900)}`);
    await pair.rest(1000);
    expect(pair.names('/mail/u2/new')).toEqual([]);
    expect(pair.removed).toEqual([message(900)]);
  });

  it('keeps its uidlist on the standby also after a restart, when a letter makes the mailbox be closed again (I6)', async () => {
    const pair = await filled(mailboxes);
    const uidlist = pair.read('/mail/u1/dovecot-uidlist');
    expunge(pair, 1, 151);
    pair.list('/mail/u1', 151, 201);
    await pair.rest();
    await pair.restart();
    await pair.rest(15_000);
    pair.server.writeFile(`/mail/u1/new/${message(900)}`, 'a letter');
    pair.server.append('/mail/u1/dovecot-uidlist', `900 :${message(900)}\n`);
    await pair.rest(3000);
    expect(pair.names('/mail/u1/new')).toEqual([message(900)]);
    expect(pair.read('/mail/u1/dovecot-uidlist')).toBe(uidlist);
    expect(pair.names('/mail/u1/cur')).toHaveLength(200);
    expect(await pair.wait()).toBe('held');
  });

  it('goes when it is allowed, and only that one', async () => {
    const pair = await filled((each) => {
      mailboxes(each);
      many(each);
    });
    expunge(pair, 1, 151);
    pair.list('/mail/u1', 151, 201);
    for (let i = 100; i < 200; i++) pair.server.unlink(`/plain/d${Math.floor(i / 20)}/f${i}`);
    await pair.rest();
    expect(pair.held.map(({ place }) => place)).toContain('plain/d9');
    expect(await pair.allow('mail/u1')).toBe(150);
    await pair.rest();
    expect(pair.names('/mail/u1/cur')).toHaveLength(50);
    expect(pair.held.map(({ place }) => place)).not.toContain('mail/u1');
    expect(await pair.wait()).toBe('held');
    expect(pair.names('/plain/d9')).toHaveLength(20);
    // What was allowed is used up.
    expunge(pair, 151, 201);
    pair.list('/mail/u1', 0, 0);
    await pair.rest(70_000);
    expect(pair.names('/mail/u1/cur')).toHaveLength(50);
    expect(pair.held.map(({ place }) => place)).toContain('mail/u1');
    expect(await pair.allow(...pair.held.map(({ place }) => place))).toBeGreaterThan(100);
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
    // All of it was meant: what somebody deletes a moment later is counted anew.
    for (let i = 0; i < 15; i++) pair.server.unlink(`/plain/d1/f${20 + i}`);
    expect(await pair.wait()).toBeNull();
    expect(pair.held).toEqual([]);
  });

  it('stays in the history for its whole time: what went before it was held, and what was allowed', async () => {
    const pair = await filled(many);
    for (let i = 0; i < 60; i++) {
      pair.server.unlink(`/plain/d${Math.floor(i / 20)}/f${i}`);
      await pair.clock.runFor(10);
    }
    await pair.rest(5000);
    expect(pair.held.map(({ place }) => place)).toEqual(['plain/d2']);
    await pair.allow('plain/d2');
    expect(await pair.wait()).toBeNull();
    expect(pair.keptForGood().filter((path) => path.startsWith('plain/d2/'))).toHaveLength(20);
    // What the guard let go until its limit was reached belongs to the same deletion.
    expect(pair.keptForGood().filter((path) => !path.startsWith('plain/d2/'))).toHaveLength(40);
  });

  it('of a user is held as one place, with the folders inside', async () => {
    const pair = await filled((each) => {
      for (let u = 0; u < 4; u++) {
        each.makeMailbox(`/mail/u${u}`, 30);
        each.makeMailbox(`/mail/u${u}/.Sent`, 30);
      }
    });
    const wipe = (path: string) => {
      for (const { name, kind } of pair.server.readdir(path) ?? []) {
        if (kind === 'dir') wipe(`${path}/${name}`);
        else pair.server.unlink(`${path}/${name}`);
      }
      pair.server.rmdir(path);
    };
    wipe('/mail/u1');
    await pair.rest();
    expect(pair.held).toEqual([{ place: 'mail/u1', files: 60 }]);
    expect(pair.names('/mail/u1/.Sent/cur')).toHaveLength(30);
    expect(await pair.wait()).toBe('held');
    expect(await pair.allow('mail/u1')).toBe(60);
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('stays held over a restart, also when the rest of it would be less than the limit by then', async () => {
    const pair = await filled(many);
    for (let i = 0; i < 60; i++) {
      pair.server.unlink(`/plain/d${Math.floor(i / 20)}/f${i}`);
      await pair.clock.runFor(10);
    }
    await pair.rest(10_000);
    const before = pair.held;
    expect(before.reduce((sum, { files }) => sum + files, 0)).toBeLessThan(40);
    await pair.rest(15 * 60_000);
    await pair.restart();
    await pair.rest(60_000);
    expect(pair.held).toEqual(before);
    expect(await pair.wait()).toBe('held');
    // An allowance outlives one as well.
    await pair.allow(...before.map(({ place }) => place));
    await pair.restart();
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('ends by itself when the files are back', async () => {
    const pair = await filled((each) => {
      mailboxes(each);
      many(each);
    });
    expunge(pair, 1, 151);
    pair.list('/mail/u1', 151, 201);
    for (let i = 100; i < 200; i++) pair.server.unlink(`/plain/d${Math.floor(i / 20)}/f${i}`);
    await pair.rest();
    expect(pair.held.length).toBeGreaterThan(1);
    for (let n = 1; n <= 150; n++) pair.server.writeFile(`/mail/u1/cur/${message(n)}:2,S`, `message ${n}`);
    pair.list('/mail/u1', 1, 201);
    for (let i = 100; i < 200; i++) pair.server.writeFile(`/plain/d${Math.floor(i / 20)}/f${i}`, `content ${i}`);
    await pair.rest(20_000);
    expect(pair.held).toEqual([]);
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('from very many places is held in few', async () => {
    const pair = await filled((each) => {
      for (let d = 0; d < 4; d++) {
        each.server.mkdir(`/plain/${d}`, 0o700);
        for (let e = 0; e < 30; e++) {
          each.server.mkdir(`/plain/${d}/${e}`, 0o700);
          for (let f = 0; f < 3; f++) each.server.writeFile(`/plain/${d}/${e}/${f}`, `${d} ${e} ${f}`);
        }
      }
    });
    for (let d = 0; d < 4; d++) for (let e = 0; e < 30; e++) for (let f = 0; f < 3; f++) pair.server.unlink(`/plain/${d}/${e}/${f}`);
    await pair.rest(30_000);
    expect(pair.held.length).toBeLessThanOrEqual(32);
    expect(pair.held.reduce((sum, { files }) => sum + files, 0)).toBeGreaterThan(250);
    expect(await pair.wait()).toBe('held');
    await pair.allow(...pair.held.map(({ place }) => place));
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });
});

describe('a rewrite of most of a root', () => {
  it('in place is held as a deletion is; appended and new files go on', async () => {
    const pair = await filled(many);
    for (let i = 0; i < 200; i++) pair.server.writeFile(`/plain/d${Math.floor(i / 20)}/f${i}`, `encrypted ${i}`);
    await pair.rest(10_000);
    expect(pair.held.reduce((sum, { files }) => sum + files, 0)).toBeGreaterThan(100);
    const kept = Array.from({ length: 200 }, (_, i) => pair.read(`/plain/d${Math.floor(i / 20)}/f${i}`)).filter((text) =>
      text?.startsWith('content'),
    );
    expect(kept.length).toBeGreaterThanOrEqual(150);
    pair.server.writeFile('/plain/d9/new', 'new');
    await pair.rest(1000);
    expect(pair.read('/plain/d9/new')).toBe('new');
    expect(await pair.wait()).toBe('held');
    // Put back from a backup: the hold ends.
    for (let i = 0; i < 200; i++) pair.server.writeFile(`/plain/d${Math.floor(i / 20)}/f${i}`, `content ${i}`);
    await pair.rest(20_000);
    expect(pair.held).toEqual([]);
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('of messages under their names is held, too', async () => {
    const pair = await filled(mailboxes);
    for (let n = 1; n <= 200; n++) pair.replace(`/mail/u1/cur/${message(n)}:2,S`, `encrypted ${n}`);
    await pair.rest();
    expect(pair.held.map(({ place }) => place)).toEqual(['mail/u1']);
    pair.server.writeFile(`/mail/u1/new/${message(900)}`, 'a letter');
    await pair.rest(1000);
    expect(pair.names('/mail/u1/new')).toEqual([message(900)]);
    expect(await pair.allow('mail/u1')).toBeGreaterThan(150);
    expect(await pair.wait()).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('by new names and removal of the old ones is held at the removal', async () => {
    const pair = await filled(many);
    await pair.rest();
    for (let i = 0; i < 200; i++) {
      pair.server.writeFile(`/plain/d${Math.floor(i / 20)}/f${i}.enc`, `encrypted ${i}`);
      pair.server.unlink(`/plain/d${Math.floor(i / 20)}/f${i}`);
    }
    await pair.rest();
    const kept = Array.from({ length: 200 }, (_, i) => pair.read(`/plain/d${Math.floor(i / 20)}/f${i}`)).filter(Boolean);
    expect(kept.length).toBeGreaterThanOrEqual(160);
    expect(await pair.wait()).toBe('held');
  });

  it('is not what logs do: appended, rotated by rename, and the same small files again and again', async () => {
    const pair = await filled((each) => {
      many(each);
      for (let i = 0; i < 100; i++) each.server.writeFile(`/plain/log${i}`, 'a line\n'.repeat(20));
    });
    for (let i = 0; i < 100; i++) {
      pair.server.append(`/plain/log${i}`, 'one more\n');
      if (i % 2 === 0) {
        pair.server.rename(`/plain/log${i}`, `/plain/log${i}.1`);
        pair.server.writeFile(`/plain/log${i}`, 'begun\n');
      }
    }
    for (let times = 0; times < 20; times++) {
      for (let i = 0; i < 10; i++) pair.server.writeFile(`/plain/d0/f${i}`, `state ${times} ${i}`);
      await pair.rest(1000);
    }
    expect(await pair.wait()).toBeNull();
    expect(pair.held).toEqual([]);
    expect(pair.differences()).toEqual([]);
  });
});

describe('a small store', () => {
  const usual = { share: 0.2, filesMin: 1000 };

  it('is not wiped unseen: most of it is held, and stays', async () => {
    const pair = new GuardedPair(3, true, usual);
    for (let user = 0; user < 6; user++) pair.makeMailbox(`/mail/u${user}`, 100, user * 100 + 1);
    expect(await pair.wait()).toBeNull();
    for (let user = 0; user < 6; user++) {
      for (let n = user * 100 + 1; n <= user * 100 + 100; n++) pair.server.unlink(`/mail/u${user}/cur/${message(n)}:2,S`);
      pair.list(`/mail/u${user}`, 0, 0);
      await pair.rest(1000);
    }
    expect(await pair.wait(70_000)).toBe('held');
    const left = [0, 1, 2, 3, 4, 5].reduce((sum, user) => sum + pair.names(`/mail/u${user}/cur`).length, 0);
    expect(left).toBeGreaterThanOrEqual(300);
    const [held] = pair.primary.holds.list();
    expect(held?.detail).toMatch(/of 606 files of root mail would be lost within 10 minutes \(limit 303 files, half of so small a root\)/);
  });

  it('that was empty a moment before is told as such', async () => {
    const pair = new GuardedPair(3, true, usual);
    expect(await pair.wait()).toBeNull();
    await pair.rest(120_000);
    for (let user = 0; user < 3; user++) pair.makeMailbox(`/mail/u${user}`, 20, user * 100 + 1);
    expect(await pair.wait()).toBeNull();
    for (let user = 0; user < 3; user++) {
      for (let n = user * 100 + 1; n <= user * 100 + 20; n++) pair.server.unlink(`/mail/u${user}/cur/${message(n)}:2,S`);
      pair.list(`/mail/u${user}`, 0, 0);
    }
    expect(await pair.wait(70_000)).toBe('held');
    expect(pair.primary.holds.list()[0]?.detail).toMatch(/: \d+ files of root mail, which had \d+ before, would be lost within 10 minutes/);
  });

  it('lets a user empty a folder of some hundred letters', async () => {
    const pair = new GuardedPair(3, true, usual);
    pair.makeMailbox('/mail/jo', 100);
    pair.makeMailbox('/mail/jo/.Trash', 300, 1000);
    expect(await pair.wait()).toBeNull();
    for (let n = 1000; n < 1300; n++) pair.server.unlink(`/mail/jo/.Trash/cur/${message(n)}:2,S`);
    pair.list('/mail/jo/.Trash', 0, 0);
    expect(await pair.wait()).toBeNull();
    expect(pair.names('/mail/jo/.Trash/cur')).toEqual([]);
  });
});
