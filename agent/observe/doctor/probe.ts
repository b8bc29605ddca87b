import type { Mount } from './mounts.ts';
import type { Config } from '../../config/config.ts';
import type { BytePath } from '../../platform/files.ts';

/** What the checks look at, handed in so that tests can show them any host. Nothing here changes anything. */
export interface DoctorProbe {
  /** @throws OperatorError when the configuration cannot be used. */
  loadConfig(): Config;
  wallMs(): number;
  userId(): number;
  /** Versions that are installed; null for a library that is not. That they load is seen by the agent having started. */
  versions(): { node: string; koffi: string | null; lmdb: string | null };
  system(): Promise<{ os: string; kernel: string }>;
  /** What `stat` says, following links; null when it is missing. */
  stat(path: BytePath): { directory: boolean; mode: number; uid: number; dev: string } | null;
  space(path: BytePath): { freeBytes: number; freeInodes: number; totalInodes: number };
  mounts(): Promise<Mount[]>;
  /** Addresses of this host. */
  addresses(): Promise<string[]>;
  /** A small text file of the kernel; null when it is missing. */
  readText(path: string): string | null;
  /** Runs a program that only reads; null when there is no such program. */
  run(command: string, args: readonly string[]): Promise<{ exitCode: number; out: string } | null>;
  /** null when the connection came to be, otherwise the errno name. */
  connect(host: string, port: number): Promise<string | null>;
  /** null when the address could be bound (it is let go at once), otherwise the errno name. */
  bind(host: string, port: number): Promise<string | null>;
  /** Looks at a tree within bounds: directories, and files that this user cannot read. */
  survey(path: BytePath): Survey;
}

export interface Survey {
  dirs: number;
  files: number;
  /** False when a bound was reached: then the figures are lower limits. */
  complete: boolean;
  /** The first few paths that cannot be read. */
  unreadable: string[];
}
