import type { ConfigKey } from './config-key.ts';
import type { Role } from './messages.ts';
import type { NicsReport, PortEvent, SegmentProof } from './nics.ts';
import type { MigrateReport, MigrateStatus } from './migrate.ts';
import type { CertificateStatus } from './certificate.ts';
import type { QueueStatus } from './queue.ts';
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
    /** What it last said of its mail server's certificate. */
    certificate: { names: string[]; endsAt: string } | null;
  };
  replication: {
    phase: Phase;
    head: string;
    durable: string;
    lagSeconds: number | null;
    lagChanges: number | null;
    lagBytes: number | null;
    unproven: { root: string; path: string; reason: string }[];
    /** Places that the standby may have otherwise than the primary, or without some of their attributes, as far as this node knows. */
    doubts: { root: string; path: string; reason: string; since: string }[];
    /** How many there are; more than are named, when there are very many. */
    doubtCount: number;
    /** Of these, places whose content is on the standby and that lack attributes alone: they are no possible loss. */
    doubtsOfAttributes: number;
    /** Progress of the initial fill; null at other times. */
    fill: { filesDone: number; filesTotal: number | null; bytesDone: number; bytesTotal: number | null } | null;
    /** Why sending stands still, for example `no-space`; null when it does not. */
    held: { code: string; detail: string } | null;
    /** Places that wait, each alone, for a disk or for a person; everything beside them goes on. */
    heldPlaces: { root: string; path: string; code: string; detail: string; remedy: string; seconds: number }[];
    /** Files that do not follow for the time being, each alone: written all the time, or refused by the standby. `seconds`: age of the oldest change that is not there. */
    lagging: { root: string; path: string; seconds: number; reason: string }[];
    /** How many there are; more than are named, when there are very many. */
    laggingCount: number;
    /** Messages among them, as far as the primary knows; 0 on a standby. */
    laggingMessages: number;
    lastDurableAt: string | null;
  };
  /** What a failure now would lose: all that is not durable on the standby; null = not known. */
  possibleLoss: {
    seconds: number | null;
    changes: number | null;
    mailboxes: number | null;
    /** During a fill these are about right: the total is counted by names, and sizes by samples. */
    messages: number | null;
    bytes: number | null;
    /** All that was there when the copy began is on the standby. */
    complete: boolean;
  };
  /** How this node stands, in one sentence: what the page, the digest, readiness and metrics say. */
  verdict: Verdict;
  /** Whether this node can take over now; null on a primary, where no takeover is configured, and while it is not known. */
  canTakeOver: CanTakeOver | null;
  roots: { name: string; path: string; format: string; files: number; bytes: number; freeBytes: number | null; missing: number }[];
  /** What the standby's file systems cannot keep as the primary's do: comparison goes as far as both can. */
  fileSystems: readonly { code: string; text: string; remedy: string }[];
  capture: { watcher: 'chokidar' | 'fanotify' | 'none'; watches: number; overflows: number };
  /** What is not replicated on purpose, by reason, as it is now. Empty on a standby, to which the primary's warnings tell what matters. */
  leftOut: LeftOutStatus[];
  /** What a takeover needs of this node; null when the agent has none of it. */
  appliance: ApplianceStatus | null;
  /** For example `dovecot 2.3.19`; null when none was found. */
  mailServer: string | null;
  /** Accepted mail that waits and is not replicated: on this node, and on the other one as it last said. */
  queues: QueueStatus[];
  /** Certificates that clients of this node's mail server see, or would see after a takeover; empty when that is not known. */
  certificates: CertificateStatus[];
  /** How its content is read again, and what of it is damaged; null when the role is neither primary nor standby. */
  scrub: ScrubState | null;
  state: { path: string; freeBytes: number | null };
  lastVerify: LastVerify | null;
  warnings: { code: string; text: string; remedy: string }[];
}

/** All content of this node is read from its disk again, slowly, and held against what it was. Times are ISO 8601. */
export interface ScrubState {
  /** A pass over all of it takes so many days; 0: it is not read again. */
  days: number;
  /** The pass under way; null between two. `share`: how much of it is done, 0 to 1. `hurried`: a person asked for it. */
  pass: { startedAt: string; share: number; files: number; bytes: number; hurried: boolean } | null;
  lastPass: { startedAt: string; endedAt: string; files: number; bytes: number; found: number } | null;
  /** Since when, about, the oldest content was not read again; null before the first pass has begun. */
  oldestUnprovedAt: string | null;
  /** Bytes read since the agent began. */
  readBytes: number;
  /** Damaged files of this node that are not mended. */
  damaged: DamagedFileStatus[];
  /** How many there are; more than are named, when there are very many. */
  damagedCount: number;
  /** Of the other node, as it last said; null when that is not known. */
  damagedThere: number | null;
  /** On a standby: how many were brought again in the life of its store. */
  mended: number | null;
}

