import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { descendants, killPid } from './processes.ts';
import { waitFor } from './waiting.ts';

/** A shell in a pseudo terminal (script(1)) that a test types into, with all that it wrote. */
export class RecordedShell implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #prompt: string;
  readonly #ended: Promise<void>;
  #output = '';

  /** `bin` is first on the search path, and takes the shell's start file. */
  constructor(options: { columns: number; prompt: string; bin: string; namespace?: string }) {
    const { columns, prompt, bin, namespace } = options;
    const startFile = join(bin, '.shrc');
    // A shell of root takes no prompt from its environment.
    writeFileSync(startFile, `PS1='${prompt}'\n`);
    this.#prompt = prompt;
    const argv = ['script', '--quiet', '--command', `stty cols ${columns} rows 200; exec dash -i`, '/dev/null'];
    const [file = '', ...args] = namespace === undefined ? argv : ['ip', 'netns', 'exec', namespace, ...argv];
    const environment = { PATH: `${bin}:${process.env['PATH']}`, HOME: '/', TERM: 'xterm-256color', LC_ALL: 'C.UTF-8', ENV: startFile };
    this.#child = spawn(file, args, { cwd: '/', env: environment, stdio: 'pipe' });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
    this.#ended = new Promise((resolve) => this.#child.once('close', () => resolve()));
  }

  /** Types a line once the shell or program waits for it, and waits for what it answers. */
  async type(line: string, answer: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    await waitFor('the prompt', timeoutMs, () => this.#output.length > 0);
    const before = this.#output.length;
    this.#child.stdin.write(`${line}\n`);
    return waitFor(`${answer} after ${line}`, timeoutMs, () => answer.exec(plain(this.#output.slice(before)))).catch((error: unknown) => {
      throw new Error(`${error instanceof Error ? error.message : String(error)}; the terminal shows:\n${plain(this.#output)}`, {
        cause: error,
      });
    });
  }

  /** Everything that was written on the terminal, up to the prompt that stands there at last. */
  async recording(): Promise<string> {
    const output = await waitFor('the last prompt', 120_000, () =>
      plain(this.#output).endsWith(`\n${this.#prompt}`) ? this.#output : null,
    );
    return output.slice(0, output.lastIndexOf('\r\n'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid } = this.#child;
    if (pid !== undefined) for (const each of [...descendants(pid), pid]) killPid(each);
    await this.#ended;
  }
}

/** Without colours and cursor movements. */
function plain(text: string): string {
  return text.replaceAll(/\u001b\[[0-9;?]*[a-zA-Z]/g, '');
}
