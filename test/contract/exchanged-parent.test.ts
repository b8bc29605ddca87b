import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SalvageAsk, SalvagePut } from '../../protocol/salvage.ts';
import { HistoryKeeper } from '../../agent/history/keeper.ts';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { raiseRoot } from '../../agent/mailstore/raise.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import { errnoCode, type Files } from '../../agent/platform/files.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { filesBelow, realFiles } from '../../agent/platform/real-files.ts';
import type { Root } from '../../agent/replicate/root.ts';
import { noteOriginals, putAway } from '../../agent/replicate/salvage/originals.ts';
import { Placer } from '../../agent/replicate/salvage/place.ts';
import { SalvageRecords } from '../../agent/replicate/salvage/records.ts';
import { Placing, type PlacingParts } from '../../agent/replicate/standby/placing.ts';
import { Folding } from '../../agent/replicate/standby/folding.ts';
import { checkForeign } from '../../agent/replicate/standby/startup.ts';
import type { Step } from '../../agent/replicate/standby/steps.ts';
import { exchange } from '../lab/exchange.ts';

/*
 * Before each call that the agent makes, one after the other, a directory is exchanged for a link to a place outside that
 * looks the same. Nothing there may be changed, and nothing of it may be taken.
 */

let top: string;
const secret = 'outside';

beforeEach(() => {
  top = fs.realpathSync(fs.mkdtempSync(path.join(fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir(), 'mailtwin-exchanged-')));
});
afterEach(() => fs.rmSync(top, { recursive: true, force: true }));

/** Makes the tree that is to be worked on, and the same outside. Names that end in a slash are directories. */
function makeTrees(dir: string, names: readonly string[], contents: Record<string, string> = {}): void {
  for (const name of fs.readdirSync(top)) fs.rmSync(path.join(top, name), { recursive: true });
  for (const made of ['root', 'staging/stage', 'staging/history', 'outside']) fs.mkdirSync(`${top}/${made}`, { recursive: true });
  for (const [at, text] of [
    [`${top}/${dir}`, 'inside'],
    [`${top}/outside`, secret],
  ] as const) {
    fs.mkdirSync(at, { recursive: true });
    for (const name of names) {
      if (name.endsWith('/')) fs.mkdirSync(`${at}/${name}`, { recursive: true });
      else fs.writeFileSync(`${at}/${name}`, contents[name] ?? text, { mode: 0o600 });
    }
  }
  fs.symlinkSync(path.relative(path.dirname(`${top}/${dir}`), `${top}/outside`), `${top}/${dir}.lead`);
}

/** Every name below a directory with all that can be seen of it. */
function everything(dir: string): unknown[] {
  const { ino, mode, uid, gid, mtimeNs, ctimeNs } = fs.lstatSync(dir, { bigint: true });
  const own = [dir, ino, mode, uid, gid, mtimeNs, ctimeNs];
  if (fs.lstatSync(dir).isDirectory())
    return [
      own,
      ...fs
        .readdirSync(dir)
        .toSorted()
        .flatMap((name) => everything(`${dir}/${name}`)),
    ];
  return [[...own, fs.lstatSync(dir).isFile() ? fs.readFileSync(dir, 'latin1') : '']];
}

/** All content below these directories. */
function contentsOf(dirs: readonly string[]): string[] {
  return dirs.flatMap((dir) =>
    fs
      .readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => fs.readFileSync(`${entry.parentPath}/${entry.name}`, 'latin1')),
  );
}

/** Calls `act` before call number `at`, counted from 0. */
function before(files: Files, at: number, act: () => void): { files: Files; calls: () => number } {
  let calls = 0;
  const counting = Object.fromEntries(
    Object.entries(files).map(([name, call]) => [
      name,
      (...args: unknown[]) => {
        if (calls++ === at) act();
        return (call as (...args: unknown[]) => unknown)(...args);
      },
    ]),
  ) as unknown as Files;
  return { files: counting, calls: () => calls };
}

