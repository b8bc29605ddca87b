import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { safeFacts } from '../../agent/observe/facts.ts';
import { startObserveServer, type ObserveServer } from '../../agent/observe/http.ts';
import { createLog, readableLine } from '../../agent/observe/log.ts';
import { createMetrics } from '../../agent/observe/metrics.ts';
import { readiness } from '../../agent/observe/readiness.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { Status } from '../../protocol/control.ts';
import { sampleStatus } from './control-fixture.ts';

const now = Date.parse('2026-01-02T03:04:05.000Z');
function metricsOf(status: () => Status, wallMs = now) {
  return createMetrics({ status, wallMs: () => wallMs, processMetrics: false });
}
/** Samples by name and labels. */
async function samples(metrics: { render(): Promise<string> }): Promise<Map<string, number>> {
  const lines = (await metrics.render()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

describe('metrics', () => {
  it('shows a status in base units', async () => {
    const seen = await samples(metricsOf(() => sampleStatus()));
    expect(seen.get('mailtwin_lag_seconds')).toBe(0.25);
    expect(seen.get('mailtwin_head_position')).toBe(1200);
    expect(seen.get('mailtwin_durable_position')).toBe(1198);
    expect(seen.get('mailtwin_role{role="primary"}')).toBe(1);
    expect(seen.get('mailtwin_role{role="standby"}')).toBe(0);
    expect(seen.get('mailtwin_reading_timestamp_seconds')).toBe(now / 1000);
    expect(seen.get('mailtwin_peer_last_heard_timestamp_seconds')).toBe(now / 1000 - 0.5);
    expect(seen.get('mailtwin_root_free_bytes{root="mail"}')).toBe(10_737_418_240);
    expect(seen.get('mailtwin_last_verify_clean')).toBe(1);
    expect(seen.get('mailtwin_watcher_info{watcher="fanotify"}')).toBe(1);
    expect([...seen.keys()].filter((key) => key.startsWith('mailtwin_held{'))).toEqual([]);
  });

  it('leaves out what is not known any more, and does not turn it into 0 (I18)', async () => {
    let status = sampleStatus();
    const metrics = metricsOf(() => status);
    expect((await samples(metrics)).has('mailtwin_lag_seconds')).toBe(true);
    status = sampleStatus({ replication: { ...status.replication, lagSeconds: null }, lastVerify: null });
    const seen = await samples(metrics);
    expect(seen.has('mailtwin_lag_seconds')).toBe(false);
    expect(seen.has('mailtwin_last_verify_clean')).toBe(false);
    expect(seen.has('mailtwin_epoch')).toBe(true);
  });

  it('shows the queue of each node, and none where its messages could not be counted (I18)', async () => {
    const queue = { mta: 'postfix', more: false, at: sampleStatus().at, why: '' };
    const seen = await samples(
      metricsOf(() =>
        sampleStatus({
          queues: [
            { ...queue, node: 'mail-a', messages: 42, oldestAt: '2026-01-02T03:04:00.000Z' },
            { ...queue, node: 'mail-b', messages: null, oldestAt: null },
          ],
        }),
      ),
    );
    expect(seen.get('mailtwin_mta_queue_messages{node="mail-a"}')).toBe(42);
    expect(seen.get('mailtwin_mta_queue_oldest_timestamp_seconds{node="mail-a"}')).toBe(now / 1000 - 5);
    expect(seen.get('mailtwin_mta_queue_reading_timestamp_seconds{node="mail-b"}')).toBe(now / 1000);
    expect(seen.has('mailtwin_mta_queue_messages{node="mail-b"}')).toBe(false);
    expect(seen.has('mailtwin_mta_queue_oldest_timestamp_seconds{node="mail-b"}')).toBe(false);
  });

  it('shows no reading that is old or cannot be made (I18)', async () => {
    const old = await samples(metricsOf(() => sampleStatus(), now + 31_000));
    const broken = await samples(
      metricsOf(() => {
        throw new Error('starting');
      }),
    );
    for (const seen of [old, broken]) {
      expect(seen.has('mailtwin_epoch')).toBe(false);
      expect(seen.has('mailtwin_role{role="primary"}')).toBe(false);
    }
  });

  it('counts what replication does', async () => {
    const metrics = metricsOf(() => sampleStatus());
    metrics.meter.sent('tail', 2, 100, 900);
    metrics.meter.sent('patch', 1, 100, -50);
    metrics.meter.applied(3, 300);
    metrics.meter.batchSeconds(0.01);
    metrics.meter.syncSeconds('files', 0.02);
    metrics.meter.rejected('base');
    metrics.meter.hints(7);
    metrics.meter.rescanned('overflow');
    const seen = await samples(metrics);
    expect(seen.get('mailtwin_sent_changes_total{kind="tail"}')).toBe(2);
    expect(seen.get('mailtwin_sent_bytes_total{kind="tail"}')).toBe(100);
    expect(seen.get('mailtwin_saved_bytes_total{kind="tail"}')).toBe(900);
    expect(seen.get('mailtwin_saved_bytes_total{kind="patch"}')).toBe(0);
    expect(seen.get('mailtwin_applied_ops_total')).toBe(3);
    expect(seen.get('mailtwin_batch_seconds_count')).toBe(1);
    expect(seen.get('mailtwin_sync_seconds_count{what="files"}')).toBe(1);
    expect(seen.get('mailtwin_rejected_batches_total{code="base"}')).toBe(1);
    expect(seen.get('mailtwin_hints_total')).toBe(7);
    expect(seen.get('mailtwin_rescans_total{reason="overflow"}')).toBe(1);
  });

  it('keeps the number of series bounded (I12)', async () => {
    const metrics = metricsOf(() => sampleStatus());
    for (let i = 0; i < 1000; i++) metrics.meter.rescanned(`reason ${i}`);
    const seen = [...(await samples(metrics)).keys()].filter((key) => key.startsWith('mailtwin_rescans_total'));
    expect(seen.length).toBeLessThanOrEqual(51);
  });

  it('has the process defaults', async () => {
    const text = await createMetrics({ status: () => sampleStatus(), wallMs: () => now }).render();
    expect(text).toContain('process_resident_memory_bytes');
  });
});

describe('readiness', () => {
  const standby = sampleStatus({ role: 'standby', capture: { watcher: 'none', watches: 0, overflows: 0 } });
  it.each<[string, Status, string[]]>([
    ['primary that watches', sampleStatus(), []],
    ['primary whose standby is away', sampleStatus({ peer: { ...sampleStatus().peer, connected: false } }), []],
    ['primary that does not watch', sampleStatus({ capture: { watcher: 'none', watches: 0, overflows: 0 } }), ['no-capture']],
    ['standby with its primary', standby, []],
    ['standby alone', { ...standby, peer: { ...standby.peer, connected: false } }, ['disconnected']],
    ['standby unpaired', { ...standby, replication: { ...standby.replication, phase: 'unpaired' } }, ['unpaired']],
    ['fenced', sampleStatus({ role: 'fenced' }), ['fenced']],
  ])('%s', (_name, status, codes) => {
    expect(readiness(status).reasons.map((reason) => reason.code)).toEqual(codes);
    expect(readiness(status).ready).toBe(codes.length === 0);
  });
});

describe('observe server', () => {
  let server: ObserveServer | undefined;
  afterEach(async () => {
    await server?.close();
    server = undefined;
  });
  const start = async (status: () => Status) => {
    server = await startObserveServer({ listen: { host: '127.0.0.1', port: 0 }, metrics: metricsOf(status), status, log: silentLog });
    return `http://127.0.0.1:${server.port}`;
  };

  it('serves metrics, health and readiness', async () => {
    let status = sampleStatus();
    const url = await start(() => status);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('mailtwin_epoch 3');
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    status = sampleStatus({ role: 'fenced' });
    const notReady = await fetch(`${url}/readyz`);
    expect(notReady.status).toBe(503);
    expect(await notReady.json()).toMatchObject({ ready: false, reasons: [{ code: 'fenced' }] });
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect((await fetch(`${url}/else`)).status).toBe(404);
    expect((await fetch(`${url}/metrics`, { method: 'POST', body: 'x' })).status).toBe(405);
  });

  /** Asks with this Host header; null sends none, as HTTP/1.0 may. */
  const asked = async (host: string | null, path = '/') => {
    const socket = connect({ host: '127.0.0.1', port: server?.port ?? 0 });
    socket.end(`GET ${path} HTTP/1.${host === null ? 0 : 1}\r\n${host === null ? '' : `Host: ${host}\r\n`}Connection: close\r\n\r\n`);
    const answer = await text(socket);
    return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]), body: answer.split('\r\n\r\n')[1] ?? '' };
  };

  it('answers only who asks by a name of it: a page of somebody else’s does not, whatever its name leads to', async () => {
    server = await startObserveServer({
      listen: { host: '0.0.0.0', port: 0 },
      names: ['mail-a', 'Mail-A.Example.ORG', '2001:DB8::0:1'],
      metrics: metricsOf(() => sampleStatus()),
      status: () => sampleStatus(),
      routes: { '/': (_, response) => void response.end('the page') },
      log: silentLog,
    });
    for (const known of [
      '127.0.0.1',
      '127.0.0.1:9720',
      'localhost:9999',
      'LOCALHOST.',
      '[::1]:9720',
      'mail-a',
      'mail-a.example.org:9720',
      '[2001:db8::1]',
      null,
    ])
      expect([known, (await asked(known)).body]).toEqual([known, 'the page']);
    for (const strange of [
      'evil.example',
      'evil.example:9720',
      'mail-a.evil.example',
      '127.0.0.1.evil.example',
      'localhost.evil.example',
      '192.0.2.7',
      '[2001:db8::2]:9720',
      'a@localhost',
      'localhost:9720:1',
      'localhost/x',
      '',
    ])
      for (const path of ['/', '/metrics', '/healthz', '/readyz', '/status.json']) {
        const { status, body } = await asked(strange, path);
        expect([strange, path, status]).toEqual([strange, path, 421]);
        expect(body).toMatch(/is no name of this node: write it into `metrics\.names`/);
      }
    expect((await asked('evil.example:9720')).body).toMatch(/^evil\.example is no name/m);
    expect((await asked('<script>')).body).not.toContain('<');
  });

  it('explains an address that is taken', async () => {
    await start(() => sampleStatus());
    const again = startObserveServer({
      listen: { host: '127.0.0.1', port: server?.port ?? 0 },
      metrics: metricsOf(() => sampleStatus()),
      status: () => sampleStatus(),
      log: silentLog,
    });
    await expect(again).rejects.toMatchObject({ code: 'metrics-address' });
  });
});

