import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Config } from '../../agent/config/config.ts';
import { agentBounds, hostProbe } from '../../agent/observe/doctor/host-probe.ts';
import type { DoctorProbe } from '../../agent/observe/doctor/probe.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import type { Status } from '../../protocol/control.ts';
import { cpuSeconds } from '../lab/cpu-time.ts';
import { sampleStatus } from './control-fixture.ts';
import { findings, healthyNode, healthyProbe, loopback, sampleConfig, troubles } from './doctor-fixture.ts';

describe('doctor', () => {
  it('finds nothing on a healthy host', async () => {
    const all = await findings(healthyProbe());
    expect(troubles(all)).toEqual([]);
    for (const id of [
      'config',
      'versions',
      'state',
      'key',
      'root',
      'mail-server',
      'space',
      'mount',
      'inotify',
      'fanotify',
      'time-sync',
      'agent',
      'addresses',
      'peer',
      'clock-skew',
      'unproven',
      'verify',
    ]) {
      expect(all.map((finding) => finding.id)).toContain(id);
    }
  });

  it('gives every trouble a remedy and evidence', async () => {
    const all = await findings(
      healthyProbe({
        stat: () => null,
        connect: async () => 'ECONNREFUSED',
        bind: async () => 'EADDRINUSE',
        readText: () => null,
        addresses: () => [loopback],
      }),
      null,
    );
    expect(troubles(all).length).toBeGreaterThan(5);
    for (const finding of all.filter(({ level }) => level !== 'pass')) expect(finding.remedy).not.toBe('');
  });

  it('stops at a configuration that cannot be used', async () => {
    const loadConfig = () => {
      throw new OperatorError('config', 'mailtwin.yaml:3: rolle is not known', 'correct line 3');
    };
    expect(await findings(healthyProbe({ loadConfig }))).toEqual([
      {
        id: 'config',
        level: 'fail',
        summary: expect.any(String),
        evidence: 'mailtwin.yaml:3: rolle is not known',
        remedy: 'correct line 3',
      },
    ]);
  });

  it('goes on when one check cannot be done', async () => {
    const mounts = async () => {
      throw new Error('no /proc');
    };
    expect(troubles(await findings(healthyProbe({ mounts })))).toEqual(['warn mount']);
  });

  const standby = sampleConfig({ role: 'standby' });
  const base = sampleStatus();
  const cases: [string, Partial<DoctorProbe>, Config, Status | null | undefined, string[]][] = [
    ['old Node.js', { versions: () => ({ node: 'v20.10.0', koffi: '3', lmdb: '3' }) }, sampleConfig(), undefined, ['fail versions']],
    ['library missing', { versions: () => ({ node: 'v24.0.0', koffi: null, lmdb: '3' }) }, sampleConfig(), undefined, ['fail versions']],
    [
      'open key',
      { stat: (path) => ({ directory: !path.endsWith('.key'), mode: path.endsWith('.key') ? 0o644 : 0o700, uid: 0, gid: 0, dev: '1' }) },
      sampleConfig(),
      undefined,
      ['fail key'],
    ],
    [
      'open state',
      { stat: (path) => ({ directory: !path.endsWith('.key'), mode: path.endsWith('.key') ? 0o600 : 0o755, uid: 0, gid: 0, dev: '1' }) },
      sampleConfig(),
      undefined,
      ['warn state'],
    ],
    [
      'unreadable mail',
      { survey: () => ({ dirs: 1, files: 1, complete: true, unreadable: ['/var/vmail/x'] }) },
      sampleConfig(),
      undefined,
      ['fail root'],
    ],
    [
      'empty root on the primary',
      { survey: () => ({ dirs: 0, files: 0, complete: true, unreadable: [] }) },
      sampleConfig(),
      undefined,
      ['fail root'],
    ],
    ['empty root on the standby', { survey: () => ({ dirs: 0, files: 0, complete: true, unreadable: [] }) }, standby, undefined, []],
    [
      'staging elsewhere',
      {
        stat: (path) => ({
          directory: !path.endsWith('.key'),
          mode: path.endsWith('.key') ? 0o600 : 0o700,
          uid: 0,
          gid: 0,
          dev: path === '/stage' ? '2' : '1',
        }),
      },
      sampleConfig({ roots: [{ name: 'mail', path: '/var/vmail', format: 'maildir', mayBeEmpty: false, exclude: [], staging: '/stage' }] }),
      undefined,
      ['fail staging'],
    ],
    [
      'disk full',
      { space: (path) => ({ freeBytes: path === '/var/vmail' ? 1e8 : 50e9, freeInodes: 9, totalInodes: 10 }) },
      sampleConfig(),
      undefined,
      ['fail space'],
    ],
    [
      'inodes low',
      { space: () => ({ freeBytes: 50e9, freeInodes: 1, totalInodes: 1000 }) },
      sampleConfig(),
      undefined,
      ['warn space', 'warn space'],
    ],
    ['no inodes to count', { space: () => ({ freeBytes: 50e9, freeInodes: 0, totalInodes: 0 }) }, sampleConfig(), undefined, []],
    [
      'read-only standby',
      {
        mounts: async () => [
          { at: '/', type: 'ext4', writable: true },
          { at: '/var', type: 'ext4', writable: false },
        ],
      },
      standby,
      undefined,
      ['fail mount'],
    ],
    [
      'network file system',
      { mounts: async () => [{ at: '/var/vmail', type: 'nfs4', writable: true }] },
      sampleConfig(),
      undefined,
      ['warn mount'],
    ],
    [
      'another mount with the same beginning',
      {
        mounts: async () => [
          { at: '/', type: 'ext4', writable: true },
          { at: '/var/vm', type: 'nfs4', writable: true },
        ],
      },
      sampleConfig(),
      undefined,
      [],
    ],
    [
      'too few watches',
      { survey: () => ({ dirs: 300_000, files: 1, complete: true, unreadable: [] }) },
      sampleConfig(),
      undefined,
      ['fail inotify'],
    ],
    [
      'watches short',
      { survey: () => ({ dirs: 150_000, files: 1, complete: true, unreadable: [] }) },
      sampleConfig(),
      undefined,
      ['warn inotify'],
    ],
    [
      'no capability',
      { readText: (path) => (path.endsWith('status') ? 'CapEff:\t0000000000000000\n' : '1000000') },
      sampleConfig(),
      undefined,
      ['warn fanotify'],
    ],
    [
      'fanotify asked for',
      { readText: (path) => (path.endsWith('status') ? 'CapEff:\t0000000000000000\n' : '1000000') },
      sampleConfig({ capture: { ...sampleConfig().capture, watcher: 'fanotify' } }),
      undefined,
      ['fail fanotify'],
    ],
    [
      'chokidar asked for',
      { readText: (path) => (path.endsWith('status') ? 'CapEff:\t0000000000000000\n' : '1000000') },
      sampleConfig({ capture: { ...sampleConfig().capture, watcher: 'chokidar' } }),
      undefined,
      [],
    ],
    ['old kernel', { system: async () => ({ os: 'x', kernel: '5.10.0' }) }, sampleConfig(), undefined, ['warn fanotify']],
    ['clock not synchronised', { run: async () => ({ exitCode: 0, out: 'no\n' }) }, sampleConfig(), undefined, ['warn time-sync']],
    ['no timedatectl', { run: async () => null }, sampleConfig(), undefined, []],
    ['agent not running', {}, sampleConfig(), null, ['warn agent']],
    ['port taken', { bind: async () => 'EADDRINUSE' }, sampleConfig(), null, ['warn agent', 'fail listen']],
    [
      'address of another host',
      { bind: async () => 'EADDRNOTAVAIL' },
      sampleConfig({ listen: { host: '10.9.9.9', port: 7420 } }),
      null,
      ['warn agent', 'fail listen'],
    ],
    ['port is ours', { bind: async () => 'EADDRINUSE' }, sampleConfig(), undefined, []],
    [
      'only loopback',
      { addresses: () => [loopback, { device: 'lo', address: '::1', length: 128 }] },
      sampleConfig(),
      undefined,
      ['warn addresses'],
    ],
    ['standby without its primary', { connect: async () => 'ECONNREFUSED' }, standby, null, ['warn agent', 'fail peer']],
    [
      'primary without its standby',
      { connect: async () => 'ETIMEDOUT' },
      sampleConfig(),
      { ...base, peer: { ...base.peer, connected: false } },
      ['warn peer'],
    ],
    [
      'peer answers, not connected',
      {},
      standby,
      { ...base, peer: { ...base.peer, connected: false, lastError: 'wrong key' } },
      ['warn peer'],
    ],
    ['not paired', {}, sampleConfig({ peer: { addresses: [] } }), null, ['warn agent', 'warn peer']],
    ['skew', {}, sampleConfig(), { ...base, peer: { ...base.peer, clockSkewSeconds: -3600 } }, ['fail clock-skew']],
    ['small skew', {}, sampleConfig(), { ...base, peer: { ...base.peer, clockSkewSeconds: 2 } }, ['warn clock-skew']],
    [
      'unproven',
      {},
      sampleConfig(),
      {
        ...base,
        replication: { ...base.replication, doubts: [{ root: 'mail', path: 'a', reason: 'overflow', since: base.at }], doubtCount: 1 },
      },
      ['warn unproven'],
    ],
    [
      'held',
      {},
      sampleConfig(),
      { ...base, replication: { ...base.replication, held: { code: 'mass-delete', detail: 'x' } } },
      ['fail held'],
    ],
    ['never verified', {}, sampleConfig(), { ...base, lastVerify: null }, ['warn verify']],
    [
      'verified long ago',
      {},
      sampleConfig(),
      { ...base, lastVerify: { at: '2025-12-01T00:00:00Z', result: 'clean', deep: false, differences: 0, leftOut: 0 } },
      ['warn verify'],
    ],
    [
      'verify found differences',
      {},
      sampleConfig(),
      { ...base, lastVerify: { at: base.at, result: 'different', deep: false, differences: 2, leftOut: 0 } },
      ['fail verify'],
    ],
    [
      'a link that leads out to mail',
      { list: (path) => (path === '/disk2/example.com/u1' ? ['cur', 'new', 'tmp'] : path === '/disk2/example.com' ? ['u1'] : []) },
      sampleConfig(),
      {
        ...base,
        leftOut: [
          {
            reason: 'link-out',
            text: 'symbolic link that leads out of its root',
            count: 1,
            kept: 1,
            unexpected: 1,
            examples: ['mail/example.com -> /disk2/example.com'],
            since: base.at,
            places: [{ root: 'mail', path: 'example.com', detail: '/disk2/example.com', kept: true }],
          },
        ],
      },
      ['warn left-out'],
    ],
    ['agent warns', {}, sampleConfig(), { ...base, warnings: [{ code: 'x', text: 'y', remedy: 'z' }] }, ['warn warnings']],
  ];
  it.each(cases)('%s', async (_name, change, config, status, expected) => {
    const watched =
      status === undefined ? undefined : status && { ...status, capture: { watcher: 'chokidar' as const, watches: 1, overflows: 0 } };
    expect(troubles(await findings(healthyProbe(change, config), watched))).toEqual(expected);
  });
});

