import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { NotifyTest } from '../../protocol/control.ts';
import { HookReceiver, MailReceiver } from '../lab/mail-receiver.ts';
import { SmallPair } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const noticesIn = (body: Record<string, unknown>) => (body['notices'] ?? []) as { code: string; at: string }[];

describe('notices of a running pair', () => {
  it('go by mail and webhook when the standby is lost, wait for a mail server that is away also over a restart, and `notify test` tries each way', async () => {
    await using pair = await SmallPair.create();
    await using hook = await HookReceiver.start();
    const first = await MailReceiver.start();
    const { port } = first;
    const { primary, standby } = pair;
    const secret = join(primary.dir, 'hook.secret');
    writeFileSync(secret, 'words-of-the-hook\n', { mode: 0o600 });
    appendFileSync(
      primary.configFile,
      `notices:
  graceSeconds: 1
  smtp: { host: 127.0.0.1, port: ${port}, tls: none, from: twin@example.net, to: [admin@example.net], evenThroughThisHost: true }
  webhook: { url: "${hook.url}", secretFile: ${secret} }
`,
    );
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();

    const answer = JSON.parse(await primary.ok('notify', 'test', '--json')) as NotifyTest;
    expect(answer.ways.map(({ way, ok }) => [way, ok])).toEqual([
      ['smtp', true],
      ['webhook', true],
    ]);
    expect(first.mails.map(({ text }) => text).join()).toMatch(/^Subject: \[mailtwin mail-a\] test$/m);
    await first[Symbol.asyncDispose]();
    expect((await primary.cli('notify', 'test')).code).toBe(1);

    // Where the standby needs its time to come, it was missed before, and that must be over.
    const logged = (text: string) => primary.log.split(text).length - 1;
    await waitFor(
      'nobody to miss the standby',
      60_000,
      () => logged('"notice: the peer is not') === logged('"notice: over: the peer is not'),
    );
    const killedAt = new Date().toISOString();
    await standby.kill();
    const lost = () => hook.posts.filter(({ body }) => noticesIn(body).some(({ code, at }) => code === 'peer-lost' && at >= killedAt));
    const posted = await waitFor('the post', 60_000, () => lost()[0]);
    expect(posted.headers['x-mailtwin-secret']).toBe('words-of-the-hook');
    expect(posted.body).toMatchObject({ node: 'mail-a', kind: 'notices' });
    await waitFor('the failed mail', 60_000, () => primary.log.includes('a notice could not be delivered'));
    expect(primary.log).not.toContain('words-of-the-hook');

    // What a crash keeps it from noting may be told twice.
    const delivered = () => primary.log.split('\n').filter((line) => line.includes('"webhook"') && line.includes('a letter was delivered'));
    await waitFor(
      'the post to be noted',
      60_000,
      () => delivered().length === hook.posts.filter(({ body }) => body['kind'] === 'notices').length,
    );
    await primary.stop();
    await using second = await MailReceiver.start(port);
    await primary.start();
    const mail = await waitFor('the mail', 90_000, () => second.mails.find(({ text }) => text.includes('peer-lost')));
    expect(mail).toMatchObject({ from: 'twin@example.net', to: ['admin@example.net'] });
    expect(mail.text).toMatch(/peer-lost/);
    expect(lost()).toHaveLength(1);
  });

  it('are not sent by a node that has no such section, and the command says so', async () => {
    await using pair = await SmallPair.create();
    await pair.primary.start();
    const { code, stderr } = await pair.primary.cli('notify', 'test');
    expect([code, stderr]).toEqual([1, expect.stringContaining('no-notices')]);
  });
});
