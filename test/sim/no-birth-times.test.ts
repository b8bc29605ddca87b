import { expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';

/** The moves of whole directories that went to the standby. */
async function movesAfter(act: (pair: PlainPair) => void): Promise<{ moves: number; differences: string[] }> {
  const pair = new PlainPair({ noticeMs: [0, 0], birthTimes: false, reuseInos: true });
  pair.work.mkdir('/plain/old', 0o755);
  for (const name of ['a', 'b']) pair.work.writeFile(`/plain/old/${name}`, name);
  pair.connect();
  await pair.settle();
  let moves = 0;
  pair.network.tap = (message) => {
    if (message.type === 'ops') moves += message.ops.filter((op) => op.op === 'move' && op.tree).length;
    return message;
  };
  act(pair);
  await pair.settle();
  return { moves, differences: pair.differences() };
}

it('a new directory with the inode number of one that is gone is not taken for that one, where the kernel tells no birth times', async () => {
  const { moves, differences } = await movesAfter(({ work }) => {
    const { ino } = work.lstat('/plain/old')!;
    for (const name of ['a', 'b']) work.unlink(`/plain/old/${name}`);
    work.rmdir('/plain/old');
    for (let i = 0; work.lstat(`/plain/new ${i - 1}`)?.ino !== ino; i++) work.mkdir(`/plain/new ${i}`, 0o755);
  });
  expect([moves, differences]).toEqual([0, []]);
});

it('a renamed directory is one rename there, too', async () => {
  const { moves, differences } = await movesAfter(({ work }) => work.rename('/plain/old', '/plain/new'));
  expect([moves, differences]).toEqual([1, []]);
});
