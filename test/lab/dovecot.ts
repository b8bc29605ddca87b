import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dovecotConfig, type DovecotSettings } from './dovecot-config.ts';
import { alarmingLines, errorLines } from './dovecot-log.ts';
import { descendants, killPid, LabProcess, run, waitForEnd, type RunResult } from './processes.ts';
import { labRelease, program, provide, type Release } from './release.ts';
import { acceptsTcp, waitFor } from './waiting.ts';

export interface DovecotOptions extends Omit<DovecotSettings, 'listen' | 'imapPort' | 'lmtpPort' | 'mailUid' | 'mailGid' | 'password'> {
  /** What clients connect to. On a host of its own the server listens on every address, also on those that move there later. */
  address: string;
  /** Network namespace it runs in; default: the test's own, and then it listens on `address` alone. */
  namespace?: string;
  imapPort?: number;
  lmtpPort?: number;
  mailUid?: number;
  mailGid?: number;
}

/** An address to connect to. */
export interface Endpoint {
  host: string;
  port: number;
}

const startMs = 60_000;
const stopMs = 60_000;

/** A private Dovecot with IMAP and LMTP. Every user name is valid, with one password; all mail has one owner. */
export class Dovecot {
  readonly imap: Endpoint;
  readonly lmtp: Endpoint;
  readonly password = 'lab';
  readonly storeDir: string;
  readonly mailUid: number;
  readonly mailGid: number;
  readonly release: Release;
  readonly #settings: DovecotSettings;
  readonly #namespace: string | undefined;
  readonly #configFile: string;
  #master: LabProcess | null = null;

  constructor(options: DovecotOptions) {
    const { address, namespace, imapPort = 143, lmtpPort = 24, mailUid = 5000, mailGid = 5000, ...rest } = options;
    this.#namespace = namespace;
    this.release = rest.release ?? labRelease;
    this.imap = { host: address, port: imapPort };
    this.lmtp = { host: address, port: lmtpPort };
    this.storeDir = rest.storeDir;
    this.mailUid = mailUid;
    this.mailGid = mailGid;
    this.#settings = {
      ...rest,
      listen: namespace === undefined ? address : '*',
      imapPort,
      lmtpPort,
      mailUid,
      mailGid,
      password: this.password,
    };
    this.#configFile = join(rest.dir, 'dovecot.conf');
  }

  get isRunning(): boolean {
    return this.#master?.isRunning ?? false;
  }

  /** Process that started all others of it; null when it does not run. */
  get masterPid(): number | null {
    return this.#master?.isRunning ? this.#master.pid : null;
  }

  /** Resolves when IMAP and LMTP accept connections. @throws with the log when that does not come about. */
  async start(): Promise<void> {
    if (this.isRunning) throw new Error('this Dovecot runs already');
    const { dir, storeDir, indexDir, controlDir, publicDir } = this.#settings;
    for (const each of [dir, join(dir, 'run'), join(dir, 'state')]) mkdirSync(each, { recursive: true, mode: 0o755 });
    for (const each of [join(dir, 'home'), storeDir, indexDir, controlDir, publicDir]) {
      if (each === undefined || existsSync(each)) continue;
      mkdirSync(each, { recursive: true, mode: 0o755 });
      chownSync(each, this.mailUid, this.mailGid);
    }
    writeFileSync(this.#configFile, dovecotConfig(this.#settings));
    await provide(this.release);
    const master = new LabProcess(program(this.release, 'dovecot'), ['-F', '-c', this.#configFile], { namespace: this.#namespace });
    this.#master = master;
    try {
      await waitFor('Dovecot to listen', startMs, async () => {
        if (!master.isRunning) return true;
        return (await acceptsTcp(this.imap.host, this.imap.port)) && (await acceptsTcp(this.lmtp.host, this.lmtp.port));
      });
      if (!master.isRunning) throw new Error('Dovecot ended at once');
    } catch (error) {
      await this.kill9();
      throw new Error(`Dovecot did not start: ${master.output}\n${this.log().slice(-3000)}`, { cause: error });
    }
  }

  /** An orderly stop: sessions are ended, files are written. Nothing when it does not run. */
  async stop(): Promise<void> {
    const master = this.#master;
    this.#master = null;
    if (master === null || !master.isRunning) return;
    const children = descendants(master.pid);
    await master.stop(stopMs);
    await waitForEnd(children, stopMs);
  }

  /** Power cut for the mail server: every process at once. Nothing when it does not run. */
  async kill9(): Promise<void> {
    const master = this.#master;
    this.#master = null;
    if (master === null) return;
    // Stopped first, so that it starts no more children while they are counted.
    master.signal('SIGSTOP');
    const children = master.isRunning ? descendants(master.pid) : [];
    master.killNow();
    for (const pid of children) killPid(pid);
    await master.ended;
    await waitForEnd(children, stopMs);
  }

  /** What it has logged since the lab was made. */
  log(): string {
    const file = join(this.#settings.dir, 'dovecot.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** Log lines about corruption, rebuilding, reappeared messages and the like; see dovecot-log.ts. */
  alarmingLogLines(): string[] {
    return alarmingLines(this.log());
  }

  errorLogLines(): string[] {
    return errorLines(this.log());
  }

  /** Runs doveadm against this server's configuration. @throws with its output when it fails, unless `mayFail`. */
  doveadm(args: readonly string[], options: { mayFail?: boolean } = {}): Promise<RunResult> {
    return run(program(this.release, 'doveadm'), ['-c', this.#configFile, ...args], { namespace: this.#namespace, ...options });
  }
}
