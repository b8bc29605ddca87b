import { expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';

it('a large file of which the standby has another version is sent whole, also while batches are under way', async () => {
  const pair = new PlainPair({ noticeMs: [0, 0], latencyMs: [5, 20] });
  const content = Buffer.alloc(600_000, 'as it was');
  pair.work.writeFile('/plain/large', content);
  pair.connect();
  await pair.settle();
  pair.copy.truncate('/plain/large', 1000);
  let misfits = 0;
  pair.network.tap = (message) => {
    if (message.type === 'transferred' && message.code === 'base') misfits++;
    return message;
  };
  pair.work.append('/plain/large', Buffer.alloc(400_000, 'and what came'));
  for (let i = 0; i < 200; i++) {
    pair.work.writeFile(`/plain/letter ${i}`, 'x');
    await pair.clock.runFor(2);
  }
  await pair.settle();
  expect(misfits).toBeGreaterThan(0);
  expect(pair.differences()).toEqual([]);
});
