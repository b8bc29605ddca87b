import { EventEmitter } from 'node:events';
import type { TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { Unpackr } from 'msgpackr';
import type { WebSocket } from 'ws';
import { PairingEnded, PairingLines } from '../../agent/link/pairing-lines.ts';
import { shakeHands, type HandshakeResult, type Hello } from '../../agent/link/handshake.ts';
import { PeerChannel } from '../../agent/link/peer-channel.ts';
import { readRefusal, refusalBody } from '../../agent/link/pin-check.ts';
import type { Clock } from '../../agent/platform/clock.ts';
import { decode, encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import { ProtocolError } from '../../protocol/ops.ts';
import { pairingMessage, type PairingMessage } from '../../protocol/pairing.ts';
import { emptyPosition } from '../../protocol/position.ts';
import { protocolVersions } from '../../protocol/version.ts';
import type { SimRandom } from '../sim/sim-random.ts';
import type { Decoder, Outcome } from './decoder.ts';
import { rawJson, rawMsgpack, writeJson, writeMsgpack } from './encodings.ts';
import { anyMessage, dirs, messages, ops } from './messages.ts';
import { mutateBytes, mutateValue, toValue, type Value } from './values.ts';

/** Time that does not pass by itself, and calls nothing. */
const still: Clock = { monotonicMs: () => 0, wallMs: () => 0, after: () => ({ cancel() {} }), yield: () => Promise.resolve() };

/** Frames as the product writes them: of each message, and more of those with ops, which have most inside. */
const frames: readonly Buffer[] = [
  ...fc.sample(anyMessage, { numRuns: 400, seed: 1 }),
  ...fc
    .sample(fc.record({ id: fc.nat(9), ops: fc.array(fc.oneof(...Object.values(ops)), { minLength: 1, maxLength: 8 }) }), {
      numRuns: 400,
      seed: 2,
    })
    .map((body) => ({ type: 'ops' as const, dirs: [['mail', 'cur'] as [string, string]], ...body })),
].map(encode);
const unpackr = new Unpackr({ useRecords: false });
const frameValues: readonly Value[] = frames.map((frame) => toValue(unpackr.unpack(frame)));

function anyFrame(random: SimRandom): Buffer {
  if (random.chance(0.02)) return random.pick(frames);
  const frame = random.chance(0.8) ? writeMsgpack(mutateValue(random, random.pick(frameValues), rawMsgpack)) : random.pick(frames);
  return random.chance(0.25) ? mutateBytes(random, frame, frames) : frame;
}

const peerFrame: Decoder = {
  name: 'frame of the peer',
  from: 'peer',
  make: anyFrame,
  take(frame) {
    try {
      const message = decode(frame, () => dirs);
      // What passes is a value that the product itself would send, and that means the same there.
      const once = encode(message);
      if (!encode(decode(once, () => dirs)).equals(once)) throw new Error(`it changes when it is sent again: ${message.type}`);
      return 'accepted';
    } catch (error) {
      return refusedBy(error, ProtocolError);
    }
  },
};

/** @throws what is not the product's own error with a code and words that fit a line. */
function refusedBy(error: unknown, kind: new (...given: never[]) => Error & { code: string }): Outcome {
  if (!(error instanceof kind) || error.code === '' || error.message.length > 1000) throw error;
  return 'refused';
}

/** A socket that takes everything. */
class Sink extends EventEmitter {
  bufferedAmount = 0;
  bytesRead = 0;
  sent = 0;
  send(frame: Buffer, _options: object, callback?: () => void): void {
    this.sent += frame.length;
    callback?.();
  }
  close(): void {}
  terminate(): void {}
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
  setEncoding(): void {}
  write(): boolean {
    return true;
  }
}

/** Several frames, each behind its length. */
function sequence(random: SimRandom, make: (random: SimRandom) => Buffer, most: number): Buffer {
  return Buffer.concat(
    Array.from({ length: 1 + random.int(most) }, () => {
      const frame = make(random);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      return [length, frame];
    }).flat(),
  );
}

function* framesIn(input: Buffer): Generator<Buffer> {
  for (let at = 0; at + 4 <= input.length; at += 4 + input.readUInt32BE(at)) yield input.subarray(at + 4, at + 4 + input.readUInt32BE(at));
}

const channel: Decoder = {
  name: 'messages on a connection',
  from: 'peer',
  make: (random) => sequence(random, (one) => (one.chance(0.6) ? one.pick(frames) : anyFrame(one)), 12),
  async take(input) {
    const sink = new Sink();
    const made = new PeerChannel(sink as unknown as WebSocket, sink as unknown as TLSSocket, { clock: still, bulkAllowance: () => null });
    let end: string | null = null;
    void made.ended.then(({ code }) => (end = code));
    let got = 0;
    made.onMessage((_message, done) => {
      got++;
      if (got % 3 !== 0) done();
    });
    for (const frame of framesIn(input)) sink.emit('message', frame, frame[0] !== 0xc1);
    await Promise.resolve();
    if (sink.sent > 64 * 1024) throw new Error(`it was answered with ${sink.sent} bytes`);
    return end === null ? 'accepted' : 'refused';
  },
};

const mine: Hello = {
  type: 'hello',
  ...protocolVersions,
  pair: 'pair-1',
  node: 'mail-a',
  role: 'primary',
  epoch: 3,
  position: emptyPosition,
  agentVersion: '0.1.0',
  serverVersion: null,
  roots: ['mail:maildir'],
  wallMs: 1,
  boot: 'b',
  port: 7420,
  active: true,
};
const hellos = [
  encode({ ...mine, node: 'mail-b', role: 'standby' }),
  ...fc.sample(messages.hello, { numRuns: 50, seed: 3 }).map((body) => encode({ ...(body as Hello), type: 'hello' })),
];
const helloValues = hellos.map((frame) => toValue(unpackr.unpack(frame)));

const hello: Decoder = {
  name: 'first message',
  from: 'peer',
  make(random) {
    if (random.chance(0.1)) return hellos[0] ?? Buffer.alloc(0);
    const frame = writeMsgpack(mutateValue(random, random.chance(0.5) ? helloValues[0] : random.pick(helloValues), rawMsgpack));
    return random.chance(0.25) ? mutateBytes(random, frame, frames) : frame;
  },
  take(frame) {
    const sink = new Sink();
    const results: HandshakeResult[] = [];
    shakeHands(sink as unknown as WebSocket, mine, still, (result) => results.push(result));
    sink.emit('message', frame, true);
    const [result] = results;
    if (results.length !== 1 || !result) throw new Error(`${results.length} results`);
    if ('end' in result && (!/^[a-z-]{1,100}$/.test(result.end.code) || result.end.detail.length > 4 * limits.textBytesMax)) {
      // The other side may refuse in any words.
      if (decode(frame, () => 0).type !== 'refuse') throw new Error(`refused with ${JSON.stringify(result).slice(0, 200)}`);
    }
    return 'end' in result ? 'refused' : 'accepted';
  },
};

const b64 = (length: number) => Buffer.alloc(length, 7).toString('base64');
const self = { node: 'mail-b', role: 'standby' as const, roots: ['mail:maildir'], port: 7420, mac: b64(32) };
const lines: readonly PairingMessage[] = [
  { type: 'begin', version: 1, nonce: b64(32) },
  { type: 'offer', version: 1, salt: b64(16), nonce: b64(32) },
  { type: 'proof', ...self },
  { type: 'confirm', ...self },
  { type: 'accept' },
  { type: 'grant', pair: 'p', secret: b64(32) },
  { type: 'pinned' },
  { type: 'done' },
  { type: 'refuse', code: 'busy', detail: 'later' },
];

const pairing: Decoder = {
  name: 'line of pairing',
  from: 'network',
  make(random) {
    const line = random.chance(0.05)
      ? Buffer.from(JSON.stringify(random.pick(lines)))
      : writeJson(mutateValue(random, toValue(random.pick(lines)), rawJson));
    const ended = random.chance(0.95) ? Buffer.concat([line, Buffer.from('\n')]) : line;
    return random.chance(0.25) ? mutateBytes(random, ended, [Buffer.from('{"type":"accept"}\n')]) : ended;
  },
  async take(input) {
    const sink = new Sink();
    let now = 0;
    // Each look finds the time of the step over.
    const taken = new PairingLines(sink as unknown as TLSSocket, { ...still, monotonicMs: () => (now += 60_000) });
    sink.emit('data', input.toString('utf8'));
    const due = lines[input.length % lines.length]?.type ?? 'begin';
    try {
      const message = await taken.next(due);
      if (!pairingMessage.safeParse(message).success || message.type !== due) throw new Error('another message than was due');
      return 'accepted';
    } catch (error) {
      if (!(error instanceof PairingEnded) || error.end.code === '' || /\p{Cc}/u.test(error.end.detail)) throw error;
      return 'refused';
    }
  },
};

const refusal: Decoder = {
  name: 'refusal of a stranger',
  from: 'network',
  make(random) {
    const value = toValue({ code: 'wrong-key', detail: 'showed key AB, but key CD is pinned' });
    const body = random.chance(0.05)
      ? Buffer.from(refusalBody({ code: 'wrong-key', detail: 'x' }))
      : writeJson(mutateValue(random, value, rawJson));
    // It comes in a header, which has 8 KiB at most.
    return (random.chance(0.25) ? mutateBytes(random, body, [body]) : body).subarray(0, 8192);
  },
  take(input) {
    const end = readRefusal(input.toString('utf8'));
    if (end === null) return 'refused';
    if (!/^[a-z-]{1,40}$/.test(end.code) || end.detail.length > 1000 || /\p{Cc}/u.test(end.detail)) throw new Error(JSON.stringify(end));
    return 'accepted';
  },
};

export const peerDecoders: readonly Decoder[] = [peerFrame, channel, hello, pairing, refusal];
