import type { LastVerify } from '../../protocol/control.ts';
import type { PeerWord, PredictedLoss, TakeoverKind } from '../../protocol/takeover.ts';
import type { Role } from '../../protocol/messages.ts';
import type { AnsweredAddress } from './boot.ts';

/**
 * What the guards of a takeover judge. Each fact carries the time when it was read, on the monotonic clock; unknown is a
 * value of its own, and a fact that is older than its life is unknown (I18).
 *
 * - `known(value, atMs)`, `unknown(why)`, `none(why)`: make facts. `none`: nothing of the kind is configured.
 * - `reading(fact, nowMs, lifeMs)`: what may still be said of it.
 */

export type Fact<T> =
  | { is: 'known'; value: T; atMs: number }
  /** It could not be read, or was never heard. */
  | { is: 'unknown'; why: string }
  /** There is nothing of the kind here: no section of the configuration, no mail server. */
  | { is: 'none'; why: string };

export interface PathReading {
  /** The peer's address. */
  path: string;
  up: boolean;
  /** Seconds since anything was heard over it; null = never. */
  heardSecondsAgo: number | null;
  error: string;
}

export interface FenceReading {
  level: number;
  type: 'agent' | 'command' | 'all' | 'cooperative' | 'manual';
  name: string;
  state: 'on' | 'off' | 'unknown';
  error: string | null;
}

export interface RoleReading {
  /** For example `lan`. */
  role: string;
  /** Null = mapped to no port here. */
  port: string | null;
  carrier: boolean;
  /** The segment's gateway answers on that port; null where no gateway is named. */
  proven: boolean | null;
  detail: string;
}

export interface GuardFacts {
  kind: TakeoverKind;
  /** Monotonic, now. */
  nowMs: number;
  /** `formats`: of this node's roots, for example `maildir`. */
  own: { node: string; role: Role; epoch: number; agentVersion: string; serverVersion: string | null; formats: readonly string[] };
  /** The other node's name; null = not paired. */
  peerNode: string | null;
  /** The takeover that runs on this node, and the one that the peer is quiesced for. */
  running: string | null;
  peerTakeover: Fact<string | null>;
  /** What is wrong with this node, in words. */
  localHealth: Fact<string[]>;
  fill: Fact<{ complete: boolean; filesDone: number; filesTotal: number | null }>;
  /** Directories of the primary in doubt (I10), as it last said. */
  unproven: Fact<{ count: number; example: string }>;
  /** Foreign writes found below this standby's roots (I2). */
  foreign: Fact<{ count: number; example: string }>;
  /** Files of this copy that its disk has damaged, and that were not brought again. */
  damaged: Fact<{ count: number; example: string }>;
  lastVerify: Fact<{ result: LastVerify['result']; differences: number; leftOut: number; secondsAgo: number } | null>;
  loss: Fact<PredictedLoss>;
  paths: Fact<PathReading[]>;
  peer: Fact<PeerWord>;
  /** The primary's store is an older state than this copy, as it says itself. */
  isPutBack: Fact<boolean>;
  /** Gateways and witnesses: those asked, and those that answered. */
  isolation: Fact<{ asked: string[]; answered: string[] }>;
  fence: Fact<FenceReading[]>;
  peerAgentVersion: Fact<string>;
  peerServerVersion: Fact<string | null>;
  space: Fact<{ root: string; freeBytes: number; freeBytesMin: number }[]>;
  nicRoles: Fact<RoleReading[]>;
  /** Service addresses that somebody else answers for. */
  answered: Fact<AnsweredAddress[]>;
  mailConfig: Fact<{ ok: boolean; evidence: string }>;
  /** What keeps units of `services.units` from starting on this node. */
  mailUnits: Fact<{ what: string; evidence: string; remedy: string }[]>;
  clockSkewSeconds: Fact<number>;
  replication: Fact<{ connected: boolean; phase: string; lagChanges: number; lagSeconds: number }>;
}

export function known<T>(value: T, atMs: number): Fact<T> {
  return { is: 'known', value, atMs };
}

export function unknown(why: string): Fact<never> {
  return { is: 'unknown', why };
}

export function none(why: string): Fact<never> {
  return { is: 'none', why };
}

/** `age` in words, for the evidence. */
export type Reading<T> =
  | { is: 'known'; value: T; age: string }
  | { is: 'old'; value: T; age: string }
  | { is: 'unknown'; why: string }
  | { is: 'none'; why: string };

export function reading<T>(fact: Fact<T>, nowMs: number, lifeMs: number): Reading<T> {
  if (fact.is !== 'known') return fact;
  const ageMs = Math.max(0, nowMs - fact.atMs);
  return { is: ageMs <= lifeMs ? 'known' : 'old', value: fact.value, age: `read ${Math.round(ageMs / 1000)} s ago` };
}
