import { connect } from 'node:net';
import { showPosition } from '../../../protocol/position.ts';
import type { PlanBasis, PredictedLoss, TakeoverKind } from '../../../protocol/takeover.ts';
import type { Config } from '../../config/config.ts';
import { digestOf } from '../../failover/canonical-json.ts';
import { known, none, unknown, type Fact, type GuardFacts, type PathReading } from '../../failover/guard-facts.ts';
import type { PinnedPeer } from '../../link/pins.ts';
import { systemClock } from '../../platform/clock.ts';
import { realFiles } from '../../platform/real-files.ts';
import { displayPath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { readLastVerify } from '../../replicate/status.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';
import { agentVersion } from '../version.ts';

export interface FactParts {
  config: Config;
  kv: Kv;
  node: Node;
  appliance: Appliance;
  pin: () => PinnedPeer | null;
  /** Addresses of the peer where it may be reached. */
  peerAddresses: () => readonly { host: string; port: number }[];
  serverVersion: string | null;
  /** The takeover that runs on this node. */
  running: () => string | null;
  /** What the replica lacks of what the primary is known to have issued. */
  missing: () => Promise<{ mailboxes: number; messages: number }>;
}

export interface TakeoverFacts {
  facts: GuardFacts;
  basis: PlanBasis;
  loss: PredictedLoss;
}

const pathMs = 1000;
const prepareMs = 5000;

/** Reads all that the guards judge and the plan is made from; changes nothing. */
export async function takeoverFacts(parts: FactParts, kind: TakeoverKind, takeover: string, signal: AbortSignal): Promise<TakeoverFacts> {
  const { config, kv, node, appliance } = parts;
  const { network, services, fence } = appliance;
  const now = () => systemClock.monotonicMs();
  const { running } = node;
  let reading = running.peer.reading;
  const heard = <T>(value: (r: NonNullable<typeof reading>) => T): Fact<T> =>
    reading ? known(value(reading), reading.heardMonotonicMs) : unknown('the other node was never heard since the agent started');
  const beat = <T>(value: (b: NonNullable<NonNullable<typeof reading>['heartbeat']>) => T): Fact<T> =>
    reading?.heartbeat ? known(value(reading.heartbeat), reading.heardMonotonicMs) : unknown('no heartbeat of the other node was heard');
  const [paths, isolation, fences, nicRoles, answered, mailConfig, missing, prepared] = await Promise.all([
    Promise.all(parts.peerAddresses().map(tryPath)).then((found) => addHeard(found, reading, now())),
    read(async () => (network.farAddresses.length === 0 ? null : await network.reach(network.farAddresses))),
    read(async () => {
      const levels = [];
      for await (const level of fence.fencing.test(signal)) levels.push(level);
      return levels;
    }),
    read(() => network.proveSegments()),
    read(() => network.probe()),
    read(() => services.checkConfig()),
    read(() => parts.missing()),
    running.peer.connected ? node.asks.ask({ ask: 'prepare', takeover }, prepareMs) : null,
  ]);
  // A BMC that does not answer takes longer than a word of the peer holds.
  reading = running.peer.reading;
  const loss = predictedLoss(kind, reading, missing.ok ? missing.value : null, now());
  const at = now();
  const standby = running.standby;
  const foreign = standby?.foreign() ?? [];
  const verify = readLastVerify(kv);
  const facts: GuardFacts = {
    kind,
    nowMs: at,
    own: { node: config.node, role: node.role, epoch: node.epoch, agentVersion, serverVersion: parts.serverVersion },
    peerNode: parts.pin()?.node ?? null,
    running: parts.running(),
    peerTakeover: prepared?.answer === 'prepared' ? known(prepared.takeover, at) : none('the other node was not asked'),
    localHealth: known(healthOf(parts), at),
    fill: standby
      ? known({ complete: standby.filled, filesDone: files(parts), filesTotal: null }, at)
      : unknown('this node is not a standby'),
    unproven: beat(({ unproven, warnings }) => ({ count: unproven, example: warnings[0] ?? '' })),
    foreign: known({ count: foreign.length, example: foreign[0] ? `${foreign[0].path}: ${foreign[0].what}` : '' }, at),
    lastVerify: known(
      verify && {
        result: verify.result,
        differences: verify.differences,
        secondsAgo: Math.max(0, Math.round((systemClock.wallMs() - Date.parse(verify.at)) / 1000)),
      },
      at,
    ),
    loss: known(loss, at),
    paths: known(paths, at),
    peer: heard(({ node: name, role, epoch, heartbeat }) => ({
      node: name,
      role,
      epoch,
      active: heartbeat?.active ?? role === 'primary',
      state: prepared && 'word' in prepared ? prepared.word.state : role,
    })),
    isolation: !isolation.ok
      ? unknown(isolation.why)
      : isolation.value === null
        ? none('no gateways and no witnesses are configured')
        : known(
            {
              asked: isolation.value.map(({ address }) => address),
              answered: isolation.value.filter(({ reachable }) => reachable).map(({ address }) => address),
            },
            at,
          ),
    fence:
      config.fencing.length === 0
        ? none('the configuration has no section `fencing`')
        : fences.ok
          ? known(
              fences.value.map(({ level, type, name, state, error }) => ({ level, type, name, state, error: error?.detail ?? null })),
              at,
            )
          : unknown(fences.why),
    peerAgentVersion: heard((r) => r.agentVersion),
    peerServerVersion: heard((r) => r.serverVersion),
    space: known(
      running.roots.map((root) => ({
        root: root.name,
        freeBytes: realFiles.space(root.path).freeBytes,
        freeBytesMin: config.limits.freeBytesMin,
      })),
      at,
    ),
    nicRoles: !network.configured
      ? none('the configuration has no section `network`')
      : nicRoles.ok
        ? known(
            nicRoles.value.map(({ role, port, carrier, level, asked, evidence }) => ({
              role,
              port,
              carrier,
              proven: asked.length === 0 && level !== 'fail' ? null : level !== 'fail',
              detail: evidence,
            })),
            at,
          )
        : unknown(nicRoles.why),
    answered: !network.configured
      ? none('the configuration has no section `network`')
      : answered.ok
        ? known(
            answered.value.flatMap(({ address, answeredBy }) => (answeredBy === null ? [] : [{ address, by: answeredBy }])),
            at,
          )
        : unknown(answered.why),
    mailConfig: !services.configured
      ? none('the configuration has no section `services`')
      : mailConfig.ok
        ? known(mailConfig.value, at)
        : unknown(mailConfig.why),
    clockSkewSeconds: heard((r) => r.clockSkewMs / 1000),
    replication: known(
      {
        connected: running.peer.connected,
        phase: reading?.heartbeat?.phase ?? 'unknown',
        lagChanges: reading?.heartbeat?.lagChanges ?? 0,
        lagSeconds: (reading?.heartbeat?.lagMs ?? 0) / 1000,
      },
      at,
    ),
  };
  const fresh = running.peer.connected ? reading : null;
  const basis: PlanBasis = {
    role: node.role,
    epoch: node.epoch,
    seenEpoch: node.keeper.durable.seenEpoch,
    peerRole: fresh?.role ?? null,
    peerEpoch: fresh?.epoch ?? null,
    peerConnected: running.peer.connected,
    position: showPosition(running.position()),
    addressesAnswered:
      network.configured && answered.ok ? answered.value.flatMap((p) => (p.answeredBy === null ? [] : [p.address])).toSorted() : null,
    configDigest: digestOf(config),
  };
  return { facts, basis, loss };
}

function files({ config, node }: FactParts): number {
  return config.roots.reduce((sum, { name }) => sum + node.running.index.totals(name).files, 0);
}

function healthOf({ node, config }: FactParts): string[] {
  const stuck = node.running.standby?.receiver.stuck;
  const lost = config.roots
    .filter(({ path }) => realFiles.lstat(`${path}/.`)?.kind !== 'dir')
    .map(({ path }) => `${displayPath(path)} is not there`);
  return [...(stuck ? [`a change cannot be put into place: ${stuck}`] : []), ...lost];
}

/** What may be missing: what the primary said it had open, and all that it took since it was last heard. */
function predictedLoss(
  kind: TakeoverKind,
  reading: { heardMonotonicMs: number; heartbeat: { lagMs: number; lagChanges: number } | null } | null,
  missing: { mailboxes: number; messages: number } | null,
  nowMs: number,
): PredictedLoss {
  if (kind === 'switchover') return { mailboxes: 0, messages: 0, seconds: 0, changes: 0 };
  const beat = reading?.heartbeat ?? null;
  const silent = reading ? (nowMs - reading.heardMonotonicMs) / 1000 : null;
  return {
    mailboxes: missing?.mailboxes ?? null,
    messages: missing?.messages ?? null,
    seconds: silent === null ? null : Math.round((silent + (beat?.lagMs ?? 0) / 1000) * 10) / 10,
    changes: beat?.lagChanges ?? null,
  };
}

function addHeard(paths: PathReading[], reading: { address: string; heardMonotonicMs: number } | null, nowMs: number): PathReading[] {
  if (!reading) return paths;
  const host = reading.address.replace(/:\d+$/, '');
  return paths.map((path) =>
    path.path.startsWith(host) ? { ...path, heardSecondsAgo: Math.round((nowMs - reading.heardMonotonicMs) / 100) / 10 } : path,
  );
}

/** Whether anything answers at an address of the peer; says nothing about who. */
function tryPath({ host, port }: { host: string; port: number }): Promise<PathReading> {
  const path = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (up: boolean, error: string) => {
      socket.destroy();
      resolve({ path, up, heardSecondsAgo: null, error });
    };
    socket.setTimeout(pathMs, () => end(false, `no answer within ${pathMs / 1000} s`));
    socket.once('connect', () => end(true, ''));
    socket.once('error', (error) => end(false, error.message));
  });
}

type Read<T> = { ok: true; value: T } | { ok: false; why: string };

async function read<T>(work: () => Promise<T>): Promise<Read<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : String(error) };
  }
}
