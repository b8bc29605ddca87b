import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Config } from '../../agent/config/config.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { markWrites, marksToldWrite, primaryEpochWrite } from '../../agent/replicate/standby/marks.ts';
import { raiseAll } from '../../agent/wiring/takeover/raise.ts';

let dir: string;
let kv: Kv;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-margin-'));
  for (const part of ['state', 'mail/anna/cur', 'mail/anna/new', 'mail/anna/tmp']) mkdirSync(join(dir, part), { recursive: true });
  writeFileSync(join(dir, 'mail/anna/dovecot-uidlist'), '3 V77 N5 G00112233445566778899aabbccddeeff\n4 :a\n');
  kv = openLmdbKv(join(dir, 'state/journal'));
});
afterEach(async () => {
  await kv.close();
  rmSync(dir, { recursive: true, force: true });
});

async function raised(): Promise<number> {
  const root = { name: 'mail', path: join(dir, 'mail'), format: 'maildir', mayBeEmpty: false, exclude: [], staging: null };
  await raiseAll({ kv, config: { roots: [root], state: join(dir, 'state') } as unknown as Config, marginMin: 1000 });
  return Number(/ N(\d+) /.exec(readFileSync(join(dir, 'mail/anna/dovecot-uidlist'), 'latin1'))?.[1]);
}

// What the old primary issued before it told its marks is not known here (I5).
it.each([
  ['every mark was told by this primary', [primaryEpochWrite(3), marksToldWrite({ epoch: 3, asOfMs: Date.now() })], 1000, 2000],
  ['all marks were told by the primary before', [primaryEpochWrite(4), marksToldWrite({ epoch: 3, asOfMs: Date.now() })], 1e6, 2e6],
  ['they were never told whole', [primaryEpochWrite(3)], 1e6, 2e6],
] as const)('UIDs are raised far enough where %s', async (_, writes, atLeast, below) => {
  kv.commit([...markWrites(kv, [['mail', 'anna', 77, 50, 60]], Date.now()), ...writes]);
  await kv.flushed();
  const next = await raised();
  expect(next).toBeGreaterThanOrEqual(50 + atLeast);
  expect(next).toBeLessThan(50 + below);
});
