import type { LevelReading } from '../../protocol/control.ts';
import type { FenceLevelConfig } from '../config/takeover-sections/fencing.ts';
import type { Clock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Exec } from '../platform/exec.ts';
import type { Files } from '../platform/files.ts';
import type { Log } from '../platform/log.ts';
import { agentLevel } from './agent-level.ts';
import { allLevel } from './all-level.ts';
import { commandLevel } from './command-level.ts';
import { cooperativeLevel, manualLevel } from './human-levels.ts';
import { unknownState, type Attempt, type Level, type Observation } from './level.ts';
import { makeReceipt, type FenceReceipt } from './receipt.ts';

/** The node that is to be off. */
export interface FenceTarget {
  node: string;
  pair: string;
  /** The epoch that the receipt is good for: the one that this node takes over with. */
  epoch: number;
}

/** What some levels need of others: the peer, or a person. */
export interface FenceAsk {
  /** Asks the living peer to step down; true only when it said that this is durable, at the higher epoch. */
  cooperative(timeoutMs: number): Promise<{ steppedDown: boolean; evidence: string }>;
  /** What a person stated; `node` as they typed it. Null when nobody did. */
  manual: { node: string; by: string; evidence: string } | null;
}

/** Makes sure that the other node is off, by levels in order, each proved by reading the state back. */
export interface Fencing {
  readonly levels: readonly { level: number; type: LevelReading['type']; name: string }[];
  /** Reads the state through each level, one after the other. Never changes anything. */
  test(signal: AbortSignal): AsyncIterable<LevelReading>;
  /**
   * Looks at the levels without reaching for the other node: secrets, programs, what the fence agents can do.
   *
   * @throws OperatorError `fence-agent-unfit`, `fence-agent-missing`, `fence-agent-metadata` or `secret-file` of the first level that cannot be used.
   */
  check(signal: AbortSignal): Promise<void>;
  /**
   * Switches the target off by the first level that can prove it. A receipt is a proof; without one nothing is proved,
   * whatever was done. The caller keeps the receipt durably before it acts on it.
   */
  fence(
    target: FenceTarget,
    ask: FenceAsk,
    say: (text: string) => void,
    signal: AbortSignal,
  ): Promise<{ receipt: FenceReceipt | null; tried: LevelReading[] }>;
}

export interface FencingParts {
  levels: readonly FenceLevelConfig[];
  /** Name of this node. */
  node: string;
  /** This node's identity key, PEM. */
  keyPem: string;
  exec: Exec;
  files: Files;
  clock: Clock;
  log: Log;
  /** A new random id. */
  newId: () => string;
  /** How long a receipt is good, in milliseconds. Default 15 minutes. */
  receiptMs?: number;
}

const receiptMsDefault = 15 * 60_000;

export function createFencing(parts: FencingParts): Fencing {
  const { clock, log, node, keyPem, newId, receiptMs = receiptMsDefault } = parts;
  const levels = parts.levels.map((config) => ({ config, run: makeLevel(config, parts) }));
  const named = levels.map(({ config }, i) => ({ level: i + 1, type: config.type, name: config.name }));

  /** Runs one attempt within the level's time and turns whatever comes of it into a reading. */
  async function attempt(
    i: number,
    signal: AbortSignal,
    act: (level: Level, attempt: Attempt) => Promise<Observation>,
  ): Promise<LevelReading> {
    const { config, run } = levels[i] as (typeof levels)[number];
    const at = new Date(clock.wallMs()).toISOString();
    const started = clock.monotonicMs();
    const deadlineMs = started + config.timeoutSeconds * 1000;
    const leftMs = () => Math.max(0, deadlineMs - clock.monotonicMs());
    const seen = await act(run, { leftMs, signal }).catch(failed);
    const reading = { ...(named[i] as (typeof named)[number]), ...seen, at, ms: Math.round(clock.monotonicMs() - started) };
    log.debug({ reading }, 'fence level');
    return reading;
  }

  return {
    levels: named,
    async *test(signal) {
      for (let i = 0; i < levels.length && !signal.aborted; i++) yield await attempt(i, signal, (level, how) => level.read(how));
    },
    async check(signal) {
      for (const { config, run } of levels) {
        const deadlineMs = clock.monotonicMs() + config.timeoutSeconds * 1000;
        await run.check({ leftMs: () => Math.max(0, deadlineMs - clock.monotonicMs()), signal });
      }
    },
    async fence(target, ask, say, signal) {
      if (levels.length === 0) throw noFencing();
      const tried: LevelReading[] = [];
      for (let i = 0; i < levels.length && !signal.aborted; i++) {
        const { level, type, name } = named[i] as (typeof named)[number];
        say(`level ${level}, ${name}: making sure that ${target.node} is off`);
        const reading = await attempt(i, signal, (each, how) => each.off(how, { target, ask, say }));
        tried.push(reading);
        if (reading.state === 'off' && reading.error === null) {
          say(`level ${level}, ${name}: proved: ${reading.evidence}`);
          const wallMs = clock.wallMs();
          const receipt = makeReceipt(
            {
              id: newId(),
              target: target.node,
              by: node,
              pair: target.pair,
              epoch: target.epoch,
              level,
              type,
              name,
              evidence: reading.evidence,
            },
            { provenMs: wallMs, expiresMs: wallMs + receiptMs },
            keyPem,
          );
          log.info({ receipt }, 'the other node is off');
          return { receipt, tried };
        }
        say(`level ${level}, ${name}: not proved: ${reading.error?.detail ?? reading.evidence}`);
      }
      return { receipt: null, tried };
    },
  };
}

/** What `fence` and the command line say where no level is configured. */
export function noFencing(exitCode = 3): OperatorError {
  return new OperatorError(
    'no-fencing',
    'the configuration has no way to make sure that the other node is off',
    'add the section `fencing`: `man mailtwin.yaml` has the keys, deploy/examples a sample',
    exitCode,
  );
}

function makeLevel(config: FenceLevelConfig, parts: FencingParts): Level {
  switch (config.type) {
    case 'agent':
      return agentLevel(config, parts);
    case 'command':
      return commandLevel(config, parts);
    case 'all':
      return allLevel(config.devices.map((device) => ({ name: device.name, level: makeLevel(device, parts) })));
    case 'cooperative':
      return cooperativeLevel(parts.clock);
    case 'manual':
      return manualLevel();
  }
}

/** A level that fails, in whatever way, never takes the next ones away: its error is what was seen. */
function failed(error: unknown): Observation {
  if (error instanceof OperatorError) return unknownState(error.code, `${error.message}; ${error.remedy}`);
  return unknownState('internal', error instanceof Error ? error.message : String(error));
}

export type { LevelReading, PowerState } from '../../protocol/control.ts';
export type { FenceReceipt } from './receipt.ts';
