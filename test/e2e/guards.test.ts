import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import type { DoctorFinding, Status } from '../../protocol/control.ts';
import { exactTree, treeDifferences } from '../lab/exact-tree.ts';
import { runNow } from '../lab/processes.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const waitMs = 60_000;

const codes = (list: readonly { code: string }[]) => list.map(({ code }) => code);

function expectSame(pair: SmallPair): void {
  expect(treeDifferences(exactTree(pair.primary.root), exactTree(pair.standby.root))).toEqual([]);
}

/** Values by name and labels, as Prometheus' text format has them. */
function readMetrics(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const match = /^([a-z_0-9]+(?:\{.*\})?) (\S+)$/.exec(line);
    if (!match) throw new Error(`not a metric: ${line}`);
    values.set(match[1] ?? '', Number(match[2]));
  }
  return values;
}

describe('the guard against mass deletion', () => {
  it('holds the removal of most of the store until a person allows it', async () => {
    await using pair = await SmallPair.create({ metrics: true, set: { massDeleteFilesMin: '10', massDelete: '20%' } });
    const { primary, standby } = pair;
    for (let i = 0; i < 100; i++) {
      mkdirSync(`${primary.root}/${i % 10}`, { recursive: true });
      writeFileSync(`${primary.root}/${i % 10}/${i}`, `mail ${i}`);
    }
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    // A few go without a question.
    for (let i = 0; i < 5; i++) unlinkSync(`${primary.root}/${i}/${i}`);
    await pair.settled();
    for (let i = 0; i < 8; i++) rmSync(`${primary.root}/${i}`, { recursive: true });
    const isHeld = (s: Status) => s.replication.heldPlaces.some(({ code }) => code === 'mass-delete');
    const held = await primary.until('the hold', isHeld);
    expect(held.replication.held).toBeNull();
    expect(codes(held.warnings)).toContain('mass-delete');
    expect(readMetrics((await primary.scrape()).text).get('mailtwin_held_places{code="mass-delete"}')).toBeGreaterThan(0);
    expect(await primary.ok('status')).toMatch(/mass-delete.*files of root mail would be lost/);
    const waited = await primary.cli('wait', '--timeout', '30');
    expect(waited.code).toBe(1);
    expect(waited.stderr).toMatch(/allow-delete/);
    // What else happens goes on meanwhile.
    writeFileSync(`${primary.root}/9/new`, 'mail');
    await waitFor('the new file there', waitMs, () => existsSync(`${standby.root}/9/new`));
    expect(Object.keys(Object.fromEntries(exactTree(standby.root))).length).toBeGreaterThan(80);
    // Neither a restart of the primary nor one of the standby lets it through.
    await standby.kill();
    await standby.start();
    await primary.kill();
    await primary.start();
    await primary.until('the hold again', (s) => isHeld(s) && s.peer.connected);
    await primary.until('all else', (s) => s.replication.phase === 'streaming');
    expect(Object.keys(Object.fromEntries(exactTree(standby.root))).length).toBeGreaterThan(80);
    expect((await standby.cli('allow-delete')).code).toBe(3);
    // Without a place it only tells; with one it lets that go and nothing else.
    const asked = await primary.cli('allow-delete');
    expect(asked.code).toBe(3);
    expect(asked.stdout).toMatch(/Nothing was changed/);
    const places = (await primary.status()).replication.heldPlaces.map(({ root, path }) => `${root}/${path}`);
    expect(places.length).toBeGreaterThan(2);
    const [first = ''] = places;
    expect(await primary.ok('allow-delete', first)).toMatch(/^Released the deletion of \d+ files? at mail\/\d\.$/m);
    await waitFor('the removal there', waitMs, () => !existsSync(join(standby.root, first.replace('mail/', ''))));
    expect((await primary.cli('allow-delete', first)).code).toBe(3);
    expect((await primary.status()).replication.heldPlaces.length).toBe(places.length - 1);
    expect((await primary.cli('wait', '--timeout', '30')).code).toBe(1);
    expect(readFileSync(`${primary.state}/audit.ndjson`, 'utf8')).toContain('delete-allowed');
    // An allowance outlives a restart.
    await primary.ok('allow-delete', '--all');
    await primary.kill();
    await primary.start();
    await pair.settled();
    expectSame(pair);
    expect((await primary.status()).replication.heldPlaces).toEqual([]);
    expect(await primary.ok('allow-delete')).toBe('Nothing is held.\n');
  });

  it('holds a rewrite of most of the store, and lets it go when it is put back', async () => {
    await using pair = await SmallPair.create({ set: { massDeleteFilesMin: '10', massDelete: '20%' } });
    const { primary, standby } = pair;
    mkdirSync(`${primary.root}/d`);
    for (let i = 0; i < 100; i++) writeFileSync(`${primary.root}/d/${i}`, `mail ${i}`);
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    for (let i = 0; i < 100; i++) writeFileSync(`${primary.root}/d/${i}`, `encrypted ${i}`);
    await primary.until('the hold', (s) => s.replication.heldPlaces.some(({ path }) => path === 'd'));
    writeFileSync(`${primary.root}/d/new`, 'mail');
    await waitFor('the new file there', waitMs, () => existsSync(`${standby.root}/d/new`));
    const kept = Array.from({ length: 100 }, (_, i) => readFileSync(`${standby.root}/d/${i}`, 'utf8')).filter((text) =>
      text.startsWith('mail'),
    );
    expect(kept.length).toBeGreaterThanOrEqual(75);
    expect((await primary.cli('wait', '--timeout', '30')).stderr).toMatch(/held/);
    for (let i = 0; i < 100; i++) writeFileSync(`${primary.root}/d/${i}`, `mail ${i}`);
    // What is held is counted again now and then, less often where that takes long.
    await primary.until('the end of the hold', (s) => s.replication.heldPlaces.length === 0, 2 * waitMs);
    await pair.settled();
    expectSame(pair);
  });
});

