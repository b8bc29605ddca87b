import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import type { Message } from '../../protocol/messages.ts';
import type { Meta, Op } from '../../protocol/ops.ts';
import { emptyPosition } from '../../protocol/position.ts';
import { exactTree, treeDifferences } from '../lab/exact-tree.ts';
import { RoguePeer } from '../lab/rogue-peer.ts';
import { RoguePrimary, type RogueConnection } from '../lab/rogue-primary.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';

const meta: Meta = { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtimeSec: 1_700_000_000, mtimeNsec: 0 };
const sha = (data: Buffer) => createHash('sha256').update(data).digest();
const secret = 'what nobody may have';
const most = Number.MAX_SAFE_INTEGER;

/** What an agent may change of a node: what is below its root, beside it for staging, and in its state directory. */
function around(pair: SmallPair, node: SmallNode): Map<string, string> {
  return exactTree(pair.dir, {
    keep: (path) =>
      path !== `${node.name}/state` && !path.startsWith(`${node.name}/volume/`) && path !== 'mail-a/state' && path !== 'mail-b/state',
  });
}

function names(node: SmallNode): string[] {
  return [...readdirSync(node.volume), ...readdirSync(node.state).filter((name) => !name.startsWith('store'))].toSorted();
}

function bytesOf(node: SmallNode): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${node.agent.pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

async function prepared(): Promise<SmallPair> {
  const pair = await SmallPair.running();
  mkdirSync(`${pair.dir}/outside/dir`, { recursive: true });
  writeFileSync(`${pair.dir}/outside/secret`, secret);
  writeFileSync(`${pair.primary.root}/f`, 'a file');
  mkdirSync(`${pair.primary.root}/d`);
  writeFileSync(`${pair.primary.root}/d/g`, 'another file');
  await pair.settled();
  return pair;
}

const put = (dir: number, name: string, text: string, content = sha(Buffer.from(text))): Op => ({
  op: 'put',
  at: { dir, name },
  meta,
  size: text.length,
  content,
  bytes: Buffer.from(text),
});
const symlink = (name: string, target: string): Op => ({ op: 'symlink', at: { dir: 0, name }, target, meta });

/** Batches that a primary must not make; what the standby says to each. */
const batches: [what: string, dirs: [string, string][], ops: Op[], said: RegExp][] = [
  ['an unknown root', [['etc', '']], [put(0, 'passwd', 'x')], /confined/],
  ['a link that leads out', [['mail', '']], [symlink('evil', '../../outside')], /confined/],
  ['a link that leads out and back', [['mail', 'd']], [symlink('evil', '../../mail/d')], /confined/],
  ['a link to an absolute place', [['mail', '']], [symlink('evil', '/../../etc')], /confined/],
  ['a link to a root that is none', [['mail', '']], [symlink('evil', '//nope/x')], /confined/],
  ['a link that stays inside', [['mail', '']], [symlink('in', 'd')], /ack/],
  ['a file through that link', [['mail', 'in']], [put(0, 'x', 'x')], /base/],
  ['a directory through that link', [['mail', 'in']], [{ op: 'dir', at: { dir: 0, name: 'y' }, meta }], /base/],
  [
    'a link and a file through it at once',
    [
      ['mail', ''],
      ['mail', 'l'],
    ],
    [symlink('l', 'd'), put(1, 'x', 'x')],
    /base/,
  ],
  [
    'a directory that becomes a link below a file',
    [
      ['mail', ''],
      ['mail', 'n'],
    ],
    [{ op: 'dir', at: { dir: 0, name: 'n' }, meta }, put(1, 'x', 'x'), symlink('n', 'd')],
    /base|ack|path|io/,
  ],
  [
    'another name of what is not there',
    [
      ['mail', ''],
      ['mail', 'zz'],
    ],
    [{ op: 'link', at: { dir: 0, name: 'h' }, from: { dir: 1, name: 'secret' }, base: Buffer.alloc(16) }],
    /base/,
  ],
  [
    'a directory that moves into itself',
    [
      ['mail', ''],
      ['mail', 'd'],
    ],
    [{ op: 'move', at: { dir: 1, name: 'd2' }, from: { dir: 0, name: 'd' }, tree: true }],
    /base|path|io|apart/,
  ],
  ['what is not there', [['mail', '']], [{ op: 'move', at: { dir: 0, name: 'x' }, from: { dir: 0, name: 'nope' }, tree: true }], /base/],
  ['content of another hash', [['mail', '']], [put(0, 'x', 'x', Buffer.alloc(32))], /content/],
  [
    'pieces from behind the end',
    [['mail', '']],
    [
      {
        op: 'patch',
        at: { dir: 0, name: 'f' },
        meta,
        size: 100,
        content: Buffer.alloc(32),
        base: sha(Buffer.from('a file')).subarray(0, 16),
        pieces: [{ from: 2 ** 39, length: 100 }],
        bytes: Buffer.alloc(0),
      },
    ],
    /base|content|io/,
  ],
  [
    'a copy of a directory',
    [['mail', '']],
    [{ op: 'copy', at: { dir: 0, name: 'x' }, from: { dir: 0, name: 'd' }, meta, size: 1, content: Buffer.alloc(32) }],
    /base|content|io/,
  ],
  [
    'a transfer that was not brought',
    [['mail', '']],
    [{ op: 'put', at: { dir: 0, name: 'x' }, meta, size: 1, content: Buffer.alloc(32), transfer: most }],
    /content/,
  ],
  ['rights that no copy has', [['mail', '']], [{ op: 'meta', at: { dir: 0, name: 'f' }, meta: { ...meta, mode: 0o3777 } }], /ack/],
];

/** What only a standby says, or nobody asked for. */
const answers: Message[] = [
  { type: 'ack', id: most, position: emptyPosition, lacking: [[most, 1, 'x']] },
  { type: 'reject', id: 7, code: 'base', ops: [0, most], detail: '', faults: [[most, 'x']] },
  { type: 'listing', id: 7, digest: Buffer.alloc(16), entries: [['x', 0, Buffer.alloc(8)]], more: true },
  { type: 'audited', id: 7, files: most, bytes: most, differences: [['nope', 'x', 'y']], total: most },
  { type: 'auditing', id: 7, files: most, bytes: most },
  { type: 'contentPart', id: 7, bytes: Buffer.alloc(10), error: null },
  { type: 'transferTaken', bytes: most },
  { type: 'transferFound', id: 7, bytes: most, prefix: Buffer.alloc(32) },
  { type: 'transferred', id: 7, code: 'staged', detail: '' },
  { type: 'rebased', position: { ...emptyPosition, seq: limits.numberMax } },
  { type: 'watermarks', items: [['nope', 'x/y', limits.uidMax, limits.uidMax, limits.modseqMax]] },
  { type: 'takeoverAnswer', id: 7, answer: { answer: 'state', word: { node: 'x', role: 'fenced', epoch: 1, active: true, state: 'x' } } },
  { type: 'salvageAnswer', id: 7, answer: { answer: 'folder', state: 'made' } },
  { type: 'putBackAnswer', id: 7, answer: { answer: 'marks', items: [], next: null, margin: 1 } },
];

/** To a standby, from its primary. */
const questions: Message[] = [
  {
    type: 'keepHistory',
    items: [
      ['nope', 'x', most, most],
      ['mail', '', most, most],
    ],
  },
  { type: 'contentAsk', id: 8, root: 'nope', path: 'x', content: Buffer.alloc(16), offset: 0 },
  { type: 'contentAsk', id: 9, root: 'mail', path: 'f', content: Buffer.alloc(16), offset: limits.fileBytesMax },
  {
    type: 'audit',
    id: 10,
    deep: true,
    mend: false,
    places: [
      ['nope', 'x'],
      ['mail', 'nope/x'],
    ],
  },
  { type: 'putBackAsk', id: 11, ask: { ask: 'marks', after: '../x', marginMin: most } },
  { type: 'takeoverAsk', id: 12, ask: { ask: 'quiesce', takeover: 't', epoch: 5, maxSeconds: 1 } },
  { type: 'takeoverAsk', id: 13, ask: { ask: 'stepdown', takeover: 't', epoch: 5 } },
  { type: 'commit', id: most, ops: most, to: emptyPosition },
  { type: 'transferDrop', id: most },
  { type: 'transferEnd', id: most, content: Buffer.alloc(32) },
  { type: 'slice', id: most, pieces: [[-2, most]], bytes: Buffer.alloc(0) },
];

/** Transfers that lie, are too many, or never end. */
async function transfers(peer: RogueConnection): Promise<void> {
  const begin = (id: number, size: number): Message => ({
    type: 'transfer',
    id,
    root: 'mail',
    path: 'large',
    size,
    source: null,
    base: null,
    key: null,
  });
  const ended = (id: number) => peer.answer('transferred', (each) => each.id === id);
  peer.send(begin(1, 10));
  peer.send({ type: 'slice', id: 1, pieces: [[-1, 100]], bytes: Buffer.alloc(5) });
  expect((await ended(1))?.code).toBe('content');
  peer.send(begin(2, 10));
  peer.send({ type: 'slice', id: 2, pieces: [[-2, 11]], bytes: Buffer.alloc(0) });
  peer.send({ type: 'transferEnd', id: 2, content: Buffer.alloc(32) });
  expect((await ended(2))?.code).not.toBe('staged');
  peer.send(begin(3, 10));
  peer.send({ type: 'slice', id: 3, pieces: [[0, 10]], bytes: Buffer.alloc(0) });
  expect((await ended(3))?.code).toBe('base');
  peer.send(begin(4, 3));
  peer.send({ type: 'slice', id: 4, pieces: [[-1, 3]], bytes: Buffer.from('abc') });
  peer.send({ type: 'transferEnd', id: 4, content: Buffer.alloc(32, 1) });
  expect((await ended(4))?.code).toBe('content');
  for (let id = 10; id < 10 + limits.transfersMax + 20; id++) peer.send(begin(id, 1));
  expect((await ended(10 + limits.transfersMax + 10))?.code).toBe('io');
  // A terabyte of zeros to be proved: nobody waits for it any more when the connection ends.
  peer.send({ type: 'transferDrop', id: 10 });
  peer.send(begin(2000, limits.fileBytesMax));
  peer.send({ type: 'slice', id: 2000, pieces: [[-2, limits.fileBytesMax]], bytes: Buffer.alloc(0) });
}

/** Each ends the connection with this code. */
const endings: [what: string, say: (peer: RogueConnection) => void, code: string][] = [
  ['ops of a batch that was not begun', (peer) => peer.send({ type: 'ops', id: 5, dirs: [], ops: [] }), 'bad-message'],
  [
    'an epoch that nobody reaches',
    (peer) => peer.send({ type: 'takeoverAsk', id: 1, ask: { ask: 'yield', takeover: 't', epoch: limits.numberMax } }),
    'epoch',
  ],
  [
    'questions without end',
    (peer) => {
      for (let id = 0; id < 200; id++) peer.send({ type: 'audit', id, deep: true, mend: true, places: [] });
    },
    'too-many-questions',
  ],
];

describe('a peer with a valid key that sends every trick', () => {
  it('as a primary touches nothing outside, ends no agent, and the real peer gets through (I11, I12)', async () => {
    await using pair = await prepared();
    const { primary, standby } = pair;
    await primary.stop();
    const before = around(pair, standby);
    const namesBefore = names(standby);
    const rogue = RoguePrimary.listen(primary);
    try {
      const peer = await rogue.next();
      for (const [what, dirs, ops, said] of batches) expect(await peer.batch(dirs, ops), what).toMatch(said);
      expect(await peer.batch([['mail', '']], [put(0, 'x', 'x')], { count: 2 }), 'a lie about its ops').toBe('content');
      for (const from of [emptyPosition, { ...peer.position, seq: limits.numberMax }, { ...peer.position, epoch: 0 }])
        expect(await peer.batch([['mail', '']], [put(0, 'x', 'x')], { from }), 'a position that is not there').toBe('from');
      for (const message of [...answers, ...questions]) peer.send(message);
      expect(await peer.dealtWith()).toBe(true);
      await transfers(peer);
      peer.close();
      for (const [what, say, code] of endings) {
        const next = await rogue.next();
        say(next);
        expect(await next.refused(), what).toBe(code);
      }
    } finally {
      await rogue.stop();
    }
    expect(standby.agent.isRunning).toBe(true);
    expect(treeDifferences(before, around(pair, standby))).toEqual([]);
    expect(names(standby)).toEqual(namesBefore);
    expect(lstatSync(`${standby.root}/f`).mode & 0o6000).toBe(0);
    expect(existsSync(`${standby.root}/evil`)).toBe(false);
    expect(bytesOf(standby)).toBeLessThan(1024 ** 3);
    await primary.start();
    writeFileSync(`${primary.root}/after`, 'all that');
    await pair.settled();
    expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
    // Who said what is in the log.
    expect(standby.log).toMatch(/epoch 281474976710655/);
    expect(standby.log).not.toMatch(/"level":(60|"fatal")|the agent ends/);
  });

  it('as a standby touches and reads nothing outside, ends no agent, and the real peer gets through (I11, I12)', async () => {
    await using pair = await prepared();
    const { primary, standby } = pair;
    await standby.stop();
    const before = around(pair, primary);
    const rootBefore = exactTree(primary.root);
    const namesBefore = names(primary);
    const owner = { mode: 0o700, uid: 0, gid: 0 };
    const said: Message[] = [
      ...answers,
      {
        type: 'shortfalls',
        items: [
          ['nope', 'x', 31, 'x'],
          ['mail', 'nope/deep/x', 31, 'x'],
          ['mail', 'f', 31, '\u001b[2J'],
        ],
        more: false,
      },
      { type: 'salvageAsk', id: 1, ask: { ask: 'folder', root: 'mail', kind: 'dir', path: '../outside/made', ...owner } },
      {
        type: 'salvageAsk',
        id: 2,
        ask: {
          ask: 'put',
          root: 'nope',
          id: Buffer.alloc(32),
          target: { kind: 'file', path: 'x' },
          mtimeNs: '0',
          ...owner,
          size: 1,
          sha256: Buffer.alloc(32),
          offset: 0,
          data: Buffer.alloc(1),
        },
      },
      { type: 'putBackAsk', id: 3, ask: { ask: 'undo' } },
      { type: 'batch', id: 1, from: emptyPosition },
      { type: 'ops', id: 1, dirs: [['mail', '']], ops: [put(0, 'from the standby', 'x')] },
      { type: 'commit', id: 1, ops: 1, to: emptyPosition },
      { type: 'keepHistory', items: [['mail', '', most, most]] },
      { type: 'audit', id: 1, deep: true, mend: true, places: [] },
      { type: 'contentAsk', id: 1, root: 'mail', path: 'f', content: Buffer.alloc(16), offset: 0 },
    ];
    for (const message of said) {
      const peer = await RoguePeer.connect(standby, primary.port);
      const frames: string[] = [];
      peer.ws.on('message', (data: Buffer) => frames.push(data.toString('latin1')));
      peer.ws.send(encode(peer.hello));
      await primary.until('the peer', (s) => s.peer.connected);
      peer.ws.send(encode(message));
      peer.ws.send(encode({ type: 'takeoverAsk', id: 99, ask: { ask: 'state', takeover: 't' } }));
      // It is answered, or ended for what it said.
      await primary.until(`what becomes of ${message.type}`, (s) => !s.peer.connected || frames.some((frame) => frame.includes('state')));
      expect(primary.agent.isRunning, message.type).toBe(true);
      peer.ws.terminate();
      await primary.until('its end', (s) => !s.peer.connected);
      expect(frames.join('')).not.toContain(secret);
    }
    expect(treeDifferences(before, around(pair, primary))).toEqual([]);
    expect(treeDifferences(rootBefore, exactTree(primary.root))).toEqual([]);
    expect(names(primary)).toEqual(namesBefore);
    expect(bytesOf(primary)).toBeLessThan(1024 ** 3);
    expect(primary.log).not.toMatch(/"level":(60|"fatal")|the agent ends/);
    await standby.start();
    writeFileSync(`${primary.root}/after`, 'all that');
    await pair.settled();
    expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
  });
});
