import { describe, expect, it } from 'vitest';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Packr } from 'msgpackr';
import { encode } from '../../protocol/codec.ts';
import type { Status } from '../../protocol/control.ts';
import { limits } from '../../protocol/limits.ts';
import { exactTree, treeDifferences } from '../lab/exact-tree.ts';
import { MountRoom } from '../lab/mount-room.ts';
import { run, runNow } from '../lab/processes.ts';
import { RoguePeer } from '../lab/rogue-peer.ts';
import { mailtwin, SmallPair } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const isRoot = process.getuid?.() === 0;
/** Of a `wait` that waits in vain: short, but time enough for the watcher to answer. */
const waitSeconds = '5';
const codes = (list: readonly { code: string }[]) => list.map(({ code }) => code);

describe('a paired peer that says what it must not', () => {
  it('is refused with a code, and the agent goes on', async () => {
    await using pair = await SmallPair.running();
    const { primary, standby } = pair;
    await standby.stop();
    const pack = (value: unknown) => new Packr({ useRecords: false }).pack(value);
    const first: [what: string, frame: (peer: RoguePeer) => Buffer | string, code: RegExp][] = [
      ['a later protocol version', () => pack([1, 98, 99, 'and fields that nobody knows yet']), /^version$/],
      ['another version in the same form', (peer) => encode({ ...peer.hello, oldest: 7, newest: 8 }), /^version$/],
      ['another pair', (peer) => encode({ ...peer.hello, pair: 'another' }), /^wrong-pair$/],
      ['the same role', (peer) => encode({ ...peer.hello, role: 'primary' }), /^same-role$/],
      ['noise for a hello', () => Buffer.from('GET / HTTP/1.1\r\n\r\n'), /^bad-message$/],
      ['text for a hello', () => 'hello', /^bad-message$/],
    ];
    for (const [what, frame, code] of first) {
      const peer = await RoguePeer.connect(standby, primary.port);
      peer.ws.send(frame(peer));
      expect(await peer.refused(), what).toMatch(code);
      await primary.until(`the word of ${what}`, (s) => s.peer.lastError !== null);
    }
    const later: [what: string, frame: Buffer | string][] = [
      ['noise', Buffer.from([0xc1, 0xff, 0x00])],
      ['nothing', Buffer.alloc(0)],
      ['text', 'text'],
      ['no message', pack({ a: 1 })],
      ['an unknown number', pack([250, 1, 2])],
      ['too few fields', pack([13])],
      ['wrong types', pack([4, 'much'])],
      ['a number that is too large', pack([4, 2 ** 60])],
      ['an answer with a path that leads out', pack([11, 1, [['mail', Buffer.from('../../etc')]], []])],
      ['more credit than was used', pack([4, limits.creditBytes * 2])],
      ['a frame that is too large', Buffer.alloc(limits.frameBytesMax + 1)],
      ['a frame that is far too large', Buffer.alloc(limits.frameBytesMax * 20)],
    ];
    for (const [what, frame] of later) {
      const peer = await RoguePeer.connect(standby, primary.port);
      peer.ws.send(encode(peer.hello));
      await primary.until('the peer', (s) => s.peer.connected);
      peer.ws.send(frame);
      const code = await peer.refused();
      if (!what.startsWith('a frame')) expect(code, what).not.toBeNull();
      await primary.until(`the end after ${what}`, (s) => !s.peer.connected && s.peer.lastError !== null);
      expect(primary.agent.isRunning, what).toBe(true);
    }
    await primary.agent.waitForLine(/oversized-frame/, 60_000);
    expect(primary.log).not.toMatch(/the agent ends/);
    writeFileSync(`${primary.root}/f`, 'after all that');
    await standby.start();
    await pair.settled();
    expect(readFileSync(`${standby.root}/f`, 'utf8')).toBe('after all that');
  });
});

it('a clock an hour off is said on both nodes, and changes nothing else', async () => {
  await using pair = await SmallPair.create();
  const { primary, standby } = pair;
  standby.env = { NODE_OPTIONS: '--import "data:text/javascript,const n=Date.now;Date.now=()=>n()+3600000"' };
  await primary.start();
  await pair.introduce();
  await standby.start();
  await pair.settled();
  const mine = await primary.until('the warning', (s) => codes(s.warnings).includes('clock-skew'));
  expect(Math.round((mine.peer.clockSkewSeconds ?? 0) / 60)).toBe(60);
  await standby.until('the warning', (s) => codes(s.warnings).includes('clock-skew'));
  writeFileSync(`${primary.root}/f`, 'x');
  await pair.settled();
  expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
  expect(await primary.ok('status')).toMatch(/clocks of the two nodes differ by 3[56]\d\d/);
});

