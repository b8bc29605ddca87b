import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fingerprintOf, loadIdentity, makeIdentity, shortFingerprint } from '../../agent/link/identity.ts';
import { pinFile, type PinnedPeer } from '../../agent/link/pins.ts';
import { writeDurable } from '../../agent/platform/durable-file.ts';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'mailtwin-identity-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const store = (files: Record<string, string>) =>
  Object.entries(files).forEach(([name, content]) => writeFileSync(join(dir, name), content));

test('a made key pair loads back; its certificate is self-signed by that key and never expires', () => {
  for (const node of ['mail-a', 'x', 'n'.repeat(63)]) {
    const made = makeIdentity(node);
    store(made.files);
    const identity = loadIdentity(dir);
    expect(identity.fingerprint).toBe(made.fingerprint);
    const cert = new X509Certificate(identity.certPem);
    expect(cert.subject).toBe(`CN=${node}`);
    expect(cert.verify(cert.publicKey)).toBe(true);
    expect(cert.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    expect(new Date(cert.validTo).getUTCFullYear()).toBe(9999);
  }
});

test('two keys never look alike', () => {
  const [a, b] = [makeIdentity('mail-a'), makeIdentity('mail-a')];
  expect(a.fingerprint).not.toBe(b.fingerprint);
  expect(a.fingerprint).toMatch(/^[0-9A-F]{4}( [0-9A-F]{4}){15}$/);
  expect(shortFingerprint(a.fingerprint)).toBe(a.fingerprint.slice(0, 19));
  // SHA-256 of nothing, as FIPS 180-4's examples have it.
  expect(shortFingerprint(fingerprintOf(Buffer.alloc(0)))).toBe('E3B0 C442 98FC 1C14');
});

test('a missing, damaged or foreign key is an error for the operator', () => {
  expect(() => loadIdentity(dir)).toThrow(expect.objectContaining({ code: 'no-key', remedy: expect.stringContaining('mailtwin init') }));
  const a = makeIdentity('a').files;
  store(a);
  store({ 'node.crt': makeIdentity('a').files['node.crt'] ?? '' });
  expect(() => loadIdentity(dir)).toThrow(expect.objectContaining({ code: 'bad-key', message: expect.stringContaining('of another key') }));
  store({ 'node.crt': 'nonsense' });
  expect(() => loadIdentity(dir)).toThrow(expect.objectContaining({ code: 'bad-key' }));
});

const peer: PinnedPeer = {
  pair: 'p1',
  node: 'mail-b',
  spki: Buffer.alloc(91, 3),
  fingerprint: fingerprintOf(Buffer.alloc(91, 3)),
  addresses: [{ host: '2001:db8::1', port: 7420 }],
  pairedAt: '2026-01-01T00:00:00.000Z',
  secret: Buffer.alloc(32, 9),
};

test('a pin is written for this user alone, replaces the old one, and reads back', () => {
  const pins = pinFile(dir);
  const seen: string[] = [];
  pins.onWrite((written) => seen.push(written.node));
  expect(pins.read()).toBeNull();
  pins.write({ ...peer, node: 'mail-old' });
  pins.write(peer);
  expect(pins.read()).toEqual(peer);
  expect(seen).toEqual(['mail-old', 'mail-b']);
  expect(statSync(join(dir, 'peer.json')).mode & 0o777).toBe(0o600);
  expect(readdirSync(dir)).toEqual(['peer.json']);
});

test('a fingerprint that somebody edited does not count; the key does', () => {
  const pins = pinFile(dir);
  pins.write(peer);
  writeFileSync(join(dir, 'peer.json'), readFileSync(join(dir, 'peer.json'), 'utf8').replace(peer.fingerprint, 'FFFF FFFF'));
  expect(pins.read()?.fingerprint).toBe(peer.fingerprint);
});

test.each([
  ['cut off', (text: string) => text.slice(0, 40)],
  ['of another version', (text: string) => text.replace('"version": 1', '"version": 2')],
  ['without its key', (text: string) => text.replace(/"spki".*\n/, '')],
  ['with a short secret', (text: string) => text.replace(/"secret": ".*"/, '"secret": "AAAA"')],
])('a pin file that is %s is refused by name', (_, spoil) => {
  const pins = pinFile(dir);
  pins.write(peer);
  writeFileSync(join(dir, 'peer.json'), spoil(readFileSync(join(dir, 'peer.json'), 'utf8')));
  expect(() => pins.read()).toThrow(
    expect.objectContaining({ code: 'peer-file', message: expect.stringContaining('peer.json is damaged') }),
  );
});

test('a durable write that fails leaves the old content and no staged file', () => {
  const path = join(dir, 'x');
  writeDurable(path, 'old', { exclusive: true });
  expect(() => writeDurable(path, 'new', { exclusive: true })).toThrow(/EEXIST/);
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(readdirSync(dir)).toEqual(['x']);
  expect(() => writeDurable(join(dir, 'missing/y'), 'z')).toThrow(/ENOENT/);
});
