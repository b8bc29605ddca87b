import { expect, it, vi } from 'vitest';
import { PlainPair } from './plain-pair.ts';
import { SimFiles } from './sim-files.ts';

const names = 200;

/** A letter to a large list is one file with a name in each mailbox, and so are copies within a store. */
it.each([
  ['half of its names go', 2],
  ['all of its names go', 1],
])('a file with very many names is not gone through for each name that goes (%s)', async (_what, step) => {
  const pair = new PlainPair();
  pair.connect();
  pair.work.mkdir('/plain/dir', 0o755);
  pair.work.writeFile('/plain/dir/0', 'one letter');
  for (let i = 1; i < names; i++) pair.work.link('/plain/dir/0', `/plain/dir/${i}`);
  await pair.settle();
  pair.network.cut();
  for (let i = 0; i < names; i += step) pair.work.unlink(`/plain/dir/${i}`);
  // Older than what the kernel's clock may hide.
  await pair.clock.runFor(100);
  const lstat = vi.spyOn(SimFiles.prototype, 'lstat');
  pair.connect();
  await pair.settle();
  const looks = lstat.mock.calls.length;
  lstat.mockRestore();
  expect(pair.differences()).toEqual([]);
  expect(looks).toBeLessThan(names * 20);
});

it('what a standby does again at its start reads no directory once for each of its names', async () => {
  const pair = new PlainPair();
  await pair.startStandby();
  pair.connect();
  pair.work.mkdir('/plain/dir', 0o755);
  for (let i = 0; i < names; i++) pair.work.writeFile(`/plain/dir/${i}`, `${i}`);
  await pair.settle();
  pair.network.cut();
  pair.cutStandbyPower();
  const readdir = vi.spyOn(SimFiles.prototype, 'readdir');
  await pair.startStandby();
  const reads = readdir.mock.calls.filter(([path]) => path === '/plain/dir').length;
  readdir.mockRestore();
  pair.connect();
  await pair.settle();
  expect(pair.differences()).toEqual([]);
  expect(reads).toBeGreaterThan(0);
  expect(reads).toBeLessThan(10);
});
