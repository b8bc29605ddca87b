import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stagingPlaces } from '../../agent/replicate/staging.ts';
import type { Config } from '../../agent/config/config.ts';
import { dovecotFacts, isWithin } from '../../agent/observe/doctor/dovecot-places.ts';
import { hostProbe } from '../../agent/observe/doctor/host-probe.ts';
import type { DoctorProbe, SecretFile } from '../../agent/observe/doctor/probe.ts';
import { makeSelfSigned } from '../../agent/link/self-signed.ts';
import {
  applianceTroubles,
  eachFault,
  type Fault,
  bmc,
  healthyNode,
  healthyProbe,
  privateSecret,
  sampleConfig,
  services,
  showUnits,
} from './doctor-fixture.ts';

const served = {
  host: '10.0.0.1',
  port: 9720,
  tls: { cert: '/etc/mailtwin/cert.pem', key: '/etc/mailtwin/key.pem' },
  auth: { user: 'prometheus', passwordFile: '/etc/mailtwin/metrics.secret' },
  names: [],
};
const notices: NonNullable<Config['notices']> = {
  smtp: {
    host: 'smtp.example.net',
    port: 587,
    tls: 'starttls',
    caFile: '/etc/mailtwin/ca.pem',
    login: { user: 'mailtwin', passwordFile: '/etc/mailtwin/smtp.secret' },
    from: 'mailtwin@example.net',
    to: ['admin@example.net'],
    evenThroughThisHost: false,
  },
  webhook: { url: 'https://hooks.example.net/x', secretFile: '/etc/mailtwin/hook.secret', secretHeader: 'X-Secret', timeoutSeconds: 10 },
  digestMinute: null,
  graceSeconds: 60,
};
const dns: Partial<DoctorProbe> = { resolve: async () => ['192.0.2.25'] };
/** One file is as given, every other one private. */
const secret = (path: string, change: Partial<SecretFile>): Partial<DoctorProbe> => ({
  secretFile: (asked) => (asked === path ? { ...privateSecret, ...change } : privateSecret),
});

describe('files of secrets', () => {
  const probeSecret = '/etc/mailtwin/probe.secret';
  eachFault([
    {
      what: 'every file that the configuration names, missing',
      config: { metrics: served, notices },
      probe: {
        ...dns,
        secretFile: (path) => ({ ...privateSecret, state: path.includes('/etc/mailtwin/') ? 'missing' : 'one-line' }),
      },
      finds: [
        ['fail secrets', /bmc\.secret \(`fencing\.0\.secrets\.password`\)/, /^\(umask 077; cat > \/etc\/mailtwin\/bmc\.secret\)/],
        ['fail secrets', /`services\.imap\.passwordFile`/, /probe\.secret/],
        ['fail secrets', /`metrics\.auth\.passwordFile`/, /metrics\.secret/],
        ['fail secrets', /`metrics\.tls\.key`/, /PEM, mode 0600/],
        ['fail secrets', /`notices\.smtp\.login\.passwordFile`/, /smtp\.secret/],
        ['fail secrets', /`notices\.smtp\.caFile`/, /PEM, or correct/],
        ['fail secrets', /`notices\.webhook\.secretFile`/, /hook\.secret/],
      ],
    },
    { what: 'empty', probe: secret(probeSecret, { state: 'empty' }), finds: [['fail secrets', /probe\.secret/, /umask 077/]] },
    { what: 'more than a line', probe: secret(probeSecret, { state: 'more' }), finds: [['fail secrets', /probe/, /one line/]] },
    { what: 'a directory', probe: secret(probeSecret, { state: 'not-a-file' }), finds: [['fail secrets', /probe/, /umask/]] },
    {
      what: 'open to every user',
      probe: secret(probeSecret, { mode: 0o644 }),
      finds: [['fail secrets', /mode 0644, owner 0/, /^chmod 600 \/etc\/mailtwin\/probe\.secret, and change/]],
    },
    {
      what: 'open to a group',
      probe: secret(probeSecret, { mode: 0o640, gid: 100 }),
      finds: [['fail secrets', /mode 0640, owner 0, group 100/, /^chmod 600 \/etc\/mailtwin\/probe\.secret, and change/]],
    },
    { what: 'open to the group of root', probe: secret(probeSecret, { mode: 0o640 }), finds: [] },
    {
      what: "somebody else's",
      probe: secret(probeSecret, { uid: 1000 }),
      finds: [['warn secrets', /owner 1000/, /^chown root: .*chmod 600/]],
    },
    {
      what: 'in a directory that everybody can write',
      probe: secret(probeSecret, { inOpenDirectory: true }),
      finds: [['warn secrets', /\/etc\/mailtwin can be written/, /^chmod o-w \/etc\/mailtwin$/]],
    },
    {
      what: 'not for this user',
      probe: { ...secret(probeSecret, { state: 'refused' }), userId: () => 1000 },
      finds: [['warn secrets', /probe/, /as root/]],
    },
    { what: 'not even for root', probe: secret(probeSecret, { state: 'refused' }), finds: [['fail secrets', /probe/, /disk/]] },
    { what: 'a key of many lines', config: { metrics: served }, probe: secret('/etc/mailtwin/key.pem', { state: 'more' }), finds: [] },
    {
      what: 'a name with a space',
      config: { fencing: [{ ...bmc, secrets: { password: '/etc/mail twin/bmc' } }] },
      probe: secret('/etc/mail twin/bmc', { mode: 0o604 }),
      finds: [['fail secrets', /mail twin/, /^chmod 600 '\/etc\/mail twin\/bmc'/]],
    },
  ]);
});

