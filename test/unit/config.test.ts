import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultExcludes } from '../../protocol/exclude.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { initNode, parseRootArgument, type InitOptions } from '../../agent/config/init.ts';
import { loadConfig, parseConfig } from '../../agent/config/load.ts';
import { renderConfig } from '../../agent/config/template.ts';
import { parseBytes, parseDays, parseHostPort, parseRate, parseShare, parseTimeOfDay, showHostPort } from '../../agent/config/values.ts';
import { OperatorError } from '../../agent/platform/errors.ts';

const minimal = `node: mail-a
role: primary
state: /var/lib/mailtwin
roots:
  - name: mail
    path: /srv/vmail
    format: maildir
`;

const same = (path: string) => path;
const parse = (text: string) => parseConfig('/etc/mailtwin.yaml', text, same);

function refusal(run: () => unknown): OperatorError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(OperatorError);
    return error as OperatorError;
  }
  throw new Error('nothing was refused');
}

test('a minimal file gets the documented defaults', () => {
  expect(parse(minimal)).toEqual({
    file: '/etc/mailtwin.yaml',
    node: 'mail-a',
    role: 'primary',
    state: '/var/lib/mailtwin',
    listen: { host: '0.0.0.0', port: 7420 },
    peer: { addresses: [] },
    roots: [
      { name: 'mail', path: '/srv/vmail', format: 'maildir', mayBeEmpty: false, exclude: [...defaultExcludes.maildir], staging: null },
    ],
    capture: { watcher: 'auto', settleMs: 3, restMaxMs: 1000, rescanHours: 24 },
    limits: { bandwidth: [], massDeleteShare: 0.2, massDeleteFilesMin: 1000, freeBytesMin: 256 * 1024 * 1024 },
    history: { days: 14, bytesMax: 20 * 1024 ** 3 },
    scrub: { days: 14, bytesPerSecondMax: 32 * 1024 ** 2 },
    metrics: { host: '127.0.0.1', port: 9720, tls: null, auth: null, names: [] },
    log: { level: 'info' },
    fencing: [],
    services: null,
    network: null,
    notices: null,
    takeover: { startAloneSeconds: 60, quiesceMaxSeconds: 30, uidMarginMin: 100_000, hooks: {}, hookTimeoutSeconds: 30 },
  });
});

test('every value can be set', () => {
  const config = parse(`${minimal}    staging: /srv/.stage
    mayBeEmpty: true
listen: "[::]:7421"
peer: { addresses: [192.0.2.2:7420, "[2001:db8::2]:7420", mail-b.lan:7420] }
capture: { watcher: chokidar, settleMs: 10, restMaxMs: 500, rescanHours: 0 }
limits:
  bandwidth:
    - { from: 08:00, to: "18:00", rate: 20MB/s }
    - { from: 18:00, to: 08:00, rate: off }
  massDelete: 5.5%
  massDeleteFilesMin: 10
  freeSpaceMin: 1.5GiB
history: { keep: 36h, max: 500 MB }
scrub: { days: 0, maxRate: 5MB/s }
metrics: off
log: { level: debug }
`);
  expect(config.roots[0]).toMatchObject({ staging: '/srv/.stage', mayBeEmpty: true });
  expect(config.listen).toEqual({ host: '::', port: 7421 });
  expect(config.peer.addresses.map(showHostPort)).toEqual(['192.0.2.2:7420', '[2001:db8::2]:7420', 'mail-b.lan:7420']);
  expect(config.limits).toEqual({
    bandwidth: [
      { fromMinute: 480, toMinute: 1080, bytesPerSecond: 20e6 },
      { fromMinute: 1080, toMinute: 480, bytesPerSecond: null },
    ],
    massDeleteShare: 0.055,
    massDeleteFilesMin: 10,
    freeBytesMin: 1.5 * 1024 ** 3,
  });
  expect(config.history).toEqual({ days: 1.5, bytesMax: 500e6 });
  expect(config.scrub).toEqual({ days: 0, bytesPerSecondMax: 5e6 });
  expect(config.metrics).toBeNull();
});

test('a bandwidth of one rate holds all day', () => {
  expect(parse(`${minimal}limits: { bandwidth: 20MB/s }\n`).limits.bandwidth).toEqual([
    { fromMinute: 0, toMinute: 1440, bytesPerSecond: 20e6 },
  ]);
});

