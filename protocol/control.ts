import type { Role } from './messages.ts';
import type { NicsReport, PortEvent, SegmentProof } from './nics.ts';
import type { MigrateReport, MigrateStatus } from './migrate.ts';
import type { TailItem } from './salvage.ts';
import type { Operator, TakeoverApi, TakeoverProgress } from './takeover.ts';

/**
 * What the command line and the local agent say to each other: HTTP with JSON over the control socket
 * (`control.sock` in the state directory, mode 0600). Times are ISO 8601 in UTC, durations in seconds.
 */

export type Phase = 'unpaired' | 'disconnected' | 'comparing' | 'initial' | 'streaming';

/** `mailtwin status --json`. Every reading carries its time; what has gone stale is null (I18). */
export interface Status {
  node: string;
  pair: string | null;
  role: Role;
  active: boolean;
  epoch: number;
  at: string;
  agentVersion: string;
  peer: {
    node: string | null;
    connected: boolean;
    lastHeardAt: string | null;
    role: Role | null;
    epoch: number | null;
    address: string | null;
    agentVersion: string | null;
    mailServer: string | null;
    clockSkewSeconds: number | null;
    lastError: string | null;
  };
  replication: {
    phase: Phase;
    head: string;
    durable: string;
    lagSeconds: number | null;
    lagChanges: number | null;
    lagBytes: number | null;
    unproven: { root: string; path: string; reason: string }[];
    /** Progress of the initial fill; null at other times. */
    fill: { filesDone: number; filesTotal: number | null; bytesDone: number; bytesTotal: number | null } | null;
    /** Why sending stands still, for example `no-space` or `mass-delete`; null when it does not. */
    held: { code: string; detail: string } | null;
    lastDurableAt: string | null;
  };
  possibleLoss: { seconds: number | null; changes: number | null; mailboxes: number | null };
  roots: { name: string; path: string; format: string; files: number; bytes: number; freeBytes: number | null }[];
  capture: { watcher: 'chokidar' | 'fanotify' | 'none'; watches: number; overflows: number };
  skipped: { kind: string; count: number; example: string }[];
  /** What a takeover needs of this node; null when the agent has none of it. */
  appliance: ApplianceStatus | null;
  /** For example `dovecot 2.3.19`; null when none was found. */
  mailServer: string | null;
  state: { path: string; freeBytes: number | null };
  lastVerify: { at: string; result: 'clean' | 'different' | 'failed'; deep: boolean; differences: number } | null;
  warnings: { code: string; text: string; remedy: string }[];
}

/** The parts of a node that are active on one of the two alone, as they were last read. */
export interface ApplianceStatus {
  /** Null where the configuration has no such section, or the reading is too old. */
  services: { state: 'running' | 'stopped' | 'partial' | 'unknown'; at: string } | null;
  addresses: { configured: number; held: string[]; at: string } | null;
  nics: { role: string; port: string | null; carrier: boolean }[];
  /** The last reading of each fence level; empty before the first, and where there are none. */
  fencing: Pick<LevelReading, 'level' | 'type' | 'name' | 'state' | 'evidence' | 'at' | 'error'>[];
  alarms: { code: string; text: string; remedy: string }[];
  takeover: { running: boolean; unfinished: string | null };
}

/** One line of the stream that answers POST /wait and POST /verify: NDJSON, the last line is `done` or `error`. */
export type StreamLine =
  | { kind: 'progress'; done: number; total: number | null; text: string }
  | { kind: 'difference'; root: string; path: string; what: string }
  | { kind: 'port'; event: PortEvent }
  | { kind: 'tail'; item: TailItem }
  | TakeoverProgress
  | { kind: 'done'; summary: string; exitCode: number; facts: Record<string, unknown> }
  | { kind: 'error'; code: string; message: string; remedy: string; exitCode: number };

/** What a fence level says of the other node. */
export type PowerState = 'on' | 'off' | 'unknown';

