import { randomBytes, randomUUID } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { PairingOffer } from '../../protocol/control.ts';
import { makePairingCode, normalizePairingCode, pairingLimits, pairingVersion } from '../../protocol/pairing.ts';
import type { Role } from '../../protocol/messages.ts';
import type { Config } from '../config/config.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import type { ChannelEnd } from './channel.ts';
import { rootsOf } from './handshake.ts';
import { fingerprintOf, type Identity } from './identity.ts';
import { PairingEnded, PairingLines } from './pairing-lines.ts';
import { OfferLife } from './pairing-offer.ts';
import {
  channelBinding,
  judgeParties,
  pairingKey,
  partyOf,
  primaryProof,
  sameProof,
  standbyProof,
  type Party,
  type Scene,
} from './pairing-proof.ts';
import type { PinnedPeer, Pins } from './pins.ts';
import { peerSpki } from './tls.ts';

/** What became of an offer. */
export type PairingOutcome = { kind: 'paired'; peer: PinnedPeer } | { kind: 'failed'; code: string; detail: string };

/** The primary's side of pairing. */
export interface PairingServer {
  /**
   * Makes a one-time code; it replaces the one that stands.
   *
   * @param options.replace pair although this node is paired already (after a key was made anew).
   * @throws OperatorError `already-paired`, or `wrong-role` on a standby (exit code 3).
   */
  offer(options?: { replace?: boolean }): PairingOffer;
  /** Waits until the standing offer was used, expired, burned or replaced. `onProgress` gets lines for people. */
  result(signal: AbortSignal, onProgress?: (text: string) => void): Promise<PairingOutcome>;
  /** Takes a TLS connection that announced itself as pairing. Reads nothing of it unless an offer stands. */
  handle(socket: TLSSocket, address: string): void;
  stop(): void;
}

interface Offer {
  life: OfferLife;
  salt: Buffer;
  key: Promise<Buffer>;
  expiry: Timer;
  /** A standby has proved the code and its operator compares fingerprints. */
  claimed: boolean;
  outcome: PairingOutcome | null;
  waiters: Set<() => void>;
  listeners: Set<(text: string) => void>;
}

export interface PairingServerOptions {
  config: Config;
  identity: Identity;
  pins: Pins;
  clock: Clock;
  log: Log;
  /** The port that this node listens on, for the standby to come back to. */
  port: () => number;
  /** The role in force. */
  role: () => Role;
}