/** A store in memory. */
function memoryKv(): Kv {
  const stored = new Map<string, Buffer>();
  return {
    get: (key: Buffer) => stored.get(key.toString('hex')),
    commit: (writes: [Buffer, Buffer | null][]) =>
      writes.forEach(([key, value]) => (value === null ? stored.delete(key.toString('hex')) : stored.set(key.toString('hex'), value))),
    flushed: async () => {},
    *range(from: Buffer, end: Buffer) {
      for (const [key, value] of [...stored].toSorted(([a], [b]) => (a < b ? -1 : 1)))
        if (key >= from.toString('hex') && key < end.toString('hex')) yield [Buffer.from(key, 'hex'), value];
    },
  } as unknown as Kv;
}

const rootOf = (format: 'maildir' | 'plain'): Root => ({
  name: 'mail',
  path: `${top}/root`,
  staging: `${top}/staging`,
  format: formatByName(format),
});

interface Scenario {
  /** The directory that is exchanged. */
  dir: string;
  names: string[];
  contents?: Record<string, string>;
  /** More to be made, inside alone. */
  prepare?: () => void;
  run: (files: Files) => unknown;
  /** Whether undisturbed work did what it is for. */
  isDone: () => boolean;
  /** Names whose owner puts something of somebody else in their place, below `top`. */
  own?: string[];
}

const ino = (file: string) => fs.lstatSync(file, { bigint: true }).ino;
const has = (file: string) => fs.existsSync(`${top}/${file}`);
const meta = { mode: 0o640, uid: process.getuid?.() || 1234, gid: process.getgid?.() ?? 0, mtimeSec: 5, mtimeNsec: 0 };

const stepNames = ['file', 'other', 'gone', 'lost', 'leaves', 'turns', 'tree/', 'tree/inner', 'sub/', 'sub/deep', 'told', 'keeps'];

/** One step of each kind, and some of each way that it can take. */
function steps(): Step[] {
  const [root, stage, history] = [`${top}/root`, `${top}/staging/stage`, `${top}/staging/history`];
  const staged = (name: string) => {
    if (!fs.existsSync(`${stage}/${name}`)) fs.writeFileSync(`${stage}/${name}`, 'sent', { mode: 0o600 });
    return { staged: `${stage}/${name}`, ino: ino(`${stage}/${name}`) };
  };
  const at = (name: string) => ({ path: `${root}/dir/${name}`, ino: ino(`${root}/dir/${name}`) });
  fs.writeFileSync(`${root}/comes`, 'inside');
  return [
    { do: 'mkdir', path: `${root}/dir/made`, meta, staged: `${stage}/d1` },
    { do: 'mkdir', path: `${root}/dir/plain`, meta, staged: null },
    { do: 'place', ...staged('1'), path: `${root}/dir/new`, keep: null, fresh: true },
    { do: 'place', ...staged('2'), path: `${root}/dir/file`, keep: `${history}/1` },
    { do: 'place', ...staged('3'), path: `${root}/dir/other`, keep: null },
    { do: 'place', ...staged('4'), path: `${root}/dir/sub/deep`, keep: `${history}/2` },
    { do: 'move', from: `${root}/dir/leaves`, ino: at('leaves').ino, path: `${root}/left`, keep: null },
    { do: 'move', from: `${root}/comes`, ino: ino(`${root}/comes`), path: `${root}/dir/came`, keep: null },
    { do: 'move', from: `${root}/dir/turns`, ino: at('turns').ino, path: `${root}/dir/TURNS`, keep: null, via: `${stage}/via` },
    { do: 'discard', ...at('gone'), keep: `${history}/3` },
    { do: 'discard', ...at('lost'), keep: null },
    { do: 'discard', ...at('tree'), keep: `${history}/4` },
    { do: 'meta', ...at('told'), meta },
  ];
}

function placing(files: Files): Placing {
  const disks = { arrivals: 0, troubleOf: () => null, stands: () => true, setAside: (list: readonly Step[]) => list };
  const roots = [rootOf('plain')];
  const folding = new Folding({ files, kv: memoryKv(), clock: systemClock, roots });
  const parts = {
    files: folding.files,
    clock: systemClock,
    log: silentLog,
    roots,
    foreign: { note: () => {} },
    disks,
    folding,
    wait: async () => {},
  };
  return new Placing(parts as unknown as PlacingParts);
}

let todo: Step[] = [];
const allSteps = {
  dir: 'root/dir',
  own: ['file', 'other', 'gone', 'lost', 'leaves', 'turns', 'TURNS', 'tree', 'sub', 'told', 'new', 'came'].map(
    (name) => `root/dir/${name}`,
  ),
  names: stepNames,
  prepare: () => void (todo = steps()),
  isDone: () => has('root/dir/TURNS') && !has('root/dir/lost'),
};

