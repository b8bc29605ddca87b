import { judgeAll } from '../../agent/failover/guards.ts';
import { known, none, unknown, type GuardFacts } from '../../agent/failover/guard-facts.ts';
import { makePlan } from '../../agent/failover/plan.ts';
import { startObserveServer } from '../../agent/observe/http.ts';
import { createMetrics } from '../../agent/observe/metrics.ts';
import { Pages, type PageParts } from '../../agent/observe/page/pages.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { AgentEvent, DoctorFinding, Status } from '../../protocol/control.ts';
import type { NetworkState } from '../../protocol/network-state.ts';
import type { Plan } from '../../protocol/takeover.ts';
import { sampleStatus } from '../unit/control-fixture.ts';

/** A page with made-up facts that a test can change while a browser looks at it. */
export class PageServer implements AsyncDisposable {
  parts: PageParts;
  url = '';
  #close: () => Promise<void> = async () => {};

  private constructor(parts: PageParts) {
    this.parts = parts;
  }

  static async start(change: Partial<PageParts> = {}): Promise<PageServer> {
    const server = new PageServer({ ...wellParts(), ...change });
    const now = new Proxy({} as PageParts, { get: (_, key) => server.parts[key as keyof PageParts] });
    const pages = new Pages(now);
    const status = () => server.parts.status();
    const http = await startObserveServer({
      listen: { host: '127.0.0.1', port: 0 },
      metrics: createMetrics({ status, wallMs: Date.now }),
      pages,
      status,
      log: silentLog,
    });
    server.url = `http://127.0.0.1:${http.port}`;
    server.#close = async () => {
      pages.stop();
      await http.close();
    };
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}

const minutesAgo = (minutes: number): string => new Date(Date.now() - minutes * 60_000).toISOString();

/** A streaming pair on which everything is well. */
export function wellStatus(change: Partial<Status> = {}): Status {
  return sampleStatus({
    at: new Date().toISOString(),
    lastVerify: { at: minutesAgo(500), result: 'clean', deep: true, differences: 0 },
    roots: [
      { name: 'mail', path: '/var/vmail', format: 'maildir', files: 1_284_511, bytes: 148_700_000_000, freeBytes: 310_000_000_000 },
      { name: 'sieve', path: '/var/sieve', format: 'plain', files: 412, bytes: 1_900_000, freeBytes: 310_000_000_000 },
    ],
    ...change,
  });
}

/** The standby of a primary that is gone for four minutes. */
export function orphanStatus(): Status {
  const well = wellStatus();
  return {
    ...well,
    node: 'mail-b',
    role: 'standby',
    active: false,
    peer: {
      ...well.peer,
      node: 'mail-a',
      connected: false,
      role: null,
      epoch: null,
      lastHeardAt: minutesAgo(4),
      clockSkewSeconds: null,
      lastError: 'connect ETIMEDOUT 192.0.2.1:7420',
    },
    replication: { ...well.replication, phase: 'disconnected', lagSeconds: null, lagChanges: null, lagBytes: null },
    possibleLoss: { seconds: null, changes: null, mailboxes: null },
    warnings: [{ code: 'peer-lost', text: 'the peer is not connected', remedy: 'see whether the other node runs' }],
  };
}

export function sampleNetwork(node: string, isActive: boolean, carrier = true): NetworkState {
  const port = (ifname: string, last: string, up: boolean) => ({
    ifname,
    mac: `52:54:00:12:34:${last}`,
    driver: 'igb',
    slot: '0000:03:00.0',
    carrier: up,
    speedMbits: up ? 1000 : null,
    addresses: [],
  });
  return {
    version: 1,
    node,
    at: new Date().toISOString(),
    ports: [port('eno1', '01', true), port('eno2', '02', carrier)],
    roles: [
      {
        name: 'lan',
        vlan: 0,
        port: 'eno1',
        addresses: [],
        held: isActive ? ['192.0.2.10', '2001:db8::10'] : [],
        gateways: [{ address: '192.0.2.1', mac: null }],
        routes: [],
      },
      { name: 'dmz', vlan: 120, port: 'eno2', addresses: [], held: isActive ? ['198.51.100.10'] : [], gateways: [], routes: [] },
    ],
  };
}

