import fc from 'fast-check';
import { limits } from '../../protocol/limits.ts';
import type { Message, MessageType } from '../../protocol/messages.ts';
import type { Meta, Op, Place } from '../../protocol/ops.ts';

/** Entries of the directory table that the ops of these messages count on. */
export const dirs = 5;

const nat = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const uid = fc.integer({ min: 1, max: limits.uidMax });
const modseq = fc.integer({ min: 1, max: limits.modseqMax });
const text = fc.string({ unit: 'binary', maxLength: 40 });
const latin1 = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const bytes = (min: number, max = min) => fc.uint8Array({ minLength: min, maxLength: max }).map((b) => Buffer.from(b));
const stored = fc.nat({ max: limits.numberMax });
const position = fc.record({ epoch: stored, seq: stored, checksum: bytes(8).map((b) => b.toString('hex')) });
const role = fc.constantFrom('primary', 'standby', 'fenced');
const name = fc
  .uint8Array({ minLength: 1, maxLength: limits.nameBytesMax })
  .map((b) => Buffer.from(b.map((c) => (c === 0 || c === 0x2f ? 0x41 : c))).toString('latin1'))
  .filter((n) => n !== '.' && n !== '..');
/** A path below a root. */
const path = fc
  .array(name, { maxLength: 3 })
  .map((parts) => parts.join('/'))
  .filter((all) => all.length <= limits.pathBytesMax);
const place: fc.Arbitrary<Place> = fc.record({ dir: fc.nat(dirs - 1), name });
const meta: fc.Arbitrary<Meta> = fc
  .record(
    {
      mode: fc.nat(0o3777),
      uid: fc.nat(0xffff_fffe),
      gid: fc.nat(0xffff_fffe),
      mtimeSec: fc.oneof(fc.integer({ min: -(2 ** 31), max: 2 ** 40 }), fc.maxSafeInteger()),
      mtimeNsec: fc.nat(999_999_999),
      xattrs: fc.array(
        fc.tuple(fc.constantFrom('user.a', 'user.größe', 'system.posix_acl_access', 'system.posix_acl_default'), bytes(0, 50)),
        { maxLength: 3 },
      ),
    },
    { requiredKeys: ['mode', 'uid', 'gid', 'mtimeSec', 'mtimeNsec'] },
  )
  .map((m) => m);
const content = bytes(32);
const base = bytes(16);
const size = fc.nat({ max: limits.fileBytesMax });
/** Leaves out what is undefined, as exact optional fields want it. */
const exact = <T extends object>(value: T): T => Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

const patch = fc
  .record({
    at: place,
    meta,
    content,
    base,
    pieces: fc.array(
      fc.oneof(
        fc.record({ from: size, length: fc.integer({ min: 1, max: 1e6 }) }),
        fc.record({ literal: fc.integer({ min: 1, max: 100 }) }),
      ),
      { maxLength: 8 },
    ),
  })
  .map((rest): Op => {
    const literalBytes = rest.pieces.reduce((sum, p) => sum + ('literal' in p ? p.literal : 0), 0);
    const total = rest.pieces.reduce((sum, p) => sum + ('literal' in p ? p.literal : p.length), 0);
    return exact({ op: 'patch' as const, ...rest, size: total, bytes: Buffer.alloc(literalBytes, 1) });
  });

