import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Config } from '../../agent/config/config.ts';
import type { ImapCheckConfig } from '../../agent/config/takeover-sections/services.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import { exec } from '../../agent/platform/exec.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { imapLogin } from '../../agent/services/imap-login.ts';
import { createServices, type Services } from '../../agent/services/services.ts';
import { copiedInbox } from '../../agent/wiring/served-copy.ts';
import { dovecotConfig } from '../lab/dovecot-config.ts';
import { createLab, labObstacle } from '../lab/lab.ts';
import { run } from '../lab/processes.ts';
import { labRelease, programsDir, provide } from '../lab/release.ts';

const signal = () => new AbortController().signal;

if (labObstacle() === null) await provide(labRelease);
// What is called by its name alone, by the test and by the parts of the agent that it makes.
process.env['PATH'] = [programsDir(labRelease), process.env['PATH']].filter(Boolean).join(':');

describe.skipIf(labObstacle() !== null)('the mail services', () => {
  it('are a real Dovecot that commands start and stop, proved by a login with and without TLS', async () => {
    await using lab = await createLab({ hosts: 1 });
    // The test's own place in the network stands for the host: loopback of the LAN's namespace is not used by others.
    const dir = lab.dir;
    const key = join(dir, 'key.pem');
    const cert = join(dir, 'cert.pem');
    await run('openssl', [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=mail.example',
      '-keyout',
      key,
      '-out',
      cert,
    ]);
    const storeDir = join(dir, 'store');
    await run('install', ['-d', '-o', '5000', '-g', '5000', storeDir, join(dir, 'home')]);
    await run('install', ['-d', join(dir, 'run'), join(dir, 'state')]);
    const file = join(dir, 'dovecot.conf');
    const settings = {
      dir,
      storeDir,
      listen: '127.0.0.1',
      imapPort: 1143,
      lmtpPort: 1024,
      mailUid: 5000,
      mailGid: 5000,
      password: 'probe-secret-7',
    };
    const pem =
      labRelease === 'trixie' ? `ssl_server_cert_file = ${cert}\nssl_server_key_file = ${key}` : `ssl_cert = <${cert}\nssl_key = <${key}`;
    const tls = `ssl = yes\n${pem}\nservice imap-login {\n  inet_listener imaps {\n    port = 1993\n    ssl = yes\n  }\n}\n`;
    writeFileSync(file, dovecotConfig({ ...settings, extra: tls }).replace('ssl = no', ''));
    const status = join(dir, 'status');
    writeFileSync(
      status,
      `#!/bin/sh\ndoveadm -c ${file} service status log > /dev/null 2>&1 && exit 0\n[ -e ${dir}/run/master.pid ] || exit 3\n`,
      { mode: 0o755 },
    );
    const passwordFile = join(dir, 'probe.secret');
    writeFileSync(passwordFile, 'probe-secret-7\n', { mode: 0o600 });

    const login = imapLogin(realFiles, true);
    const imap: ImapCheckConfig = { host: '127.0.0.1', port: 1143, user: 'probe', passwordFile, tls: 'none' };
    const parts = {
      config: {
        gate: join(dir, 'gate', 'active'),
        units: [],
        commands: { start: ['dovecot', '-c', file], stop: ['doveadm', '-c', file, 'stop'], status: [status] },
        configCheck: ['doveconf', '-n', '-c', file],
        imap,
        startTimeoutSeconds: 60,
        stopTimeoutSeconds: 60,
        queue: 'none' as const,
      },
      exec,
      files: realFiles,
      clock: systemClock,
      log: silentLog,
      login,
    };
    const services: Services = createServices(parts);
    expect(await services.checkConfig()).toMatchObject({ ok: true });
    expect((await services.state()).state).toBe('stopped');
    expect(await services.checkLogin(signal())).toMatchObject({ ok: false, evidence: expect.stringContaining('ECONNREFUSED') as string });
    try {
      await services.start();
      expect(existsSync(join(dir, 'gate', 'active'))).toBe(true);
      expect((await services.state()).state).toBe('running');
      const good = await services.checkLogin(signal());
      expect(good).toMatchObject({
        ok: true,
        evidence: expect.stringMatching(/probe at 127\.0\.0\.1:1143 logged in, INBOX has 0 messages/) as string,
      });
      // A letter is read to its end, and what a client sees is what lies in the root.
      const asServed = async (storeRoot: string, user = imap.user) => {
        const config = {
          services: { configCheck: ['doveconf', '-n', '-c', file] },
          roots: [{ name: 'mail', format: 'maildir', path: storeRoot }],
        };
        const compared = createServices({ ...parts, copied: () => copiedInbox(config as unknown as Config, realFiles, exec)(user) });
        return compared.checkLogin(signal());
      };
      writeFileSync(join(dir, 'letter'), 'Subject: one\r\n\r\na letter\r\n');
      await run('sh', ['-c', `doveadm -c ${file} save -u probe -m INBOX < ${join(dir, 'letter')}`]);
      expect(await asServed(storeDir)).toMatchObject({
        ok: true,
        evidence: expect.stringMatching(/INBOX has 1 messages.*was read \(\d+ bytes\); as in the copy \(.*: 1 messages\)/) as string,
      });
      expect(await asServed(join(dir, 'elsewhere'))).toMatchObject({
        ok: false,
        evidence: expect.stringMatching(/outside of all roots/) as string,
      });
      // The same with a copy that is another mailbox than the one that is served.
      for (const _ of [1, 2]) await run('sh', ['-c', `doveadm -c ${file} save -u other -m INBOX < ${join(dir, 'letter')}`]);
      expect(await asServed(storeDir, 'other')).toMatchObject({
        ok: false,
        evidence: expect.stringMatching(/what is served is not the copy/) as string,
      });
      expect(await login({ ...imap, tls: 'starttls' }, signal())).toMatchObject({ ok: true });
      expect(await login({ ...imap, port: 1993, tls: 'implicit' }, signal())).toMatchObject({ ok: true });

      writeFileSync(passwordFile, 'wrong-secret-8\n');
      const refused = await services.checkLogin(signal());
      expect(refused).toMatchObject({ ok: false, evidence: expect.stringMatching(/Authentication failed/i) as string });
      expect(refused.evidence).not.toContain('wrong-secret-8');
      const broken = new AbortController();
      broken.abort();
      expect(await login(imap, broken.signal)).toMatchObject({ ok: false });
    } finally {
      await services.stop();
    }
    expect((await services.state()).state).toBe('stopped');
    expect(existsSync(join(dir, 'gate', 'active'))).toBe(false);
    appendFileSync(file, 'nonsense = yes\n');
    expect(await services.checkConfig()).toMatchObject({ ok: false, evidence: expect.stringContaining('nonsense') as string });
  });
});
