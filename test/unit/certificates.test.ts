import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCertificate } from '../../agent/platform/certificate-file.ts';
import { doveconfFile, doveconfSettings } from '../../agent/platform/doveconf.ts';
import { exec, type Exec } from '../../agent/platform/exec.ts';
import { certificatePlaces } from '../../agent/services/certificates/certificate-places.ts';
import { Certificates, readCertificates } from '../../agent/services/certificates/certificates.ts';
import { postfixCertificates } from '../../agent/services/certificates/postfix-places.ts';
import { SimClock } from '../sim/sim-clock.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-certificates-'));
const at = (name: string) => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function makeCertificate(name: string, days: number, subject: string, ...names: string[]): void {
  const more = names.length === 0 ? [] : ['-addext', `subjectAltName=${names.join(',')}`];
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', String(days)];
  execFileSync('openssl', [...args, '-subj', subject, ...more, '-keyout', at(`${name}.key`), '-out', at(`${name}.pem`)], {
    stdio: 'ignore',
  });
}

beforeAll(() => {
  makeCertificate('good', 90, '/CN=ignored.example', 'DNS:mail.example', 'DNS:imap.example', 'IP:192.0.2.10');
  makeCertificate('plain', 10, '/O=Example/CN=old.example');
});

describe('a certificate and its key', () => {
  it('tells when it ends and for which names it is', () => {
    const { endsMs, names, fits, problem } = readCertificate(at('good.pem'), at('good.key'));
    expect(((endsMs ?? 0) - Date.now()) / 86_400_000).toBeGreaterThan(89.9);
    expect(((endsMs ?? 0) - Date.now()) / 86_400_000).toBeLessThan(90.1);
    expect([names, fits, problem]).toEqual([['192.0.2.10', 'imap.example', 'mail.example'], true, null]);
    expect(readCertificate(at('plain.pem'), at('plain.key')).names).toEqual(['old.example']);
  });

  it('is the first one of a chain, also behind the link that a renewal leaves', () => {
    mkdirSync(at('live'));
    writeFileSync(at('chain.pem'), readFileSync(at('good.pem'), 'utf8') + readFileSync(at('plain.pem'), 'utf8'));
    symlinkSync('../chain.pem', at('live/fullchain.pem'));
    expect(readCertificate(at('live/fullchain.pem'), at('good.key'))).toMatchObject({ fits: true, problem: null });
  });

  it('is of no use without its key, with another key, or when one of the two cannot be read', () => {
    const problem = (cert: string, key: string) => readCertificate(at(cert), at(key)).problem;
    expect(problem('good.pem', 'plain.key')).toContain('belongs to another certificate');
    expect(problem('good.pem', 'none.key')).toMatch(/the key .*none\.key is missing/);
    expect(problem('good.pem', 'good.pem')).toContain('is no key');
    expect(problem('good.key', 'good.key')).toContain('holds no certificate');
    expect(problem('none.pem', 'good.key')).toMatch(/none\.pem is missing/);
    expect(problem('live', 'good.key')).toContain('holds no certificate');
    expect(readCertificate(at('none.pem'), null).endsMs).toBeNull();
  });

  it('may have a key with a password, of which nobody here can say more', () => {
    const locked = at('locked.key');
    for (const form of [
      ['ec', '-aes256'],
      ['pkcs8', '-topk8', '-v2', 'aes256'],
    ]) {
      const args = [...form, '-in', at('good.key'), '-passout', 'pass:hush', '-out', locked];
      execFileSync('openssl', args, { stdio: 'ignore' });
      expect(readCertificate(at('good.pem'), locked)).toMatchObject({ fits: null, problem: null });
    }
  });
});

/** What doveconf of Debian 12 (2.3.19) and 13 (2.4.1) print with `-P -n`. */
const conf23 = `# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
ssl = required
ssl_cert = </etc/dovecot/private/dovecot.pem
ssl_client_ca_dir = /etc/ssl/certs
ssl_key = </etc/dovecot/private/dovecot.key
ssl_key_password = hush
local_name imap.example.org {
  ssl_cert = </etc/dovecot/private/imap.pem
  ssl_key = </etc/dovecot/private/imap.key
}
local_name a.example b.example {
  ssl_cert = </etc/dovecot/private/ab.pem
}
`;
const conf24 = `# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf
dovecot_config_version = 2.4.0
service imap-login {
  inet_listener imaps {
  }
}
ssl_server {
  cert_file = /etc/dovecot/private/dovecot.pem
  key_file = /etc/dovecot/private/dovecot.key
}
local_name imap.example.org {
  ssl_server {
    cert_file = /etc/dovecot/private/imap.pem
    key_file = /etc/dovecot/private/imap.key
  }
}
`;