describe('a standby whose root holds what it did not put there', () => {
  async function foreign(): Promise<SmallPair> {
    const pair = await SmallPair.create({ metrics: true });
    const { primary, standby } = pair;
    for (const node of [primary, standby]) {
      mkdirSync(`${node.root}/dir`);
      writeFileSync(`${node.root}/dir/same`, Buffer.alloc(300_000, 'same'));
      utimesSync(`${node.root}/dir/same`, 1_000_000_000, 1_000_000_000);
    }
    writeFileSync(`${standby.root}/dir/other`, 'only here');
    writeFileSync(`${primary.root}/dir/mine`, 'only there');
    await primary.start();
    await pair.introduce();
    return pair;
  }

  it('refuses to start, exit 3, with nothing changed', async () => {
    await using pair = await foreign();
    const before = exactTree(pair.standby.root);
    const ended = await pair.standby.runToEnd();
    expect(ended.code).toBe(3);
    expect(ended.output).toMatch(/foreign-files.*did not put there.*--adopt.*--move-aside/s);
    expect(ended.output).not.toMatch(/^\s+at /m);
    expect(treeDifferences(before, exactTree(pair.standby.root))).toEqual([]);
  });

  it('keeps with --adopt what is equal, and sends only what differs', async () => {
    await using pair = await foreign();
    await pair.standby.start('--adopt');
    await pair.settled();
    expectSame(pair);
    const sent = [...readMetrics((await pair.primary.scrape()).text)]
      .filter(([name]) => name.startsWith('mailtwin_sent_bytes_total'))
      .reduce((sum, [, value]) => sum + value, 0);
    expect(sent).toBeLessThan(1000);
  });

  it('puts it away with --move-aside', async () => {
    await using pair = await foreign();
    await pair.standby.start('--move-aside');
    await pair.settled();
    expectSame(pair);
    const aside = readdirSync(`${pair.standby.state}/staging/mail`).filter((name) => name.startsWith('moved-aside'));
    expect(aside).toHaveLength(1);
    expect(readFileSync(`${pair.standby.state}/staging/mail/${aside[0]}/dir/other`, 'utf8')).toBe('only here');
  });
});