describe('host probe', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'mailtwin-doctor-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const probe = (bounds?: typeof agentBounds) =>
    hostProbe(
      () => sampleConfig(),
      () => healthyNode(),
      bounds,
    );

  it('sees the mounts of this host', async () => {
    expect((await probe().mounts()).some((mount) => mount.at === '/proc' && mount.type === 'proc')).toBe(true);
  });

  it('knows this host', async () => {
    const host = probe();
    expect(host.versions()).toEqual({ node: process.version, koffi: expect.stringMatching(/^\d/), lmdb: expect.stringMatching(/^\d/) });
    expect((await host.system()).kernel).toMatch(/^\d+\.\d+/);
    expect(host.space(dir).freeBytes).toBeGreaterThan(0);
    expect(host.addresses()).toContainEqual({ device: 'lo', address: '127.0.0.1', length: 8 });
    expect(host.readText('/proc/self/status')).toMatch(/^CapEff:/m);
    expect(host.readText(join(dir, 'missing'))).toBeNull();
  });

  it('runs programs, and knows which are missing', async () => {
    expect(await probe().run('no-such-program-here', [])).toBeNull();
    expect(await probe().run(process.execPath, ['-e', 'console.log(1); process.exit(3)'])).toEqual({ exitCode: 3, out: '1\n' });
  });

  it('surveys a tree, with names that are not UTF-8', () => {
    mkdirSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0x41])]));
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0x41]), Buffer.from('/file')]), '');
    writeFileSync(join(dir, 'file'), '');
    expect(probe().survey(dir)).toEqual({ dirs: 1, files: 2, complete: true, unreadable: [] });
    expect(probe().stat(join(dir, 'missing'))).toBeNull();
    chmodSync(join(dir, 'file'), 0o640);
    expect(probe().stat(join(dir, 'file'))).toMatchObject({ directory: false, mode: 0o640 });
  });

  it('looks at a whole tree only as long as it may: within the agent replication waits meanwhile', () => {
    for (let d = 0; d < 40; d++) {
      mkdirSync(join(dir, String(d)));
      for (let f = 0; f < 250; f++) writeFileSync(join(dir, String(d), String(f)), '');
    }
    let seen = { dirs: 0, files: 0, complete: false };
    expect(cpuSeconds(() => (seen = probe(agentBounds).survey(dir)))).toBeLessThan(0.15);
    const { dirs, files, complete } = seen;
    expect(dirs + files).toBeGreaterThan(0);
    expect(complete).toBe(dirs + files === 40 + 40 * 250);
    expect(probe(agentBounds).treeBytes(dir)).toBeNull();
    expect(probe().survey(dir)).toMatchObject({ dirs: 40, files: 10_000, complete: true });
  });

  it('tries ports', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await probe().bind('127.0.0.1', port)).toBe('EADDRINUSE');
    expect(await probe().connect('127.0.0.1', port)).toBeNull();
    server.close();
    await once(server, 'close');
    expect(await probe().connect('127.0.0.1', port)).toBe('ECONNREFUSED');
    expect(await probe().bind('127.0.0.1', port)).toBeNull();
  });
});
