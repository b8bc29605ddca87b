import { describe, expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';

const always = 1_000_000;
/** A batch is on its way for about so long; what happens meanwhile is spread over it. */
const momentsMs = [0, 3, 6, 10, 15, 22, 40];
const endsMs = [1, 4, 7, 10, 13, 16, 19, 22, 26, 30, 36, 45];

/** A tree with children and grandchildren, and a directory beside it. */
async function makePair(folds: 'own' | null = null): Promise<PlainPair> {
  const pair = new PlainPair({ noticeMs: [0, 0], latencyMs: [1, 6], ...(folds ? { folds } : {}) });
  const { work } = pair;
  work.mkdir('/plain/tree', 0o755);
  for (const name of ['one', 'two', 'three']) work.writeFile(`/plain/tree/${name}`, `content of ${name}`);
  work.mkdir('/plain/tree/below', 0o755);
  work.writeFile('/plain/tree/below/deep', 'content of deep');
  work.mkdir('/plain/beside', 0o755);
  work.writeFile('/plain/beside/else', 'content of else');
  pair.connect();
  await pair.clock.runFor(1000);
  await pair.settle();
  return pair;
}

/** What somebody does on the primary while nobody knows yet that the tree could not be had under its new name, `moved`. */
const laterWork: Record<string, (pair: PlainPair, moved: string) => void> = {
  nothing: () => {},
  'a child is changed and others come': ({ work }, moved) => {
    work.writeFile(`${moved}/one`, 'another content of one');
    work.writeFile(`${moved}/four`, 'content of four');
    work.mkdir(`${moved}/new`, 0o755);
    work.writeFile(`${moved}/new/inside`, 'content of inside');
  },
  'children change attributes alone': ({ work }, moved) => {
    work.setMeta(`${moved}/two`, { mode: 0o640 });
    work.setMeta(`${moved}/below`, { mode: 0o710 });
  },
  'children leave it, and one goes': ({ work }, moved) => {
    work.rename(`${moved}/one`, '/plain/beside/one');
    work.rename(`${moved}/below`, '/plain/beside/below');
    work.unlink(`${moved}/two`);
  },
  'another directory takes its old name': anotherTree,
  'another directory with names of its children takes its old name': ({ work }) => {
    work.mkdir('/plain/tree', 0o755);
    work.writeFile('/plain/tree/one', 'content of one');
    work.writeFile('/plain/tree/three', 'quite another content');
  },
  'a directory that was there takes its old name': ({ work }) => work.rename('/plain/beside', '/plain/tree'),
  'something that is renamed goes into another directory of its old name': ({ work }) => {
    work.mkdir('/plain/tree', 0o755);
    work.rename('/plain/beside', '/plain/tree/beside');
  },
  'a file takes its old name': ({ work }) => work.writeFile('/plain/tree', 'a file'),
  'it is renamed again': ({ work }, moved) => work.rename(moved, '/plain/again'),
  'it is renamed back': ({ work }, moved) => work.rename(moved, '/plain/tree'),
  'it goes into another directory': ({ work }, moved) => work.rename(moved, '/plain/beside/moved'),
};

function anotherTree({ work }: PlainPair): void {
  work.mkdir('/plain/tree', 0o755);
  work.writeFile('/plain/tree/five', 'content of five');
  work.mkdir('/plain/tree/below', 0o755);
  work.writeFile('/plain/tree/below/six', 'content of six');
}

/** Those of them that there are after the tree was removed. */
const afterRemoval = Object.keys(laterWork).filter((what) => what === 'nothing' || what.includes('its old name'));

function removeTree({ work }: PlainPair): void {
  work.unlink('/plain/tree/below/deep');
  work.rmdir('/plain/tree/below');
  for (const name of ['one', 'two', 'three']) work.unlink(`/plain/tree/${name}`);
  work.rmdir('/plain/tree');
}

async function interrupt(pair: PlainPair, how: 'killed' | 'cut'): Promise<void> {
  if (how === 'cut') pair.cutStandbyPower();
  else pair.killStandby();
  await pair.startStandby();
  pair.connect();
}

/** All is there, nothing but that, nobody is said to have put anything there, and that is so for good. */
async function expectGood(pair: PlainPair): Promise<void> {
  pair.standbyDisk.mend();
  await pair.clock.runFor(60_000);
  await pair.settle();
  const doubts = (pair.primary.primary?.unproven.list() ?? []).map(({ path, kind }) => `${kind} ${path}`);
  expect([pair.differences(), doubts, pair.standby.standby?.foreign()]).toEqual([[], [], []]);
}

describe.each(['EPERM', 'ENOSPC', 'a name that is taken for another one'])('a directory that cannot be renamed: %s (I20)', (why) => {
  const isError = why.startsWith('E');
  const moved = isError ? '/plain/moved' : '/plain/fixed';

  async function renamed(): Promise<PlainPair> {
    const pair = await makePair(isError ? null : 'own');
    if (isError) pair.standbyDisk.fail({ operation: 'rename', code: why, path: /\/moved$/, times: always });
    // By a rule that nobody foresees, so that only the step itself meets it.
    else pair.work.writeFile('/plain/qixed', 'a file');
    await pair.settle();
    pair.work.rename('/plain/tree', moved);
    return pair;
  }

  async function mended(pair: PlainPair): Promise<void> {
    if (!isError) pair.work.unlink('/plain/qixed');
    await expectGood(pair);
  }

  it.each(Object.keys(laterWork))('all is right in the end when %s', async (what) => {
    for (const ms of momentsMs) {
      const pair = await renamed();
      await pair.clock.runFor(ms);
      laterWork[what]?.(pair, moved);
      await pair.clock.runFor(3000);
      await mended(pair);
    }
  });

  it.each(['killed', 'cut'] as const)('also when the standby is %s in between', async (how) => {
    for (const [n, what] of Object.keys(laterWork).entries()) {
      for (const ms of endsMs.filter((_, i) => (i + n) % 3 === 0)) {
        const pair = await renamed();
        await pair.clock.runFor(momentsMs[n % 4] ?? 0);
        laterWork[what]?.(pair, moved);
        await pair.clock.runFor(ms);
        await interrupt(pair, how);
        await pair.clock.runFor(3000);
        await mended(pair);
      }
    }
  });
});

describe.each(['EPERM', 'ENOSPC'])('a directory that cannot be removed: %s (I20)', (why) => {
  async function removed(): Promise<PlainPair> {
    const pair = await makePair();
    pair.standbyDisk.fail({ operation: 'rename', code: why, path: /\/history\/|\/trash-/, times: always });
    removeTree(pair);
    return pair;
  }

  it.each(afterRemoval)('all is right in the end when %s', async (what) => {
    for (const ms of momentsMs) {
      const pair = await removed();
      await pair.clock.runFor(ms);
      laterWork[what]?.(pair, '');
      await pair.clock.runFor(3000);
      await expectGood(pair);
    }
  });

  it.each(['killed', 'cut'] as const)('also when the standby is %s in between', async (how) => {
    for (const [n, what] of afterRemoval.entries()) {
      for (const ms of endsMs.filter((_, i) => (i + n) % 3 === 0)) {
        const pair = await removed();
        await pair.clock.runFor(momentsMs[n % 4] ?? 0);
        laterWork[what]?.(pair, '');
        await pair.clock.runFor(ms);
        await interrupt(pair, how);
        await pair.clock.runFor(3000);
        await expectGood(pair);
      }
    }
  });
});
