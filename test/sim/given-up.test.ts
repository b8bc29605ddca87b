import { describe, expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';

describe('a batch that is given up', () => {
  it('is made again for the other names of a file too, when the name that led to them is another file by then', async () => {
    const pair = new PlainPair({ noticeMs: [5000, 5000] });
    pair.connect();
    pair.work.writeFile('/plain/first', 'what it was');
    await pair.clock.runFor(1000);
    await pair.settle();
    pair.killStandby();
    pair.work.link('/plain/first', '/plain/second');
    await pair.clock.runFor(50);
    pair.work.overwrite('/plain/second', 'changed now', 0);
    await pair.clock.runFor(50);
    pair.work.writeFile('/plain/third', 'another');
    pair.work.rename('/plain/third', '/plain/second');
    await pair.clock.runFor(6000);
    await pair.startStandby();
    pair.connect();
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('is made again for a directory in whose midst it ended', async () => {
    const pair = new PlainPair({ noticeMs: [0, 0], bytesPerMs: 10_000 });
    pair.connect();
    await pair.clock.runFor(1000);
    await pair.settle();
    // So large that what is known of a few of them is more than goes at once.
    for (let i = 0; i < 20; i++) {
      pair.work.mkdir(`/plain/${i}`, 0o755);
      pair.work.setMeta(`/plain/${i}`, { xattrs: new Map([['user.note', Buffer.alloc(60_000, i)]]) });
      pair.work.writeFile(`/plain/${i}/file`, 'inside');
    }
    let begun = 0;
    pair.network.tap = (message) => {
      if (message.type === 'batch' && ++begun === 1) pair.network.cut();
      return message;
    };
    await pair.clock.runFor(1000);
    expect(begun).toBe(1);
    pair.connect();
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });
});
