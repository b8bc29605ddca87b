import { expect, test } from 'vitest';
import { Takeover, type TakeoverParts } from '../../agent/wiring/takeover/takeover.ts';

const by = { uid: 0, user: 'anna', tty: null, sudoUser: null };
const request = { kind: 'switchover', plan: null, overrides: [], by, confirm: 'mail-a', acceptLoss: false, manual: null } as const;

function takeoverWith(idle: () => Promise<void>, read: () => void): Takeover {
  const parts = {
    facts: { node: { role: 'primary', keeper: { idle } }, config: { node: 'mail-b' }, pin: () => ({ node: 'mail-a' }) },
    runner: { kv: { get: read } },
  };
  return new Takeover(parts as unknown as TakeoverParts);
}

test('a takeover is taken up again only when what the start of the agent brings down is down (I14)', async () => {
  const order: string[] = [];
  let bringDown = (): void => {};
  const down = new Promise<void>((resolve) => (bringDown = resolve));
  const idle = async (): Promise<void> => {
    await down;
    order.push('all is down');
  };
  const takeover = takeoverWith(idle, () => void order.push('the journal is read'));
  const run = takeover.run({ ...request, overrides: [] }, () => {}, new AbortController().signal);
  setTimeout(bringDown, 20);
  await expect(run).rejects.toMatchObject({ code: 'on-primary', exitCode: 3 });
  expect(order.slice(0, 2)).toEqual(['all is down', 'the journal is read']);
});

test('whoever waits for that and goes has changed nothing (I14)', async () => {
  const gone = new AbortController();
  let reads = 0;
  const takeover = takeoverWith(
    () => new Promise(() => {}),
    () => void reads++,
  );
  const run = takeover.run({ ...request, overrides: [] }, () => {}, gone.signal);
  gone.abort();
  await expect(run).rejects.toMatchObject({ code: 'still-going-down', exitCode: 1 });
  expect(reads).toBe(0);
});
