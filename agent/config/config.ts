import type { NoticesConfig } from './notices.ts';
import type { FenceLevelConfig } from './takeover-sections/fencing.ts';
import type { ServicesConfig } from './takeover-sections/services.ts';
import type { NetworkConfig } from './takeover-sections/network.ts';
import type { TakeoverConfig } from './takeover-sections/takeover.ts';

/** The configuration after reading and checking; see schema.ts for the file's own form. Sizes in bytes. */
/** Where metrics are served, and to whom. */
export interface MetricsConfig {
  host: string;
  port: number;
  /** Absolute paths of PEM files; null serves plain HTTP. */
  tls: { cert: string; key: string } | null;
  /** Null asks nobody for a password. */
  auth: { user: string; passwordFile: string } | null;
  /** Names and addresses by which it may be asked, beside those that it knows by itself. */
  names: string[];
}

export interface Config {
  /** Absolute path of the file it came from. */
  file: string;
  node: string;
  /** The role this node starts its life with; what is in force is durable state. */
  role: 'primary' | 'standby';
  /** Absolute path. */
  state: string;
  /** Where this node accepts the pair's connection. The standby connects, the primary listens; both have it. */
  listen: { host: string; port: number };
  /** Addresses of the other node, tried in order. Pairing fills the first one in by itself. */
  peer: { addresses: { host: string; port: number }[] };
  roots: RootConfig[];
  capture: {
    watcher: 'auto' | 'chokidar' | 'fanotify';
    /** Wait this long after a first hint before looking, so that what belongs together goes together. */
    settleMs: number;
    /** A mailbox that never rests is sent as it is after this long. */
    restMaxMs: number;
    /** Every root is compared with the index this often even when no hint came. 0 = never. */
    rescanHours: number;
  };
  limits: {
    /** Bytes per second for the background fill by local time of day; null = no limit. First matching window wins. */
    bandwidth: { fromMinute: number; toMinute: number; bytesPerSecond: number | null }[];
    /** Share (0..1) of a root's files that may be lost within the guard's window. */
    massDeleteShare: number;
    /** Fewer files than this are held only when they are most of a small root. */
    massDeleteFilesMin: number;
    /** The standby accepts nothing when less than this would stay free. */
    freeBytesMin: number;
  };
  history: { days: number; bytesMax: number };
  /** All content of this node is read again within `days`; 0 = never. */
  scrub: { days: number; bytesPerSecondMax: number };
  /** null = off. */
  metrics: MetricsConfig | null;
  log: { level: 'debug' | 'info' | 'warn' | 'error' };
  /** How this node makes sure that the other one is off, in the order in which it is tried. */
  fencing: FenceLevelConfig[];
  /** The mail services that run on the active node alone; null = the agent starts and stops none. */
  services: ServicesConfig | null;
  /** Service addresses and where they belong; null = the agent moves none. */
  network: NetworkConfig | null;
  takeover: TakeoverConfig;
  /** Who is told by mail or webhook when something changes; null = nobody. */
  notices: NoticesConfig | null;
}

export interface RootConfig {
  name: string;
  /** Absolute path, byte string. */
  path: string;
  format: 'maildir' | 'plain';
  /** When true, an empty directory here is a root and not a missing mount. */
  mayBeEmpty: boolean;
  /** Patterns of what is left out, in the style of .gitignore; byte strings. The same on both nodes. */
  exclude: string[];
  /** Where a standby stages what arrives: a directory on the same file system. null = chosen by itself. */
  staging: string | null;
}
