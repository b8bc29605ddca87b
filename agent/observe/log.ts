import pino from 'pino';
import type { Log } from '../platform/log.ts';
import { safeFacts } from './facts.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Where log lines go; standard output in production. */
export interface LogOutput {
  write(text: string): unknown;
  isTTY?: boolean;
}

/**
 * The agent's log: JSON lines (`time` in milliseconds, `level` as a word), or text for people when the output is a
 * terminal. Never holds secrets or mail content (facts.ts).
 */
export function createLog(level: LogLevel, output: LogOutput = process.stdout): Log {
  const readable = output.isTTY === true;
  const logger = pino(
    {
      level,
      base: null,
      formatters: { level: (label) => ({ level: label }), log: safeFacts },
      // pino's own serializer of errors would add everything that hangs on them.
      serializers: { err: (value: unknown) => value },
    },
    { write: (line: string) => void output.write(readable ? readableLine(line) : line) },
  );
  return {
    debug: (facts, message) => logger.debug(facts, message),
    info: (facts, message) => logger.info(facts, message),
    warn: (facts, message) => logger.warn(facts, message),
    error: (facts, message) => logger.error(facts, message),
  };
}

const colours: Record<string, number> = { debug: 90, info: 36, warn: 33, error: 31 };

/** One JSON line of the log as a person reads it: time of day, level, message, facts. */
export function readableLine(line: string): string {
  const { level, time, msg, ...facts } = JSON.parse(line) as Record<string, unknown>;
  const name = String(level);
  const clock = new Date(Number(time)).toTimeString().slice(0, 8);
  const rest = Object.entries(facts).map(([key, value]) => ` \u001b[90m${key}=\u001b[0m${showFact(value)}`);
  return `\u001b[90m${clock}\u001b[0m \u001b[${colours[name] ?? 0}m${name.padEnd(5)}\u001b[0m ${String(msg)}${rest.join('')}\n`;
}

function showFact(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"]+$/.test(value) ? value : JSON.stringify(value);
  const { message, code, stack } = (value ?? {}) as { message?: unknown; code?: unknown; stack?: unknown };
  if (typeof message !== 'string') return JSON.stringify(value);
  return typeof stack === 'string' ? `\n  ${stack.replaceAll('\n', '\n  ')}` : `${typeof code === 'string' ? `${code}: ` : ''}${message}`;
}
