import { derivedExcludes } from '../../../protocol/exclude.ts';
import type { Config } from '../../config/config.ts';
import { AuditLog, auditLogName } from '../../failover/audit-log.ts';
import { runHook } from '../../failover/hooks.ts';
import type { Identity } from '../../link/identity.ts';
import type { PinnedPeer } from '../../link/pins.ts';
import { systemClock } from '../../platform/clock.ts';
import { openAppendFile } from '../../platform/append-file.ts';
import { exec } from '../../platform/exec.ts';
import type { Kv } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';
import { filesOf } from '../parts.ts';
import { putAwayOriginals } from './put-away.ts';
import { missingHere } from './missing.ts';
import { clearRaised, raiseAll } from './raise.ts';
import { takeoverActions } from './actions.ts';
import type { Resting } from '../resting.ts';
import type { PeerWatch } from './peer-watch.ts';
import { Takeover } from './takeover.ts';
import type { MailServerVersion } from '../mail-server-version.ts';

export interface TakeoverWiring {
  config: Config;
  kv: Kv;
  log: Log;
  node: Node;
  appliance: Appliance;
  identity: Identity;
  pin: () => PinnedPeer | null;
  /** Addresses where the peer was met. */
  met: () => readonly { host: string; port: number }[];
  mailServer: MailServerVersion;
  watch: PeerWatch;
  resting: Pick<Resting, 'settled'>;
}

/** Addresses where the peer may be reached, each once. */
export function peerAddresses({ config, pin, met }: Pick<TakeoverWiring, 'config' | 'pin' | 'met'>): { host: string; port: number }[] {
  return [...config.peer.addresses, ...(pin()?.addresses ?? []), ...met()].filter(isFirst);
}

const fullTextRemedy = 'if the mail server searches full text, have its indexes made anew, which are not copied: `doveadm fts rescan -A`';

function leavesOutFullText({ roots }: Config): boolean {
  return roots.some(({ exclude }) => exclude.some((pattern) => derivedExcludes.includes(pattern)));
}

/** The takeover commands over the real node and its peer. */
export function makeTakeover(wiring: TakeoverWiring): Takeover {
  const { config, kv, log, node, appliance, identity, pin, mailServer, watch } = wiring;
  // Opened when it is needed: a log that was tampered with stops takeovers, not replication.
  let audit: AuditLog | null = null;
  return new Takeover({
    facts: {
      config,
      kv,
      node,
      appliance,
      pin,
      mailServer,
      watch,
      peerAddresses: () => peerAddresses(wiring),
      missing: () =>
        missingHere(
          filesOf(config, () => node.running.roots),
          kv,
          node.running.roots,
        ),
    },
    runner: {
      kv,
      clock: systemClock,
      actions: takeoverActions({
        node,
        appliance,
        kv,
        pin,
        spki: identity.spki,
        quiesceMaxSeconds: config.takeover.quiesceMaxSeconds,
        atRest: () => wiring.resting.settled(),
        clearRaised: () => clearRaised(config),
        putAway: () => putAwayOriginals({ config, kv, node }),
        raise: () =>
          raiseAll({
            kv,
            config,
            marginMin: config.takeover.uidMarginMin,
          }),
      }),
      hook: (point, plan) => runHook({ config: config.takeover, exec, log, path: process.env['PATH'] ?? '' }, point, plan),
      async audit(what, facts, by) {
        log.info({ audit: what, ...facts }, 'takeover');
        audit ??= new AuditLog(openAppendFile(`${config.state}/${auditLogName}`), config.node);
        audit.append({ wallMs: systemClock.wallMs(), what, by, facts });
      },
      quiesceMaxMs: config.takeover.quiesceMaxSeconds * 1000,
      afterwards: leavesOutFullText(config) ? fullTextRemedy : null,
      startAloneMs: config.takeover.startAloneSeconds * 1000,
    },
  });
}

function isFirst(address: { host: string; port: number }, i: number, all: readonly { host: string; port: number }[]): boolean {
  return all.findIndex(({ host, port }) => host === address.host && port === address.port) === i;
}