describe('a foreign write on the standby', () => {
  it('is found by verify, mended, and the next verify is clean', async () => {
    await using pair = await SmallPair.create();
    const { primary, standby } = pair;
    mkdirSync(`${primary.root}/d`);
    for (const name of ['changed', 'removed', 'hidden', 'kept']) writeFileSync(`${primary.root}/d/${name}`, `as it was: ${name}`);
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    const clean = await primary.ok('verify');
    expect(clean).toMatch(/both nodes hold the same/);
    writeFileSync(`${standby.root}/d/changed`, 'by somebody else');
    unlinkSync(`${standby.root}/d/removed`);
    writeFileSync(`${standby.root}/d/added`, 'by somebody else');
    symlinkSync('/etc', `${standby.root}/d/leads-out`);
    const found = await primary.cli('verify', '--json');
    expect(found.code).toBe(1);
    const { differences } = JSON.parse(found.stdout) as { differences: { path: string; what: string }[] };
    expect(differences.map(({ path }) => path).sort()).toEqual(['d/added', 'd/changed', 'd/leads-out', 'd/removed']);
    expect(differences.every(({ what }) => /standby/.test(what))).toBe(true);
    expect((await primary.status()).lastVerify).toMatchObject({ result: 'different', differences: 4 });
    await pair.settled();
    expectSame(pair);
    expect(await primary.ok('verify')).toMatch(/both nodes hold the same/);

    // The same size and time: only reading all content finds it.
    runNow('touch', ['-r', `${standby.root}/d/hidden`, `${standby.dir}/time`]);
    writeFileSync(`${standby.root}/d/hidden`, 'as it WAS: hidden');
    runNow('touch', ['-r', `${standby.dir}/time`, `${standby.root}/d/hidden`]);
    expect(await standby.ok('verify')).toMatch(/holds what it was sent/);
    const deep = await primary.cli('verify', '--deep');
    expect(deep.code).toBe(1);
    expect(deep.stdout).toMatch(/d\/hidden.*has other content/);
    await pair.settled();
    expectSame(pair);
    expect(await primary.ok('verify', '--deep')).toMatch(/both nodes hold the same/);
    expect(await standby.ok('verify', '--deep')).toMatch(/holds what it was sent/);

    // And what was put there while the standby was down is told, and mended in the same way: a standby that was filled works on.
    await standby.stop();
    writeFileSync(`${standby.root}/d/added`, 'again');
    await standby.start();
    await standby.until('the foreign write', (status) => status.warnings.some(({ code }) => code === 'foreign-write'));
    await pair.settled();
    expect((await primary.cli('verify')).stdout).toMatch(/d\/added/);
    await pair.settled();
    expectSame(pair);
  });
});

describe('without a peer', () => {
  it('wait and verify say why they cannot', async () => {
    await using pair = await SmallPair.create();
    const { primary } = pair;
    expect((await primary.cli('status')).stderr).toMatch(/no agent is running/);
    await primary.start();
    writeFileSync(`${primary.root}/f`, 'x');
    const start = performance.now();
    // Short, but time enough for the watcher to answer.
    const waited = await primary.cli('wait', '--timeout', '5');
    expect(waited.code).toBe(1);
    expect(waited.stderr).toMatch(/not connected/);
    expect(performance.now() - start).toBeLessThan(waitMs);
    const verified = await primary.cli('verify');
    expect(verified.code).toBe(1);
    expect(verified.stderr).toMatch(/not connected/);
    expect((JSON.parse((await primary.cli('verify', '--json')).stdout) as { error: { code: string } }).error.code).toBe('disconnected');
  });
});

