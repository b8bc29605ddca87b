import type { DoctorFinding, Status } from '../../../protocol/control.ts';
import type { Config } from '../../config/config.ts';
import type { DoctorProbe } from './probe.ts';

/** What a check works on. `status` is the running agent's; null when none answers. */
export interface Facts {
  probe: DoctorProbe;
  config: Config;
  status: Status | null;
}

/** One check: looks, and says what it found. What it throws becomes a warning that it could not be done. */
export interface Check {
  id: string;
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

export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
