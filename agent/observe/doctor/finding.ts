import type { DoctorFinding, Status } from '../../../protocol/control.ts';
import type { Config } from '../../config/config.ts';
import type { DoctorProbe, NodeReadings } from './probe.ts';

/** What a check works on. `status` is the running agent's; null when none answers. */
export interface Facts {
  probe: DoctorProbe;
  node: NodeReadings;
  config: Config;
  status: Status | null;
}

/** One check: looks, and says what it found. What it throws becomes a warning that it could not be done. */
export interface Check {
  id: string;
  /** How long it may take, where that is longer than usual. */
  limitMs?: number;
  run(facts: Facts): DoctorFinding[] | Promise<DoctorFinding[]>;
}

export function pass(id: string, summary: string, evidence = ''): DoctorFinding {
  return { id, level: 'pass', summary, evidence, remedy: '' };
}

export function warn(id: string, summary: string, evidence: string, remedy: string): DoctorFinding {
  return { id, level: 'warn', summary, evidence, remedy };
}

export function fail(id: string, summary: string, evidence: string, remedy: string): DoctorFinding {
  return { id, level: 'fail', summary, evidence, remedy };
}

/** Something of this node is active on one of the two alone. */
export function isGated({ config }: Facts): boolean {
  return config.services !== null || config.network !== null;
}

/** Whether this node serves; null when that is not known, or about to change. */
export function serves({ status }: Facts): boolean | null {
  return status === null || status.appliance?.takeover.running === true ? null : status.active;
}

export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/** A path or word as a shell takes it. */
export function quoted(text: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