describe('a root of the primary', () => {
  it('that is missing at the start is said, and nothing starts', async () => {
    await using pair = await SmallPair.create();
    const { primary } = pair;
    renameSync(primary.root, `${primary.root}.away`);
    const ended = await primary.runToEnd();
    expect(ended.code).not.toBe(0);
    expect(ended.output).toMatch(/root-missing.*what to do/s);
    expect(ended.output).not.toMatch(/^\s+at /m);
  });

  it('that is another, empty directory after a restart removes nothing', async () => {
    await using pair = await SmallPair.running();
    const { primary, standby } = pair;
    for (let i = 0; i < 5; i++) writeFileSync(`${primary.root}/${i}`, 'mail');
    await pair.settled();
    await primary.stop();
    renameSync(primary.root, `${primary.root}.away`);
    mkdirSync(primary.root);
    await primary.start();
    const status = await primary.until('the refusal', (s) => s.replication.held?.code === 'root-changed');
    expect(status.replication.held?.detail).toMatch(/and it is empty/);
    expect(codes(status.warnings)).toContain('root-changed');
    const waited = await primary.cli('wait', '--timeout', waitSeconds);
    expect(waited.code).toBe(1);
    expect(waited.stderr).toMatch(/another directory/);
    expect(readdirSync(standby.root)).toHaveLength(5);
    rmSync(primary.root, { recursive: true });
    renameSync(`${primary.root}.away`, primary.root);
    await primary.until('going on', (s) => s.replication.held === null);
    writeFileSync(`${primary.root}/new`, 'mail');
    await pair.settled();
    expect(readdirSync(standby.root)).toHaveLength(6);
  });

  it.runIf(isRoot).each(['fanotify', 'chokidar'])(
    'that is unmounted while it runs removes nothing, and goes on when it is back (%s)',
    async (watcher) => {
      await using room = await MountRoom.create();
      await using pair = await SmallPair.create({ wrap: room.wrap, set: { watcher } });
      const { primary, standby } = pair;
      const image = `${primary.dir}/image`;
      runNow('truncate', ['-s', '32M', image]);
      runNow('mkfs.ext4', ['-q', '-F', image]);
      const mount = () => room.run('mount', '-o', 'loop', image, primary.root);
      mount();
      const root = room.path(primary.root);
      for (let i = 0; i < 5; i++) writeFileSync(`${root}/${i}`, 'mail');
      mkdirSync(`${root}/dir`);
      writeFileSync(`${root}/dir/f`, 'mail');
      await primary.start();
      await pair.introduce();
      await standby.start();
      await pair.settled();
      const here = () =>
        readdirSync(standby.root)
          .filter((name) => name !== 'lost+found')
          .sort();
      expect(here()).toEqual(['0', '1', '2', '3', '4', 'dir']);
      room.run('sh', '-c', `umount ${primary.root} || umount -l ${primary.root}`);
      const status = await primary.until('the refusal', (s) => s.replication.held?.code.startsWith('root-') === true);
      expect(status.warnings.some(({ code }) => code.startsWith('root-'))).toBe(true);
      // Something happens at the mount point meanwhile; it is not the root's.
      writeFileSync(`${root}/stray`, 'not mail');
      expect((await primary.cli('wait', '--timeout', '1')).code).toBe(1);
      expect(here()).toEqual(['0', '1', '2', '3', '4', 'dir']);
      rmSync(`${root}/stray`);
      mount();
      writeFileSync(`${root}/made at once`, 'mail');
      await primary.until('going on', (s) => s.replication.held === null);
      await pair.settled();
      // The watcher watches what is mounted now.
      writeFileSync(`${root}/dir/made later`, 'mail');
      await pair.settled();
      expect(here()).toEqual(['0', '1', '2', '3', '4', 'dir', 'made at once']);
      expect(readdirSync(`${standby.root}/dir`).sort()).toEqual(['f', 'made later']);
    },
  );
});

