import { showPosition } from '../../../protocol/position.ts';
import type { PlanBasis, PredictedLoss, TakeoverKind } from '../../../protocol/takeover.ts';
import type { Config } from '../../config/config.ts';
import { digestOf } from '../../failover/canonical-json.ts';
import { known, none, unknown, type Fact, type GuardFacts, type PathReading } from '../../failover/guard-facts.ts';
import { lookAt, type Unheard } from '../../failover/silence.ts';
import type { PinnedPeer } from '../../link/pins.ts';
import { systemClock } from '../../platform/clock.ts';
import { realFiles } from '../../platform/real-files.ts';
import { displayPath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { placeName } from '../../replicate/file-systems.ts';
import type { PeerReading } from '../../replicate/peer-view.ts';
import { readLastVerify } from '../../replicate/status.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';
import { agentVersion } from '../version.ts';
import { powerOf, tryPath, type PathTried, type PeerWatch } from './peer-watch.ts';
import type { MailServerVersion } from '../mail-server-version.ts';

export interface FactParts {
  config: Config;
  kv: Kv;
  node: Node;
  appliance: Appliance;
  pin: () => PinnedPeer | null;
  /** Addresses of the peer where it may be reached. */
  peerAddresses: () => readonly { host: string; port: number }[];
  mailServer: MailServerVersion;
  /** The takeover that runs on this node. */
  running: () => string | null;
  watch: PeerWatch;
  /** What the replica lacks of what the primary is known to have issued. */
  missing: () => Promise<{ mailboxes: number; messages: number }>;
}

export interface TakeoverFacts {
  facts: GuardFacts;
  basis: PlanBasis;
  loss: PredictedLoss;
}

const prepareMs = 5000;

/**
 * Reads all that the guards judge and the plan is made from; changes nothing.
 *
 * @param light takes the last readings of the fence levels, and does not look through all mailboxes: for what is asked all the time.
 */
export async function takeoverFacts(
  parts: FactParts,
  kind: TakeoverKind,
  takeover: string,
  signal: AbortSignal,
  light = false,
): Promise<TakeoverFacts> {
  const { config, kv, node, appliance } = parts;
  const { network, services, fence } = appliance;
  const now = () => systemClock.monotonicMs();
  const { running } = node;
  let reading = running.peer.reading;
  const heard = <T>(value: (r: NonNullable<typeof reading>) => T): Fact<T> =>
    reading ? known(value(reading), reading.heardMonotonicMs) : unknown('the other node was never heard');
  const beat = <T>(value: (b: NonNullable<NonNullable<typeof reading>['heartbeat']>) => T): Fact<T> =>
    reading?.heartbeat ? known(value(reading.heartbeat), reading.heardMonotonicMs) : unknown('no heartbeat of the other node was heard');
  const beganMs = now();
  const [tried, isolation, fences, nicRoles, answered, mailConfig, mailUnits, serverVersion, missing, prepared] = await Promise.all([
    light && running.peer.connected ? heardPath(reading) : Promise.all(parts.peerAddresses().map(tryPath)),
    read(async () => (network.farAddresses.length === 0 ? null : await network.reach(network.farAddresses))),
    read(async () => {
      if (light) return fence.probe.readings();
      const levels = [];
      for await (const level of fence.fencing.test(signal)) levels.push(level);
      return levels;
    }),
    read(() => network.proveSegments()),
    read(() => network.probe()),
    read(() => services.checkConfig()),
    read(() => services.judgeUnits()),
    parts.mailServer.read(),
    light ? { ok: false as const, why: 'not looked for' } : read(() => parts.missing()),
    running.peer.connected ? node.asks.ask({ ask: 'prepare', takeover }, prepareMs) : null,
  ]);
  // A BMC that does not answer takes longer than a word of the peer holds.
  reading = running.peer.reading;
  const at = now();
  const paths = addHeard(tried, reading, at);
  const answeredBy = answered.ok ? answered.value : [];
  parts.watch.note(
    lookAt(
      {
        paths: tried,
        services: answered.ok
          ? answeredBy.map(({ address, answeredBy: by, error, isProxy }) => ({ address, by: isProxy ? null : by, error }))
          : network.addresses.map((address) => ({ address, by: null, error: answered.why })),
        witnesses: isolation.ok ? (isolation.value?.filter(({ reachable }) => reachable).map(({ address }) => address) ?? null) : null,
        power: fences.ok ? powerOf(fences.value) : [],
      },
      beganMs,
    ),
  );
  const loss = predictedLoss(kind, reading, missing.ok ? missing.value : null, parts.watch.unheard());
  const standby = running.standby;
  const foreign = standby?.foreign() ?? [];
  const damaged = standby?.receiver.damaged ?? [];
  const space = await read(async () =>
    running.roots.map((root) => ({
      root: root.name,
      freeBytes: realFiles.space(root.path).freeBytes,
      freeBytesMin: config.limits.freeBytesMin,
    })),
  );
  const verify = readLastVerify(kv);
  const facts: GuardFacts = {
    kind,
    nowMs: at,
    own: {
      node: config.node,
      role: node.role,
      epoch: node.epoch,
      agentVersion,
      serverVersion,
      formats: config.roots.map(({ format }) => format),
    },
    peerNode: parts.pin()?.node ?? null,
    running: parts.running(),
    peerTakeover: prepared?.answer === 'prepared' ? known(prepared.takeover, at) : none('the other node was not asked'),
    localHealth: known(healthOf(parts), at),
    fill: standby
      ? known({ complete: standby.filled, filesDone: files(parts), filesTotal: null }, at)
      : unknown('this node is not a standby'),
    unproven: beat(({ unproven, doubts: [first] }) => ({
      count: unproven,
      example: first ? `${first[0]}/${displayPath(first[1])}: ${first[2]}` : '',
    })),
    foreign: known({ count: foreign.length, example: foreign[0] ? `${foreign[0].path}: ${foreign[0].what}` : '' }, at),
    damaged: known({ count: damaged.length, example: damaged[0] ? `${damaged[0].root}/${displayPath(damaged[0].path)}` : '' }, at),
    lastVerify: known(
      verify && {
        result: verify.result,
        differences: verify.differences,
        leftOut: verify.leftOut,
        secondsAgo: Math.max(0, Math.round((systemClock.wallMs() - Date.parse(verify.at)) / 1000)),
      },
      at,
    ),
    loss: kind === 'failover' && loss.seconds === null ? unknown('the other node was never heard') : known(loss, at),
    paths: known(paths, at),
    peer: heard(({ node: name, role, epoch, heartbeat }) => ({
      node: name,
      role,
      epoch,
      active: heartbeat?.active ?? role === 'primary',
      state: prepared && 'word' in prepared ? prepared.word.state : role,
    })),
    isPutBack: beat(({ phase }) => phase === 'put-back'),
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
        : fences.ok && fences.value.length === 0
          ? unknown('the fence levels were not read yet')
          : fences.ok
            ? known(
                fences.value.map(({ level, type, name, state, error }) => ({ level, type, name, state, error: error?.detail ?? null })),
                at,
              )
            : unknown(fences.why),
    peerAgentVersion: heard((r) => r.agentVersion),
    peerServerVersion: prepared?.answer === 'prepared' ? known(prepared.serverVersion, at) : heard((r) => r.serverVersion),
    space: space.ok ? known(space.value, at) : unknown(space.why),
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
            answered.value.flatMap(({ address, answeredBy: by, isProxy = false }) => (by === null ? [] : [{ address, by, isProxy }])),
            at,
          )
        : unknown(answered.why),
    mailConfig: !services.configured
      ? none('the configuration has no section `services`')
      : mailConfig.ok
        ? mailConfig.value.skipped
          ? none(mailConfig.value.evidence)
          : known(mailConfig.value, at)
        : unknown(mailConfig.why),
    mailUnits: !services.configured
      ? none('the configuration has no section `services`')
      : !mailUnits.ok
        ? unknown(mailUnits.why)
        : mailUnits.value === null
          ? unknown('systemd does not answer')
          : known(mailUnits.value, at),
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
  const away = node.running.disks.troubles().map((trouble) => `${placeName(trouble)}: ${trouble.detail}`);
  return [...away, ...(stuck ? [`a change cannot be put into place: ${stuck}`] : []), ...lost];
}

/** What may be missing: what the primary said it had open, and what it can have taken while it lived and was not heard. */
function predictedLoss(
  kind: TakeoverKind,
  reading: PeerReading | null,
  missing: { mailboxes: number; messages: number } | null,
  unheard: Unheard | null,
): PredictedLoss {
  const beat = reading?.heartbeat ?? null;
  const queue = beat?.queue ? { queue: beat.queue } : {};
  if (kind === 'switchover') return { mailboxes: 0, messages: 0, seconds: 0, changes: 0, ...queue };
  // All that a store that was put back ever sent is here; what it took since is only known when it did not serve.
  if (beat?.phase === 'put-back' && !beat.active && missing) return { ...missing, seconds: 0, changes: 0, ...queue };
  // What the primary last said of itself, and what its marks tell: each knows of losses that the other does not.
  const more = (told: number | null | undefined, known: number | undefined) =>
    told === null || told === undefined ? (known ?? null) : Math.max(told, known ?? 0);
  return {
    mailboxes: more(beat?.lossMailboxes, missing?.mailboxes),
    messages: more(beat?.lossMessages, missing?.messages),
    seconds: unheard === null ? null : Math.round((unheard.seconds + (beat?.lagMs ?? 0) / 1000) * 10) / 10,
    changes: beat?.lagChanges ?? null,
    ...(unheard === null ? {} : { bound: unheard.bound }),
    ...queue,
  };
}

/** Nobody knocks all the time at a door through which one speaks. */
function heardPath(reading: PeerReading | null): PathTried[] {
  return reading ? [{ path: reading.address, up: true, lives: true, error: '' }] : [];
}

function addHeard(
  tried: readonly PathTried[],
  reading: { address: string; heardMonotonicMs: number } | null,
  nowMs: number,
): PathReading[] {
  const host = reading?.address.replace(/:\d+$/, '') ?? null;
  return tried.map(({ path, up, error }) => ({
    path,
    up,
    error,
    heardSecondsAgo: reading && host !== null && path.startsWith(host) ? Math.round((nowMs - reading.heardMonotonicMs) / 100) / 10 : null,
  }));
}

type Read<T> = { ok: true; value: T } | { ok: false; why: string };

async function read<T>(work: () => Promise<T>): Promise<Read<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : String(error) };
  }
}
