import { createServer as createTlsServer, connect as tlsConnect, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { makePairingCode, normalizePairingCode, pairingLimits, pairingMessage, pairingProtocol } from '../../protocol/pairing.ts';
import { identityFromPem, makeIdentity, type Identity } from '../../agent/link/identity.ts';
import { joinPair, type JoinOptions } from '../../agent/link/pairing-client.ts';
import { OfferLife } from '../../agent/link/pairing-offer.ts';
import { judgeParties, pairingKey, primaryProof, sameProof, standbyProof, type Party, type Scene } from '../../agent/link/pairing-proof.ts';
import { createPairingServer } from '../../agent/link/pairing-server.ts';
import { clientTls, serverTls } from '../../agent/link/tls.ts';
import { systemClock, type Clock } from '../../agent/platform/clock.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { introduce, TestNode, until } from '../lab/link-pair.ts';

const clean: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of clean.splice(0).reverse()) await step();
});

/** The system's clock, moved forward at will. */
function movableClock(): Clock & { forwardMs: number } {
  const clock = { ...systemClock, forwardMs: 0, monotonicMs: () => systemClock.monotonicMs() + clock.forwardMs };
  return clock;
}

async function primary(clock: Clock = systemClock) {
  const a = new TestNode('mail-a', 'primary');
  const b = new TestNode('mail-b', 'standby');
  clean.push(
    () => a.stop(),
    () => b.stop(),
  );
  let port = 0;
  const server = createPairingServer({
    config: a.config,
    identity: a.identity,
    pins: a.pins,
    clock,
    log: a.log,
    port: () => port,
    role: () => a.role,
  });
  clean.push(() => server.stop());
  const sockets = new Set<TLSSocket>();
  port = await a.listen((socket, address) => {
    sockets.add(socket);
    server.handle(socket, address);
  });
  const join = (code: string, change: Partial<JoinOptions> = {}) =>
    joinPair({
      config: b.config,
      identity: b.identity,
      pins: b.pins,
      clock: systemClock,
      host: '127.0.0.1',
      port,
      code,
      confirm: async () => true,
      ...change,
    }).catch((error: unknown) => {
      if (error instanceof OperatorError) return error;
      throw error;
    });
  return { a, b, server, port, join, sockets };
}

const never = new AbortController().signal;

test('two nodes pair, and then the link stands with the keys that were shown', async () => {
  const { a, b, server, port, join } = await primary();
  b.config.listen.port = 7420;
  const before = Date.now();
  const offer = server.offer();
  expect(offer.code).toMatch(/^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$/);
  expect(offer.fingerprint).toBe(a.identity.fingerprint);
  expect(Date.parse(offer.expiresAt)).toBeGreaterThanOrEqual(before + pairingLimits.offerLifeMs);
  const shown: unknown[] = [];
  const progress: string[] = [];
  const outcome = server.result(never, (text) => progress.push(text));
  const peer = await join(offer.code.toLowerCase().replaceAll('-', ' '), {
    confirm: async (what) => {
      shown.push(what);
      return true;
    },
  });
  expect(shown).toEqual([{ peer: 'mail-a', mine: b.identity.fingerprint, theirs: a.identity.fingerprint }]);
  expect(progress.join()).toContain(b.identity.fingerprint);
  expect(await outcome).toMatchObject({
    kind: 'paired',
    peer: { node: 'mail-b', fingerprint: b.identity.fingerprint, addresses: [{ host: '127.0.0.1', port: 7420 }] },
  });
  expect(peer).toEqual(b.pins.read());
  const [onA, onB] = [a.pins.read(), b.pins.read()];
  expect(onA?.pair).toBe(onB?.pair);
  expect(onA?.secret).toEqual(onB?.secret);
  expect(onA?.secret.length).toBe(32);
  expect(onB?.addresses).toEqual([{ host: '127.0.0.1', port }]);
  b.connect();
  await until('channel', () => b.channels[0] && a.channels[0]);
});