export interface DamagedFileStatus {
  root: string;
  path: string;
  /** Why, for people. */
  reason: string;
  since: string;
  /** Of a primary: what the standby has in its place. */
  there: 'unknown' | 'good' | 'damaged' | 'missing' | null;
}

/**
 * How the last verification ended. `incomplete`: what was compared is the same, but something is left out or held of which
 * the standby lacks the present state.
 */
export interface LastVerify {
  /** ISO 8601. */
  at: string;
  result: 'clean' | 'incomplete' | 'different' | 'failed';
  deep: boolean;
  differences: number;
  /** Places that are left out, held or in doubt, which nobody could compare. */
  leftOut: number;
}

export interface LeftOutStatus {
  /** `link-out`, `special` (sockets, fifos, devices), `excluded`, or `derived` (made anew by the mail server). */
  reason: string;
  /** The reason in words. */
  text: string;
  count: number;
  /** Of how many the standby keeps what it had before. */
  kept: number;
  /** How many a person has to know of, because mail may be missing on the standby. */
  unexpected: number;
  /** Up to five, the newest first. */
  examples: string[];
  /** ISO 8601: since when the oldest of the examples is left out, as far as the running agent saw it. */
  since: string;
  /** The examples in parts. `detail`: where a link leads, or the pattern that names an excluded path. */
  places: { root: string; path: string; detail: string | null; kept: boolean }[];
}

/** What the guards of a takeover say now; `text` begins with yes or no. */
export interface CanTakeOver {
  can: boolean;
  text: string;
  /** Guards that fail; empty when it can. */
  reasons: { guard: string; text: string; evidence: string; remedy: string }[];
  /** ISO 8601. */
  at: string;
}

/** `good` only when the copy is complete, and nothing is held, in doubt or left out. */
export interface Verdict {
  level: 'good' | 'warn' | 'bad';
  code: (typeof verdictCodes)[number];
  text: string;
  /** Of `incomplete`: how much of the copy is there; null when that is not known. */
  percent: number | null;
}

export const verdictCodes = [
  'well',
  'attention',
  'left-out',
  'lagging',
  'cannot-take-over',
  'in-doubt',
  'held-places',
  'incomplete',
  'comparing',
  'held',
  'peer-lost',
  'unpaired',
  'fenced',
] as const;

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
  /** Of a command that is refused: the checks that fail first. `offers`: the option that overrides this one, where that helps. */
  | { kind: 'check'; result: CheckResult; offers: string | null }
  | TakeoverProgress
  | { kind: 'done'; summary: string; exitCode: number; facts: Record<string, unknown> }
  | { kind: 'error'; code: string; message: string; remedy: string; exitCode: number };

/** One thing that is judged before a command begins. */
export interface CheckResult {
  check: string;
  level: 'pass' | 'warn' | 'fail';
  summary: string;
  evidence: string;
  /** Empty when there is nothing to do. */
  remedy: string;
  /** The option that overrides it; null: it cannot be overridden. */
  override: string | null;
}

/** What a fence level says of the other node. */
export type PowerState = 'on' | 'off' | 'unknown';

