import { describe, expect, it } from 'vitest';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { run } from '../lab/processes.ts';
import { mailtwin, SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const fingerprint = /[0-9A-F]{4}( [0-9A-F]{4})+/;

function offer(node: SmallNode, ...args: string[]): Promise<{ code: string; fingerprint: string; expiresAt: string }> {
  return node.ok('pair', '--json', ...args).then((text) => JSON.parse(text) as { code: string; fingerprint: string; expiresAt: string });
}

/** Gives a node a new key, as setting it up anew does. */
async function newKey(node: SmallNode): Promise<void> {
  renameSync(node.state, `${node.state}.old`);
  rmSync(node.configFile);
  await node.init();
}

describe('setting up a pair', () => {
  it('init writes what loads, and never overwrites', async () => {
    await using pair = await SmallPair.create();
    const { primary } = pair;
    const before = readFileSync(primary.configFile, 'utf8');
    const again = await primary.cli(
      'init',
      '--role',
      'primary',
      '--node',
      'other',
      '--root',
      `mail=${primary.root}:plain`,
      '--state',
      primary.state,
    );
    expect(again.code).not.toBe(0);
    expect(again.stderr).toMatch(/is there already; nothing was changed/);
    expect(readFileSync(primary.configFile, 'utf8')).toBe(before);
    // A new configuration beside an old key is refused too: the key is what the peer trusts.
    rmSync(primary.configFile);
    const beside = await primary.cli(
      'init',
      '--role',
      'primary',
      '--node',
      'other',
      '--root',
      `mail=${primary.root}:plain`,
      '--state',
      primary.state,
    );
    expect(beside.code).not.toBe(0);
    expect(beside.stderr).toContain(primary.state);
  });

  it('pairs by a code, both sides show both fingerprints, and a wrong or used code is refused', async () => {
    await using pair = await SmallPair.create();
    const { primary, standby } = pair;
    const address = `127.0.0.1:${primary.port}`;
    expect((await standby.pair(address, '0000-0000-0000-0000', '--yes')).stderr).toMatch(/cannot reach the primary/);
    await primary.start();
    expect((await standby.pair(address, 'AAAA-AAAA-AAAA-AAAA', '--yes')).stderr).toMatch(/does not wait for anybody to pair/);
    const { code, fingerprint: own, expiresAt } = await offer(primary);
    expect(own).toMatch(fingerprint);
    expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now());
    expect((await standby.pair(address, 'not a code', '--yes')).code).toBe(2);
    const wrong = await standby.pair(address, 'AAAA-AAAA-AAAA-AAAA', '--yes');
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/the code is wrong; \d tries are left/);
    // Nobody answers the question about the fingerprints: nothing is changed.
    const unconfirmed = await standby.pair(address, code);
    expect(unconfirmed.code).toBe(3);
    expect((await primary.status()).pair).toBeNull();
    // On the command line it still works, with a word of warning.
    const { code: ended, stdout: joined, stderr } = await standby.cli('pair', address, code, '--yes');
    expect([ended, stderr]).toEqual([0, expect.stringContaining('every user of this host could read the code')]);
    expect((await standby.cli('pair', address)).stderr).toContain('no-code');
    expect(joined).toContain(own);
    expect(joined.match(new RegExp(fingerprint, 'g'))).toHaveLength(2);
    expect((await primary.status()).pair).not.toBeNull();
    await waitFor('the log to say so', 60_000, () => primary.log.includes('paired with mail-b'));
    // Used up, and both are paired.
    expect((await standby.pair(address, code, '--yes')).stderr).toMatch(/paired with mail-a already/);
    expect((await standby.pair(address, code, '--yes', '--replace')).stderr).toMatch(/was used already|does not wait/);
    expect((await primary.cli('pair', '--json')).stdout).toMatch(/already-paired/);
    expect((await standby.cli('pair')).stderr).toMatch(/no agent is running/);
    await standby.start();
    expect((await standby.cli('pair')).stderr).toMatch(/on the primary/);
    await pair.settled();
  });

  it('burns a code after five wrong tries', async () => {
    await using pair = await SmallPair.create();
    const { primary, standby } = pair;
    await primary.start();
    const { code } = await offer(primary);
    for (let i = 0; i < 5; i++) await standby.pair(`127.0.0.1:${primary.port}`, 'AAAA-AAAA-AAAA-AAAA', '--yes');
    const right = await standby.pair(`127.0.0.1:${primary.port}`, code, '--yes');
    expect(right.code).toBe(1);
    expect(right.stderr).toMatch(/burned after 5 wrong tries/);
  });

  it('lets a code expire', async () => {
    await using pair = await SmallPair.create();
    const { primary, standby } = pair;
    // This agent's monotonic clock is eleven minutes further whenever it gets the signal.
    primary.env = {
      NODE_OPTIONS: `--import ${JSON.stringify("data:text/javascript,let o=0;const n=performance.now.bind(performance);performance.now=()=>n()+o;process.on('SIGUSR2',()=>o+=660000)")}`,
    };
    await primary.start();
    const { code } = await offer(primary);
    primary.agent.signal('SIGUSR2');
    const late = await standby.pair(`127.0.0.1:${primary.port}`, code, '--yes');
    expect(late.code).toBe(1);
    expect(late.stderr).toMatch(/has expired/);
    expect((await primary.status()).pair).toBeNull();
  });

  it('refuses a peer with a new key, both say why, and pair --replace mends it', async () => {
    await using pair = await SmallPair.running();
    const { primary, standby } = pair;
    writeFileSync(`${primary.root}/f`, 'kept');
    await pair.settled();
    await standby.stop();
    await newKey(standby);
    // Not paired any more: says so, and is not ready.
    rmSync(standby.root, { recursive: true });
    mkdirSync(standby.root);
    await standby.start();
    expect((await standby.status()).replication.phase).toBe('unpaired');
    expect((await standby.status()).warnings.map(({ code }) => code)).toContain('unpaired');
    await standby.stop();
    // The old pairing with another key: what a restored or copied state looks like to the primary.
    writeFileSync(`${standby.state}/peer.json`, readFileSync(`${standby.state}.old/peer.json`));
    await standby.start();
    const theirs = await standby.until('the refusal', (s) => /refused this node.*is pinned for mail-b/.test(s.peer.lastError ?? ''));
    expect(theirs.peer.connected).toBe(false);
    const mine = await primary.until('the refusal', (s) => /showed key/.test(s.peer.lastError ?? ''));
    expect(mine.peer.lastError).toMatch(/showed key .*but key .*is pinned for mail-b/);
    await waitFor('the log to say so', 60_000, () => /connection refused: .*showed key/.test(primary.log));
    expect(mine.warnings.find(({ code }) => code === 'peer-lost')?.text).toMatch(/showed key/);

    expect((await primary.cli('pair')).stderr).toMatch(/--replace/);
    const { code } = await offer(primary, '--replace');
    expect((await standby.pair(`127.0.0.1:${primary.port}`, code, '--yes')).stderr).toMatch(/--replace/);
    expect((await standby.pair(`127.0.0.1:${primary.port}`, code, '--yes', '--replace')).code).toBe(0);
    await pair.settled();
    expect(readFileSync(`${standby.root}/f`, 'utf8')).toBe('kept');
  });

  it('refuses a peer of another pair, and one with other roots', async () => {
    await using pair = await SmallPair.running();
    const { primary, standby } = pair;
    await standby.stop();
    const pinned = readFileSync(`${standby.state}/peer.json`, 'utf8');
    writeFileSync(`${standby.state}/peer.json`, JSON.stringify({ ...(JSON.parse(pinned) as object), pair: 'another-pair' }));
    await standby.start();
    await standby.until('the refusal', (s) => /not of the same pair/.test(s.peer.lastError ?? ''));
    await primary.until(
      'the refusal',
      (s) => /same pair/.test(s.peer.lastError ?? '') && s.peer.lastError?.includes('another-pair') === true,
    );
    await standby.stop();
    writeFileSync(`${standby.state}/peer.json`, pinned);
    standby.set('format', 'maildir');
    await standby.start();
    await standby.until('the refusal', (s) => /mail:plain.*mail:maildir|mail:maildir.*mail:plain/.test(s.peer.lastError ?? ''));
    await primary.until('the refusal', (s) => /the roots differ/.test(s.peer.lastError ?? ''));
    await standby.stop();
    writeFileSync(`${standby.state}/peer.json`, '{"version":1,');
    await standby.start();
    await standby.until('the damage', (s) => /peer\.json is damaged/.test(s.peer.lastError ?? ''));
  });

  it('lets no second agent use the same state', async () => {
    await using pair = await SmallPair.create();
    const { primary } = pair;
    await primary.start();
    const second = await run(process.execPath, [mailtwin, 'run', '--config', primary.configFile], { mayFail: true });
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/in use by another process|already running/);
    expect(second.stderr).not.toMatch(/^\s+at /m);
    expect((await primary.status()).node).toBe('mail-a');
  });
});