const uidlist = '3 V77 N5 G00112233445566778899aabbccddeeff\n4 :1.x\n';
const mailbox = ['cur/', 'new/', 'tmp/', 'cur/1.x:2,S', 'cur/2.x:2,', 'dovecot-uidlist', 'dovecot-keywords'];
const mailboxContents = { 'dovecot-uidlist': uidlist, 'dovecot-keywords': '0 Work\n' };

const text = Buffer.from('sent');
const salvagePut = (id: number, target: SalvagePut['target']): SalvagePut => ({
  ask: 'put',
  root: 'mail',
  id: Buffer.alloc(32, id),
  target,
  mtimeNs: '1700000000000000000',
  mode: 0o600,
  uid: meta.uid,
  gid: meta.gid,
  size: text.length,
  sha256: createHash('sha256').update(text).digest(),
  offset: 0,
  data: text,
});
const message: SalvagePut['target'] = {
  kind: 'message',
  mailbox: 'dir',
  flags: 'S',
  keywords: ['Work'],
  messageSize: null,
  virtualSize: null,
};
const folder = (kind: 'mailbox' | 'dir', at: string): Extract<SalvageAsk, { ask: 'folder' }> => ({
  ask: 'folder',
  root: 'mail',
  kind,
  path: at,
  mode: 0o700,
  uid: meta.uid,
  gid: meta.gid,
});