describe('what the node tells', () => {
  const cert = (change: Partial<ReturnType<DoctorProbe['certificate']>>): Partial<DoctorProbe> => ({
    certificate: () => ({ endsMs: Date.parse('2027-01-01T00:00:00Z'), fits: true, ...change }),
  });
  eachFault([
    { what: 'metrics by TLS with a password', config: { metrics: served }, finds: [] },
    { what: 'metrics on loopback', config: { metrics: { ...served, host: '127.0.0.1', tls: null, auth: null } }, finds: [] },
    {
      what: 'metrics for everybody',
      config: { metrics: { ...served, host: '0.0.0.0', tls: null, auth: null } },
      finds: [
        ['warn metrics', /0\.0\.0\.0:9720, without `metrics\.auth`/, /auth: \{ user/],
        ['warn metrics', /without `metrics\.tls`/, /tls: \{ cert/],
      ],
    },
    { what: 'a password in clear', config: { metrics: { ...served, tls: null } }, finds: [['warn metrics', /metrics\.tls/, /tls/]] },
    {
      what: 'a certificate that cannot be read',
      config: { metrics: served },
      probe: cert({ endsMs: null }),
      finds: [['fail certificate', /cert\.pem/, /PEM/]],
    },
    {
      what: "somebody else's key",
      config: { metrics: served },
      probe: cert({ fits: false }),
      finds: [['fail certificate', /cert\.pem and .*key\.pem/, /key that the certificate/]],
    },
    {
      what: 'a certificate that has expired',
      config: { metrics: served },
      probe: cert({ endsMs: Date.parse('2026-01-01T00:00:00Z') }),
      finds: [['fail certificate', /2026-01-01/, /systemctl restart mailtwin/]],
    },
    {
      what: 'a certificate that expires soon',
      config: { metrics: served },
      probe: cert({ endsMs: Date.parse('2026-01-10T00:00:00Z') }),
      finds: [['warn certificate', /2026-01-10/, /new certificate/]],
    },
    { what: 'notices that go', config: { notices }, probe: dns, finds: [] },
    {
      what: 'an unknown mail server',
      config: { notices },
      probe: { resolve: async () => [] },
      finds: [['warn notices', /smtp\.example\.net/, /notices\.smtp\.host/]],
    },
    ...(
      [
        ['10.0.0.100', 'a service address'],
        ['10.0.0.1', 'this host'],
        ['10.1.0.2', 'the other node'],
      ] as const
    ).map(([address, what]): Fault => ({
      what: `notices through ${what}`,
      config: { notices },
      probe: { resolve: async () => [address] },
      finds: [['warn notices', new RegExp(`smtp\\.example\\.net is ${address.replaceAll('.', '\\.')}`), /outside of the pair/]],
    })),
    {
      what: 'notices through this host that are meant so',
      config: { notices: { ...notices, smtp: { ...notices.smtp!, evenThroughThisHost: true } } },
      probe: { resolve: async () => ['10.0.0.1'] },
      finds: [],
    },
    {
      what: 'servers that do not answer',
      config: { notices },
      probe: { ...dns, connect: async (host) => (/example/.test(host) ? 'ECONNREFUSED' : null) },
      finds: [
        ['warn notices', /smtp\.example\.net:587: ECONNREFUSED/, /mailtwin notify test/],
        ['warn notices', /hooks\.example\.net:443: ECONNREFUSED/, /notices\.webhook\.url/],
      ],
    },
    {
      what: 'the secret of a webhook in clear',
      config: { notices: { ...notices, webhook: { ...notices.webhook!, url: 'http://hooks.example.net/x' } } },
      probe: dns,
      finds: [['warn notices', /by http/, /https/]],
    },
    ...(['disabled', ''] as const).map((file): Fault => ({
      what: `an agent that does not start at boot (${file || 'no state'})`,
      probe: {
        run: async (command, args) =>
          command === 'systemctl'
            ? { exitCode: 0, out: showUnits(args.slice(args.indexOf('--') + 1).map(() => ({ file }))) }
            : healthyProbe().run(command, args),
      },
      finds: [['warn boot', /mailtwin\.service is /, /^systemctl enable mailtwin\.service$/]],
    })),
    {
      what: 'an agent of another configuration than the unit has',
      config: { file: '/home/a/mailtwin.yaml' },
      probe: {
        run: async (command, args) =>
          command === 'systemctl'
            ? { exitCode: 0, out: showUnits(args.slice(args.indexOf('--') + 1).map(() => ({}))) }
            : healthyProbe().run(command, args),
      },
      finds: [],
    },
  ]);
});

describe('the mail store', () => {
  const answers = (name: string, out: string, exitCode = 0): Partial<DoctorProbe> => ({
    run: async (command, args) => (command === name ? { exitCode, out } : healthyProbe().run(command, args)),
  });
  const root = sampleConfig().roots[0]!;
  const inTree = (bytes: number, complete = true): Partial<DoctorProbe> => ({
    treeBytes: (path) => (path === '/var/lib/mailtwin/staging/mail/history' ? { bytes, complete } : null),
  });
  eachFault([
    {
      what: 'owners that this host does not know',
      probe: answers('getent', '', 2),
      finds: [
        [
          'warn owners',
          /user 5000 owns \/var\/vmail, group 5000/,
          /groupadd --system --gid 5000 NAME && useradd --system --uid 5000 --gid 5000/,
        ],
      ],
    },
    {
      what: 'no getent to ask',
      probe: { run: async (command, args) => (command === 'getent' ? null : healthyProbe().run(command, args)) },
      finds: [],
    },
    { what: 'no attributes on a primary', probe: { keepsXattrs: () => false }, finds: [] },
    {
      what: 'mail outside of the roots',
      probe: answers('doveconf', 'mail_location = maildir:/srv/mail/%d/%n\n'),
      finds: [['fail mail-places', /doveconf -n: mail_location leads to \/srv\/mail\//, /path: \/srv\/mail, format: maildir/]],
    },
    {
      what: 'control files, indexes and filters outside of the roots',
      probe: answers(
        'doveconf',
        'mail_location = maildir:/var/vmail/%u:INDEX=/var/index/%u:CONTROL=/var/control/%u\nmail_home = /home/vmail/%u\nplugin {\n  sieve = file:~/sieve;active=~/.dovecot.sieve\n}\n',
      ),
      finds: [
        ['fail mail-places', /\/var\/control\//, /name: control, path: \/var\/control/],
        ['warn mail-places', /\/var\/index\//, /path: \/var\/index/],
        ['warn mail-places', /plugin sieve leads to \/home\/vmail\//, /format: plain/],
      ],
    },
    {
      what: 'another format than the root has',
      probe: answers('doveconf', 'mail_location = mdbox:/var/vmail/%u\n'),
      finds: [['fail mail-places', /\/var\/vmail/, /doveadm backup/]],
    },
    {
      what: "Dovecot's own replication",
      probe: answers(
        'doveconf',
        'mail_location = maildir:/var/vmail/%u\nmail_plugins = notify replication\nplugin {\n  mail_replica = tcp:mail-b\n}\n',
      ),
      finds: [['fail mail-places', /mail_replica = tcp:mail-b/, /doveadm reload/]],
    },
    {
      what: 'a Dovecot that the configuration does not name',
      config: { services: { ...services, units: ['cyrus-imapd.service'] } },
      probe: answers('doveconf', 'mail_location = maildir:/srv/mail/%u\n'),
      finds: [],
    },
    {
      what: 'the Dovecot of another file, as configCheck names it',
      config: { services: { ...services, units: ['mail.service'], configCheck: ['/usr/bin/doveconf', '-c', '/srv/dovecot.conf', '-n'] } },
      probe: {
        run: async (command, args) =>
          command === 'doveconf' && args.includes('/srv/dovecot.conf')
            ? { exitCode: 0, out: 'mail_location = maildir:/srv/mail/%u\n' }
            : healthyProbe().run(command, args),
      },
      finds: [['fail mail-places', /doveconf -n -c \/srv\/dovecot\.conf: mail_location/, /\/srv\/mail/]],
    },
    {
      what: 'lsyncd on the same tree, by its arguments',
      probe: answers('pgrep', '812 lsyncd -rsync /var/vmail mail-b::vmail\n'),
      finds: [['fail other-replication', /process 812: lsyncd -rsync \/var\/vmail/, /systemctl disable --now lsyncd/]],
    },
    {
      what: 'lsyncd on the same tree, by its configuration',
      probe: {
        ...answers('pgrep', '812 /usr/bin/lsyncd /etc/lsyncd/lsyncd.conf.lua\n'),
        readText: (path) =>
          path === '/etc/lsyncd/lsyncd.conf.lua'
            ? 'sync { default.rsync, source = "/var/vmail/", target = "b::v" }'
            : healthyProbe().readText(path),
      },
      finds: [['fail other-replication', /812/, /lsyncd/]],
    },
    { what: 'lsyncd on another tree', probe: answers('pgrep', '812 lsyncd -rsync /var/vmail-archive mail-b::x\n'), finds: [] },
    { what: 'a history within its bounds', probe: inTree(9e9), finds: [] },
    {
      what: 'a history larger than it may be',
      probe: inTree(12e9, false),
      finds: [['warn history', /at least 12\.0 GB in .*history; history\.max 10\.0 GB/, /systemctl restart/]],
    },
    {
      what: 'a disk that the history fills',
      config: { roots: [{ ...root, staging: '/var/stage' }] },
      node: { historyDirs: () => stagingPlaces(root, '/var/lib/mailtwin', '/var/stage').map((dir) => `${dir}/history`) },
      probe: {
        treeBytes: (path) => (path === '/var/stage/history' ? { bytes: 8e9, complete: true } : null),
        space: (path) => ({ freeBytes: path.startsWith('/var/stage') ? 1e8 : 50e9, freeInodes: 900_000, totalInodes: 1_000_000 }),
      },
      finds: [['warn history', /8\.0 GB/, /lower `history\.max`/]],
    },
  ]);

  it('warns of a standby that keeps no attributes', async () => {
    const found = await applianceTroubles({ config: { role: 'standby' }, probe: { keepsXattrs: () => false } });
    expect(found.filter(({ id }) => id === 'attributes')).toMatchObject([
      { level: 'warn', evidence: '/var/vmail', remedy: expect.stringMatching(/ext4/) },
    ]);
  });
});

describe('what doveconf prints', () => {
  it('is read with namespaces, homes, and the settings of 2.4', () => {
    const { places, replicates } = dovecotFacts(`# 2.3.19.1: /etc/dovecot/dovecot.conf
mail_location = maildir:~/Maildir:LAYOUT=fs:INDEX=MEMORY:CONTROL=%h/control
namespace public {
  location = maildir:/srv/public
  mailbox Trash {
    location = maildir:/not/a/setting
  }
}
userdb {
  args = uid=5000 gid=5000 home=/var/vmail/%d/%n allow_all_users=yes
  driver = static
}
`);
    expect(replicates).toBeNull();
    expect(places.map(({ setting, what, driver, prefix, isWhole }) => [setting, what, driver, prefix, isWhole])).toEqual([
      ['mail_location', 'mail', 'maildir', '/var/vmail/', false],
      ['mail_location', 'control', 'maildir', '/var/vmail/', false],
      ['namespace public location', 'mail', 'maildir', '/srv/public', true],
    ]);
    const later = dovecotFacts('mail_driver = sdbox\nmail_path = /srv/%{user}/mail\nmail_index_path = ~/index\n').places;
    expect(later).toEqual([{ setting: 'mail_path', what: 'mail', driver: 'sdbox', prefix: '/srv/', isWhole: false }]);
  });

  it('of 2.4 is read with the INBOX of Debian 13, homes in fields, scripts, attributes, and drivers of namespaces', () => {
    const { places } = dovecotFacts(`# 2.4.1-4: /etc/dovecot/dovecot.conf
mail_driver = maildir
mail_inbox_path = /var/mail/%{user}
mail_path = %{home}/Maildir
namespace archive {
  mail_driver = mdbox
  mail_path = /srv/archive/%{user}
}
userdb static {
  fields {
    gid = vmail
    home = /var/vmail/%{user | domain}/%{user | username}
  }
}
sieve_script personal {
  active_path = ~/.dovecot.sieve
  path = /srv/sieve/%{user}
}
mail_attribute {
  dict file {
    path = /srv/attributes/%{user}
  }
}
`);
    expect(places.map(({ setting, what, driver, prefix }) => [setting, what, driver, prefix])).toEqual([
      ['mail_path', 'mail', 'maildir', '/var/vmail/'],
      ['namespace archive mail_path', 'mail', 'mdbox', '/srv/archive/'],
      ['mail_inbox_path', 'mail', 'maildir', '/var/mail/'],
      ['sieve_script personal active_path', 'sieve', null, '/var/vmail/'],
      ['sieve_script personal path', 'sieve', null, '/srv/sieve/'],
      ['mail_attribute dict file path', 'attributes', null, '/srv/attributes/'],
    ]);
  });

  it.each([
    ['/var/vmail/', false, true],
    ['/var/vmail', true, true],
    ['/var/vmail2/', false, false],
    ['/var/', false, null],
    ['/var/', true, false],
    ['/var/vm', false, null],
    ['/srv/', false, false],
  ])('%s within /var/vmail', (prefix, isWhole, expected) => {
    expect(isWithin({ setting: '', what: 'mail', driver: null, prefix, isWhole }, ['/var/vmail'])).toBe(expected);
  });
});

describe('files of this host', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'mailtwin-doctor-files-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const host = () =>
    hostProbe(
      () => sampleConfig(),
      () => healthyNode(),
    );

  it('are seen as what they are, and nothing of a secret is told', () => {
    const at = (name: string, text: string) => {
      writeFileSync(join(dir, name), text, { mode: 0o600 });
      return host().secretFile(join(dir, name));
    };
    expect(host().secretFile(join(dir, 'none')).state).toBe('missing');
    expect(host().secretFile(dir).state).toBe('not-a-file');
    expect(at('empty', '\n').state).toBe('empty');
    expect(at('two', 'hunter2\nhunter3\n').state).toBe('more');
    expect(at('huge', 'x'.repeat(5000)).state).toBe('more');
    const one = at('one', 'hunter2\n');
    expect(one).toMatchObject({ state: 'one-line', mode: 0o600, uid: process.getuid?.(), inOpenDirectory: false });
    expect(JSON.stringify(one)).not.toContain('hunter2');
    symlinkSync(join(dir, 'one'), join(dir, 'link'));
    expect(host().secretFile(join(dir, 'link')).state).toBe('one-line');
    chmodSync(dir, 0o777);
    expect(host().secretFile(join(dir, 'one')).inOpenDirectory).toBe(true);
    chmodSync(dir, 0o1777);
    expect(host().secretFile(join(dir, 'one')).inOpenDirectory).toBe(false);
  });

  it('hold a certificate whose end and key are known', () => {
    const { certPem, keyPem } = makeSelfSigned('mail-a');
    const other = makeSelfSigned('mail-b');
    writeFileSync(join(dir, 'cert'), certPem);
    writeFileSync(join(dir, 'key'), keyPem);
    writeFileSync(join(dir, 'other'), other.keyPem);
    const { endsMs, fits } = host().certificate(join(dir, 'cert'), join(dir, 'key'));
    expect(endsMs).toBeGreaterThan(Date.now());
    expect(fits).toBe(true);
    expect(host().certificate(join(dir, 'cert'), join(dir, 'other')).fits).toBe(false);
    expect(host().certificate(join(dir, 'cert'), join(dir, 'none')).fits).toBeNull();
    expect(host().certificate(join(dir, 'key'), join(dir, 'key')).endsMs).toBeNull();
  });

  it('have owners, sizes and attributes', () => {
    mkdirSync(join(dir, 'u/deep/deeper'), { recursive: true });
    writeFileSync(join(dir, 'u/a'), 'x'.repeat(1000));
    writeFileSync(join(dir, 'u/deep/deeper/b'), 'x'.repeat(234));
    expect(host().owners(dir)).toEqual([
      { kind: 'user', id: process.getuid?.(), example: dir },
      { kind: 'group', id: process.getgid?.(), example: dir },
    ]);
    expect(host().treeBytes(dir)).toEqual({ bytes: 1234, complete: true });
    expect(host().treeBytes(join(dir, 'none'))).toBeNull();
    expect(host().keepsXattrs('/proc')).toBe(false);
    expect(host().list(dir)).toEqual(['u']);
    expect(host().list(join(dir, 'none'))).toEqual([]);
  });

  it.skipIf(process.getuid?.() !== 0)('tell of each owner once, down to the second level', async () => {
    const { chownSync } = await import('node:fs');
    for (const [name, uid] of [
      ['u', 5001],
      ['u/x', 5002],
      ['u/x/y', 5003],
    ] as const) {
      mkdirSync(join(dir, name));
      chownSync(join(dir, name), uid, 0);
    }
    const users = host()
      .owners(dir)
      .filter(({ kind }) => kind === 'user');
    expect(users.map(({ id }) => id)).toEqual([0, 5001, 5002]);
  });
});
