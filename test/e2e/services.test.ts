import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ImapCheckConfig } from '../../agent/config/takeover-sections/services.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import { exec } from '../../agent/platform/exec.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { imapLogin } from '../../agent/services/imap-login.ts';
import { createServices, type Services } from '../../agent/services/services.ts';
import { dovecotConfig } from '../lab/dovecot-config.ts';
import { createLab, labObstacle } from '../lab/lab.ts';
import { run } from '../lab/processes.ts';

const signal = () => new AbortController().signal;

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
    const tls = `ssl = yes\nssl_cert = <${cert}\nssl_key = <${key}\nservice imap-login {\n  inet_listener imaps {\n    port = 1993\n    ssl = yes\n  }\n}\n`;
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
    const services: Services = createServices({
      config: {
        gate: join(dir, 'gate', 'active'),
        units: [],
        commands: { start: ['dovecot', '-c', file], stop: ['doveadm', '-c', file, 'stop'], status: [status] },
        configCheck: ['doveconf', '-n', '-c', file],
        imap,
        startTimeoutSeconds: 20,
        stopTimeoutSeconds: 20,
      },
      exec,
      files: realFiles,
      clock: systemClock,
      log: silentLog,
      login,
    });
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
    writeFileSync(file, 'nonsense = yes\n');
    expect(await services.checkConfig()).toMatchObject({ ok: false, evidence: expect.stringContaining('nonsense') as string });
  });
});