describe('refusals, each with its own code', () => {
  test('no offer: nothing of the newcomer is read', async () => {
    const { join } = await primary();
    expect(await join('0000-0000-0000-0000')).toMatchObject({
      code: 'no-offer',
      message: expect.stringContaining('mail-a does not wait'),
      remedy: expect.stringContaining('mailtwin pair'),
    });
  });

  test('a wrong code costs a try, five burn the offer, and the right one comes too late', async () => {
    const { a, b, server, join } = await primary();
    const { code } = server.offer();
    const progress: string[] = [];
    const outcome = server.result(never, (text) => progress.push(text));
    for (const left of ['4 tries are', '3 tries are', '2 tries are', '1 try is'])
      expect(await join('ZZZZ-ZZZZ-ZZZZ-ZZZZ')).toMatchObject({ code: 'wrong-code', message: expect.stringContaining(`${left} left`) });
    expect(await join('ZZZZ-ZZZZ-ZZZZ-ZZZZ')).toMatchObject({ code: 'too-many-tries' });
    expect(await outcome).toMatchObject({ kind: 'failed', code: 'too-many-tries' });
    expect(await join(code)).toMatchObject({ code: 'too-many-tries', message: expect.stringContaining('burned after 5 wrong tries') });
    expect([a.pins.read(), b.pins.read()]).toEqual([null, null]);
    expect(progress.filter((text) => text.includes('wrong')).length).toBe(5);
    // A new one works.
    expect(await join(server.offer().code)).toMatchObject({ node: 'mail-a' });
  });

  test('tries under way at the same time are all counted', async () => {
    const { server, join } = await primary();
    server.offer();
    const codes = new Set<string>();
    const rounds = await Promise.all(Array.from({ length: 4 }, () => join('ZZZZ-ZZZZ-ZZZZ-ZZZZ')));
    for (const error of [...rounds, await join('ZZZZ-ZZZZ-ZZZZ-ZZZZ')]) codes.add((error as OperatorError).message.replace(/.*; /, ''));
    expect(codes.size).toBe(5);
  });

  test('an expired code', async () => {
    const clock = movableClock();
    const { server, join } = await primary(clock);
    const { code } = server.offer();
    clock.forwardMs = pairingLimits.offerLifeMs + 1;
    expect(await join(code)).toMatchObject({ code: 'expired', message: expect.stringContaining('lives 10 minutes') });
  });

  test('a code that expires while the operator compares', async () => {
    const clock = movableClock();
    const { a, b, server, join } = await primary(clock);
    const { code } = server.offer();
    const result = await join(code, {
      confirm: async () => {
        clock.forwardMs = pairingLimits.offerLifeMs + 1;
        return true;
      },
    });
    expect(result).toMatchObject({ code: 'expired' });
    expect([a.pins.read(), b.pins.read()]).toEqual([null, null]);
  });

  test('a used code', async () => {
    const { server, join } = await primary();
    const { code } = server.offer();
    await join(code);
    expect(await join(code, { replace: true })).toMatchObject({ code: 'used', message: expect.stringContaining('works once') });
  });

  test('a replaced code', async () => {
    const { server, join } = await primary();
    const first = server.offer();
    const outcome = server.result(never);
    server.offer();
    expect(await outcome).toMatchObject({ kind: 'failed', code: 'replaced' });
    expect(await join(first.code)).toMatchObject({ code: 'wrong-code' });
  });

  test('what is no code, and the wrong side to type it', async () => {
    const { a, server, join } = await primary();
    expect(await join('12345')).toMatchObject({ code: 'bad-code', exitCode: 2 });
    expect(await join('0000-0000-0000-0000', { config: a.config })).toMatchObject({ code: 'wrong-role', exitCode: 3 });
    a.role = 'standby';
    expect(() => server.offer()).toThrow(expect.objectContaining({ code: 'wrong-role' }));
  });

  test.each([
    ['same-node', (n: TestNode) => void (n.config.node = 'mail-a'), /both nodes are called mail-a/],
    ['roots', (n: TestNode) => void ((n.config.roots[0] ?? expect.fail()).format = 'plain'), /mail:maildir.*mail:plain/],
  ])('nodes that do not fit: %s, with both values, and the code still stands', async (code, spoil, text) => {
    const { b, server, join } = await primary();
    const { config } = b;
    const offer = server.offer();
    const spoiled = structuredClone(config);
    spoil({ config: spoiled } as TestNode);
    expect(await join(offer.code, { config: spoiled })).toMatchObject({ code, exitCode: 3, message: expect.stringMatching(text) });
    expect(await join(offer.code)).toMatchObject({ node: 'mail-a' });
  });

  test('the operator declines: nobody is pinned, and the code still stands', async () => {
    const { a, b, server, join } = await primary();
    const { code } = server.offer();
    const progress: string[] = [];
    void server.result(never, (text) => progress.push(text));
    expect(await join(code, { confirm: async () => false })).toMatchObject({ code: 'declined' });
    await until('the primary to hear of it', () => progress.some((text) => text.includes('declined')));
    expect([a.pins.read(), b.pins.read()]).toEqual([null, null]);
    expect(await join(code)).toMatchObject({ node: 'mail-a' });
  });

  test('a paired node pairs again only when told to', async () => {
    const { a, b, server, join } = await primary();
    introduce(a, b);
    expect(() => server.offer()).toThrow(expect.objectContaining({ code: 'already-paired', exitCode: 3 }));
    const { code } = server.offer({ replace: true });
    expect(await join(code)).toMatchObject({ code: 'already-paired' });
    b.newKey();
    expect(await join(code, { replace: true, identity: b.identity })).toMatchObject({ node: 'mail-a' });
    expect(a.pins.read()?.spki).toEqual(b.identity.spki);
  });

  test('nobody listens there, or it is something else', async () => {
    const { join } = await primary();
    expect(await join('0000-0000-0000-0000', { port: 1 })).toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('127.0.0.1:1'),
    });
  });

  test('no more than a few may try at the same time', async () => {
    const { b, server, port, join, sockets } = await primary();
    server.offer();
    const idle = Array.from({ length: pairingLimits.connectionsMax }, () =>
      tlsConnect(clientTls(b.identity, 'pairing', { host: '127.0.0.1', port })),
    );
    clean.push(() => idle.forEach((socket) => socket.destroy()));
    await Promise.all(idle.map((socket) => new Promise((resolve) => socket.once('secureConnect', resolve))));
    await until('all to be under way', () => sockets.size === pairingLimits.connectionsMax);
    const result = await join('0000-0000-0000-0000');
    expect(result).toMatchObject({ code: 'busy' });
    idle.forEach((socket) => socket.destroy());
  });

  test.each([
    ['garbage', 'GET / HTTP/1.1\r\n\r\n', 'bad-message'],
    ['a message out of turn', '{"type":"accept"}\n', 'bad-message'],
    ['an endless line', 'x'.repeat(pairingLimits.lineBytesMax + 1), 'broken-off'],
    ['another version', `{"type":"begin","version":9,"nonce":"${Buffer.alloc(32).toString('base64')}"}\n`, 'version'],
  ])('%s ends that connection alone', async (_, text, code) => {
    const { b, server, port, join } = await primary();
    const offer = server.offer();
    const socket = tlsConnect(clientTls(b.identity, 'pairing', { host: '127.0.0.1', port }), () => socket.write(text));
    let answer = '';
    socket.on('data', (part: Buffer) => (answer += part.toString()));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(answer).toContain(`"code":"${code}"`);
    expect(await join(offer.code)).toMatchObject({ node: 'mail-a' });
  });

  test('the connection breaks before the end: nothing is pinned on the standby, and the code still stands', async () => {
    const { b, server, join, sockets } = await primary();
    const { code } = server.offer();
    const result = await join(code, {
      confirm: async () => {
        for (const socket of sockets) socket.destroy();
        return true;
      },
    });
    expect(result).toMatchObject({ code: 'broken-off' });
    expect(existsSync(`${b.dir}/peer.json`)).toBe(false);
    expect(await join(code)).toMatchObject({ node: 'mail-a' });
  });
});

