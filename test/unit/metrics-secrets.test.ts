import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openTo } from '../../agent/platform/secret-file.ts';
import { metricsSecrets } from '../../agent/wiring/metrics-secrets.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-metrics-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it.each([
  [0o600, 100, null],
  [0o700, 100, null],
  [0o640, 0, null],
  [0o660, 0, null],
  [0o640, 100, 'group 100'],
  [0o620, 100, 'group 100'],
  [0o610, 100, 'group 100'],
  [0o644, 0, 'every user'],
  [0o602, 0, 'every user'],
  [0o601, 0, 'every user'],
  [0o666, 100, 'every user'],
])('a secret with mode %o and group %i is open to: %s', (mode, gid, open) => {
  expect(openTo({ mode, gid })).toBe(open);
});

it('refuses a key of the metrics that others can read, and takes any certificate', () => {
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  for (const path of [cert, key]) writeFileSync(path, 'pem\n');
  chmodSync(cert, 0o644);
  chmodSync(key, 0o604);
  const metrics = { host: '127.0.0.1', port: 9720, tls: { cert, key }, auth: null, names: [] };
  expect(() => metricsSecrets(metrics)).toThrow('open to every user');
  chmodSync(key, 0o600);
  expect(metricsSecrets(metrics).tls).toEqual({ cert: 'pem\n', key: 'pem\n' });
});