describe('where Dovecot has its certificates', () => {
  const places = (text: string) => certificatePlaces(doveconfSettings(text));
  const usual = { name: 'default', cert: '/etc/dovecot/private/dovecot.pem', key: '/etc/dovecot/private/dovecot.key' };
  const named = { name: 'imap.example.org', cert: '/etc/dovecot/private/imap.pem', key: '/etc/dovecot/private/imap.key' };

  it('is read of 2.3 and of 2.4, with the names that have one of their own', () => {
    expect(places(conf23)).toEqual([
      usual,
      named,
      { name: 'a.example b.example', cert: '/etc/dovecot/private/ab.pem', key: '/etc/dovecot/private/dovecot.key' },
    ]);
    expect(places(conf24)).toEqual([usual, named]);
  });

  it('is nowhere where TLS is off, and no file where it stands in the configuration itself', () => {
    expect(places(conf23.replace('ssl = required', 'ssl = no'))).toEqual([]);
    expect(places('mail_location = maildir:~/Maildir\n')).toEqual([]);
    expect(places('ssl_cert = -----BEGIN CERTIFICATE-----\n')).toEqual([]);
    expect(places('ssl_cert = </etc/x.pem\nssl_key = # hidden, use -P to show it\n')).toEqual([
      { name: 'default', cert: '/etc/x.pem', key: null },
    ]);
  });

  it('is asked of the Dovecot that the configuration names, and of none where it names none', () => {
    expect(doveconfFile({ units: ['dovecot.service'], configCheck: null })).toEqual([]);
    expect(doveconfFile({ units: [], configCheck: ['doveconf', '-n', '-c', '/etc/d.conf'] })).toEqual(['-c', '/etc/d.conf']);
    expect(doveconfFile({ units: ['cyrus-imapd.service'], configCheck: ['doveconf', '-n'] })).toBeNull();
    expect(doveconfFile({ units: [], configCheck: ['check', '-c', '/etc/d.conf'] })).toBeNull();
  });
});

describe('the certificates of Postfix', () => {
  const conf = at('postfix');
  const withConf: Exec = (program, args) => exec(program, program === 'postconf' ? ['-c', conf, ...args] : args);
  const placesWith = (main: string, master = '') => {
    mkdirSync(conf, { recursive: true });
    writeFileSync(join(conf, 'main.cf'), `compatibility_level = 3.6\n${main}`);
    writeFileSync(join(conf, 'master.cf'), `smtp inet n - y - - smtpd\n${master}`);
    return postfixCertificates(withConf);
  };
  const own = `smtpd_tls_cert_file = ${at('good.pem')}\nsmtpd_tls_key_file = ${at('good.key')}\n`;

  it('are those that its own program names, where TLS is offered by all or by one service', async () => {
    const usual = { name: 'postfix', cert: at('good.pem'), key: at('good.key') };
    expect(await placesWith(`smtpd_tls_security_level = may\n${own}`)).toEqual([usual]);
    expect(await placesWith(own)).toEqual([]);
    expect(await placesWith(`${own}smtpd_tls_security_level = none\n`)).toEqual([]);
    const smtps = 'smtps inet n - y - - smtpd\n  -o smtpd_tls_wrappermode=yes\n';
    expect(await placesWith(own, smtps)).toEqual([usual]);
    const override = `  -o smtpd_tls_cert_file=${at('plain.pem')}\n  -o smtpd_tls_key_file=${at('plain.key')}\n`;
    expect(await placesWith(own, smtps + override)).toEqual([
      usual,
      { name: 'postfix smtps/inet', cert: at('plain.pem'), key: at('plain.key') },
    ]);
    // Without a key of its own it stands in the file of the certificate.
    expect(await placesWith(`smtpd_tls_security_level = may\nsmtpd_tls_cert_file = ${at('good.pem')}\n`)).toEqual([
      { name: 'postfix', cert: at('good.pem'), key: at('good.pem') },
    ]);
  });

  it('in chains are read whichever file has the key', async () => {
    const both = at('both.pem');
    writeFileSync(both, readFileSync(at('good.key'), 'utf8') + readFileSync(at('good.pem'), 'utf8'));
    const chain = (...files: string[]) => `smtpd_tls_security_level = may\n${own}smtpd_tls_chain_files = ${files.join(', ')}\n`;
    const services = { units: ['postfix.service'], configCheck: null };
    const readWith = async (...files: string[]) => {
      await placesWith(chain(...files));
      return readCertificates({ services, exec: withConf, read: readCertificate });
    };
    const good = { name: 'postfix', names: ['192.0.2.10', 'imap.example', 'mail.example'], problem: null };
    expect(await readWith(both)).toMatchObject([{ ...good, file: both }]);
    expect(await readWith(at('good.key'), at('good.pem'))).toMatchObject([{ ...good, file: at('good.pem') }]);
    expect(await readWith(at('none.pem'), both)).toMatchObject([{ problem: expect.stringContaining('missing') as string }, good]);
  });

  it('are not known where it does not answer', async () => {
    const absent: Exec = async () => ({ code: 1, signal: null, timedOut: false, stdout: '', stderr: '', truncated: false });
    expect(await postfixCertificates(absent)).toBeNull();
    expect(
      await readCertificates({ services: { units: ['postfix.service'], configCheck: null }, exec: absent, read: readCertificate }),
    ).toBeNull();
  });
});