/** What one level of `fencing` read or did; a fact of POST /fence/test. Never holds a secret. */
export interface LevelReading {
  /** Its place in the configuration, from 1. */
  level: number;
  type: 'agent' | 'command' | 'cooperative' | 'manual';
  name: string;
  state: PowerState;
  /** What was seen, for people; one line. */
  evidence: string;
  at: string;
  ms: number;
  /** Why the state is not known, or not what was wanted; null when there is nothing to complain of. */
  error: { code: string; detail: string } | null;
}

/** What became of a test letter on each way. */
export interface NotifyTest {
  ways: { way: 'smtp' | 'webhook'; to: string; ok: boolean; detail: string }[];
}

/** One thing that happened on this node, as it was told. */
export interface AgentEvent {
  level: 'bad' | 'warn' | 'good' | 'info';
  code: string;
  /** ISO 8601. */
  at: string;
  text: string;
  remedy: string;
}

/** `mailtwin pair --json` on the primary. */
export interface PairingOffer {
  code: string;
  expiresAt: string;
  fingerprint: string;
}

/** How every failed request answers (status 4xx or 5xx). */
export interface ControlError {
  code: string;
  message: string;
  remedy: string;
  exitCode: number;
}

/** Requests of the control socket: `METHOD path`, body, answer. */
export interface ControlApi extends TakeoverApi {
  'GET /status': { body: null; answer: Status };
  'POST /wait': { body: { timeoutSeconds: number }; answer: StreamLine };
  'POST /verify': { body: { deep: boolean }; answer: StreamLine };
  /** Starts an offer, or replaces the one that stands. `replace`: although this node is paired already. */
  'POST /pair': { body: { replace?: boolean }; answer: PairingOffer };
  /** What became of the offer: waits until it was used, expired or was refused. */
  'POST /pair/result': { body: Record<string, never>; answer: StreamLine };
  /** `released` files of a held deletion; `acceptedRoots` are those whose directory was another one than before. */
  'POST /allow-delete': { body: Record<string, never>; answer: { released: number; acceptedRoots: string[] } };
  /** Reads the power state through each fence level and changes nothing. Facts of the last line: `readings` (LevelReading[]). */
  'POST /fence/test': { body: Record<string, never>; answer: StreamLine };
  /** Asks the segments of all roles; a second when a gateway is silent. */
  'GET /nics': { body: null; answer: NicsReport };
  /** `port`: name, permanent address or slot. `unproven`: although no gateway of the role answers there. */
  'POST /nics/assign': { body: { role: string; port: string; unproven: boolean }; answer: SegmentProof };
  'POST /nics/swap': { body: { first: string; second: string; unproven: boolean }; answer: SegmentProof[] };
  /** Tells which cable is pulled or plugged (`port` lines), or blinks the light of a port, until the time is over or the client is gone. */
  'POST /nics/identify': { body: { seconds: number; blink: string | null }; answer: StreamLine };
  /** On a node that was replaced: what only it has (`tail` lines), and with `apply` brings it to the active node. Facts of the last line: SalvageCounts. */
  'POST /salvage': { body: { apply: boolean; by: Operator }; answer: StreamLine };
  /** Makes a node that was replaced the standby. `unsalvaged`: although its lost tail is not brought back. */
  'POST /rejoin': { body: { confirm: string; salvage: boolean; unsalvaged: boolean; by: Operator }; answer: StreamLine };
  /** What /metrics serves. */
  'GET /metrics': { body: null; answer: { text: string } };
  'GET /migrate/status': { body: null; answer: MigrateStatus };
  /** `file`: absolute. */
  'POST /migrate/snapshot': { body: { file: string }; answer: { mailboxes: number; messages: number } };
  'POST /migrate/report': { body: { file: string }; answer: MigrateReport };
  /** Tries each way of the section `notices` with a test letter. */
  'POST /notify/test': { body: Record<string, never>; answer: NotifyTest };
  'POST /stop': { body: Record<string, never>; answer: Record<string, never> };
}

