import { expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';

it.each([true, false])(
  'attributes of a directory and of a file that changed while no agent ran are compared (birth times: %s)',
  async (birthTimes) => {
    const pair = new PlainPair({ birthTimes });
    pair.work.mkdir('/plain/dir', 0o755);
    pair.work.writeFile('/plain/dir/file', 'x');
    for (const path of ['/plain/dir', '/plain/dir/file']) pair.work.setMeta(path, { xattrs: new Map([['user.note', Buffer.from('old')]]) });
    pair.connect();
    await pair.clock.runFor(5000);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    for (const xattrs of [new Map([['user.note', Buffer.from('new')]]), new Map<string, Buffer>()]) {
      pair.killPrimary();
      for (const path of ['/plain/dir', '/plain/dir/file']) pair.work.setMeta(path, { xattrs });
      pair.startPrimary();
      pair.connect();
      await pair.clock.runFor(5000);
      await pair.settle();
      expect(pair.differences()).toEqual([]);
    }
  },
);
