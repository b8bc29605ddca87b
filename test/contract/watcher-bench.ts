import { fork, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { relativeTo } from '../../agent/capture/root-paths.ts';
import type { Hint, Watcher, WatchOptions } from '../../agent/capture/watcher.ts';
import type { BytePath } from '../../agent/platform/files.ts';
import type { Step } from './watcher-writer.ts';

/** Another process that changes files. */
export class Writer {
  readonly #child: ChildProcess = fork(path.join(import.meta.dirname, 'watcher-writer.ts'), { execArgv: ['--import', 'tsx'] });

  /** Sends the steps at once, also when the caller is about to block its own loop; resolves when they are done. */
  async do(...steps: Step[]): Promise<void> {
    const answer = new Promise<{ error?: string }>((resolve) => this.#child.once('message', (m) => resolve(m as { error?: string })));
    this.#child.send(steps);
    const { error } = await answer;
    if (error !== undefined) throw new Error(error);
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** One watcher over one root in a directory of its own, with what it said. */
export class WatcherBench {
  readonly dir: string;
  readonly root: BytePath;
  readonly writer: Writer;
  readonly hints: Hint[] = [];
  readonly failures: Error[] = [];
  watcher!: Watcher;

  constructor(base: string, writer: Writer) {
    this.writer = writer;
    this.dir = fs.mkdtempSync(path.join(base, 'mailtwin-watch-'));
    this.root = `${this.dir}/root`;
    fs.mkdirSync(this.root);
    fs.mkdirSync(`${this.dir}/barrier`);
  }

  options(): WatchOptions {
    return {
      roots: [{ name: 'mail', path: this.root }],
      barrierDir: `${this.dir}/barrier`,
      ignores: (_, p) => /(^|\/)tmp$|\.lock$/.test(p),
      onHints: (hints) => this.hints.push(...hints),
      onFailure: (error) => this.failures.push(error),
    };
  }

  async start(make: (options: WatchOptions) => Watcher): Promise<void> {
    this.watcher = make(this.options());
    await this.watcher.start();
    await this.watcher.barrier(30_000);
    this.hints.length = 0;
  }

  at(name: BytePath): BytePath {
    return `${this.root}/${name}`;
  }

  /** Lets the writer change files and returns the hints that came up to a barrier after it. */
  async after(...steps: Step[]): Promise<Hint[]> {
    this.hints.length = 0;
    await this.writer.do(...steps);
    await this.watcher.barrier(30_000);
    return this.hints;
  }

  /** True when the hints make somebody look at this name. */
  covers(name: BytePath): boolean {
    return this.hints.some((hint) =>
      hint.kind === 'path' ? hint.path === name : hint.path === '' || relativeTo(`/${hint.path}`, `/${name}`) !== null,
    );
  }

  expectCovered(...names: BytePath[]): void {
    const missed = names.filter((name) => !this.covers(name));
    expect(missed, `hints: ${JSON.stringify(this.hints.slice(0, 20))}`).toEqual([]);
    expect(this.hints.filter((hint) => hint.kind === 'lost')).toEqual([]);
  }

  async end(): Promise<void> {
    await this.watcher?.stop();
    fs.rmSync(this.dir, { recursive: true, force: true });
    expect(this.failures).toEqual([]);
  }
}