describe('the certificates of this node', () => {
  let text = '';
  const asked: string[] = [];
  const shows: Exec = async (program, args) => {
    asked.push([program, ...args].join(' '));
    return { code: text === '' ? 89 : 0, signal: null, timedOut: false, stdout: text, stderr: '', truncated: false };
  };
  const services = { units: ['dovecot.service'], configCheck: null };
  const parts = { services, exec: shows, read: readCertificate };
  const of = (name: string) => `ssl_cert = <${at(`${name}.pem`)}\nssl_key = <${at(`${name}.key`)}\n`;

  it('of one server are known where the other one does not answer', async () => {
    text = of('good');
    const both = { ...parts, services: { ...services, units: ['dovecot.service', 'postfix.service'] } };
    const exec: Exec = async (command, args, options) => {
      if (command === 'postconf') throw new Error('there is no postconf');
      return parts.exec(command, args, options);
    };
    expect(await readCertificates({ ...both, exec })).toMatchObject([{ name: 'default', file: at('good.pem') }]);
  });

  it('are read by their files, and not known where Dovecot does not answer or is not named', async () => {
    text = of('good');
    expect(await readCertificates(parts)).toMatchObject([{ name: 'default', file: at('good.pem'), problem: null }]);
    expect(asked.at(-1)).toBe('doveconf -P -n');
    text = of('none');
    expect(await readCertificates(parts)).toMatchObject([
      { names: [], endsAt: null, problem: expect.stringContaining('missing') as string },
    ]);
    text = '';
    expect(await readCertificates(parts)).toBeNull();
    expect(await readCertificates({ ...parts, services: null })).toBeNull();
  });

  it('are read again when they were renewed, and not repeated for long when they cannot be (I18)', async () => {
    const sim = new SimClock();
    const certificates = new Certificates({ ...parts, clock: sim.host(0) });
    const stop = new AbortController();
    copyFileSync(at('plain.pem'), at('own.pem'));
    copyFileSync(at('plain.key'), at('own.key'));
    chmodSync(at('own.key'), 0o600);
    text = of('own');
    void certificates.run(stop.signal);
    await sim.runFor(0);
    expect(certificates.told()?.names).toEqual(['old.example']);
    copyFileSync(at('good.pem'), at('own.pem'));
    await sim.runFor(600_000);
    expect(certificates.readings()).toMatchObject([{ problem: expect.stringContaining('another certificate') as string }]);
    copyFileSync(at('good.key'), at('own.key'));
    await sim.runFor(600_000);
    expect(certificates.told()).toMatchObject({ names: ['192.0.2.10', 'imap.example', 'mail.example'] });
    expect((certificates.told()?.endsMs ?? 0) > Date.now()).toBe(true);
    text = '';
    await sim.runFor(1_800_000);
    expect(certificates.readings()).toHaveLength(1);
    await sim.runFor(600_000);
    expect([certificates.readings(), certificates.told()]).toEqual([[], null]);
    stop.abort();
  });
});