describe('attackers', () => {
  /** Ends TLS on both sides with a key of its own and relays every line. */
  async function manInTheMiddle(identity: Identity, target: number): Promise<number> {
    const server = createTlsServer(serverTls(identity), (client) => {
      const upstream = tlsConnect(clientTls(identity, 'pairing', { host: '127.0.0.1', port: target }));
      client.pipe(upstream).pipe(client);
      client.on('error', () => upstream.destroy());
      upstream.on('error', () => client.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
    clean.push(() => void server.close());
    return (server.address() as AddressInfo).port;
  }

  test('a man in the middle with a key of his own gets nowhere with the right code', async () => {
    const { a, b, server, port, join } = await primary();
    const files = makeIdentity('mail-a').files;
    const mitm = await manInTheMiddle(identityFromPem(files['node.key'] ?? '', files['node.crt'] ?? ''), port);
    const { code } = server.offer();
    expect(await join(code, { port: mitm })).toMatchObject({ code: 'wrong-code' });
    expect([a.pins.read(), b.pins.read()]).toEqual([null, null]);
  });

  test('one who holds the same certificates but another TLS connection gets nowhere either: the binding differs', async () => {
    const { a, b, server, port, join } = await primary();
    // Even with the primary's own private key, relaying fails: the standby's key cannot be shown upstream, the binding is another.
    const mitm = await manInTheMiddle(a.identity, port);
    const { code } = server.offer();
    expect(await join(code, { port: mitm })).toMatchObject({ code: 'wrong-code' });
    expect(b.pins.read()).toBeNull();
  });

  test('one who plays the primary without the code is found out before the operator is asked', async () => {
    const { b, join } = await primary();
    const files = makeIdentity('mail-a').files;
    const fake = createTlsServer(serverTls(identityFromPem(files['node.key'] ?? '', files['node.crt'] ?? '')), (socket) => {
      let turn = 0;
      socket.on('error', () => {});
      socket.on('data', () => {
        const zeros = (bytes: number) => Buffer.alloc(bytes).toString('base64');
        if (turn++ === 0) socket.write(`${JSON.stringify({ type: 'offer', version: 1, salt: zeros(16), nonce: zeros(32) })}\n`);
        else
          socket.write(
            `${JSON.stringify({ type: 'confirm', node: 'mail-a', role: 'primary', roots: ['mail:maildir'], port: 1, mac: zeros(32) })}\n`,
          );
      });
    });
    await new Promise<void>((resolve) => fake.listen(0, '127.0.0.1', () => resolve()));
    clean.push(() => void fake.close());
    let asked = false;
    const result = await join('0000-0000-0000-0000', {
      port: (fake.address() as AddressInfo).port,
      confirm: async () => (asked = true),
    });
    expect(result).toMatchObject({ code: 'impostor', message: expect.stringContaining('does not know the code') });
    expect(asked).toBe(false);
    expect(b.pins.read()).toBeNull();
  });

  test('every part of the scene changes both proofs', async () => {
    const key = await pairingKey('0000000000000000', Buffer.alloc(16));
    const scene: Scene = {
      binding: Buffer.alloc(32),
      primaryKey: Buffer.from('p'),
      standbyKey: Buffer.from('s'),
      primaryNonce: Buffer.alloc(32),
      standbyNonce: Buffer.alloc(32, 1),
    };
    const a: Party = { role: 'primary', node: 'a', roots: ['x:plain'], port: 1 };
    const b: Party = { role: 'standby', node: 'b', roots: ['x:plain'], port: 2 };
    const proofs = [standbyProof(key, scene, b), primaryProof(key, scene, b, a)];
    for (const field of Object.keys(scene) as (keyof Scene)[])
      proofs.push(
        standbyProof(key, { ...scene, [field]: Buffer.from('other') }, b),
        primaryProof(key, { ...scene, [field]: Buffer.from('other') }, b, a),
      );
    for (const change of [{ role: 'primary' as const }, { node: 'c' }, { roots: ['x:plain', 'y:plain'] }, { port: 3 }])
      proofs.push(standbyProof(key, scene, { ...b, ...change }), primaryProof(key, scene, { ...b, ...change }, a));
    proofs.push(
      primaryProof(key, scene, b, { ...a, node: 'z' }),
      standbyProof(await pairingKey('0000000000000001', Buffer.alloc(16)), scene, b),
    );
    proofs.push(standbyProof(await pairingKey('0000000000000000', Buffer.alloc(16, 1)), scene, b));
    expect(new Set(proofs.map((mac) => mac.toString('hex'))).size).toBe(proofs.length);
    expect(sameProof(Buffer.alloc(32), Buffer.alloc(31))).toBe(false);
    expect(judgeParties(a, b)).toBeNull();
    expect(judgeParties(a, { ...b, role: 'primary' })).toMatchObject({
      code: 'same-role',
      detail: expect.stringContaining('role primary, the other (b) has role primary'),
    });
  });
});

describe('codes and offers', () => {
  test('a code has 16 symbols, survives being read aloud and typed, and is not mistaken for another', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const code = makePairingCode(() => Buffer.from(bytes));
        const typed = code.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l');
        return normalizePairingCode(typed) === code.replaceAll('-', '');
      }),
    );
    expect([normalizePairingCode(''), normalizePairingCode('0000-0000-0000-000'), normalizePairingCode('0000-0000-0000-000U')]).toEqual([
      null,
      null,
      null,
    ]);
  });

  test('an offer ends by use, by tries and by time', () => {
    const offer = new OfferLife(1000);
    expect(offer.over(1000 + pairingLimits.offerLifeMs - 1)).toBeNull();
    expect(offer.over(1000 + pairingLimits.offerLifeMs)?.code).toBe('expired');
    for (let i = 1; i < pairingLimits.triesMax; i++) expect(offer.wrongCode(1000).code).toBe('wrong-code');
    expect(offer.wrongCode(1000).code).toBe('too-many-tries');
    const used = new OfferLife(0);
    used.use();
    expect(used.over(0)?.code).toBe('used');
  });

  test('messages of pairing are checked', () => {
    const mac = Buffer.alloc(32).toString('base64');
    const proof = { type: 'proof', node: 'mail-b', role: 'standby', roots: [], port: 7420, mac };
    expect(pairingMessage.safeParse(proof).success).toBe(true);
    for (const change of [{ node: '../x' }, { node: 'a\nb' }, { mac: 'AAAA' }, { port: 70_000 }, { role: 'fenced' }, { extra: 1 }])
      expect(pairingMessage.safeParse({ ...proof, ...change }).success).toBe(false);
    expect(pairingProtocol).toBe('mailtwin-pair/1');
  });
});