test('paths are carried as the bytes that UTF-8 gives them', () => {
  expect(parse(minimal.replace('/srv/vmail', '/srv/größe/')).roots[0]?.path).toBe(Buffer.from('/srv/größe').toString('latin1'));
});

describe('bad input is refused with file, line, key and what to write', () => {
  const cases: [string, string, RegExp, RegExp][] = [
    [
      'unknown key at the top',
      `${minimal}metrcs: off\n`,
      /^\/etc\/mailtwin\.yaml:8: metrcs: unknown key; did you mean "metrics"\?/,
      /Write "metrics"/,
    ],
    [
      'unknown key in a section',
      `${minimal}limits:\n  massDeletes: 20%\n`,
      /:9: limits\.massDeletes: unknown key; did you mean "massDelete"\?/,
      /Write/,
    ],
    [
      'unknown key in a root',
      `${minimal}    may_be_empty: true\n`,
      /:8: roots\[1\]\.may_be_empty: unknown key; did you mean "mayBeEmpty"/,
      /Write/,
    ],
    ['unknown key with no neighbour', `${minimal}colour: red\n`, /:8: colour: unknown key$/, /Remove it, or use one of: node, role/],
    ['wrong type', minimal.replace('mail-a', '17'), /:1: node: 17 is not a name; .*quotes/, /line 1/],
    ['wrong role', minimal.replace('primary', 'master'), /:2: role: "master" is not one of: primary, standby/, /line 2/],
    ['missing key', minimal.replace('role: primary\n', ''), /:1: role: is missing; it must be one of: primary, standby/, /Add "role:"/],
    [
      'missing key of a root',
      minimal.replace('    format: maildir\n', ''),
      /:5: roots\[1\]\.format: is missing; it must be one of: maildir, plain/,
      /Add "format:"/,
    ],
    ['no roots', minimal.slice(0, minimal.indexOf('roots:')) + 'roots: []\n', /:4: roots: at least one root/, /line 4/],
    [
      'roots of another type',
      minimal.slice(0, minimal.indexOf('roots:')) + 'roots: /srv\n',
      /:4: roots: "\/srv" is not a list of roots/,
      /line 4/,
    ],
    ['bad size', `${minimal}history:\n  max: 10GX\n`, /:9: history\.max: "10GX" is not a size, for example 256MiB/, /line 9/],
    ['bad share', `${minimal}limits:\n  massDelete: 20\n`, /:9: limits\.massDelete: "20" is not a share above 0%/, /line 9/],
    ['bad rate', `${minimal}limits:\n  bandwidth: 20MB\n`, /:9: limits\.bandwidth.*"20MB" is not .*rate, for example 20MB\/s/, /line 9/],
    [
      'bad window',
      `${minimal}limits:\n  bandwidth:\n    - { from: 8, to: "18:00", rate: 1MB/s }\n`,
      /:10: limits\.bandwidth\[1\]\.from: "8" is not a time of day/,
      /line 10/,
    ],
    ['bad days', `${minimal}scrub: { days: -1 }\n`, /:8: scrub\.days: -1 is not a number of days from 0\.0001 to 365/, /line 8/],
    ['bad rate', `${minimal}scrub: { maxRate: 5 }\n`, /:8: scrub\.maxRate: "5" is not a rate/, /line 8/],
    ['bad duration', `${minimal}history: { keep: a fortnight }\n`, /:8: history\.keep: "a fortnight" is not a duration/, /line 8/],
    ['bad number', `${minimal}capture:\n  settleMs: -3\n`, /:9: capture\.settleMs: -3 is not a whole number from 0/, /line 9/],
    ['bad listen', `${minimal}listen: 7420\n`, /:8: listen: "7420" is not HOST:PORT/, /line 8/],
    [
      'a name of the metrics that is none',
      `${minimal}metrics: { names: ['a b'] }\n`,
      /"a b" is not the name or address of a host/,
      /line 8/,
    ],
    ['a name of the metrics with its port', `${minimal}metrics: { names: ['mail-a:9720'] }\n`, /"mail-a:9720" has a port/, /line 8/],
    ['bad metrics', `${minimal}metrics: on\n`, /:8: metrics\.listen: "on" is not .*HOST:PORT/, /line 8/],
    ['section of another type', `${minimal}log: info\n`, /:8: log: "info" is not a section/, /line 8/],
    ['relative root', minimal.replace('/srv/vmail', 'srv/vmail'), /:6: roots\[1\]\.path: "srv\/vmail" is not an absolute path/, /line 6/],
    ['relative state', minimal.replace('/var/lib', 'var'), /:3: state: .* is not an absolute path/, /line 3/],
    [
      'root name twice',
      `${minimal}  - { name: mail, path: /srv/b, format: plain }\n`,
      /:8: roots\[2\]\.name: the name "mail" is used twice/,
      /name of its own/,
    ],
    [
      'nested roots',
      `${minimal}  - { name: sieve, path: /srv/vmail/sieve, format: plain }\n`,
      /:8: roots\[2\]\.path: \/srv\/vmail\/sieve lies inside root "mail"/,
      /do not overlap/,
    ],
    [
      'nested the other way',
      `${minimal}  - { name: all, path: /srv, format: plain }\n`,
      /:8: roots\[2\]\.path: \/srv holds root "mail"/,
      /do not overlap/,
    ],
    [
      'the same root twice',
      `${minimal}  - { name: again, path: /srv/x/../vmail/, format: plain }\n`,
      /is the same directory as root "mail"/,
      /do not overlap/,
    ],
    [
      'state inside a root',
      minimal.replace('/var/lib/mailtwin', '/srv/vmail/.state'),
      /:3: state: the state directory \/srv\/vmail\/\.state lies inside root "mail"/,
      /elsewhere/,
    ],
    [
      'root inside state',
      minimal.replace('/srv/vmail', '/var/lib/mailtwin/mail'),
      /:6: roots\[1\]\.path: .* lies inside the state directory/,
      /elsewhere/,
    ],
    [
      'staging inside a root',
      `${minimal}    staging: /srv/vmail/tmp\n`,
      /:8: roots\[1\]\.staging: .* lies inside root "mail"/,
      /outside of all roots/,
    ],
    ['the whole file system', minimal.replace('/srv/vmail', '/'), /the whole file system cannot be a root/, /mail/],
    ['an alias of nothing', 'node: *other\n', /Unresolved alias.*other/, /in the place of the alias/],
    ['an alias of what it is part of', 'listen: &all [*all]\n', /stands for what it is part of/, /in the place of the alias/],
    [
      'aliases of aliases',
      `a: &a [x, x]\n${'bcdefghijk'.replace(/./g, (b, i: number) => `${b}: &${b} [*${'abcdefghij'[i]}, *${'abcdefghij'[i]}]\n`)}`,
      /alias/,
      /in the place of the alias/,
    ],
    ['not YAML', 'node: [mail-a\n', /:\d+: is not YAML/, /Correct line/],
    ['a key twice', `${minimal}node: mail-b\n`, /:8: a key stands twice/, /line 8/],
    ['no keys', 'hello\n', /:1: the file does not hold keys and values/, /line 1/],
    ['empty', '', /:1: the file does not hold keys and values/, /line 1/],
  ];
  test.each(cases)('%s', (_, text, message, remedy) => {
    const error = refusal(() => parse(text));
    expect(error.code).toBe('config');
    expect(error.exitCode).toBe(2);
    expect(error.message).toMatch(message);
    expect(error.remedy).toMatch(remedy);
  });

  test('several problems are named together, the first one in the file in full', () => {
    expect(refusal(() => parse(`${minimal.replace('primary', 'boss')}metrcs: off\n`)).message).toMatch(
      /:2: role: "boss" is not one of: primary, standby; also wrong: line 8 \(metrcs\)$/,
    );
  });
});