const scenarios: Record<string, Scenario> = {
  'a batch that is put into place': {
    ...allSteps,
    own: [...allSteps.own, 'root/dir/made'],
    run: (files) => placing(files).place(todo, new Set(todo.map((step) => step.path))),
  },
  'a batch that is put into place again': { ...allSteps, run: (files) => void placing(files).redoChecked(todo) },
  'a batch that is put into place again, half of it done': {
    ...allSteps,
    // The others are gone from the directory by then.
    own: allSteps.own.filter((name) => !/lost|leaves|turns/.test(name)),
    prepare() {
      allSteps.prepare();
      placing(realFiles).redoChecked(todo.filter((_, i) => i % 2 === 0));
    },
    run: (files) => void placing(files).redoChecked(todo),
  },
  'a salvaged message': {
    dir: 'root/dir',
    names: mailbox,
    contents: mailboxContents,
    run: (files) =>
      new Placer(files, new SalvageRecords(memoryKv()), ({ staging }) => staging).put(rootOf('maildir'), salvagePut(1, message)),
    isDone: () => fs.readdirSync(`${top}/root/dir/cur`).some((name) => name.endsWith('.mailtwin:2,Sa')),
  },
  'a salvaged file': {
    dir: 'root/dir',
    names: ['file'],
    run: (files) =>
      new Placer(files, new SalvageRecords(memoryKv()), ({ staging }) => staging).put(
        rootOf('plain'),
        salvagePut(2, { kind: 'file', path: 'dir/new' }),
      ),
    isDone: () => has('root/dir/new'),
    own: ['root/dir/new', `root/dir/.mailtwin-salvage.${'02'.repeat(16)}`],
  },
  'a salvaged folder': {
    dir: 'root/dir',
    names: mailbox,
    run: (files) =>
      new Placer(files, new SalvageRecords(memoryKv()), ({ staging }) => staging).folder(rootOf('maildir'), folder('mailbox', 'dir/.Sub')),
    isDone: () => has('root/dir/.Sub/maildirfolder'),
    own: ['', '/cur', '/new', '/tmp', '/maildirfolder'].map((name) => `root/dir/.Sub${name}`),
  },
  'a mailbox whose numbers are raised': {
    dir: 'root/dir',
    names: [...mailbox, 'dovecot-uidvalidity', 'dovecot-uidvalidity.6b065737'],
    contents: { ...mailboxContents, 'dovecot-uidvalidity': '6b065737' },
    run: (files) =>
      raiseRoot(
        files,
        { name: 'mail', path: `${top}/root`, staging: `${top}/staging/raise` },
        () => ({ uidValidity: 77, uidNext: 50, highestModseq: 60 }),
        () => ({ uids: 1000, modseqs: 2000 }),
        { nowSeconds: 1_800_000_000, breathe: async () => {} },
      ),
    isDone: () => fs.readFileSync(`${top}/root/dir/dovecot-uidlist`, 'latin1').startsWith('3 V77 N1050 '),
    own: ['root/dir/dovecot-uidlist', 'root/dir/dovecot-uidvalidity'],
  },
  'a message that is here twice': {
    dir: 'root/dir',
    names: [...mailbox, 'cur/1.S1.mailtwin:2,S'],
    contents: mailboxContents,
    async run(files) {
      const kv = memoryKv();
      await noteOriginals(kv, [{ root: 'mail', mailbox: 'dir', base: '2.x', copy: { mailbox: 'dir', base: '1.S1.mailtwin' } }]);
      const keeper = new HistoryKeeper(kv, { days: 30, bytesMax: 1e9 });
      await putAway({ kv, files, clock: systemClock, roots: [rootOf('maildir')], keeper, history: () => `${top}/staging/history` });
    },
    isDone: () => has('staging/history/1'),
  },
  'a directory in the history that is removed for good': {
    dir: 'staging/history/1/dir',
    names: ['file', 'sub/', 'sub/deep', 'sub/deeper/', 'sub/deeper/file'],
    async run(files) {
      const kv = memoryKv();
      const keeper = new HistoryKeeper(kv, { days: 1, bytesMax: 1e9 });
      keeper.keep({ root: 'mail', path: 'x', atMs: 0, files: 1, bytes: 1, foreign: false }, true, []);
      const writes: [Buffer, Buffer | null][] = [];
      new HistoryKeeper(kv, { days: 1, bytesMax: 1e9 }).keep(
        { root: 'mail', path: 'x', atMs: 0, files: 1, bytes: 1, foreign: false },
        true,
        writes,
      );
      kv.commit(writes);
      await keeper.prune(
        files,
        () => [`${top}/staging/history`],
        1e12,
        async () => {},
      );
    },
    isDone: () => !has('staging/history/1'),
  },
  'what somebody else put below a standby’s root and is moved aside': {
    dir: 'root/dir',
    names: ['file', 'sub/', 'sub/deep'],
    async run(files) {
      const kv = memoryKv();
      const index = new ReplicaIndex(kv, { findByIdentity: false });
      const mounted = (_: string, at: string) => at === 'dir';
      await checkForeign({ files, kv, clock: systemClock, index, roots: [rootOf('plain')], mounted }, 'move-aside');
    },
    isDone: () => !has('root/dir/file'),
  },
  'what somebody else put below a standby’s root and is adopted': {
    dir: 'root/dir',
    names: ['file', 'sub/', 'sub/deep'],
    async run(files) {
      const kv = memoryKv();
      const index = new ReplicaIndex(kv, { findByIdentity: false });
      await checkForeign({ files, kv, clock: systemClock, index, roots: [rootOf('plain')] }, 'adopt');
      for (const place of ['dir/file', 'dir/sub/deep']) taken.push(index.at('mail', place)?.entry.content.toString('hex') ?? '');
    },
    isDone: () => taken.length === 2 && taken.every((hash) => hash !== ''),
  },
};

/** Digests of what a run has taken into an index. */
let taken: string[] = [];
const secretDigest = createHash('sha256').update(secret).digest('hex').slice(0, 32);

/** What went wrong for the paths that were exchanged is theirs; anything else is a fault of the program. */
async function run(scenario: Scenario, files: Files): Promise<void> {
  try {
    await scenario.run(files);
  } catch (error) {
    if (errnoCode(error) === undefined && !(error instanceof OperatorError)) throw error;
  }
}

/** Exchanges before each call, one after the other; what outside shows of it. */
async function exchangedEverywhere(scenario: Scenario, make: () => Files): Promise<{ changed: number[]; read: number[]; calls: number }> {
  const [changed, read]: [number[], number[]] = [[], []];
  for (let at = 0; ; at++) {
    makeTrees(scenario.dir, scenario.names, scenario.contents);
    scenario.prepare?.();
    taken = [];
    const outside = everything(`${top}/outside`);
    const [dir, lead] = [`${top}/${scenario.dir}`, `${top}/${scenario.dir}.lead`];
    let isExchanged = false;
    const counting = before(make(), at, () => {
      // It may be gone already: moved to history, or removed.
      if (!fs.existsSync(dir) || !fs.existsSync(lead)) return;
      exchange(dir, lead);
      isExchanged = true;
    });
    await run(scenario, counting.files);
    if (JSON.stringify(everything(`${top}/outside`), showBig) !== JSON.stringify(outside, showBig)) changed.push(at);
    if (taken.some((hash) => hash.startsWith(secretDigest)) || contentsOf([`${top}/root`, `${top}/staging`]).includes(secret))
      read.push(at);
    if (isExchanged || at < counting.calls()) continue;
    // Undisturbed, it does what it is for.
    expect(scenario.isDone()).toBe(true);
    return { changed, read, calls: at };
  }
}