describe.runIf(isRoot)("a standby's root", () => {
  it('that becomes read-only holds the stream, says so, and goes on', async () => {
    await using room = await MountRoom.create();
    await using pair = await SmallPair.create({ wrap: room.wrap, set: { freeSpaceMin: '1MiB' } });
    const { primary, standby } = pair;
    room.run('mount', '-t', 'tmpfs', '-o', 'size=64m', 'mailtwin-test', standby.volume);
    const root = room.path(standby.root);
    mkdirSync(root);
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    room.run('mount', '-o', 'remount,ro', standby.volume);
    writeFileSync(`${primary.root}/f`, 'mail');
    const held = await primary.until('the hold', (s) => s.replication.held !== null);
    expect(held.replication.held).toMatchObject({ code: 'standby-io', detail: expect.stringMatching(/EROFS/) });
    expect(codes(held.warnings)).toContain('standby-io');
    const waited = await primary.cli('wait', '--timeout', waitSeconds);
    expect(waited.code).toBe(1);
    expect(waited.stderr).toMatch(/EROFS/);
    const said = await standby.until('the word of the standby', (s) => codes(s.warnings).includes('standby-io'));
    expect(said.replication.held).toMatchObject({ code: 'standby-io', detail: expect.stringMatching(/EROFS/) });
    // Also a standby that is started so says it, and goes on by itself.
    await standby.stop();
    await standby.start();
    await standby.until('root-read-only', (s) => codes(s.warnings).includes('root-read-only'));
    room.run('mount', '-o', 'remount,rw', standby.volume);
    await pair.settled();
    expect(readFileSync(`${root}/f`, 'utf8')).toBe('mail');
    expect((await primary.status()).replication.lagging).toEqual([]);
  });

  it('that is full keeps what finds no room waiting by name, loses nothing, and goes on when there is room', async () => {
    await using room = await MountRoom.create();
    await using pair = await SmallPair.create({ wrap: room.wrap, set: { freeSpaceMin: '1MiB' } });
    const { primary, standby } = pair;
    room.run('mount', '-t', 'tmpfs', '-o', 'size=16m', 'mailtwin-test', standby.volume);
    const root = room.path(standby.root);
    mkdirSync(root);
    writeFileSync(`${primary.root}/first`, Buffer.alloc(4 << 20, 'a'));
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    writeFileSync(room.path(`${standby.volume}/filler`), Buffer.alloc(8 << 20));
    writeFileSync(`${primary.root}/second`, Buffer.alloc(6 << 20, 'b'));
    writeFileSync(`${primary.root}/small`, 'small');
    // Large content that finds no room waits alone, by name; what is small goes on.
    const late = await primary.until('the large file to lag', (s) =>
      s.replication.lagging.some(({ path, reason }) => path === 'second' && /no room/.test(reason)),
    );
    expect(late.replication.lagChanges).toBeGreaterThan(0);
    await waitFor('the small file', 60_000, () => readFileSync(`${root}/small`, 'utf8') === 'small');
    const waited = await primary.cli('wait', '--timeout', waitSeconds);
    expect(waited.code).toBe(1);
    expect(waited.stderr).toMatch(/second/);
    expect(readFileSync(`${root}/first`)).toHaveLength(4 << 20);
    rmSync(room.path(`${standby.volume}/filler`));
    await pair.settled();
    expect(treeDifferences(exactTree(primary.root), exactTree(root))).toEqual([]);
    expect((await primary.status()).replication.held).toBeNull();
  });
});

const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];

it.runIf(isRoot)('what cannot be read is in doubt by name until it can be read', async (context) => {
  const reachable = await run(asNobody[0] ?? '', [...asNobody.slice(1), 'test', '-r', mailtwin], { mayFail: true });
  if (reachable.code !== 0) return context.skip('another user cannot read this checkout');
  await using pair = await SmallPair.create();
  const { primary, standby } = pair;
  primary.wrap = asNobody;
  writeFileSync(`${primary.root}/open`, 'open');
  mkdirSync(`${primary.root}/dir`);
  writeFileSync(`${primary.root}/dir/f`, 'below');
  writeFileSync(`${primary.root}/closed`, 'closed');
  runNow('chown', ['-R', '65534:65534', primary.dir]);
  chmodSync(`${primary.root}/closed`, 0);
  chmodSync(`${primary.root}/dir`, 0);
  await primary.start();
  // The control socket is this user's own; root may use it.
  await pair.introduce();
  await standby.start();
  const inDoubt = (s: Status) => s.replication.unproven.map(({ path }) => path).toSorted();
  // The watcher may doubt more at first.
  const status = await primary.until('what is in doubt', (s) => inDoubt(s).join() === 'closed,dir');
  expect(status.capture.watcher).toBe('chokidar');
  expect(status.replication.unproven.find(({ path }) => path === 'closed')?.reason).toMatch(/EACCES/);
  expect(codes(status.warnings)).toContain('unproven');
  await primary.until('the rest', (s) => s.replication.phase === 'streaming');
  // It ends before its time: all but what is in doubt is there.
  const waited = await primary.cli('wait', '--timeout', '60');
  expect(waited.code).toBe(1);
  expect(waited.stderr).toMatch(/2 places are in doubt/);
  expect(existsSync(`${standby.root}/open`)).toBe(true);
  chmodSync(`${primary.root}/closed`, 0o600);
  chmodSync(`${primary.root}/dir`, 0o700);
  await primary.until('nothing in doubt', (s) => s.replication.unproven.length === 0);
  await pair.settled();
  expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
});