describe('mistakes', () => {
  it('in the configuration are named with line and key, exit 2', async () => {
    await using pair = await SmallPair.create();
    const { primary } = pair;
    const good = readFileSync(primary.configFile, 'utf8');
    const lineOf = (text: string, part: string) => text.split('\n').findIndex((line) => line.includes(part)) + 1;
    const cases: [name: string, change: (text: string) => string, part: string, message: RegExp][] = [
      ['unknown key', (t) => t.replace('  settleMs:', '  setleMs:'), 'setleMs', /setleMs.*settleMs/s],
      ['wrong type', (t) => t.replace(/restMaxMs: .*/, 'restMaxMs: soon'), 'restMaxMs: soon', /restMaxMs.*"soon" is not a whole number/s],
      ['bad unit', (t) => t.replace(/freeSpaceMin: .*/, 'freeSpaceMin: 3 bags'), '3 bags', /freeSpaceMin.*3 bags/s],
      ['relative root', (t) => t.replace(/ {4}path: .*/, '    path: mail'), 'path: mail', /absolute path/],
      ['not YAML', (t) => `${t}\nnode: [`, 'node: [', /line \d+|:\d+/],
    ];
    for (const [name, change, part, message] of cases) {
      const text = change(good);
      writeFileSync(primary.configFile, text);
      for (const command of name === 'unknown key' ? [['run'], ['status'], ['verify']] : [['run']]) {
        const result = await primary.cli(...command);
        expect(result.code, `${name}: ${result.stderr}`).toBe(2);
        expect(result.stderr, name).toMatch(message);
        if (name !== 'not YAML') expect(result.stderr, name).toMatch(new RegExp(`:${lineOf(text, part)}\\b|line ${lineOf(text, part)}\\b`));
      }
    }
    rmSync(primary.configFile);
    const missing = await primary.cli('run');
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain(primary.configFile);
  });

  it('on the command line are usage errors, exit 2', async () => {
    for (const args of [
      ['--nonsense'],
      ['frobnicate'],
      ['init'],
      ['init', '--role', 'boss', '--node', 'x', '--root', 'mail=/x:plain'],
      ['pair', '127.0.0.1:1'],
      ['wait', '--timeout', 'soon'],
      ['status', 'extra'],
    ]) {
      const result = await run(process.execPath, [mailtwin, ...args], { mayFail: true });
      expect(result.code, `${args.join(' ')}: ${result.stderr}`).toBe(2);
      expect(result.stderr).not.toMatch(/^\s+at /m);
      expect(result.stderr).not.toBe('');
    }
  });

  it('of role and address are said when the agent starts', async () => {
    await using pair = await SmallPair.create();
    const { primary, standby } = pair;
    await primary.start();
    standby.set('role', 'primary');
    standby.set('listen', `127.0.0.1:${primary.port}`);
    // A port that somebody else has may be free again: the agent says so and tries on.
    const taken = standby.spawn();
    await taken.waitForLine(/cannot listen on/, 60_000);
    expect(taken.isRunning).toBe(true);
    await standby.stop();
    await primary.stop();
    primary.set('role', 'standby');
    const turned = await primary.runToEnd();
    expect(turned.code).toBe(3);
    expect(turned.output).toMatch(/a role changes by a takeover/);
    // Nothing of a stack in any of it.
    expect(turned.output + taken.output).not.toMatch(/^\s+at /m);
  });
});