const events: AgentEvent[] = [
  { level: 'good', code: 'peer-lost', at: minutesAgo(55), text: 'over: the peer is not connected', remedy: '' },
  {
    level: 'warn',
    code: 'peer-lost',
    at: minutesAgo(61),
    text: 'the peer is not connected: connect ECONNREFUSED 192.0.2.2:7420',
    remedy: 'see',
  },
  { level: 'info', code: 'role', at: minutesAgo(4000), text: 'mail-a was standby and is primary now, epoch 3', remedy: '' },
];

const findings: DoctorFinding[] = [
  { id: 'config', level: 'pass', summary: '/etc/mailtwin/mailtwin.yaml is well: node mail-a, primary, 2 roots', evidence: '', remedy: '' },
  { id: 'key', level: 'pass', summary: 'the key of this node is private', evidence: '', remedy: '' },
  { id: 'time-sync', level: 'pass', summary: 'the clock is synchronised', evidence: '', remedy: '' },
];

export function wellParts(): PageParts {
  return {
    status: () => wellStatus(),
    lag: () =>
      Array.from({ length: 290 }, (_, i) => ({
        at: Date.now() - (289 - i) * 2000,
        seconds: i > 120 && i < 135 ? null : Math.max(0, 0.25 + 0.2 * Math.sin(i / 9) + (i % 47 === 0 ? 0.5 : 0)),
      })),
    network: () => sampleNetwork('mail-a', true),
    peerNetwork: () => sampleNetwork('mail-b', false),
    events: () => events,
    ways: () => [],
    takeover: () => ({ report: null, running: false, unfinished: null }),
    services: async () => 'running',
    doctor: async () => findings,
    failoverPlan: async () => samplePlan(),
    clock: systemClock,
  };
}

/** What the standby of a dead primary plans. */
export function samplePlan(change: Partial<GuardFacts> = {}): Plan {
  const at = 100_000;
  const facts: GuardFacts = {
    kind: 'failover',
    nowMs: at,
    own: { node: 'mail-b', role: 'standby', epoch: 3, agentVersion: '0.1.0', serverVersion: '2.3.19' },
    peerNode: 'mail-a',
    running: null,
    peerTakeover: none('the other node was not asked'),
    localHealth: known([], at),
    fill: known({ complete: true, filesDone: 5000, filesTotal: 5000 }, at),
    unproven: known({ count: 0, example: '' }, at),
    foreign: known({ count: 0, example: '' }, at),
    lastVerify: known({ result: 'clean', differences: 0, secondsAgo: 90_000 }, at),
    loss: known({ mailboxes: 2, messages: 3, seconds: 241.5, changes: 2 }, at),
    paths: known([{ path: '192.0.2.1:7420', up: false, heardSecondsAgo: 241, error: 'connect ETIMEDOUT' }], at),
    peer: unknown('the other node was never heard since the agent started'),
    isolation: known({ asked: ['192.0.2.254'], answered: ['192.0.2.254'] }, at),
    fence: known([{ level: 1, type: 'agent', name: 'fence_ipmilan', state: 'on', error: null }], at),
    peerAgentVersion: known('0.1.0', at),
    peerServerVersion: known('2.3.19', at),
    space: known([{ root: 'mail', freeBytes: 3e11, freeBytesMin: 1e9 }], at),
    nicRoles: known([{ role: 'lan', port: 'eno1', carrier: true, proven: true, detail: '192.0.2.1 answers' }], at),
    answered: known([], at),
    mailConfig: known({ ok: true, evidence: 'doveconf -n ended with 0' }, at),
    clockSkewSeconds: known(0.02, at),
    replication: known({ connected: false, phase: 'streaming', lagChanges: 2, lagSeconds: 0.3 }, at),
    ...change,
  };
  return makePlan({
    id: 'a2b1c0d9-0000-4000-8000-000000000001',
    kind: 'failover',
    node: 'mail-b',
    target: 'mail-a',
    wallMs: Date.now(),
    guards: judgeAll(facts),
    overrides: [],
    predictedLoss: { mailboxes: 2, messages: 3, seconds: 241.5, changes: 2 },
    basis: {
      role: 'standby',
      epoch: 3,
      seenEpoch: 3,
      peerRole: null,
      peerEpoch: null,
      peerConnected: false,
      position: '3:1198:00000000000000bb',
      addressesAnswered: [],
      configDigest: 'ab',
    },
    epochBurned: 0,
  });
}
