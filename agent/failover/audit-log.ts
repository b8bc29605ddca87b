import { createHash } from 'node:crypto';
import type { Operator } from '../../protocol/takeover.ts';
import type { AppendFile } from '../platform/append-file.ts';
import { OperatorError } from '../platform/errors.ts';
import { canonicalJson } from './canonical-json.ts';

/**
 * Who did what, when, with which evidence: one JSON line an event, appended and never changed.
 *
 * - `new AuditLog(file, node)`, `append(entry)`: durable when it returns.
 * - `verifyAuditLog(text)`: the lines, or where the chain is broken.
 * - `auditLogName`: its name in the state directory.
 *
 * Each line carries the SHA-256 of the one before. That shows a line that was changed, or taken away in the middle. Who can
 * write the file can still cut its end or make a whole new one: a copy elsewhere (the agent's log has every line) tells.
 */

export const auditLogName = 'audit.ndjson';

export interface AuditEntry {
  /** Counts from 1. */
  number: number;
  /** ISO 8601. */
  at: string;
  node: string;
  what: string;
  by: Operator;
  facts: Record<string, unknown>;
  /** SHA-256, hexadecimal, of the line before; zeros in the first. */
  before: string;
}

export interface AuditReading {
  entries: AuditEntry[];
  /** The first line that does not fit; null when all do. */
  broken: { line: number; why: string } | null;
  /** Bytes up to the end of the last whole line: what comes after was not written to its end. */
  wholeBytes: number;
}

const zeros = '0'.repeat(64);
const lineCharactersMax = 256 * 1024;

export function verifyAuditLog(text: string): AuditReading {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const lines = whole === '' ? [] : whole.slice(0, -1).split('\n');
  const entries: AuditEntry[] = [];
  let before = zeros;
  const result = (broken: AuditReading['broken']) => ({ entries, broken, wholeBytes: Buffer.byteLength(whole) });
  for (const [i, line] of lines.entries()) {
    const entry = parse(line);
    if (entry === null) return result({ line: i + 1, why: 'is not an entry' });
    if (entry.before !== before) return result({ line: i + 1, why: 'does not continue the line before it' });
    if (entry.number !== i + 1) return result({ line: i + 1, why: `says that it is number ${entry.number}` });
    before = hashOf(line);
    entries.push(entry);
  }
  return result(null);
}

function parse(line: string): AuditEntry | null {
  try {
    const value = JSON.parse(line) as unknown;
    return typeof value === 'object' && value !== null && 'before' in value ? (value as AuditEntry) : null;
  } catch {
    return null;
  }
}

function hashOf(line: string): string {
  return createHash('sha256').update(line, 'utf8').digest('hex');
}

export class AuditLog {
  readonly #file: AppendFile;
  readonly #node: string;
  #number: number;
  #before: string;

  /** @throws OperatorError `audit-log` when the chain is broken: nothing is added to a log that was tampered with. */
  constructor(file: AppendFile, node: string) {
    const text = file.read();
    const { entries, broken, wholeBytes } = verifyAuditLog(text);
    if (broken)
      throw new OperatorError(
        'audit-log',
        `line ${broken.line} of the audit log ${broken.why}`,
        'find out who changed it; keep the file elsewhere and take it away, then run the command again',
        3,
      );
    const whole = Buffer.from(text, 'utf8').subarray(0, wholeBytes).toString('utf8');
    if (wholeBytes < Buffer.byteLength(text)) file.cut(wholeBytes);
    this.#file = file;
    this.#node = node;
    this.#number = entries.length;
    this.#before = entries.length === 0 ? zeros : hashOf(whole.slice(0, -1).split('\n').at(-1) ?? '');
  }

  /** @throws when it cannot be written: then what it was for must not happen. */
  append({ wallMs, what, by, facts }: { wallMs: number; what: string; by: Operator; facts: Record<string, unknown> }): AuditEntry {
    const number = this.#number + 1;
    const entry: AuditEntry = { number, at: new Date(wallMs).toISOString(), node: this.#node, what, by, facts, before: this.#before };
    let line = canonicalJson(entry);
    if (line.length > lineCharactersMax)
      line = canonicalJson({ ...entry, facts: { cut: canonicalJson(facts).slice(0, lineCharactersMax / 4) } });
    this.#file.append(`${line}\n`);
    this.#number = number;
    this.#before = hashOf(line);
    return entry;
  }
}