describe('what others read', () => {
  it('doctor finds nothing wrong with a pair that works, and names what is wrong', async () => {
    await using pair = await SmallPair.create();
    const { primary, standby } = pair;
    writeFileSync(`${primary.root}/f`, 'x');
    const findings = async (node: SmallNode) =>
      (JSON.parse((await node.cli('doctor', '--json')).stdout) as { findings: DoctorFinding[] }).findings;
    const level = (list: DoctorFinding[], id: string) => list.find((finding) => finding.id === id)?.level;
    const before = await findings(primary);
    expect(level(before, 'config')).toBe('pass');
    expect(before.some(({ level: of, remedy }) => of !== 'pass' && /pair|run/.test(remedy))).toBe(true);
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    for (const node of [primary, standby]) {
      const list = await findings(node);
      expect(list.length).toBeGreaterThan(10);
      expect(list.filter((finding) => finding.level === 'fail')).toEqual([]);
      for (const { level: of, remedy } of list) if (of !== 'pass') expect(remedy).not.toBe('');
      expect((await node.cli('doctor')).stdout).toMatch(/checks: 0 failures/);
    }
    await primary.stop();
    const alone = await standby.until('the loss of the primary', (s) => !s.peer.connected);
    const lonely = await findings(standby);
    expect(lonely.find(({ id }) => id === 'peer')).toMatchObject({
      level: 'fail',
      summary: 'the primary does not answer on any address',
      evidence: expect.stringContaining(`:${primary.port}`) as string,
    });
    // What the standby heard last says nothing about what the primary has taken since.
    expect(alone.possibleLoss).toEqual({ seconds: null, changes: null, mailboxes: null, messages: null, bytes: null, complete: true });
    expect(alone.replication.lagSeconds).toBeNull();
  });

  it('metrics and health are served and true', async () => {
    await using pair = await SmallPair.create({ metrics: true });
    const { primary, standby } = pair;
    const began = Date.now() / 1000;
    for (let i = 0; i < 20; i++) writeFileSync(`${primary.root}/${i}`, 'x'.repeat(1000));
    await primary.start();
    await pair.introduce();
    expect((await primary.scrape('/healthz')).status).toBe(200);
    expect((await primary.scrape('/readyz')).status).toBe(200);
    await standby.start();
    await pair.settled();
    const verifiedAt = Date.now() / 1000;
    await primary.ok('verify');
    // The standby knows it from the primary's next heartbeat; a machine that stands still for a while costs the connection.
    const atRest = (node: SmallNode) =>
      waitFor(`metrics of ${node.name} at rest`, waitMs, async () => {
        const values = readMetrics((await node.scrape()).text);
        return values.get('mailtwin_peer_connected') === 1 && values.get('mailtwin_lag_changes') === 0 ? values : null;
      });
    const p = await atRest(primary);
    const s = await atRest(standby);
    const between = (value: number | undefined, from: number) => {
      expect(value).toBeGreaterThanOrEqual(from - 1);
      expect(value).toBeLessThanOrEqual(Date.now() / 1000 + 1);
    };
    expect(p.get('mailtwin_role{role="primary"}')).toBe(1);
    expect(s.get('mailtwin_role{role="standby"}')).toBe(1);
    for (const m of [p, s]) {
      expect(m.get('mailtwin_epoch')).toBe(1);
      expect(m.get('mailtwin_peer_epoch')).toBe(1);
      expect(m.get('mailtwin_peer_connected')).toBe(1);
      expect(m.get('mailtwin_phase{phase="streaming"}')).toBe(1);
      expect(m.get('mailtwin_lag_changes')).toBe(0);
      expect(m.get('mailtwin_lag_seconds')).toBe(0);
      expect(m.get('mailtwin_lag_bytes')).toBe(0);
      expect(m.get('mailtwin_possible_loss_seconds')).toBe(0);
      expect(m.get('mailtwin_possible_loss_changes')).toBe(0);
      expect(m.get('mailtwin_unproven_directories')).toBe(0);
      expect(m.get('mailtwin_root_files{root="mail"}')).toBe(20);
      expect(m.get('mailtwin_root_bytes{root="mail"}')).toBe(20_000);
      expect(m.get('mailtwin_head_position')).toBeGreaterThan(0);
      expect(m.get('mailtwin_root_free_bytes{root="mail"}')).toBeGreaterThan(0);
      between(m.get('mailtwin_reading_timestamp_seconds'), verifiedAt);
      between(m.get('mailtwin_peer_last_heard_timestamp_seconds'), verifiedAt - 10);
      between(m.get('mailtwin_last_durable_timestamp_seconds'), began);
      // A word that is long on its way counts as well.
      expect(Math.abs(m.get('mailtwin_peer_clock_skew_seconds') ?? Number.NaN)).toBeLessThanOrEqual(5);
      expect(m.get('process_resident_memory_bytes')).toBeGreaterThan(1e7);
      expect(m.get('process_cpu_seconds_total')).toBeGreaterThan(0);
    }
    expect(p.get('mailtwin_durable_position')).toBe(s.get('mailtwin_durable_position'));
    // What a connection lost is given to the next one too, and counts again; it is applied once.
    const sent = p.get('mailtwin_sent_changes_total{kind="whole"}') ?? 0;
    expect(sent).toBeGreaterThanOrEqual(20);
    expect(p.get('mailtwin_sent_bytes_total{kind="whole"}')).toBe(sent * 1000);
    expect(p.get('mailtwin_batch_seconds_count')).toBeGreaterThan(0);
    expect(p.get('mailtwin_last_verify_clean')).toBe(1);
    between(p.get('mailtwin_last_verify_timestamp_seconds'), verifiedAt);
    expect(p.get('mailtwin_last_verify_differences')).toBe(0);
    expect(p.get('mailtwin_watcher_overflows')).toBe(0);
    expect(p.get('mailtwin_watches')).toBeGreaterThan(0);
    expect(s.get('mailtwin_applied_ops_total')).toBeGreaterThanOrEqual(20);
    expect(s.get('mailtwin_applied_bytes_total')).toBe(20_000);
    expect(s.get('mailtwin_applied_batches_total')).toBeGreaterThan(0);
    expect(s.get('mailtwin_sync_seconds_count{what="files"}')).toBeGreaterThan(0);
    expect(s.get('mailtwin_sync_seconds_count{what="index"}')).toBeGreaterThan(0);
    writeFileSync(`${primary.root}/0`, 'y'.repeat(1000) + 'x'.repeat(1000));
    await pair.settled();
    await primary.stop();
    await standby.until('the loss of the primary', (status) => !status.peer.connected);
    expect((await standby.scrape('/healthz')).status).toBe(200);
    expect((await standby.scrape('/readyz')).status).toBe(503);
    expect(readMetrics((await standby.scrape()).text).get('mailtwin_peer_connected')).toBe(0);
  });
});
