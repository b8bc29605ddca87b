import { showBytes, showCount, showSeconds } from './format.ts';
import type { Terminal } from './terminal.ts';

/** How far some long work is. Totals are null while they are not known. */
export interface Progress {
  label: string;
  files?: { done: number; total: number | null };
  bytes?: { done: number; total: number | null };
  /** What `files` counts; "files" when left out. */
  unit?: string;
  /** What else the worker says. */
  text?: string;
}

/** 0 to 1: by bytes where their total is known, because files differ in size; null when nothing is known. */
export function fraction({ files, bytes }: Progress): number | null {
  const by = bytes?.total ? bytes : files?.total ? files : null;
  return by?.total ? Math.min(1, Math.max(0, by.done / by.total)) : null;
}

/** "███████▌      ": eighths of a cell. `part` from 0 to 1. */
export function bar(part: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, part)) * width * 8);
  const full = Math.floor(eighths / 8);
  const rest = ' ▏▎▍▌▋▊▉'[eighths % 8] ?? ' ';
  return ('█'.repeat(full) + (full < width ? rest : '')).padEnd(width);
}

/** Steady speed and time left from readings that come irregularly. */
export class Speed {
  #last: { ms: number; done: number } | undefined;
  #perSecond: number | null = null;

  /** Takes a reading. `ms` is monotonic. */
  add(ms: number, done: number): void {
    const last = this.#last;
    if (last && ms - last.ms < 250) return;
    this.#last = { ms, done };
    if (!last || done < last.done) return;
    const now = ((done - last.done) * 1000) / (ms - last.ms);
    // Half of what is shown comes from the last three seconds.
    const weight = 1 - 0.5 ** ((ms - last.ms) / 3000);
    this.#perSecond = this.#perSecond === null ? now : this.#perSecond + (now - this.#perSecond) * weight;
  }

  get perSecond(): number | null {
    return this.#perSecond;
  }

  /** Seconds left, null when that cannot be told. */
  left(done: number, total: number | null): number | null {
    return total === null || !this.#perSecond ? null : Math.max(0, total - done) / this.#perSecond;
  }
}

/** One line: label, bar, percent, files, speed, time left; cut to `columns`. */
export function progressLine(progress: Progress, speed: Speed, columns: number): string {
  const part = fraction(progress);
  const { files, bytes } = progress;
  const facts: string[] = [];
  if (files) facts.push(`${showCount(files.done)}${files.total === null ? '' : `/${showCount(files.total)}`} ${progress.unit ?? 'files'}`);
  if (bytes) facts.push(showBytes(bytes.done));
  if (bytes && speed.perSecond !== null && part !== 1) facts.push(`${showBytes(speed.perSecond)}/s`);
  const counted = bytes ?? files;
  const left = counted && part !== 1 ? speed.left(counted.done, counted.total) : null;
  if (left !== null) facts.push(`${showSeconds(left)} left`);
  if (progress.text) facts.push(progress.text);
  const tail = facts.join('  ');
  if (part === null) return `${progress.label}  ${tail}`.slice(0, columns);
  const percent = `${Math.floor(part * 100)}%`.padStart(4);
  const width = Math.min(30, columns - progress.label.length - percent.length - tail.length - 6);
  const drawn = width >= 8 ? `▕${bar(part, width)}▏` : '';
  return `${progress.label} ${drawn}${percent}  ${tail}`.slice(0, columns);
}

/** Shows progress: one line that is redrawn on a terminal, a plain line now and then otherwise. */
export class ProgressReporter {
  readonly #terminal: Terminal;
  readonly #monotonicMs: () => number;
  readonly #speed = new Speed();
  #shownMs = Number.NEGATIVE_INFINITY;
  #drawn = false;
  #full = false;

  constructor(terminal: Terminal, monotonicMs: () => number) {
    this.#terminal = terminal;
    this.#monotonicMs = monotonicMs;
  }

  show(progress: Progress): void {
    const now = this.#monotonicMs();
    this.#speed.add(now, (progress.bytes ?? progress.files)?.done ?? 0);
    const every = this.#terminal.isTTY ? 100 : 5000;
    // The end is shown at once, but only once.
    const full = fraction(progress) === 1;
    if (now - this.#shownMs < every && (!full || this.#full)) return;
    this.#full = full;
    this.#shownMs = now;
    if (this.#terminal.isTTY) {
      this.#drawn = true;
      this.#terminal.write(`\r\u001b[K${progressLine(progress, this.#speed, this.#terminal.columns() - 1)}`);
    } else {
      this.#terminal.complain(progressLine(progress, this.#speed, 200).replace(/▕.*▏ */, ''));
    }
  }

  /** Prints a line that stays, above the bar. */
  print(text: string): void {
    this.end(false);
    this.#terminal.print(text);
  }

  /** Ends the redrawn line: keeps it, or wipes it. */
  end(keep: boolean): void {
    if (this.#drawn) this.#terminal.write(keep ? '\n' : '\r\u001b[K');
    this.#drawn = false;
    this.#shownMs = Number.NEGATIVE_INFINITY;
  }
}