test('units', () => {
  expect([
    parseBytes('10GiB'),
    parseBytes('20 MB'),
    parseBytes('1.5kB'),
    parseBytes('7'),
    parseBytes('x'),
    parseBytes('1PB'),
    parseBytes('-1'),
  ]).toEqual([10 * 1024 ** 3, 20e6, 1500, 7, null, null, null]);
  expect([parseRate('20MB/s'), parseRate('0B/s'), parseRate('20MB')]).toEqual([20e6, null, null]);
  expect([parseShare('20%'), parseShare('0%'), parseShare('101%'), parseShare('0.2')]).toEqual([0.2, null, null, null]);
  expect([parseDays('14d'), parseDays('2w'), parseDays('0d'), parseDays('14')]).toEqual([14, 14, null, null]);
  expect([
    parseTimeOfDay('08:00'),
    parseTimeOfDay('24:00'),
    parseTimeOfDay('24:01'),
    parseTimeOfDay('8:00'),
    parseTimeOfDay('08:60'),
  ]).toEqual([480, 1440, null, null, null]);
  expect([
    parseHostPort('[::1]:1'),
    parseHostPort('::1:1'),
    parseHostPort('a:0'),
    parseHostPort('a:0', 0),
    parseHostPort('a:65536'),
  ]).toEqual([{ host: '::1', port: 1 }, null, null, { host: 'a', port: 0 }, null]);
});

