import { expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';

it('what arrives goes before what is removed, whatever was told first (I1)', async () => {
  const pair = new PlainPair();
  const ops: string[] = [];
  pair.connect();
  for (const name of ['old1', 'old2', 'old3']) pair.work.writeFile(`/plain/${name}`, name);
  await pair.settle();
  pair.network.tap = (message) => {
    if (message.type === 'ops') ops.push(...message.ops.map(({ op, at }) => `${op} ${at.name}`));
    return message;
  };
  // Told in this order, and looked at together.
  pair.network.cut();
  pair.work.unlink('/plain/old1');
  pair.work.writeFile('/plain/new1', 'new1');
  pair.work.unlink('/plain/old2');
  pair.work.writeFile('/plain/new2', 'new2');
  await pair.clock.runFor(2000);
  pair.connect();
  await pair.settle();
  expect(ops).toEqual(['put new1', 'put new2', 'remove old1', 'remove old2']);
});
