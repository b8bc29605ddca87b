import { describe, expect, it } from 'vitest';
import { autoUnits } from '../../agent/config/takeover-sections/auto-units.ts';
import { parseConfig } from '../../agent/config/load.ts';
import { OperatorError } from '../../agent/platform/errors.ts';

const head = `node: mail-b
role: standby
state: /var/lib/mailtwin
roots: [{ name: mail, path: /srv/vmail, format: maildir }]
`;
const parse = (text: string) => parseConfig('/etc/mailtwin.yaml', head + text, (path) => path);

function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    expect(error).toBeInstanceOf(OperatorError);
    expect((error as OperatorError).exitCode).toBe(2);
    return (error as OperatorError).message.replace('/etc/mailtwin.yaml:', '');
  }
  throw new Error('nothing was refused');
}

describe('the section fencing', () => {
  it('gives each level its name, its limit and its options as text', () => {
    const { fencing } = parse(
      `fencing:
  - { type: agent, agent: fence_ipmilan, options: { ip: 192.0.2.9, username: admin, lanplus: 1, method: onoff }, secrets: { password: /etc/mailtwin/bmc.secret } }
  - { type: agent, name: rack PDU port 4, agent: /opt/fence_pdu, options: { plug: 4, verbose: false }, timeoutSeconds: 90 }
  - { type: command, off: [/usr/local/sbin/pdu, "off"], status: [/usr/local/sbin/pdu, status] }
  - { type: cooperative, timeoutSeconds: 10 }
  - { type: manual }
`.replace('rack PDU port 4', 'rack-pdu'),
    );
    expect(fencing).toEqual([
      {
        type: 'agent',
        name: 'fence_ipmilan 192.0.2.9',
        agent: 'fence_ipmilan',
        options: { ip: '192.0.2.9', username: 'admin', lanplus: '1', method: 'onoff' },
        secrets: { password: '/etc/mailtwin/bmc.secret' },
        timeoutSeconds: 60,
      },
      {
        type: 'agent',
        name: 'rack-pdu',
        agent: '/opt/fence_pdu',
        options: { plug: '4', verbose: 'false' },
        secrets: {},
        timeoutSeconds: 90,
      },
      { type: 'command', name: 'pdu', off: ['/usr/local/sbin/pdu', 'off'], status: ['/usr/local/sbin/pdu', 'status'], timeoutSeconds: 30 },
      { type: 'cooperative', name: 'step-down', timeoutSeconds: 10 },
      { type: 'manual', name: 'by hand', timeoutSeconds: 1 },
    ]);
  });

  it('takes several devices that must all be off for one level', () => {
    const { fencing } = parse(
      `fencing:
  - all:
      - { type: agent, agent: fence_apc_snmp, options: { ip: 192.0.2.7, plug: 3 } }
      - { type: command, name: outlet-b, off: [/usr/local/sbin/pdu, "off"], status: [/usr/local/sbin/pdu, status] }
`,
    );
    expect(fencing).toMatchObject([
      {
        type: 'all',
        name: 'fence_apc_snmp 192.0.2.7 + outlet-b',
        timeoutSeconds: 90,
        devices: [
          { type: 'agent', agent: 'fence_apc_snmp', options: { plug: '3' } },
          { type: 'command', name: 'outlet-b' },
        ],
      },
    ]);
  });

  const agent = (options: string) => `fencing:\n  - type: agent\n    agent: fence_ipmilan\n    options: ${options}\n`;
  it.each([
    [
      'a type that is none',
      'fencing:\n  - { type: agnet }\n',
      /^6: fencing\[1\]\.type: "agnet" is not one of: agent, command, all, cooperative, manual/,
    ],
    ['no type', 'fencing:\n  - { agent: fence_ipmilan }\n', /^6: fencing\[1\]\.type: is missing; it must be one of: agent, command/],
    ['no list', 'fencing: fence_ipmilan\n', /^5: fencing: "fence_ipmilan" is not a list of levels/],
    [
      'an unknown key',
      'fencing:\n  - { type: manual, timeotSeconds: 3 }\n',
      /^6: fencing\[1\]\.timeotSeconds: unknown key; did you mean "timeoutSeconds"/,
    ],
    ['a power cycle', agent('{ method: cycle }'), /^8: fencing\[1\]\.options\.method: "cycle" is not a way to fence/],
    ['one device that is alone', 'fencing:\n  - all: [{ type: command, off: [a], status: [a] }]\n', /all: .*at least two/],
    ['a person among devices', 'fencing:\n  - all: [{ type: manual }, { type: manual }]\n', /"manual" is not one of: agent, command/],
    ['an outlet that is missing as a proof', agent('{ missing_as_off: 1 }'), /missing_as_off: .*proves nothing/],
    ['an action', agent('{ action: reboot }'), /^8: fencing\[1\]\.options\.action: .*mailtwin says off or status/],
    ['an action by its old name', agent('{ Option: reboot }'), /mailtwin says off or status/],
    [
      'a secret in the file',
      agent('{ password: sesame }'),
      /^8: fencing\[1\]\.options\.password: a secret does not stand in the configuration/,
    ],
    ['a key with an equals sign', agent('{ "ip=1": x }'), /"ip=1" is not the name of an option/],
    ['a key of two lines', agent('{ "ip\\naction": x }'), /is not the name of an option/],
    ['a value of two lines', agent('{ ip: "x\\naction=reboot" }'), /^8: fencing\[1\]\.options\.ip: a value is one line/],
    ['a secret without a path', `${agent('{}')}    secrets: { password: sesame }\n`, /secrets\.password: "sesame" is not an absolute path/],
    [
      'a shell line',
      'fencing:\n  - { type: command, off: pdu off, status: [pdu] }\n',
      /fencing\[1\]\.off: "pdu off" is not a program and its arguments/,
    ],
    [
      'a shell line in a list',
      'fencing:\n  - { type: command, off: [pdu off], status: [pdu] }\n',
      /"pdu off" is not a program; program and arguments stand apart/,
    ],
    [
      'an argument that YAML reads as something else',
      'fencing:\n  - { type: command, off: [pdu, off], status: [pdu, 7] }\n',
      /status\[2\]: 7 is not a text; numbers stand in quotes/,
    ],
    ['no time', 'fencing:\n  - { type: cooperative, timeoutSeconds: 0 }\n', /0 is not a whole number from 1 to 3600/],
  ])('refuses %s', (_what, text, message) => {
    expect(refusal(text)).toMatch(message);
  });
});

