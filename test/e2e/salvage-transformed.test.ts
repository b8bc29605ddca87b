import { createHash } from 'node:crypto';
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { SalvagePut } from '../../protocol/salvage.ts';
import { maildirFormat } from '../../agent/mailstore/maildir.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { Placer } from '../../agent/replicate/salvage/place.ts';
import { SalvageRecords } from '../../agent/replicate/salvage/records.ts';
import { Dovecot } from '../lab/dovecot.ts';
import { ImapSession } from '../lab/imap-session.ts';
import { labObstacle } from '../lab/lab.ts';
import { LmtpClient } from '../lab/lmtp-client.ts';
import { labRelease } from '../lab/release.ts';
import { freePort } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-transformed-'));
chmodSync(dir, 0o755);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const body = 'A line that is long and is there many times.\r\n'.repeat(400);
const letter = Buffer.from(`Message-ID: <squeezed@example.org>\r\nSubject: squeezed\r\n\r\n${body}`);

/** The store of an active node as salvage sees it, without a database. */
function placer(): Placer {
  const stored = new Map<string, Buffer>();
  const kv: Pick<Kv, 'get' | 'commit' | 'flushed'> = {
    get: (key) => stored.get(key.toString('hex')),
    commit: (writes) => {
      for (const [key, value] of writes) {
        if (value === null) stored.delete(key.toString('hex'));
        else stored.set(key.toString('hex'), value);
      }
    },
    flushed: async () => {},
  };
  return new Placer(realFiles, new SalvageRecords(kv as Kv), ({ staging }) => staging);
}

async function bodyOf(dovecot: Dovecot, user: string): Promise<string> {
  const session = await ImapSession.open(dovecot.imap, user, dovecot.password);
  try {
    await session.client.mailboxOpen('INBOX');
    const found = await session.client.fetchOne('*', { source: true, size: true });
    if (!found) return 'no message';
    expect(found.size).toBe(found.source?.length);
    return found.source?.toString('latin1').split('\r\n\r\n').slice(1).join('\r\n\r\n') ?? 'no source';
  } finally {
    await session.close();
  }
}

test.skipIf(labObstacle() !== null)('a compressed message that is brought back is read to its end (I16)', async () => {
  const storeDir = join(dir, 'mail');
  const [imapPort, lmtpPort] = [await freePort(), await freePort()];
  const extra =
    labRelease === 'trixie'
      ? 'mail_plugins {\n  mail_compress = yes\n}\nmail_compress_write_method = gz\n'
      : 'mail_plugins = $mail_plugins zlib\nplugin {\n  zlib_save = gz\n}\n';
  const dovecot = new Dovecot({ dir: join(dir, 'd'), storeDir, address: '127.0.0.1', imapPort, lmtpPort, extra });
  await dovecot.start();
  try {
    const lmtp = await LmtpClient.open(dovecot.lmtp);
    await lmtp.deliver('sender@example.org', ['anna', 'bert', 'carla', 'dora'], letter);
    await lmtp.close();
    const [name = ''] = readdirSync(join(storeDir, 'anna/new'));
    const squeezed = readFileSync(join(storeDir, 'anna/new', name));
    expect(squeezed.subarray(0, 2)).toEqual(Buffer.from([0x1f, 0x8b]));
    const size = (key: string) => Number(new RegExp(`,${key}=(\\d+)`).exec(name)?.[1]);
    expect(size('S')).toBeGreaterThan(squeezed.length);
    const { uid, gid, mtimeNs } = statSync(join(storeDir, 'anna/new', name), { bigint: true });
    const bring = (user: string, messageSize: number | null, virtualSize: number | null) => {
      rmSync(join(storeDir, user, 'new'), { recursive: true });
      realFiles.mkdir(join(storeDir, user, 'new'), 0o700);
      chownSync(join(storeDir, user, 'new'), Number(uid), Number(gid));
      const ask: SalvagePut = {
        ask: 'put',
        root: 'mail',
        id: createHash('sha256').update(user).digest(),
        target: { kind: 'message', mailbox: user, flags: '', keywords: [], messageSize, virtualSize },
        mtimeNs: String(mtimeNs),
        mode: 0o600,
        uid: Number(uid),
        gid: Number(gid),
        size: squeezed.length,
        sha256: createHash('sha256').update(squeezed).digest(),
        offset: 0,
        data: squeezed,
      };
      return placer().put({ name: 'mail', path: storeDir, staging: '', format: maildirFormat }, ask);
    };
    await bring('anna', size('S'), size('W'));
    await bring('bert', size('S'), null);
    await bring('carla', null, null);
    for (const user of ['anna', 'bert', 'carla']) expect([user, await bodyOf(dovecot, user)]).toEqual([user, body]);
    expect(dovecot.errorLogLines()).toEqual([]);
    // What the name says counts: with the size of the file nobody can read the message.
    const { path } = await bring('dora', null, null);
    renameSync(join(storeDir, path), join(storeDir, `${path},S=${squeezed.length}`));
    await expect(bodyOf(dovecot, 'dora')).rejects.toThrow();
    await waitFor('the log to say why', 30_000, () => dovecot.log().includes('size smaller than expected'));
  } finally {
    await dovecot.kill9();
  }
});
