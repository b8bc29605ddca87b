import type { GatedUnit, LevelReading, UnitSandbox } from '../../../protocol/control.ts';
import type { CertificateStatus } from '../../../protocol/certificate.ts';
import type { QueueReading } from '../../../protocol/queue.ts';
import type { QueueConfig } from '../../config/takeover-sections/services.ts';
import type { SegmentProof } from '../../../protocol/nics.ts';
import type { Mount } from '../../platform/mounts.ts';
import type { Config } from '../../config/config.ts';
import type { BytePath } from '../../platform/files.ts';
import type { UnitFault } from '../../services/judge-units.ts';
import type { CheckResult, ServicesState } from '../../services/services.ts';

/** What the checks look at, handed in so that tests can show them any host. Nothing here changes anything. */
export interface DoctorProbe {
  /** @throws OperatorError when the configuration cannot be used. */
  loadConfig(): Config;
  /** What other rooms read of the node that the configuration describes. */
  node(config: Config): NodeReadings;
  wallMs(): number;
  userId(): number;
  /** Versions that are installed; null for a library that is not. That they load is seen by the agent having started. */
  versions(): { node: string; koffi: string | null; lmdb: string | null };
  system(): Promise<{ os: string; kernel: string }>;
  /** What `stat` says, following links; null when it is missing. */
  stat(path: BytePath): { directory: boolean; mode: number; uid: number; gid: number; dev: string } | null;
  space(path: BytePath): { freeBytes: number; freeInodes: number; totalInodes: number };
  mounts(): Promise<Pick<Mount, 'at' | 'type' | 'writable'>[]>;
  /** Addresses of this host, with their device and prefix length. */
  addresses(): { device: string; address: string; length: number }[];
  /** Addresses that a name stands for; empty when it is not known. */
  resolve(host: string): Promise<string[]>;
  /** A small text file of the kernel or of the host's configuration; null when it is missing. */
  readText(path: string): string | null;
  /** Names in a directory, a few hundred at most; empty when it is missing. */
  list(path: string): string[];
  /** Runs a program that only reads; null when there is no such program. */
  run(command: string, args: readonly string[]): Promise<{ exitCode: number; out: string } | null>;
  /** null when the connection came to be, otherwise the errno name. */
  connect(host: string, port: number): Promise<string | null>;
  /** null when the address could be bound (it is let go at once), otherwise the errno name. */
  bind(host: string, port: number): Promise<string | null>;
  /** Looks at a tree within bounds: directories, and files that this user cannot read. */
  survey(path: BytePath): Survey;
  /** How much a tree holds, within bounds; null when it is missing or not looked at here. */
  treeBytes(path: BytePath): { bytes: number; complete: boolean } | null;
  /** Who owns what lies at the top of a tree, each once with an example. */
  owners(path: BytePath): { kind: 'user' | 'group'; id: number; example: BytePath }[];
  /** Whether the file system of a path keeps extended attributes of users. */
  keepsXattrs(path: BytePath): boolean;
  secretFile(path: string): SecretFile;
  /** A PEM certificate: its end, and whether the key belongs to it (null when one of the two cannot be read). */
  certificate(cert: string, key: string): { endsMs: number | null; fits: boolean | null };
}

/** What the doctor is told by the rooms that work with this node's services, network and fencing. */
export interface NodeReadings {
  /** The levels at these places (from 1) as `fence test` reads them. What is not read here and now is left out. */
  fencing(levels: readonly number[]): Promise<LevelReading[]>;
  /** How the units of `services.units` are gated. @throws OperatorError when there are none to gate. */
  gate(): Promise<GatedUnit[]>;
  /** Whether the agent's unit lets it write what the configuration names. */
  sandbox(): Promise<UnitSandbox>;
  services(): Promise<ServicesState>;
  /** What would keep the units from starting here; null when systemd does not answer. */
  unitFaults(): Promise<UnitFault[] | null>;
  /** The mail server's own check of its configuration. */
  mailConfig(): Promise<CheckResult>;
  /** A login by `services.imap`. */
  login(): Promise<CheckResult>;
  /** Mail that waits on this node, counted now; or why no queue is watched. */
  queue(): Promise<{ is: 'counted'; places: QueueConfig[]; reading: QueueReading } | { is: 'none'; why: string }>;
  /** Certificates that clients see, or would see after a takeover; null when that is not known here. */
  certificates(): Promise<CertificateStatus[] | null>;
  /** Where what was replaced may be kept; not all of them exist. */
  historyDirs(): BytePath[];
  networkRoles(): Promise<NetworkRoleReading[]>;
}

export interface NetworkRoleReading {
  role: string;
  port: string | null;
  carrier: boolean;
  /** Null when nobody was asked: no agent runs that could, or a port would have to be switched on for it. */
  proof: Pick<SegmentProof, 'level' | 'code' | 'evidence'> | null;
}

export interface Survey {
  dirs: number;
  files: number;
  /** False when a bound was reached: then the figures are lower limits. */
  complete: boolean;
  /** The first few paths that cannot be read. */
  unreadable: string[];
}

/** What can be told of a secret's file without telling anything of the secret. */
export interface SecretFile {
  /** `refused`: this user may not read it. */
  state: 'missing' | 'not-a-file' | 'refused' | 'empty' | 'one-line' | 'more';
  mode: number;
  uid: number;
  gid: number;
  /** The directory that it lies in can be written by every user. */
  inOpenDirectory: boolean;
}