/** An op of each kind. */
export const ops: Record<Op['op'], fc.Arbitrary<Op>> = {
  dir: fc.record({ op: fc.constant('dir'), at: fc.oneof(place, fc.constant({ dir: 0, name: '' })), meta }),
  put: fc.oneof(
    fc.record({ op: fc.constant('put'), at: place, meta, size, content, transfer: nat }),
    fc.record({ at: place, meta, content, bytes: bytes(0, 300) }).map((o): Op => ({ op: 'put', ...o, size: o.bytes.length })),
  ),
  patch,
  copy: fc.record({ op: fc.constant('copy'), at: place, from: place, meta, size, content }),
  link: fc.record({ op: fc.constant('link'), at: place, from: place, base }),
  move: fc
    .record({ at: place, from: place, base: maybe(base), tree: fc.boolean(), meta: maybe(meta) })
    .map((o) => exact({ op: 'move', ...o }) as Op),
  meta: fc.record({ at: place, meta, base: maybe(base) }).map((o) => exact({ op: 'meta', ...o }) as Op),
  symlink: fc.record({ op: fc.constant('symlink'), at: place, target: name.filter((n) => !n.startsWith('/')), meta }),
  remove: fc.record({ op: fc.constant('remove'), at: place, tree: fc.boolean() }),
};
const anyOp = fc.oneof(...Object.values(ops));

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
const nanoseconds = fc.bigInt({ min: 0n, max: 2n ** 62n }).map(String);
const peerWord = fc.record({ node: text, role, epoch: stored, active: fc.boolean(), state: text });

