import type { WebSocket } from 'ws';
import { decode, encode, unpackPlain } from '../../protocol/codec.ts';
import { epochsIn, leapIn } from '../../protocol/epoch.ts';
import { limits } from '../../protocol/limits.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { ProtocolError } from '../../protocol/ops.ts';
import { protocolVersions } from '../../protocol/version.ts';
import type { Config } from '../config/config.ts';
import type { Clock } from '../platform/clock.ts';
import type { ChannelEnd } from './channel.ts';
import type { PinnedPeer } from './pins.ts';
import { closedEnd, refuseAndClose, socketErrorEnd } from './socket-end.ts';

export type Hello = MessageOf<'hello'>;

/** What only the owner of the link knows of the first message; the link fills in the rest. */
export type HelloFields = Pick<Hello, 'role' | 'epoch' | 'active' | 'position' | 'agentVersion' | 'serverVersion' | 'boot' | 'port'>;

/** `name:format` of each root, sorted: the part of the roots that must be the same on both nodes. */
export function rootsOf(config: Pick<Config, 'roots'>): string[] {
  return config.roots.map((root) => `${root.name}:${root.format}`).sort();
}

export function makeHello(config: Config, pin: PinnedPeer, fields: HelloFields, wallMs: number): Hello {
  return {
    type: 'hello',
    ...protocolVersions,
    pair: pin.pair,
    node: config.node,
    roots: rootsOf(config),
    wallMs: Math.max(0, Math.floor(wallMs)),
    ...fields,
  };
}

/**
 * Judges the peer's first message against this node's own; null when the two can work together.
 *
 * Pure and symmetric, so that both nodes come to the same result and both can say why. Clocks that differ are no reason.
 */
export function judgeHello(mine: Hello, theirs: Hello): ChannelEnd | null {
  const both = (mineIs: string, theirsIs: string) => `this node (${mine.node}) has ${mineIs}, the other (${theirs.node}) has ${theirsIs}`;
  if (mine.newest < theirs.oldest || theirs.newest < mine.oldest) {
    return {
      code: 'version',
      detail: `no common protocol version: ${both(showVersions(mine), showVersions(theirs))}; install the same release of mailtwin on both`,
    };
  }
  if (mine.pair !== theirs.pair)
    return {
      code: 'wrong-pair',
      detail: `not of the same pair: ${both(`pair ${mine.pair}`, `pair ${theirs.pair}`)}; pair the two nodes again`,
    };
  if (mine.node === theirs.node) return { code: 'same-node', detail: `both nodes are called ${mine.node}; each needs a name of its own` };
  if (leapIn(theirs, mine.epoch) !== null || leapIn(mine, theirs.epoch) !== null)
    return {
      code: 'epoch',
      detail: `no takeovers lead from one epoch to the other: ${both(`epoch ${mine.epoch}`, `epoch ${Math.max(...epochsIn(theirs))}`)}`,
    };
  // After a takeover two primaries of different epochs, or two that stepped down, must be able to tell each other.
  if (mine.role === theirs.role && mine.role !== 'fenced' && mine.epoch === theirs.epoch && (mine.role === 'primary' || mine.epoch <= 1))
    return {
      code: 'same-role',
      detail: `both nodes have the same role: ${both(`role ${mine.role}`, `role ${theirs.role}`)}; one must be the standby`,
    };
  const mineRoots = mine.roots.join(', ');
  const theirRoots = theirs.roots.join(', ');
  if (mineRoots !== theirRoots)
    return {
      code: 'roots',
      detail: `the roots differ: ${both(`roots ${mineRoots || 'none'}`, `roots ${theirRoots || 'none'}`)}; both need the same names and formats`,
    };
  return null;
}

function showVersions(hello: { oldest: number; newest: number }): string {
  return hello.oldest === hello.newest ? `version ${hello.oldest}` : `versions ${hello.oldest} to ${hello.newest}`;
}

export type HandshakeResult = { hello: Hello } | { end: ChannelEnd };

/**
 * Exchanges the first messages on an open WebSocket of the pinned peer and calls `done` once, in the same turn in which
 * the peer's message arrived: what follows it belongs to the channel that `done` makes.
 */
export function shakeHands(ws: WebSocket, mine: Hello, clock: Clock, done: (result: HandshakeResult) => void): void {
  const finish = (result: HandshakeResult, tell: boolean) => {
    timer.cancel();
    ws.off('message', onMessage);
    ws.off('close', onClose);
    ws.off('error', onError);
    if ('end' in result) {
      // The socket may still fail while it is being closed.
      ws.on('error', () => {});
      if (tell) refuseAndClose(ws, result.end, clock);
      else ws.terminate();
    }
    done(result);
  };
  const onMessage = (data: Buffer, isBinary: boolean) => {
    const result = readHello(mine, data, isBinary);
    finish(result.outcome, result.tell);
  };
  const onClose = (code: number, reason: Buffer) => finish({ end: closedEnd(code, reason) }, false);
  const onError = (error: Error) => finish({ end: socketErrorEnd(error) }, false);
  const timer = clock.after(limits.handshakeMs, () =>
    finish({ end: { code: 'handshake-timeout', detail: `no first message within ${limits.handshakeMs / 1000} s` } }, true),
  );
  ws.on('message', onMessage);
  ws.on('close', onClose);
  ws.on('error', onError);
  ws.send(encode(mine), { binary: true });
}

function readHello(mine: Hello, data: Buffer, isBinary: boolean): { outcome: HandshakeResult; tell: boolean } {
  const refused = (code: string, detail: string) => ({ outcome: { end: { code, detail } }, tell: true });
  if (!isBinary) return refused('bad-message', 'the first message is text');
  try {
    const message = decode(data, () => 0);
    if (message.type === 'refuse')
      return { outcome: { end: { code: message.code, detail: `the other side refused: ${message.detail}` } }, tell: false };
    if (message.type !== 'hello') return refused('bad-message', `the first message is ${message.type}, not hello`);
    const verdict = judgeHello(mine, message);
    return verdict ? { outcome: { end: verdict }, tell: true } : { outcome: { hello: message }, tell: false };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    const versions = peekVersions(data);
    if (versions && (versions.oldest > mine.newest || versions.newest < mine.oldest)) {
      return refused(
        'version',
        `no common protocol version: this node has ${showVersions(mine)}, the other has ${showVersions(versions)}; install the same release of mailtwin on both`,
      );
    }
    return refused('bad-message', `the first message is not valid: ${error.message}`);
  }
}

/** The versions of a hello whose later fields this version does not know: its number and first two fields never change. */
function peekVersions(data: Buffer): { oldest: number; newest: number } | null {
  try {
    const value = unpackPlain(data);
    if (!Array.isArray(value) || value[0] !== 1 || !Number.isSafeInteger(value[1]) || !Number.isSafeInteger(value[2])) return null;
    return { oldest: value[1] as number, newest: value[2] as number };
  } catch {
    return null;
  }
}
