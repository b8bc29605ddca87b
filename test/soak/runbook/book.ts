import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type DebianLab, type HostName } from '../../lab/debian-lab.ts';
import { step } from '../../lab/step.ts';
import type { RunResult } from '../../lab/processes.ts';
import { readRunbook, shapeOf, type Host, type Procedure } from '../../lab/runbook-text.ts';
import type { TerminalSession } from '../../lab/terminal-session.ts';

const file = fileURLToPath(new URL('../../../deploy/docs/RUNBOOK.md', import.meta.url));

/** How long an agent may take to start. */
const startMs = 60_000;

/** A question of a command, and what the person types; a function gets what the question named. */
export type Answer = [question: RegExp, answer: string | ((found: RegExpExecArray) => string)];

export interface RunOptions {
  /** Exit codes that are right. Default 0 alone. */
  codes?: readonly number[];
  /** Makes it run on a terminal, where a person answers these. */
  answers?: readonly Answer[];
  /** What a person does at another place while it waits on its terminal. */
  meanwhile?: (session: TerminalSession, host: HostName) => Promise<void>;
  /** Default five minutes. */
  timeoutMs?: number;
}

export interface Ran extends RunResult {
  host: HostName;
  /** Standard output and error, or the terminal. */
  output: string;
}

/**
 * The runbook under test. Procedures take their commands out of it one after the other and say which they expect, so
 * that neither the text nor the procedure can change alone. `values` stands for the placeholders of the text.
 */
export class Book {
  readonly values: Record<string, string> = {};
  readonly #lab: DebianLab;
  readonly #procedures: Procedure[];
  readonly #used = new Set<string>();

  constructor(lab: DebianLab) {
    this.#lab = lab;
    this.#procedures = readRunbook(readFileSync(file, 'utf8'));
  }

  /** Titles of the procedures and alerts that have something to run or to read, and were not gone through. */
  get left(): string[] {
    return this.#procedures.map(({ title }) => title).filter((title) => !this.#used.has(title));
  }

  /** Goes through a procedure. @throws when `work` leaves a part of it out, and when the text has no such part. */
  async follow(title: string, work: (section: Section) => Promise<void>): Promise<void> {
    const procedure = this.#procedures.find((each) => each.title === title);
    if (!procedure) throw new Error(`the runbook has no procedure ${title}`);
    console.log(`\n--- ${title}`);
    const section = new Section(procedure, this.#lab, this.values);
    await work(section);
    section.end();
    this.#used.add(title);
  }
}

type Item =
  | { kind: 'command'; line: string; hosts: Host[] }
  | { kind: 'config'; hosts: Host[]; text: string }
  | { kind: 'output'; lines: string[] };

/** A procedure that is being gone through. */
export class Section {
  readonly #title: string;
  readonly #lab: DebianLab;
  readonly #items: Item[];
  readonly #values: Record<string, string>;
  #last: Ran[] = [];

  constructor({ title, blocks }: Procedure, lab: DebianLab, values: Record<string, string>) {
    this.#title = title;
    this.#lab = lab;
    this.#values = values;
    this.#items = blocks.flatMap((block): Item[] =>
      block.kind === 'commands' ? block.commands.map((command) => ({ kind: 'command', ...command })) : [block],
    );
  }

  /** Runs the next command, which the text must have as `line`, on each host that the text names. */
  async run(line: string, options: RunOptions = {}): Promise<Ran[]> {
    const item = this.#next('command');
    if (item.line !== line) throw new Error(`${this.#title}: the text has "${item.line}" where "${line}" is expected`);
    this.#last = [];
    for (const host of item.hosts) this.#last.push(await this.#runOn(host, this.#filled(line), options));
    return this.#last;
  }

  /** The next block of configuration, and for whom it is. */
  config(): { hosts: HostName[]; text: string } {
    const { hosts, text } = this.#next('config');
    return { hosts: hosts.map(nameOf), text: this.#filled(text) };
  }

  /** Checks the lines that the text shows: each must be among what the last command printed, in this order, but for its numbers. */
  shows(): void {
    const { lines } = this.#next('output');
    const real = this.#last.flatMap(({ output }) => output.split('\n')).map(shapeOf);
    let from = 0;
    for (const line of lines.filter((each) => each.trim() !== '')) {
      const at = real.indexOf(shapeOf(line), from);
      if (at < 0) throw new Error(`${this.#title}: the text shows what was not printed there: ${line}\nprinted:\n${this.#last[0]?.output}`);
      from = at + 1;
    }
    step(`it prints what the text shows (${lines.length} lines)`, true);
  }

  end(): void {
    const [left] = this.#items;
    if (left) throw new Error(`${this.#title}: the soak does not do this of the text: ${JSON.stringify(left)}`);
  }

  #next<K extends Item['kind']>(kind: K): Extract<Item, { kind: K }> {
    const item = this.#items.shift();
    if (item?.kind !== kind) throw new Error(`${this.#title}: the text has no ${kind} here but ${JSON.stringify(item)}`);
    return item as Extract<Item, { kind: K }>;
  }

  #filled(text: string): string {
    return Object.entries(this.#values).reduce((filled, [placeholder, value]) => filled.replaceAll(placeholder, value), text);
  }

  async #runOn(at: Host, line: string, options: RunOptions): Promise<Ran> {
    const name = nameOf(at);
    const began = performance.now();
    // As after a login: root at home, where the files lie that the text names.
    const shell = `cd /root; export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=xterm COLUMNS=200; ${line}`;
    let ran: Ran;
    // An agent that was just started needs some seconds; the text says that the command is to be repeated then.
    for (;;) {
      ran = await this.#once(name, shell, options);
      if (!ran.output.includes('agent-not-running') || performance.now() - began > startMs) break;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    const isRight = (options.codes ?? [0]).includes(ran.code);
    if (!isRight || process.env['MAILTWIN_VERBOSE']) console.log(ran.output);
    step(`${at}: ${line}  (exit ${ran.code}, ${((performance.now() - began) / 1000).toFixed(1)} s)`, isRight);
    return ran;
  }

  async #once(name: HostName, shell: string, options: RunOptions): Promise<Ran> {
    const host = this.#lab.host(name);
    if (options.answers || options.meanwhile) {
      const session = host.terminal(shell);
      try {
        for (const [question, answer] of options.answers ?? []) {
          const found = await session.see(question);
          session.type(typeof answer === 'string' ? answer : answer(found));
        }
        await options.meanwhile?.(session, name);
      } catch (error) {
        if (!session.output.includes('agent-not-running')) throw error;
      }
      const code = await session.end();
      return { host: name, code, stdout: session.output, stderr: '', output: session.output };
    }
    const { code, stdout, stderr } = await host.run(['sh', '-c', shell], { mayFail: true, timeoutMs: options.timeoutMs ?? 300_000 });
    return { host: name, code, stdout, stderr, output: stdout + stderr };
  }
}

function nameOf(host: Host): HostName {
  return host.slice('mail-'.length) as HostName;
}