/** The control socket's name in the state directory. */
export const controlSocketName = 'control.sock';

/** Bounds of the control socket. Sizes in bytes. */
export const controlLimits = {
  /** A plan is sent whole when it is to be run. */
  requestBytesMax: 256 * 1024,
  /** An answer that is not a stream; a status with very many unproven directories is cut by the agent well below. */
  answerBytesMax: 16 * 1024 * 1024,
  streamLineBytesMax: 256 * 1024,
  connectionsMax: 64,
  /** How long an agent that is there may take to answer a request that is not a stream, in milliseconds. */
  answerMs: 30_000,
} as const;

/** One finding of `mailtwin doctor`. `remedy` is empty when there is nothing to do. */
export interface DoctorFinding {
  id: string;
  level: 'pass' | 'warn' | 'fail';
  summary: string;
  evidence: string;
  remedy: string;
}

/** What /doctor.json of the status page answers: what the agent itself found, at that time. */
export interface DoctorReport {
  /** ISO 8601. */
  at: string;
  findings: DoctorFinding[];
}

/** `mailtwin init`, as given on the command line; the agent checks the values. */
export interface InitOptions {
  /** The configuration file to write. */
  file: string;
  role: string;
  node: string;
  /** `NAME=PATH:FORMAT` each. */
  roots: readonly string[];
  /** `HOST:PORT`. */
  listen: string;
  state: string;
  /** `HOST:PORT` or `off`. */
  metrics: string;
}

export interface InitResult {
  file: string;
  state: string;
  fingerprint: string;
}

/** `mailtwin pair HOST:PORT CODE` on the standby. */
export interface JoinOptions {
  configFile: string;
  /** `HOST:PORT` of the primary. */
  address: string;
  code: string;
  /** Pair although this node is paired already: the other one was set up anew. */
  replace?: boolean;
  /** Shown both fingerprints before anything is written; false ends the pairing with nothing changed. */
  confirm(fingerprints: { own: string; peer: string; peerNode: string }): Promise<boolean>;
}

export interface JoinResult {
  pair: string;
  peerNode: string;
  ownFingerprint: string;
  peerFingerprint: string;
}

/** What agent/main.ts gives to the command line, which must not know the agent otherwise. Errors are OperatorErrors. */
export interface AgentEntry {
  /** The agent in the foreground, until a signal or POST /stop; the exit code. */
  runAgent(configFile: string, options?: { foreign: 'refuse' | 'adopt' | 'move-aside' }): Promise<number>;
  initNode(options: InitOptions): Promise<InitResult>;
  joinPair(options: JoinOptions): Promise<JoinResult>;
  /** Absolute path of the state directory that the configuration names. */
  stateDirOf(configFile: string): Promise<string>;
  /** Findings as they are made. `status` and `nics` are the running agent's, null when none answers. */
  doctor(configFile: string, status: Status | null, nics?: NicsReport | null): AsyncIterable<DoctorFinding>;
  /** Files for support: raw, the caller takes secrets and names out. */
  supportFiles(configFile: string): Promise<{ name: string; text: string }[]>;
  /** The gate of the mail units: shows it, installs it, removes it; then how each unit stands. */
  gateUnits(configFile: string, action: 'show' | 'install' | 'remove'): Promise<GatedUnit[]>;
}

/** Whether systemd starts a unit on the active node alone. */
export interface GatedUnit {
  unit: string;
  /** Its drop-in. */
  file: string;
  /** `other`: a drop-in of that name is there, and it is not this release's. */
  state: 'gated' | 'open' | 'other';
}

/** Exit codes of the command line. */
export const exitCodes = { done: 0, failed: 1, usage: 2, refused: 3, rolledBack: 4, incomplete: 5 } as const;