/** What one level of `fencing` read or did; a fact of POST /fence/test. Never holds a secret. */
export interface LevelReading {
  /** Its place in the configuration, from 1. */
  level: number;
  type: 'agent' | 'command' | 'all' | 'cooperative' | 'manual';
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

export interface RejoinBody {
  /** Only judges whether it may begin; `confirm` is not looked at. */
  judge: boolean;
  /** This node's name. */
  confirm: string;
  /** Bring the lost tail back first. */
  salvage: boolean;
  /** Go on although something of it is not brought back. */
  unsalvaged: boolean;
  by: Operator;
}

/** Deletions that were held when the request came, and those that were let go, with how many files that are. */
export interface HeldDeletionsAnswer {
  held: { place: string; detail: string }[];
  released: { place: string; files: number }[];
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
  /** Begins a pass over all content of this node now, as fast as it may go. */
  'POST /scrub/start': { body: { by: Operator }; answer: Record<string, never> };
  /** On a primary: brings the good version of a damaged file (`root/path`, as `status` names it) back from the standby. */
  'POST /scrub/restore': { body: { place: string; by: Operator }; answer: StreamLine };
  /** Starts an offer, or replaces the one that stands. `replace`: although this node is paired already. */
  'POST /pair': { body: { replace?: boolean }; answer: PairingOffer };
  /** What became of the offer: waits until it was used, expired or was refused. */
  'POST /pair/result': { body: Record<string, never>; answer: StreamLine };
  /** Lets the held deletions at these places go (as `status` names them), or all; with neither it tells what is held. */
  'POST /allow-delete': { body: { places: string[]; all: boolean; by: Operator }; answer: HeldDeletionsAnswer };
  /** Takes what stands at these roots, or at `root/path` the file system there, for right. `accepted`: had changed. `same`: had not. */
  'POST /accept-root': { body: { names: string[]; by: Operator }; answer: { accepted: string[]; same: string[] } };
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
  /** On a primary whose store was put back: goes on with its state. `serverStopped`: a mail server that the agent does not run is stopped. */
  'POST /keep-this-store': { body: { confirm: string; serverStopped: boolean; by: Operator }; answer: StreamLine };
  /** Makes a node that was replaced the standby. */
  'POST /rejoin': { body: RejoinBody; answer: StreamLine };
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
  /** The same where each file of a deletion is looked at first, of which there may be millions. */
  countingMs: 1_800_000,
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
  /** How the sandbox of the agent's unit stands; null where this is not the unit's configuration, or no systemd runs. */
  sandbox: UnitSandbox | null;
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

/** `mailtwin repair-store`. */
export interface RepairOptions {
  configFile: string;
  /** What the node is, where that is not known any more; null: what it was. */
  as: 'standby' | 'fenced' | null;
}

export interface RepairResult {
  role: Role;
  epoch: number;
  /** The damaged file, absolute. */
  aside: string;
}

/** What agent/main.ts gives to the command line, which must not know the agent otherwise. Errors are OperatorErrors. */
export interface AgentEntry {
  /** The agent in the foreground, until a signal or POST /stop; the exit code. */
  runAgent(configFile: string, options?: { foreign: 'refuse' | 'adopt' | 'move-aside' }): Promise<number>;
  initNode(options: InitOptions): Promise<InitResult>;
  joinPair(options: JoinOptions): Promise<JoinResult>;
  /** Puts a damaged store aside; role and epoch stay. The agent must not run. */
  repairStore(options: RepairOptions): Promise<RepairResult>;
  /** Every key of the configuration file, with what its schema says of it. */
  configKeys(): Promise<ConfigKey[]>;
  /** Absolute path of the state directory that the configuration names. */
  stateDirOf(configFile: string): Promise<string>;
  /** Findings as they are made. `status` and `nics` are the running agent's, null when none answers. */
  doctor(configFile: string, status: Status | null, nics?: NicsReport | null): AsyncIterable<DoctorFinding>;
  /** Files for support: raw, the caller takes secrets and names out. */
  supportFiles(configFile: string): Promise<{ name: string; text: string }[]>;
  /** The gate of the mail units: shows it, installs it, removes it; then how each unit stands. */
  gateUnits(configFile: string, action: 'show' | 'install' | 'remove'): Promise<GatedUnit[]>;
  /** What the sandbox of the agent's unit leaves open for this configuration: shows it, or writes it. */
  unitSandbox(configFile: string, action: 'show' | 'install'): Promise<UnitSandbox>;
}

/** Whether systemd starts a unit on the active node alone. */
export interface GatedUnit {
  unit: string;
  /** Its drop-in. */
  file: string;
  /** `other`: a drop-in of that name is there, and it is not this release's. */
  state: 'gated' | 'open' | 'other';
}

/** Whether the sandbox of the agent's unit is open for what the configuration writes, and for no more. */
export interface UnitSandbox {
  /** The drop-in of mailtwin.service. */
  file: string;
  /** What it has to say; empty where the unit fits as it is, and then there must be no file. */
  lines: string[];
  /** `other`: it says something else. `written`: just now; systemd has read it, and the next start of the agent follows it. */
  state: 'fits' | 'missing' | 'needless' | 'other' | 'written';
  /** The configuration that the file was written from; null when there is none, or somebody else wrote it. */
  of: string | null;
}

/** Exit codes of the command line. */
export const exitCodes = { done: 0, failed: 1, usage: 2, refused: 3, rolledBack: 4, incomplete: 5 } as const;