describe('the section services', () => {
  it('takes units or commands, with defaults', () => {
    expect(parse('services: { units: [dovecot.service, postfix@-.service] }\n').services).toEqual({
      gate: '/run/mailtwin/active',
      units: ['dovecot.service', 'postfix@-.service'],
      commands: null,
      configCheck: null,
      imap: null,
      queue: 'auto',
      startTimeoutSeconds: 30,
      stopTimeoutSeconds: 30,
    });
    expect(
      parse(`services:
  gate: /run/x/active
  commands: { start: [/usr/sbin/dovecot], stop: [/usr/bin/doveadm, stop], status: [/usr/bin/doveadm, status] }
  configCheck: [doveconf, -n]
  imap: { user: probe, passwordFile: /etc/mailtwin/probe.secret, tls: implicit }
  queue: { exim: /srv/chroot/var/spool/exim4/ }
  stopTimeoutSeconds: 10
`).services,
    ).toEqual({
      gate: '/run/x/active',
      units: [],
      commands: { start: ['/usr/sbin/dovecot'], stop: ['/usr/bin/doveadm', 'stop'], status: ['/usr/bin/doveadm', 'status'] },
      configCheck: ['doveconf', '-n'],
      imap: { host: '127.0.0.1', port: 993, user: 'probe', passwordFile: '/etc/mailtwin/probe.secret', tls: 'implicit' },
      queue: [{ mta: 'exim', dir: '/srv/chroot/var/spool/exim4' }],
      startTimeoutSeconds: 30,
      stopTimeoutSeconds: 10,
    });
  });

  it('takes the queue by name, one or several, and says what may stand there', () => {
    const queue = (value: string) => parse(`services: { units: [dovecot.service], queue: ${value} }\n`).services?.queue;
    expect(queue('none')).toBe('none');
    expect(queue('[{ postfix: /var/spool/postfix }, { postfix: /var/spool/postfix-in }]')).toEqual([
      { mta: 'postfix', dir: '/var/spool/postfix' },
      { mta: 'postfix', dir: '/var/spool/postfix-in' },
    ]);
    for (const wrong of ['sendmail', '[]', '{ sendmail: /var/spool/mqueue }', '{ postfix: /a, exim: /b }'])
      expect(refusal(`services: { units: [dovecot.service], queue: ${wrong} }\n`)).toMatch(
        /services\.queue.* is not auto, none, or where the queue lies, for example \{ postfix: \/var\/spool\/postfix \}/s,
      );
    expect(refusal('services: { units: [dovecot.service], queue: { postfix: spool } }\n')).toMatch(/services\.queue/);
  });

  it('finds the units of this node: the mail servers of Debian 12 and 13', () => {
    const postfix12 = '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n';
    const postfix13 = '[Unit]\nConflicts=postfix@-.service\n[Service]\nExecStart=postfix debian-systemd-start\n';
    const on = (files: Record<string, string>) => autoUnits((name) => files[name] ?? null);
    const common = { 'mailtwin-active.target': '', 'dovecot.service': '', 'opendkim.service': '', 'postfix@.service': '' };
    expect(on({ ...common, 'postfix.service': postfix12 })).toEqual([
      'mailtwin-active.target',
      'dovecot.service',
      'opendkim.service',
      'postfix@-.service',
      'postfix.service',
    ]);
    expect(on({ ...common, 'postfix.service': postfix13 })).toEqual([
      'mailtwin-active.target',
      'dovecot.service',
      'opendkim.service',
      'postfix.service',
    ]);
    expect(on({ 'mailtwin-active.target': '' })).toEqual([]);
  });

  it.each([
    ['nothing to start', 'services: { gate: /run/x }\n', /^5: services: names no service/],
    [
      'both',
      'services:\n  units: [a.service]\n  commands: { start: [a], stop: [a], status: [a] }\n',
      /^7: services\.commands: either `units` or `commands`/,
    ],
    [
      'a unit without its kind',
      'services: { units: [dovecot] }\n',
      /"dovecot" is not the name of a systemd unit, for example dovecot\.service/,
    ],
    ['an option for a unit', 'services: { units: [--now.service] }\n', /is not the name of a systemd unit/],
    [
      'a password in the file',
      'services:\n  units: [a.service]\n  imap: { user: a, password: b }\n',
      /services\.imap\.(passwordFile: is missing|password: unknown key)/,
    ],
    ['a relative gate', 'services: { units: [a.service], gate: active }\n', /"active" is not an absolute path/],
  ])('refuses %s', (_what, text, message) => {
    expect(refusal(text)).toMatch(message);
  });
});