const showBig = (_: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);

describe.each(Object.entries(scenarios))('%s', (_, scenario) => {
  it('touches nothing outside, whenever a directory above it is exchanged for a link (I11)', async () => {
    const places = [`${top}/root`, `${top}/staging`];
    const { changed, read, calls } = await exchangedEverywhere(scenario, () => filesBelow(() => places));
    expect(calls).toBeGreaterThan(3);
    expect({ changed, read }).toEqual({ changed: [], read: [] });
  });

  it('would touch what is outside by the path, and this is seen', async () => {
    const { changed, read } = await exchangedEverywhere(scenario, () => realFiles);
    expect([...changed, ...read]).not.toEqual([]);
  });
});

/** What somebody else has in the directory: its owner cannot read it, and can give it another name. */
class OfSomebodyElse {
  readonly #fds = ['file', 'dir'].map((kind) => {
    const path = this.path(kind);
    if (kind === 'dir') fs.mkdirSync(path, { mode: 0o700 });
    else fs.writeFileSync(path, theirs, { mode: 0o600 });
    return fs.openSync(path, 'r');
  });

  path(kind: string): string {
    return `${top}/root/dir/of-somebody-else-${kind}`;
  }

  /** All that makes it theirs, wherever it is by now. */
  get attributes(): unknown[] {
    return this.#fds.map((fd) => {
      const { mode, uid, gid, mtimeNs } = fs.fstatSync(fd, { bigint: true });
      return [mode, uid, gid, fs.fstatSync(fd).isFile() ? mtimeNs : ''].map(String);
    });
  }

  /** What holds their content and is another file. */
  get copies(): string[] {
    const own = fs.fstatSync(this.#fds[0] as number, { bigint: true }).ino;
    return fs
      .readdirSync(top, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${entry.parentPath}/${entry.name}`)
      .filter((path) => ino(path) !== own && fs.readFileSync(path, 'latin1') === theirs);
  }

  close(): void {
    for (const fd of this.#fds) fs.closeSync(fd);
  }
}

const theirs = 'of somebody else';

/** Exchanges a name before each call, one after the other; the calls at which what is somebody else's was given away. */
async function nameExchangedEverywhere(scenario: Scenario, own: string): Promise<{ given: number[]; exchanges: number }> {
  const given: number[] = [];
  for (let at = 0, exchanges = 0; ; at++) {
    makeTrees(scenario.dir, scenario.names, scenario.contents);
    scenario.prepare?.();
    const others = new OfSomebodyElse();
    const unharmed = JSON.stringify(others.attributes);
    const places = [`${top}/root`, `${top}/staging`];
    const counting = before(
      filesBelow(() => places),
      at,
      () => {
        const there = fs.lstatSync(`${top}/${own}`, { throwIfNoEntry: false });
        if (!there) return;
        exchange(`${top}/${own}`, others.path(there.isDirectory() ? 'dir' : 'file'));
        exchanges++;
      },
    );
    await run(scenario, counting.files);
    if (JSON.stringify(others.attributes) !== unharmed || others.copies.length > 0) given.push(at);
    others.close();
    if (at >= counting.calls()) return { given, exchanges };
  }
}

const exchangedNames = Object.entries(scenarios).flatMap(([what, scenario]) =>
  (scenario.own ?? []).map((own) => [what, own, scenario] as const),
);

describe('what somebody else has in a directory, whose owner puts it in the place of another name at any moment', () => {
  it.each(exchangedNames)('is not given away by %s: %s (I11)', async (_, own, scenario) => {
    const { given, exchanges } = await nameExchangedEverywhere(scenario, own);
    expect(exchanges).toBeGreaterThan(0);
    expect(given).toEqual([]);
  });
});
