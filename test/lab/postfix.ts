import { chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, runNow } from './processes.ts';

/** A Postfix of its own, with its queue in a directory of the test: it listens nowhere and delivers nothing, so that all mail waits. */
export class LabPostfix implements AsyncDisposable {
  readonly queue: string;
  readonly #conf: string;
  #runs = false;

  constructor(dir: string, settings = '') {
    this.queue = join(dir, 'queue');
    this.#conf = join(dir, 'conf');
    const data = join(dir, 'data');
    for (const each of [this.queue, this.#conf, data]) mkdirSync(each, { recursive: true });
    chownSync(data, Number(runNow('id', ['-u', 'postfix'])), -1);
    copyFileSync('/etc/postfix/dynamicmaps.cf', join(this.#conf, 'dynamicmaps.cf'));
    const services = readFileSync('/etc/postfix/master.cf.proto', 'utf8');
    writeFileSync(join(this.#conf, 'master.cf'), services.replace(/^smtp +inet/m, '#$&'));
    writeFileSync(
      join(this.#conf, 'main.cf'),
      `queue_directory = ${this.queue}
data_directory = ${data}
compatibility_level = 3.6
myhostname = mail.test
mydestination =
default_transport = retry:4.0.0 it waits
alias_maps =
inet_interfaces = loopback-only
${settings}`,
    );
  }

  async start(): Promise<void> {
    await this.#call('postfix', ['-c', this.#conf, 'start']);
    this.#runs = true;
  }

  async stop(): Promise<void> {
    this.#runs = false;
    await this.#call('postfix', ['-c', this.#conf, 'stop']);
  }

  /** Hands one message in, as a program of the host does; also while Postfix is stopped. */
  async submit(subject: string): Promise<void> {
    await run('sh', ['-c', `printf 'Subject: ${subject}\\n\\ntext\\n' | MAIL_CONFIG=${this.#conf} sendmail -f a@here.test b@there.test`]);
  }

  /** Queue IDs as Postfix itself lists them. */
  async listed(): Promise<string[]> {
    return (await this.#list()).map(({ queue_id: id }) => id);
  }

  /** How many messages were tried and put off: they are listed before, too, and move from directory to directory then. */
  async putOff(): Promise<number> {
    return (await this.#list()).filter(({ queue_name: queue }) => queue === 'deferred').length;
  }

  async #list(): Promise<{ queue_id: string; queue_name: string }[]> {
    const { stdout } = await this.#call('postqueue', ['-c', this.#conf, '-j']);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { queue_id: string; queue_name: string });
  }

  /** Subjects of all messages in the queue. */
  async subjects(): Promise<string[]> {
    const texts = await Promise.all((await this.listed()).map((id) => this.#call('postcat', ['-c', this.#conf, '-qh', id])));
    return texts.map(({ stdout }) => /^Subject: (.*)$/m.exec(stdout)?.[1] ?? '');
  }

  /** `postsuper` on this queue. */
  async repair(...args: string[]): Promise<void> {
    await this.#call('postsuper', ['-c', this.#conf, ...args]);
  }

  #call(program: string, args: string[]) {
    return run(program, args, { timeoutMs: 60_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#runs) await this.stop();
  }
}