export function createPairingServer(options: PairingServerOptions): PairingServer {
  const { config, identity, pins, clock, log } = options;
  let offer: Offer | null = null;
  let underWay = 0;

  const settle = (of: Offer, outcome: PairingOutcome) => {
    if (of.outcome) return;
    of.outcome = outcome;
    of.expiry.cancel();
    for (const wake of of.waiters) wake();
    log.info(
      { code: outcome.kind === 'failed' ? outcome.code : 'paired' },
      outcome.kind === 'failed' ? `pairing ended: ${outcome.detail}` : `paired with ${outcome.peer.node}`,
    );
  };
  const settleIfOver = (of: Offer) => {
    const over = of.life.over(clock.monotonicMs());
    if (over) settle(of, { kind: 'failed', ...over });
  };

  /** The standing offer, or why there is none. */
  const standing = (): Offer | ChannelEnd => {
    if (offer === null) return { code: 'no-offer', detail: `${config.node} does not wait for anybody to pair` };
    return (
      offer.life.over(clock.monotonicMs()) ??
      (offer.outcome?.kind === 'failed' ? { code: offer.outcome.code, detail: offer.outcome.detail } : offer)
    );
  };

  const pairWith = async (lines: PairingLines, socket: TLSSocket, of: Offer): Promise<void> => {
    const { nonce, version } = await lines.next('begin');
    if (version !== pairingVersion)
      throw new PairingEnded({
        code: 'version',
        detail: `${config.node} pairs by version ${pairingVersion}, the other node by version ${version}; install the same release of mailtwin on both`,
      });
    const theirKey = peerSpki(socket);
    if (!theirKey) throw new PairingEnded({ code: 'no-certificate', detail: 'the other side showed no key' });
    const scene: Scene = {
      binding: channelBinding(socket),
      primaryKey: identity.spki,
      standbyKey: theirKey,
      primaryNonce: randomBytes(32),
      standbyNonce: Buffer.from(nonce, 'base64'),
    };
    lines.send({ type: 'offer', version: pairingVersion, salt: of.salt.toString('base64'), nonce: scene.primaryNonce.toString('base64') });
    const proof = await lines.next('proof');
    const key = await of.key;
    // From here to the verdict nothing else runs, so that tries under way at the same time are all counted.
    const now = standing();
    if (now !== of) throw new PairingEnded('code' in now ? now : { code: 'replaced', detail: 'a new code was made meanwhile' });
    const standby = partyOf(proof);
    if (!sameProof(standbyProof(key, scene, standby), Buffer.from(proof.mac, 'base64')))
      throw new PairingEnded(of.life.wrongCode(clock.monotonicMs()));
    const me: Party = {
      role: options.role() === 'primary' ? 'primary' : 'standby',
      node: config.node,
      roots: rootsOf(config),
      port: options.port(),
    };
    const unfit = judgeParties(me, standby);
    if (unfit) throw new PairingEnded(unfit);
    if (of.claimed) throw new PairingEnded({ code: 'busy', detail: 'another connection is pairing by this code' });
    of.claimed = true;
    try {
      lines.send({ type: 'confirm', ...me, mac: primaryProof(key, scene, standby, me).toString('base64') });
      tell(of, `${standby.node} knows the code; its key is ${fingerprintOf(theirKey)}; waiting for its operator`);
      await lines.next('accept', Math.max(1, of.life.expiresMs - clock.monotonicMs()));
      const over = of.life.over(clock.monotonicMs());
      if (over) throw new PairingEnded(over);
      const host = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
      const peer: PinnedPeer = {
        pair: randomUUID(),
        node: standby.node,
        spki: theirKey,
        fingerprint: fingerprintOf(theirKey),
        addresses: host !== '' && standby.port > 0 ? [{ host, port: standby.port }] : [],
        pairedAt: new Date(clock.wallMs()).toISOString(),
        secret: randomBytes(32),
      };
      lines.send({ type: 'grant', pair: peer.pair, secret: peer.secret.toString('base64') });
      await lines.next('pinned');
      pins.write(peer);
      of.life.use();
      lines.send({ type: 'done' });
      settle(of, { kind: 'paired', peer });
    } finally {
      of.claimed = false;
    }
  };

  const tell = (of: Offer, text: string) => {
    for (const fn of of.listeners) fn(text);
  };

  return {
    offer({ replace = false } = {}) {
      if (options.role() !== 'primary')
        throw new OperatorError(
          'wrong-role',
          `${config.node} is a standby; a code is made on the primary`,
          'Run `mailtwin pair` on the primary, then `mailtwin pair HOST:PORT` here.',
          3,
        );
      const pinned = pins.read();
      if (pinned && !replace)
        throw new OperatorError(
          'already-paired',
          `this node is paired with ${pinned.node} already (key ${pinned.fingerprint})`,
          'Nothing to do. If that node was set up anew or replaced, run the command again with --replace.',
          3,
        );
      if (offer) settle(offer, { kind: 'failed', code: 'replaced', detail: 'a new code was made' });
      const code = makePairingCode(randomBytes);
      const salt = randomBytes(16);
      const key = pairingKey(normalizePairingCode(code) ?? code, salt);
      key.catch(() => {});
      const made: Offer = {
        life: new OfferLife(clock.monotonicMs()),
        salt,
        key,
        expiry: clock.after(pairingLimits.offerLifeMs, () => settleIfOver(made)),
        claimed: false,
        outcome: null,
        waiters: new Set(),
        listeners: new Set(),
      };
      offer = made;
      log.info({}, `a code to pair was made; it lives ${pairingLimits.offerLifeMs / 60_000} minutes`);
      return { code, expiresAt: new Date(clock.wallMs() + pairingLimits.offerLifeMs).toISOString(), fingerprint: identity.fingerprint };
    },
    async result(signal, onProgress) {
      const of = offer;
      if (!of) throw new OperatorError('no-offer', 'no code was made', 'Run `mailtwin pair` on the primary.');
      if (onProgress) of.listeners.add(onProgress);
      let wake = () => {};
      try {
        if (!of.outcome && !signal.aborted) {
          await new Promise<void>((resolve) => {
            wake = resolve;
            of.waiters.add(wake);
            signal.addEventListener('abort', wake);
          });
        }
      } finally {
        of.waiters.delete(wake);
        signal.removeEventListener('abort', wake);
        if (onProgress) of.listeners.delete(onProgress);
      }
      return of.outcome ?? { kind: 'failed', code: 'cancelled', detail: 'nobody waits any more; the code lives on until it expires' };
    },
    handle(socket, address) {
      const lines = new PairingLines(socket, clock);
      const of = standing();
      if ('code' in of) return lines.refuse(of);
      if (underWay >= pairingLimits.connectionsMax)
        return lines.refuse({ code: 'busy', detail: 'too many nodes try to pair at the same time' });
      underWay++;
      void pairWith(lines, socket, of)
        .then(
          () => lines.close(),
          (error: unknown) => {
            const ended =
              error instanceof PairingEnded
                ? error
                : new PairingEnded({ code: 'internal', detail: error instanceof Error ? error.message : String(error) });
            const text = `${address} did not pair: ${ended.told ? 'it said: ' : ''}${ended.end.detail}`;
            log.warn({ code: ended.end.code, address }, text);
            tell(of, text);
            lines.refuse(ended.end);
            settleIfOver(of);
          },
        )
        .finally(() => underWay--);
    },
    stop() {
      if (offer) settle(offer, { kind: 'failed', code: 'stopping', detail: `${config.node} is being stopped` });
      offer = null;
    },
  };
}
