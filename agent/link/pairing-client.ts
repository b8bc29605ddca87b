import { randomBytes } from 'node:crypto';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import { normalizePairingCode, pairingLimits, pairingVersion } from '../../protocol/pairing.ts';
import type { Config } from '../config/config.ts';
import type { Clock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { rootsOf } from './handshake.ts';
import { fingerprintOf, type Identity } from './identity.ts';
import { PairingEnded, PairingLines } from './pairing-lines.ts';
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
import { clientTls, peerSpki } from './tls.ts';

export interface JoinOptions {
  config: Config;
  identity: Identity;
  pins: Pins;
  clock: Clock;
  /** Where the primary listens. */
  host: string;
  port: number;
  /** As the operator typed it. */
  code: string;
  /** Asks the operator; both proofs were right by then. */
  confirm: (shown: { peer: string; mine: string; theirs: string }) => Promise<boolean>;
  /** Pair although this node is paired already. */
  replace?: boolean;
}

/**
 * Joins a primary by its one-time code (on the standby) and pins its key.
 *
 * @returns the pinned peer; both sides have it durable.
 * @throws OperatorError: `bad-code`, `wrong-role`, `already-paired`, `unreachable`, `declined`, `impostor`, `same-node`, `same-role`, `roots`,
 * `pairing-unsure` (exit code 5), and what the primary refuses with: `wrong-code`, `too-many-tries`, `expired`, `used`, `no-offer`, `busy`, `version`.
 */
export async function joinPair(options: JoinOptions): Promise<PinnedPeer> {
  const { config, identity, pins, clock } = options;
  const code = normalizePairingCode(options.code);
  if (code === null)
    throw new OperatorError(
      'bad-code',
      `${JSON.stringify(options.code.slice(0, 40))} is not a code`,
      'Type the code as `mailtwin pair` shows it on the primary: XXXX-XXXX-XXXX-XXXX.',
      2,
    );
  if (config.role !== 'standby')
    throw new OperatorError(
      'wrong-role',
      `${config.node} is a primary; the standby joins`,
      'Run `mailtwin pair` without arguments here, and `mailtwin pair HOST:PORT` on the standby.',
      3,
    );
  const pinned = pins.read();
  if (pinned && !options.replace)
    throw new OperatorError(
      'already-paired',
      `this node is paired with ${pinned.node} already (key ${pinned.fingerprint})`,
      'Nothing to do. If that node was set up anew or replaced, run the command again with --replace.',
      3,
    );

  const socket = await connect(options);
  const lines = new PairingLines(socket, clock);
  let granted = false;
  try {
    const theirKey = peerSpki(socket);
    if (!theirKey) throw new PairingEnded({ code: 'no-certificate', detail: 'the other side showed no key' });
    const standbyNonce = randomBytes(32);
    lines.send({ type: 'begin', version: pairingVersion, nonce: standbyNonce.toString('base64') });
    const offer = await lines.next('offer');
    const scene: Scene = {
      binding: channelBinding(socket),
      primaryKey: theirKey,
      standbyKey: identity.spki,
      primaryNonce: Buffer.from(offer.nonce, 'base64'),
      standbyNonce,
    };
    const me: Party = { role: config.role, node: config.node, roots: rootsOf(config), port: config.listen.port };
    const key = await pairingKey(code, Buffer.from(offer.salt, 'base64'));
    lines.send({ type: 'proof', ...me, mac: standbyProof(key, scene, me).toString('base64') });
    const answer = await lines.next('confirm');
    const primary = partyOf(answer);
    if (!sameProof(primaryProof(key, scene, me, primary), Buffer.from(answer.mac, 'base64')))
      throw new PairingEnded({ code: 'impostor', detail: 'the other side does not know the code' });
    const unfit = judgeParties(me, primary);
    if (unfit) throw new PairingEnded(unfit);
    const theirs = fingerprintOf(theirKey);
    if (!(await options.confirm({ peer: primary.node, mine: identity.fingerprint, theirs })))
      throw new PairingEnded({ code: 'declined', detail: `the operator of ${config.node} declined` });
    lines.send({ type: 'accept' });
    const grant = await lines.next('grant');
    const peer: PinnedPeer = {
      pair: grant.pair,
      node: primary.node,
      spki: theirKey,
      fingerprint: theirs,
      addresses: [{ host: options.host, port: options.port }],
      pairedAt: new Date(clock.wallMs()).toISOString(),
      secret: Buffer.from(grant.secret, 'base64'),
    };
    pins.write(peer);
    granted = true;
    lines.send({ type: 'pinned' });
    await lines.next('done');
    lines.close();
    return peer;
  } catch (error) {
    if (!(error instanceof PairingEnded)) {
      socket.destroy();
      throw error;
    }
    if (error.told) lines.close();
    else lines.refuse(error.end);
    if (granted) {
      throw new OperatorError(
        'pairing-unsure',
        `the connection broke at the last step: ${error.message}; this node has pinned the other one, and the other may have or may not`,
        'Run `mailtwin status` on both. If the other one is unpaired, pair again with --replace.',
        5,
      );
    }
    throw new OperatorError(
      error.end.code,
      `not paired: ${error.told ? `${options.host}:${options.port} refused: ` : ''}${error.message}`,
      remedies[error.end.code] ?? 'Make a new code with `mailtwin pair` on the primary and try again.',
      refusedCodes.has(error.end.code) ? 3 : 1,
    );
  }
}

const refusedCodes = new Set(['same-node', 'same-role', 'roots', 'version', 'declined']);

const remedies: Record<string, string> = {
  'wrong-code': 'Look at the code again; after five wrong tries it is burned.',
  'no-offer': 'Run `mailtwin pair` on the primary first.',
  busy: 'Try again in a moment.',
  'same-node': 'Give each node a name of its own in the configuration, restart the agent, and try again.',
  'same-role': 'Correct `role` in the configuration of the node that is to be the standby, and try again.',
  roots: 'Make the roots of both configurations the same (names and formats), restart the agents, and try again.',
  version: 'Install the same release of mailtwin on both nodes.',
  impostor: 'Somebody else answers at this address. Check it, look for another host that uses it, and make a new code.',
};

/** A TLS connection to the primary, whoever that is: the proofs will tell. */
function connect(options: JoinOptions): Promise<TLSSocket> {
  const { host, port } = options;
  return new Promise((resolve, reject) => {
    const socket = tlsConnect(clientTls(options.identity, 'pairing', { host, port }));
    const fail = (what: string) => {
      timer.cancel();
      socket.destroy();
      reject(
        new OperatorError(
          'unreachable',
          `cannot reach the primary at ${host}:${port}: ${what}`,
          'Check address and port, that the agent runs there (`mailtwin run`), and that no packet filter is between the two.',
        ),
      );
    };
    const timer = options.clock.after(pairingLimits.stepMs, () => fail(`no answer within ${pairingLimits.stepMs / 1000} s`));
    const onError = (error: Error) => fail(error.message);
    socket.on('error', onError);
    socket.once('secureConnect', () => {
      timer.cancel();
      socket.off('error', onError);
      resolve(socket);
    });
  });
}