/** A message of each type; a missing one does not compile. */
export const messages: { [T in MessageType]: fc.Arbitrary<object> } = {
  hello: fc.record({
    oldest: nat,
    newest: nat,
    pair: text,
    node: text,
    role,
    epoch: stored,
    position,
    agentVersion: text,
    serverVersion: fc.option(text),
    roots: fc.array(text, { maxLength: 5 }),
    wallMs: nat,
    boot: text,
    port: fc.nat(65535),
    active: fc.boolean(),
  }),
  refuse: fc.record({ code: text, detail: text }),
  heartbeat: fc.record({
    wallMs: nat,
    role,
    epoch: stored,
    position,
    lagChanges: nat,
    lagBytes: nat,
    lagMs: nat,
    lossMailboxes: fc.option(nat),
    lossMessages: fc.option(nat),
    lossBytes: fc.option(nat),
    filesTotal: fc.option(nat),
    appliedMs: nat,
    phase: text,
    active: fc.boolean(),
    space: fc.array(fc.tuple(text, nat, nat), { maxLength: 4 }),
    unproven: nat,
    leftOut: nat,
    warnings: fc.array(text, { maxLength: 4 }),
    doubts: fc.array(fc.tuple(text, path, text, nat), { maxLength: 4 }),
    complete: fc.boolean(),
    laggingCount: nat,
    lagging: fc.array(fc.tuple(text, path, text, nat), { maxLength: 4 }),
    fileSystems: fc.array(fc.tuple(text, path, text, text), { maxLength: 4 }),
    queue: fc.option(
      fc.record({ mta: text, messages: fc.option(nat), more: fc.boolean(), oldestMs: fc.option(nat), readMs: nat, why: text }),
    ),
    certificate: fc.option(fc.record({ names: fc.array(text, { maxLength: 20 }), endsMs: nat })),
    releases: fc.option(fc.record({ system: fc.option(text), mailServer: fc.option(text), storageVersion: fc.option(text) })),
    damaged: nat,
  }),
  credit: fc.record({ bytes: nat }),
  watermarks: fc.record({ items: fc.array(fc.tuple(text, path, uid, uid, modseq), { maxLength: 10 }) }),
  abilities: fc.record({
    abilities: fc.record({
      roots: fc.array(
        fc.record({
          root: text,
          timeStepNs: fc.option(nat),
          timeMinSec: fc.option(fc.maxSafeInteger()),
          timeMaxSec: fc.option(fc.maxSafeInteger()),
          acls: fc.boolean(),
          attributes: fc.boolean(),
          foldsCase: fc.option(fc.boolean()),
          normalises: fc.option(fc.boolean()),
          nameBytesMax: fc.option(nat),
        }),
        { maxLength: 3 },
      ),
      anyOwner: fc.boolean(),
      selinux: fc.constantFrom('enforcing', 'permissive', 'off'),
      owners: fc.array(fc.record({ kind: fc.constantFrom('user', 'group'), id: fc.nat(0xffff_fffe), name: fc.option(text) }), {
        maxLength: 3,
      }),
    }),
  }),
  shortfalls: fc.record({
    items: fc.array(fc.tuple(text, path, fc.integer({ min: 1, max: 31 }), text), { maxLength: 4 }),
    more: fc.boolean(),
  }),
  batch: fc.record({ id: nat, from: position }),
  ops: fc.record({ id: nat, dirs: fc.array(fc.tuple(text, path), { maxLength: 5 }), ops: fc.array(anyOp, { maxLength: 6 }) }),
  transfer: fc.record({
    id: nat,
    root: text,
    path: path,
    size,
    source: fc.option(path),
    base: fc.option(base),
    key: fc.option(base),
  }),
  slice: fc.record({
    id: nat,
    pieces: fc.array(fc.tuple(fc.integer({ min: -2, max: 2 ** 40 }), nat), { maxLength: 5 }),
    bytes: bytes(0, 1000),
  }),
  transferEnd: fc.record({ id: nat, content: hash }),
  transferDrop: fc.record({ id: nat }),
  transferTaken: fc.record({ bytes: nat }),
  transferred: fc.record({ id: nat, code: fc.constantFrom('staged', 'base', 'content', 'no-space', 'io', 'confined'), detail: text }),
  transferFound: fc.record({ id: nat, bytes: nat, prefix: fc.option(hash) }),
  commit: fc.record({ id: nat, ops: nat, to: position }),
  ack: fc.record({ id: nat, position, lacking: fc.array(fc.tuple(nat, fc.integer({ min: 1, max: 95 }), text), { maxLength: 4 }) }),
  reject: fc.record({
    id: nat,
    code: fc.constantFrom('base', 'content', 'no-space', 'from', 'io', 'confined', 'state-full', 'path'),
    ops: fc.array(nat, { maxLength: 10 }),
    detail: text,
    faults: fc.array(fc.tuple(nat, text), { maxLength: 4 }),
  }),
  list: fc.record({ id: nat, root: text, dir: path, after: latin1(60) }),
  listing: fc.record({
    id: nat,
    digest: fc.option(bytes(16)),
    entries: fc.array(fc.tuple(name, fc.nat(2), bytes(8, 16)), { maxLength: 10 }),
    more: fc.boolean(),
  }),
  audit: fc.record({ id: nat, deep: fc.boolean(), mend: fc.boolean(), places: fc.array(fc.tuple(text, path), { maxLength: 5 }) }),
  contentAsk: fc.record({ id: nat, root: text, path: path, content: bytes(16), offset: fc.nat(1e9) }),
  contentPart: fc.record({ id: nat, bytes: bytes(0, 300), error: fc.option(text) }),
  auditing: fc.record({ id: nat, files: nat, bytes: nat }),
  audited: fc.record({
    id: nat,
    files: nat,
    bytes: nat,
    differences: fc.array(fc.tuple(text, path, text), { maxLength: 5 }),
    total: nat,
  }),
  rebase: fc.record({ position }),
  rebased: fc.record({ position }),
  takeoverAsk: fc.record({
    id: nat,
    ask: fc.oneof(
      fc.record({ ask: fc.constantFrom('prepare', 'drain', 'abort', 'state'), takeover: text }),
      fc.record({ ask: fc.constantFrom('stepdown', 'yield'), takeover: text, epoch: stored }),
      fc.record({ ask: fc.constant('quiesce'), takeover: text, epoch: stored, maxSeconds: fc.nat(600) }),
    ),
  }),
  takeoverAnswer: fc.record({
    id: nat,
    answer: fc.oneof(
      fc.record({ answer: fc.constantFrom('quiesced', 'stepped-down', 'aborted', 'state'), word: peerWord }),
      fc.record({ answer: fc.constant('refused'), code: text, text, remedy: text, word: peerWord }),
      fc.record({ answer: fc.constant('draining'), word: peerWord, position: text, open: nat, settled: fc.boolean() }),
    ),
  }),
  putBackAsk: fc.record({
    id: nat,
    ask: fc.oneof(fc.record({ ask: fc.constant('marks'), after: latin1(60), marginMin: nat }), fc.record({ ask: fc.constant('undo') })),
  }),
  putBackAnswer: fc.record({
    id: nat,
    answer: fc.oneof(
      fc.record({ answer: fc.constant('refused'), code: text, text, remedy: text }),
      fc.record({
        answer: fc.constant('marks'),
        items: fc.array(fc.tuple(text, latin1(60), nat, nat, nat), { maxLength: 10 }),
        next: fc.option(latin1(60)),
        margin: nat,
      }),
    ),
  }),
  salvageAsk: fc.record({
    id: nat,
    ask: fc.oneof(
      fc.record({
        ask: fc.constant('folder'),
        root: text,
        kind: fc.constantFrom('mailbox', 'dir'),
        path: latin1(60),
        mode: fc.nat(0o7777),
        uid: fc.nat(0x7fffffff),
        gid: fc.nat(0x7fffffff),
      }),
      fc.record({
        ask: fc.constant('judge'),
        root: text,
        items: fc.array(
          fc.record({
            id: hash,
            kind: fc.constantFrom('message', 'file'),
            path: latin1(60),
            base: latin1(60),
            size: nat,
            sha256: hash,
            mtimeNs: nanoseconds,
          }),
          { maxLength: 3 },
        ),
      }),
      fc.record({
        ask: fc.constant('put'),
        root: text,
        id: hash,
        target: fc.oneof(
          fc.record({ kind: fc.constant('file'), path: latin1(60) }),
          fc.record({
            kind: fc.constant('message'),
            mailbox: latin1(60),
            flags: fc.constantFrom('', 'S', 'DFPRST'),
            keywords: fc.array(text, { maxLength: 3 }),
            messageSize: fc.option(nat),
            virtualSize: fc.option(nat),
          }),
        ),
        mtimeNs: nanoseconds,
        mode: fc.nat(0o7777),
        uid: fc.nat(0x7fffffff),
        gid: fc.nat(0x7fffffff),
        size: nat,
        sha256: hash,
        offset: nat,
        data: fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
      }),
    ),
  }),
  salvageAnswer: fc.record({
    id: nat,
    answer: fc.oneof(
      fc.record({ answer: fc.constant('refused'), code: text, text, remedy: text }),
      fc.record({
        answer: fc.constant('judged'),
        verdicts: fc.array(fc.constantFrom('missing', 'there', 'placed', 'differs', 'elsewhere'), { maxLength: 5 }),
        elsewhere: fc.array(fc.tuple(fc.nat(200), latin1(60)), { maxLength: 3 }),
      }),
      fc.record({ answer: fc.constant('folder'), state: fc.constantFrom('made', 'was-there') }),
      fc.record({
        answer: fc.constant('taken'),
        state: fc.constantFrom('more', 'placed', 'was-placed'),
        path: latin1(60),
        dropped: fc.array(text, { maxLength: 3 }),
      }),
    ),
  }),
  excludes: fc.record({ roots: fc.array(fc.tuple(text, fc.array(latin1(40), { maxLength: 5 })), { maxLength: 3 }) }),
  keepHistory: fc.record({ items: fc.array(fc.tuple(text, path, nat, nat), { maxLength: 5 }) }),
  verified: fc.record({
    at: text,
    result: fc.constantFrom('clean', 'incomplete', 'different', 'failed'),
    deep: fc.boolean(),
    differences: nat,
    leftOut: nat,
  }),
  network: fc.record({
    state: fc.record({
      version: fc.constant(1),
      node: text,
      at: fc.constant('2026-01-01T00:00:00.000Z'),
      ports: fc.constant([]),
      roles: fc.constant([]),
    }),
  }),
};
export const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  ...Object.entries(messages).map(([type, fields]) => fields.map((f) => ({ type, ...f }) as Message)),
);