describe('files', () => {
  let dir: string;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'mailtwin-config-'))));
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('a missing, oversized or binary file is refused', () => {
    const file = join(dir, 'c.yaml');
    expect(refusal(() => loadConfig(file))).toMatchObject({
      code: 'config',
      exitCode: 2,
      message: expect.stringMatching(/no such file/),
      remedy: expect.stringMatching(/mailtwin init/),
    });
    expect(refusal(() => loadConfig(dir)).message).toMatch(/cannot be read/);
    writeFileSync(file, Buffer.from([0xff, 0xfe, 0x00]));
    expect(refusal(() => loadConfig(file)).message).toMatch(/not UTF-8/);
    writeFileSync(file, Buffer.alloc(2 * 1024 * 1024, 35));
    expect(refusal(() => loadConfig(file)).message).toMatch(/larger than/);
  });

  test('roots that overlap behind a symbolic link are found', () => {
    const file = join(dir, 'c.yaml');
    mkdirSync(join(dir, 'mail/inner'), { recursive: true });
    symlinkSync(join(dir, 'mail/inner'), join(dir, 'other'));
    writeFileSync(file, `${minimal.replace('/srv/vmail', join(dir, 'mail'))}  - { name: b, path: ${join(dir, 'other')}, format: plain }\n`);
    expect(refusal(() => loadConfig(file)).message).toMatch(/lies inside root "mail"/);
  });

  test('a root that is a link is the directory that it leads to', () => {
    const file = join(dir, 'c.yaml');
    mkdirSync(join(dir, 'disk/mail'), { recursive: true });
    symlinkSync(join(dir, 'disk/mail'), join(dir, 'link'));
    symlinkSync(join(dir, 'not-mounted'), join(dir, 'dangling'));
    const roots = `${minimal.replace('/srv/vmail', join(dir, 'link'))}  - { name: b, path: ${join(dir, 'dangling')}, format: plain }\n`;
    writeFileSync(file, roots);
    expect(loadConfig(file).roots.map(({ path }) => path)).toEqual([join(dir, 'disk/mail'), join(dir, 'dangling')]);
  });

  test.each([['["a/../b"]'], ['["/"]'], ['[""]'], ['["!"]'], ['[1]'], ['x']])('%s is no list of patterns', (list) => {
    const text = minimal.replace(/( *)format: maildir/, (all, indent: string) => `${all}\n${indent}exclude: ${list}`);
    expect(refusal(() => parseConfig('/c.yaml', text, (path) => path)).message).toMatch(/exclude/);
  });

  test('what init writes loads back to the same values', () => {
    const values = {
      node: 'mail-a',
      role: 'standby' as const,
      state: join(dir, 'state: #1'),
      listen: { host: '::', port: 7420 },
      metrics: null,
      peerAddresses: [{ host: '2001:db8::1', port: 7420 }],
      roots: [
        { name: 'mail', path: '/srv/a b: "c" #d', format: 'maildir' as const },
        { name: 'null', path: '/srv/größe', format: 'plain' as const },
      ],
    };
    const config = parseConfig('/x', renderConfig(values), same);
    const defaults = parse(minimal);
    expect(config).toEqual({
      ...defaults,
      file: '/x',
      node: 'mail-a',
      role: 'standby',
      state: join(dir, 'state: #1'),
      listen: { host: '::', port: 7420 },
      metrics: null,
      peer: { addresses: [{ host: '2001:db8::1', port: 7420 }] },
      roots: values.roots.map((r) => ({
        ...r,
        path: Buffer.from(r.path).toString('latin1'),
        mayBeEmpty: false,
        exclude: [...defaultExcludes[r.format]],
        staging: null,
      })),
    });
  });

  const identity = () => ({ files: { 'node.key': 'secret', 'node.crt': 'public' }, fingerprint: 'aa' });
  const options = (): InitOptions => ({
    file: join(dir, 'etc/mailtwin.yaml'),
    node: 'mail-a',
    role: 'primary',
    roots: ['mail=/srv/vmail:maildir'],
    state: join(dir, 'var/state'),
    listen: '127.0.0.1:0',
    metrics: 'off',
  });
  const failure = (changes: Partial<InitOptions>): OperatorError => refusal(() => initNode({ ...options(), ...changes }, identity));

  test('init writes configuration and key, private to its user', () => {
    const { config, fingerprint } = initNode(options(), identity);
    expect(fingerprint).toBe('aa');
    expect(loadConfig(join(dir, 'etc/mailtwin.yaml'))).toEqual(config);
    expect(statSync(join(dir, 'etc/mailtwin.yaml')).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, 'var/state')).mode & 0o777).toBe(0o700);
    expect(statSync(join(dir, 'var/state/node.key')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(dir, 'var/state/node.key'), 'utf8')).toBe('secret');
    expect(readdirSync(join(dir, 'var/state')).sort()).toEqual(['node.crt', 'node.key']);
  });

  test('init overwrites nothing and leaves nothing half made', () => {
    initNode(options(), identity);
    const before = readFileSync(join(dir, 'etc/mailtwin.yaml'));
    expect(failure({})).toMatchObject({ code: 'exists', message: expect.stringContaining('nothing was changed') });
    expect(failure({ state: join(dir, 'other') })).toMatchObject({ code: 'exists', message: expect.stringContaining('mailtwin.yaml') });
    expect(existsSync(join(dir, 'other'))).toBe(false);
    expect(failure({ file: join(dir, 'second.yaml') })).toMatchObject({ code: 'exists', message: expect.stringContaining('node.') });
    expect(existsSync(join(dir, 'second.yaml'))).toBe(false);
    expect(readFileSync(join(dir, 'etc/mailtwin.yaml'))).toEqual(before);
  });

  test('init that fails midway removes what it made', () => {
    writeFileSync(join(dir, 'blocked'), '');
    expect(failure({ file: join(dir, 'blocked/mailtwin.yaml') })).toMatchObject({
      code: 'init-failed',
      message: expect.stringContaining('nothing was changed'),
    });
    expect(readdirSync(dir)).toEqual(['blocked']);
    chmodSync(join(dir, 'blocked'), 0o600);
  });

  test('init refuses bad options', () => {
    const cases: [Partial<InitOptions>, RegExp][] = [
      [{ role: 'fenced' }, /--role "fenced"/],
      [{ roots: [] }, /no root was given/],
      [{ roots: ['/srv/vmail'] }, /no name before/],
      [{ roots: ['mail=/srv/vmail'] }, /no format/],
      [{ roots: ['mail=srv:maildir'] }, /not absolute/],
      [{ roots: ['mail=/srv:mbox'] }, /"mbox" is not a format/],
      [{ roots: ['a=/srv:plain', 'b=/srv/x:plain'] }, /lies inside root "a"/],
      [{ listen: 'here' }, /--listen "here" is not HOST:PORT/],
      [{ metrics: 'x' }, /--metrics "x"/],
      [{ node: 'no good' }, /"no good" is not a name/],
    ];
    for (const [changes, message] of cases)
      expect(failure(changes)).toMatchObject({ code: 'usage', exitCode: 2, message: expect.stringMatching(message) });
    expect(readdirSync(dir)).toEqual([]);
  });

  test('a root argument may have colons and equals signs in its path', () => {
    expect(parseRootArgument('mail=/srv/a:b=c:plain')).toEqual({ name: 'mail', path: '/srv/a:b=c', format: 'plain' });
  });
});
