import type { AgentApi } from '../../agent/control/api.ts';
import type { Status } from '../../protocol/control.ts';
import { verdictOf } from '../../agent/replicate/verdict.ts';
import type { SegmentProof } from '../../protocol/nics.ts';

/** A primary that streams to a healthy standby; tests change what they are about. */
export function sampleStatus(change: Partial<Status> = {}): Status {
  const status: Omit<Status, 'verdict'> = {
    node: 'mail-a',
    pair: 'f3a1',
    role: 'primary',
    active: true,
    epoch: 3,
    at: '2026-01-02T03:04:05.000Z',
    agentVersion: '0.1.0',
    peer: {
      node: 'mail-b',
      connected: true,
      lastHeardAt: '2026-01-02T03:04:04.500Z',
      role: 'standby',
      epoch: 3,
      address: '10.0.0.2:7420',
      agentVersion: '0.1.0',
      mailServer: 'dovecot 2.3.19',
      clockSkewSeconds: 0.02,
      lastError: null,
      certificate: null,
    },
    replication: {
      phase: 'streaming',
      head: '3:1200:00000000000000aa',
      durable: '3:1198:00000000000000bb',
      lagSeconds: 0.25,
      lagChanges: 2,
      lagBytes: 4096,
      unproven: [],
      doubts: [],
      doubtCount: 0,
      doubtsOfAttributes: 0,
      fill: null,
      held: null,
      heldPlaces: [],
      lagging: [],
      laggingCount: 0,
      laggingMessages: 0,
      lastDurableAt: '2026-01-02T03:04:04.750Z',
    },
    possibleLoss: { seconds: 0.25, changes: 2, mailboxes: 1, messages: 2, bytes: 4096, complete: true },
    roots: [{ name: 'mail', path: '/var/vmail', format: 'maildir', files: 5000, bytes: 52_428_800, freeBytes: 10_737_418_240, missing: 0 }],
    fileSystems: [],
    capture: { watcher: 'fanotify', watches: 1, overflows: 0 },
    leftOut: [],
    appliance: null,
    canTakeOver: null,
    mailServer: 'dovecot 2.3.19',
    queues: [],
    certificates: [],
    scrub: {
      days: 14,
      pass: { startedAt: '2025-12-30T03:04:05.000Z', share: 0.25, files: 100, bytes: 1e6, hurried: false },
      lastPass: null,
      oldestUnprovedAt: '2025-12-30T03:04:05.000Z',
      readBytes: 1e6,
      damaged: [],
      damagedCount: 0,
      damagedThere: 0,
      mended: null,
    },
    state: { path: '/var/lib/mailtwin', freeBytes: 5_368_709_120 },
    lastVerify: { at: '2026-01-02T00:00:00.000Z', result: 'clean', deep: false, differences: 0, leftOut: 0 },
    warnings: [],
    ...change,
  };
  return { ...status, verdict: change.verdict ?? verdictOf(status) };
}

/** A role whose gateway answers. */
export function sampleProof(change: Partial<SegmentProof> = {}): SegmentProof {
  return {
    role: 'lan',
    port: 'eno1',
    mappedBy: 'assigned',
    carrier: true,
    asked: [{ address: '192.0.2.1', answeredBy: '02:00:00:00:00:01', error: null }],
    level: 'pass',
    code: null,
    evidence: 'eno1 (02:00:00:00:00:0a): 192.0.2.1 answers from 02:00:00:00:00:01',
    ...change,
  };
}

/** An agent that answers from memory. */
export function fakeAgent(change: Partial<AgentApi> = {}): AgentApi {
  return {
    status: () => sampleStatus(),
    async *wait() {
      yield { kind: 'done', summary: 'all is durable', exitCode: 0, facts: {} };
    },
    async *verify() {
      yield { kind: 'done', summary: 'clean', exitCode: 0, facts: {} };
    },
    startScrub: async () => {},
    async *restoreDamaged({ place }) {
      yield { kind: 'done', summary: `${place} is back`, exitCode: 0, facts: { place } };
    },
    offerPairing: () => ({ code: 'ABCD-EFGH', expiresAt: '2026-01-02T03:14:05.000Z', fingerprint: 'aa:bb' }),
    async *pairingResult() {
      yield { kind: 'done', summary: 'paired with mail-b', exitCode: 0, facts: {} };
    },
    allowDelete: async ({ places, all }) => ({
      held: [{ place: 'mail/u1', detail: 'the deletion of 1 file is held' }],
      released: all || places.length > 0 ? [{ place: 'mail/u1', files: 1 }] : [],
    }),
    acceptRoots: async ({ names }) => ({ accepted: names, same: [] }),
    async *fenceTest() {
      yield { kind: 'done', summary: '1 of 1 levels can be read', exitCode: 0, facts: { readings: [] } };
    },
    nics: async () => ({ node: 'mail-a', at: '2026-01-02T03:04:05.000Z', ports: [], roles: [], alarms: [] }),
    assignNic: async (role, port) => sampleProof({ role, port }),
    swapNics: async (first, second) => [sampleProof({ role: first }), sampleProof({ role: second })],
    async *identifyNics() {
      yield { kind: 'done', summary: 'nothing was plugged', exitCode: 0, facts: { events: 0 } };
    },
    takeoverPlan: () => Promise.reject(new Error('no plan is made here')),
    async *takeoverRun() {
      yield { kind: 'done', summary: 'mail-b is active', exitCode: 0, facts: {} };
    },
    takeoverLast: () => ({ report: null, running: false, unfinished: null }),
    async *salvage() {
      yield { kind: 'done', summary: 'nothing is only here', exitCode: 0, facts: {} };
    },
    async *keepThisStore() {
      yield { kind: 'done', summary: 'mail-a goes on with the state that it has', exitCode: 0, facts: {} };
    },
    async *rejoin() {
      yield { kind: 'done', summary: 'mail-a is a standby now', exitCode: 0, facts: {} };
    },
    metrics: async () => ({ text: 'mailtwin_epoch 3\n' }),
    migrateStatus: async () => ({
      releases: { is: 'same', text: '', ahead: null },
      points: [],
      next: null,
      fillSeconds: null,
      downtimeSeconds: null,
    }),
    migrateSnapshot: async () => ({ mailboxes: 1, messages: 2 }),
    migrateReport: async () => ({ text: 'all the same', html: '<p>', counts: { same: 1, grown: 0, changed: 0, wrong: 0 } }),
    notifyTest: async () => ({ ways: [] }),
    stop() {},
    ...change,
  };
}