describe('log', () => {
  const logged = (level: 'debug' | 'info', act: (log: ReturnType<typeof createLog>) => void) => {
    const lines: string[] = [];
    act(createLog(level, { write: (text) => lines.push(text) }));
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  };

  it('writes JSON lines and keeps to its level', () => {
    const lines = logged('info', (log) => {
      log.debug({}, 'hidden');
      log.info({ root: 'mail', size: 5n }, 'seen');
    });
    expect(lines).toEqual([{ level: 'info', time: expect.any(Number), root: 'mail', size: '5', msg: 'seen' }]);
  });

  it('never writes secrets or content', () => {
    const [line] = logged('info', (log) =>
      log.info(
        {
          password: 'x1',
          privateKey: 'x2',
          pairingCode: 'x3',
          code: 'K7QF-9PXM',
          nested: { token: 'x4' },
          body: Buffer.from('Subject: x5'),
        },
        'all',
      ),
    );
    expect(JSON.stringify(line)).not.toMatch(/x\d|K7QF/);
    expect(line).toMatchObject({ body: '11 bytes', password: '[hidden]' });
  });

  it('keeps the codes of errors, and stacks only of faults', () => {
    const facts = safeFacts({
      code: 'no-space',
      errno: 'ENOSPC',
      error: new OperatorError('no-root', 'm', 'r'),
      fault: new TypeError('boom'),
    });
    expect(facts).toMatchObject({
      code: 'no-space',
      error: { code: 'no-root', remedy: 'r' },
      fault: { message: 'boom', stack: expect.stringContaining('TypeError') },
    });
    expect(facts['error']).not.toHaveProperty('stack');
  });

  it('bounds what it writes', () => {
    const deep: Record<string, unknown> = {};
    deep['self'] = deep;
    expect(
      JSON.stringify(safeFacts({ long: 'x'.repeat(100_000), many: Array.from({ length: 10_000 }, () => 'y'), deep })).length,
    ).toBeLessThan(5000);
  });

  it('is readable on a terminal', () => {
    const text = readableLine(
      JSON.stringify({ level: 'warn', time: 0, msg: 'held', root: 'mail', error: { message: 'full', code: 'no-space' } }),
    );
    expect(text.replace(/\u001b\[\d+m/g, '')).toMatch(/^\d\d:\d\d:\d\d warn {2}held root=mail error=no-space: full\n$/);
  });
});
